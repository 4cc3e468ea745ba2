"""Clusters as pdb: one model per cluster, one residue per molecule, and CONECT records.

The one idea: pdb has no bond orders, but programs agree on naming a partner twice for a double bond and three times for
a triple one; so orders survive. The format has columns, hence limits, and three decimals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kflow_sci.assembly.elements import NUMBER_OF, SYMBOLS
from kflow_sci.assembly.exchange.flat import Flat
from kflow_sci.errors import ClusterError

_MOST_ATOMS, _MOST_RESIDUES = 99_999, 9_999
_LARGEST = 999.0  # Å; a minus sign and three decimals leave three digits


def pdb_text(flats: Sequence[Flat], kinds: Sequence[Sequence[int]]) -> str:
    """The text of a pdb file.

    Args:
        flats: Clusters of the same atoms and bonds.
        kinds: Template of each molecule of each cluster; names the residues M01, M02 …

    Raises:
        ClusterError: different atoms or bonds, or more atoms, molecules or Å than the columns hold.
    """
    first = flats[0]
    bonds = first.bonds if first.bonds is not None else np.zeros((0, 2), dtype=np.int64)
    orders = first.orders if first.orders is not None else np.ones(len(bonds))
    for number, flat in enumerate(flats):
        if not (
            np.array_equal(flat.numbers, first.numbers)
            and (flat.bonds is None or np.array_equal(flat.bonds, bonds))
        ):
            raise ClusterError(
                f"clusters 0 and {number} hold different molecules, but pdb states bonds once for all: write sdf"
            )
        if np.abs(flat.positions).max() > _LARGEST or len(flat.numbers) > _MOST_ATOMS:
            raise ClusterError(
                f"cluster {number} has {len(flat.numbers)} atoms or lies farther than {_LARGEST:g} Å out, which the "
                "columns of pdb cannot hold: write sdf, cif or extxyz"
            )
        if flat.owner is not None and flat.owner.max() >= _MOST_RESIDUES:
            raise ClusterError(
                f"cluster {number} has more than {_MOST_RESIDUES} molecules: write sdf or extxyz"
            )
    lines = []
    for number, (flat, kind) in enumerate(zip(flats, kinds, strict=True), 1):
        if len(flats) > 1:
            lines.append(f"MODEL     {number:4d}")
        lines += _atoms(flat, kind)
        if len(flats) > 1:
            lines.append("ENDMDL")
    partners: list[list[int]] = [[] for _ in first.numbers]
    for (i, j), order in zip(bonds.tolist(), orders.tolist(), strict=True):
        partners[i] += [j] * int(order)
        partners[j] += [i] * int(order)
    for i, others in enumerate(partners):
        for at in range(0, len(others), 4):
            lines.append(f"CONECT{i + 1:5d}" + "".join(f"{j + 1:5d}" for j in others[at : at + 4]))
    return "\n".join([*lines, "END", ""])


def _atoms(flat: Flat, kind: Sequence[int]) -> list[str]:
    owner = flat.owner if flat.owner is not None else np.zeros(len(flat.numbers), dtype=np.int64)
    lines = []
    seen: Counter[tuple[int, int]] = Counter()
    for i, (z, k, (x, y, w)) in enumerate(
        zip(flat.numbers.tolist(), owner.tolist(), flat.positions.tolist(), strict=True)
    ):
        seen[k, z] += 1
        symbol = SYMBOLS[z]
        name = f"{symbol.upper()}{seen[k, z]}"
        name = name if len(name) <= 4 else symbol.upper()
        name = f" {name:<3s}" if len(symbol) == 1 and len(name) < 4 else f"{name:<4s}"
        residue = f"M{kind[k] + 1:02d}" if kind[k] < 99 else "UNL"
        charge = 0 if flat.charges is None else int(flat.charges[i])
        sign = f"{abs(charge)}{'+' if charge > 0 else '-'}" if charge else "  "
        lines.append(
            f"HETATM{i + 1:5d} {name} {residue} A{k + 1:4d}    {x:8.3f}{y:8.3f}{w:8.3f}  1.00  0.00          "
            f"{symbol.upper():>2s}{sign}"
        )
    return lines


def read_pdb_models(text: str, name: str) -> list[Flat]:
    """The models of a pdb file, each as one cluster; bonds by CONECT where every atom has one, else by distance.

    Raises:
        ClusterError: no atoms, or a line that is cut or holds no coordinates.
    """
    models: list[list[str]] = [[]]
    links: Counter[tuple[int, int]] = Counter()
    for line in text.split("\n"):
        if line.startswith("MODEL ") and models[-1]:
            models.append([])
        elif line.startswith(("ATOM  ", "HETATM")):
            models[-1].append(line)
        elif line.startswith("CONECT"):
            serials = [line[at : at + 5].strip() for at in range(6, len(line), 5)]
            if all(s.isdecimal() for s in serials if s) and serials[0]:
                own = int(serials[0])
                links.update((own, int(s)) for s in serials[1:5] if s)
    found = [_model(lines, links, f"model {k + 1} of {name}") for k, lines in enumerate(models) if lines]
    if not found:
        raise ClusterError(f"{name} holds no ATOM or HETATM line: give a pdb file of a cluster")
    return found


def _model(lines: list[str], links: Counter[tuple[int, int]], label: str) -> Flat:
    numbers, positions, charges = [], [], []
    index: dict[int, int] = {}
    for i, line in enumerate(lines):
        symbol = line[76:78].strip().capitalize() or line[12:14].strip(" 0123456789").capitalize()
        try:
            positions.append([float(line[at : at + 8]) for at in (30, 38, 46)])
            index[int(line[6:11])] = i
        except ValueError:
            raise ClusterError(f"{label}: the line '{line[:54]}' is cut or holds no coordinates") from None
        if symbol not in NUMBER_OF:
            raise ClusterError(f"{label}: '{symbol}' is no element: mend columns 77-78 of '{line[:30]}'")
        numbers.append(NUMBER_OF[symbol])
        sign = line[78:80].strip()
        charges.append(
            int(sign[1] + sign[0]) if len(sign) == 2 and sign[0].isdecimal() and sign[1] in "+-" else 0
        )
    # Named from both ends by some programs and from one by others: the larger count is the order.
    order: dict[tuple[int, int], int] = {}
    for (a, b), count in links.items():
        if a in index and b in index:
            i, j = sorted((index[a], index[b]))
            order[i, j] = max(order.get((i, j), 0), count)
    bonds = np.array(sorted(order), dtype=np.int64).reshape(-1, 2)
    complete = len(np.unique(bonds)) == len(numbers)
    return Flat(
        np.array(numbers),
        np.array(positions),
        bonds=bonds if complete else None,
        orders=np.array([float(order[i, j]) for i, j in bonds.tolist()]) if complete else None,
        charges=np.array(charges),
    )
