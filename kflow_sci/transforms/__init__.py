"""K-transforms: linear isometries whose coefficients are ordered into shells, coarse to fine.

The one idea: everything else needs of a transform is its shell filter; see ``base``.
"""
