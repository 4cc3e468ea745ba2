"""Molecules and crystals in: files, SMILES and the objects of other libraries, each checked before it is used."""
