"""Small crystals made up for the tests of the force field, and how to move their parts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.reading.embed import from_smiles

# Enough room for a few molecules of acetamide; each is made symmetric by the group that takes it.
CELLS = {
    "triclinic": [[7.0, 0, 0], [1.0, 8.0, 0], [-0.5, 1.2, 9.0]],
    "monoclinic": [[7.0, 0, 0], [0, 9.0, 0], [-1.5, 0, 11.0]],
    "orthorhombic": [[8.0, 0, 0], [0, 9.0, 0], [0, 0, 11.0]],
    "tetragonal": [[11.0, 0, 0], [0, 11.0, 0], [0, 0, 9.0]],
    "hexagonal": [[11.0, 0, 0], [-5.5, 5.5 * np.sqrt(3), 0], [0, 0, 14.0]],
}


@cache
def acetamide() -> Molecule:
    return from_smiles("CC(N)=O")


def packing(
    molecule: Molecule, name: str, *, independent: int = 1, seed: int = 0, scale: float = 1.3
) -> Packing:
    """Molecules placed and turned at random in a cell with room for them."""
    group, random = SpaceGroup.named(name), np.random.default_rng(seed)
    return Packing(
        (molecule,),
        group,
        group.symmetric_cell(scale * np.array(CELLS[group.system])),
        np.zeros(independent, dtype=np.int64),
        random.random((independent, 3)),
        Rotation.random(independent, random_state=seed).as_matrix(),
        np.where(np.arange(independent) % 2, -1, 1),
    )


def expanded(crystal: Packing, repeats: tuple[int, int, int] = (1, 1, 1)) -> Packing:
    """The same crystal without symmetry, in a multiple of the cell."""
    index, place, turned = crystal.images()
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in repeats), indexing="ij"), axis=-1).reshape(-1, 3)
    parity = np.rint(np.linalg.det(turned)).astype(int)
    count = len(steps)
    return replace(
        crystal,
        group=SpaceGroup.named("P1"),
        cell=crystal.cell * np.array(repeats)[:, None],
        kind=np.tile(crystal.kind[index], count),
        place=((place[None] + steps[:, None]) / np.array(repeats)).reshape(-1, 3),
        rotation=np.tile(parity[:, None, None] * turned, (count, 1, 1)),
        parity=np.tile(parity, count),
    )
