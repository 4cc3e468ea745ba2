"""Clusters to files, as extended xyz that every tool of the field opens.

The one idea: what goes in comes back. Values that the format would read as something else go in as json.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.errors import ClusterError
from kflow_sci.files import atomic_write

# Words of the extxyz comment line that no info may take: its own, and per-atom results.
_RESERVED = ("Lattice", "Properties", "pbc", "forces", "stress", "positions", "species", "molecule")
_NUMBER_OR_TRUTH = r"(?i)[-+]?(\d*\.?\d*([ed][-+]?\d+)?|nan|inf|infinity)|t|f|true|false"


def write_clusters(path: str | os.PathLike[str], clusters: Iterable[Cluster]) -> int:
    """Write clusters as extended xyz, one frame each, whole or not at all.

    Every frame carries the integer array ``molecule`` (copy of each atom, from 0) and the cluster's info; there is no
    cell. Info values may be numbers, strings, booleans, None, and lists or dicts of them; ASE reads them back as they
    were, except that it files ``energy`` under the results of a calculator (``atoms.get_potential_energy()``).

    Args:
        path: The file to make or replace.
        clusters: At least one; they are written as they come, so there may be more than fit into memory.

    Returns:
        Number of clusters written.

    Raises:
        ClusterError: no cluster, a position that is not finite, or an info key that the format keeps for itself.
        OutputError: the file cannot be written.
    """
    from ase.io.extxyz import write_extxyz

    count = 0
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for i, cluster in enumerate(clusters):
            if not np.isfinite(cluster.positions).all():
                raise ClusterError(
                    f"cluster {i} has positions that are not finite: it is not written to {path}"
                )
            taken = sorted(set(cluster.info) & set(_RESERVED))
            if taken:
                raise ClusterError(
                    f"cluster {i} has the info key '{taken[0]}', which extxyz needs itself: rename it"
                )
            atoms = cluster.to_ase()
            atoms.info = {key: _info_value(value) for key, value in cluster.info.items()}
            write_extxyz(stream, [atoms], columns=["symbols", "positions", "molecule"])
            count += 1
        if not count:
            raise ClusterError(f"there is no cluster to write to {path}: generate at least one")
    return count


def _info_value(value: object) -> object:
    """A value that survives extxyz: what ASE would read back as something else goes as its JSON."""
    if isinstance(value, str):
        mistaken = all(re.fullmatch(_NUMBER_OR_TRUTH, word) for word in re.split(r"[\s,]+", value))
        if mistaken or not value.isprintable() or value.startswith("_JSON"):
            value = "_JSON " + json.dumps(value)
    elif value is None or isinstance(value, list | tuple | dict):
        value = "_JSON " + json.dumps(value)
    # ASE takes a backslash, as in a SMILES with a double bond, for an escape, but does not write it as one.
    return value.replace("\\", "\\\\") if isinstance(value, str) else value
