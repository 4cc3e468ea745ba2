"""Rivals and floors, one file each.

Every one of them answers ``propose(molecule, copies, n, seed, volume, start=None)`` with ``n`` samples: clusters, or
the frames of a method that does not keep molecules rigid. The learned ones are modules, for which
``learned.propose_learned`` answers; ``renumbered.propose`` alone takes the true cluster instead, as it is the ceiling
and not a rival. A method that draws its own start says so when it is given one.
"""
