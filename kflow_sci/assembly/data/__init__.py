"""Data sets: folders of crystals become compact files of clusters."""
