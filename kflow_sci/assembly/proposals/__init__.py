"""Learned starts for the search of crystals: a flow over cells and poses, given the molecule and the space group."""
