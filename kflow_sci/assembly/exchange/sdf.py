"""Clusters as sdf: one record per cluster, all its molecules in it, bond orders and charges kept.

The one idea: V2000, which everything reads, for up to 999 atoms and bonds, and V3000 beyond. What travels with the
cluster stands in data fields, which come back as they were.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from kflow_sci.assembly.elements import SYMBOLS
from kflow_sci.assembly.exchange.flat import AROMATIC, Flat
from kflow_sci.errors import ClusterError

_V2000_LIMIT = 999
_MOLECULE = "molecule"  # data field: copy of each atom


def sdf_record(flat: Flat, title: str) -> str:
    """One record, with the line that ends it.

    Args:
        flat: Atoms, bonds and orders.
        title: First line.
    """
    bonds = flat.bonds if flat.bonds is not None else np.zeros((0, 2), dtype=np.int64)
    orders = flat.orders if flat.orders is not None else np.ones(len(bonds))
    kinds = [4 if order == AROMATIC else int(order) for order in orders]
    charges = flat.charges if flat.charges is not None else np.zeros(len(flat.numbers), dtype=np.int64)
    symbols = [SYMBOLS[z] for z in flat.numbers]
    small = max(len(flat.numbers), len(bonds)) <= _V2000_LIMIT
    block = _v2000 if small else _v3000
    head = [" ".join(title.split())[:80], "  kflow_sci", ""]
    lines = head + block(symbols, flat.positions, bonds, kinds, charges)
    fields = {_MOLECULE: [] if flat.owner is None else flat.owner.tolist(), **flat.info}
    for key, value in fields.items():
        lines += [f">  <{key}>", json.dumps(value), ""]
    return "\n".join([*lines, "$$$$", ""])


def _v2000(
    symbols: list[str], positions: np.ndarray, bonds: np.ndarray, kinds: list[int], charges: np.ndarray
) -> list[str]:
    lines = [f"{len(symbols):3d}{len(bonds):3d}  0  0  0  0  0  0  0  0999 V2000"]
    for symbol, (x, y, z) in zip(symbols, positions, strict=True):
        lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3s} 0  0  0  0  0  0  0  0  0  0  0  0")
    lines += [f"{i + 1:3d}{j + 1:3d}{kind:3d}  0" for (i, j), kind in zip(bonds.tolist(), kinds, strict=True)]
    charged = np.flatnonzero(charges)
    for at in range(0, len(charged), 8):
        some = charged[at : at + 8]
        lines.append(f"M  CHG{len(some):3d}" + "".join(f" {i + 1:3d} {charges[i]:3d}" for i in some))
    return [*lines, "M  END"]


def _v3000(
    symbols: list[str], positions: np.ndarray, bonds: np.ndarray, kinds: list[int], charges: np.ndarray
) -> list[str]:
    lines = ["  0  0  0     0  0            999 V3000", "M  V30 BEGIN CTAB"]
    lines += [f"M  V30 COUNTS {len(symbols)} {len(bonds)} 0 0 0", "M  V30 BEGIN ATOM"]
    for i, (symbol, (x, y, z)) in enumerate(zip(symbols, positions, strict=True)):
        charge = f" CHG={charges[i]}" if charges[i] else ""
        lines.append(f"M  V30 {i + 1} {symbol} {x:.6f} {y:.6f} {z:.6f} 0{charge}")
    lines += ["M  V30 END ATOM", "M  V30 BEGIN BOND"]
    for number, ((i, j), kind) in enumerate(zip(bonds.tolist(), kinds, strict=True), 1):
        lines.append(f"M  V30 {number} {kind} {i + 1} {j + 1}")
    return [*lines, "M  V30 END BOND", "M  V30 END CTAB", "M  END"]


def read_sdf_records(text: str, name: str) -> list[Flat]:
    """The records of an sdf file, each as one cluster.

    Raises:
        ClusterError: no record, or one that is no mol block.
    """
    from rdkit import Chem, rdBase

    from kflow_sci.assembly.exchange.objects import flat_of_rdkit

    records = [r for r in re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE) if r.strip()]
    found = []
    for number, record in enumerate(records):
        with rdBase.BlockLogs():
            try:
                mol = Chem.MolFromMolBlock(record, sanitize=False, removeHs=False)
            except (RuntimeError, ValueError):
                mol = None
        if mol is None or not mol.GetNumConformers() or not re.search(r"^M  END", record, re.MULTILINE):
            raise ClusterError(f"{name}: record {number} is truncated or no mol block: give the whole file")
        info = _fields(record)
        owner = info.pop(_MOLECULE, None)
        own = isinstance(owner, list) and len(owner) == mol.GetNumAtoms()
        found.append(flat_of_rdkit(mol, info, np.array(owner, dtype=np.int64) if own else None))
    if not found:
        raise ClusterError(f"{name} holds no record: give an sdf file with one cluster per record")
    return found


def _fields(record: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, text in re.findall(
        r"^>[^<\n]*<([^>\n]+)>[^\n]*\n(.*?)(?:\n\s*\n|\Z)", record, re.MULTILINE | re.DOTALL
    ):
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:  # a field of another program
            values[key] = text.strip()
    return values
