"""Crystals as values: a rigid molecule, a space group, a cell and a pose, and what can be made of them."""
