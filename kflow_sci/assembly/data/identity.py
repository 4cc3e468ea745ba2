"""Which clusters hold the same molecule, by bonds and elements alone.

The one idea: a split by molecule must never separate two packings of one molecule, while putting two molecules together
costs nothing. So a molecule is told by its graph (elements and bonds, no bond orders, charges or hands), and by a
fingerprint of the graph that can be equal for different graphs but never different for equal ones.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Int

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.cluster import Cluster


def graph_hash(numbers: Int[np.ndarray, " n"], bonds: Int[np.ndarray, "m 2"]) -> str:
    """Sixteen hex digits that are equal for equal molecules, however their atoms are numbered.

    Args:
        numbers: Atomic numbers.
        bonds: Pairs of atoms.

    Source:
        Colour refinement: Weisfeiler & Leman, NTI 2 (1968) 12. Stereoisomers, tautomers of equal bonds and some highly
        regular graphs share a hash.
    """
    neighbours: list[list[int]] = [[] for _ in numbers]
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    colour = [f"{number}".encode() for number in numbers.tolist()]
    classes = len(set(colour))
    while True:
        colour = [
            _digest(colour[i], *sorted(colour[j] for j in around)) for i, around in enumerate(neighbours)
        ]
        if len(set(colour)) == classes:  # no atom was told from another that was not before
            return _digest(*sorted(colour)).hex()
        classes = len(set(colour))


def molecule_hash(cluster: Cluster) -> str:
    """``graph_hash`` of what the cluster is made of; conformers and mirror images count once.

    Args:
        cluster: If its info has a ``mol_hash``, that is taken.
    """
    known = cluster.info.get("mol_hash")
    if isinstance(known, str):
        return known
    used = [cluster.molecules[k] for k in np.unique(cluster.kind)]
    hashes = sorted({graph_hash(molecule.numbers, bonded_pairs(molecule)) for molecule in used})
    return hashes[0] if len(hashes) == 1 else _digest(*(h.encode() for h in hashes)).hex()


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"|".join(parts), digest_size=8).digest()
