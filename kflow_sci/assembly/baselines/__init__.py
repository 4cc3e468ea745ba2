"""Rivals and floors, one file each.

Every rival has ``propose(molecule, copies, n, seed, volume) -> list[Cluster]``; ``renumbered.propose`` alone takes the
true cluster instead, as it is the ceiling and not a rival.
"""
