"""Searching for crystals: where trials start, how they run, what of them is kept."""
