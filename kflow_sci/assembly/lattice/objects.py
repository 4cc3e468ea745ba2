"""A packing as the object of another library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kflow_sci.assembly.lattice.packing import Packing

if TYPE_CHECKING:
    from ase import Atoms


def to_ase(packing: Packing) -> Atoms:
    """All atoms of the cell, periodic, molecules whole, with a per-atom index ``molecule``.

    Molecules follow each other as in ``Packing.images``, their atoms in template order.
    """
    from ase import Atoms

    index, place, orientation = packing.images()
    templates = [packing.molecules[packing.kind[i]] for i in index]
    middles = place @ packing.cell
    atoms = Atoms(
        numbers=np.concatenate([m.numbers for m in templates]),
        positions=np.concatenate(
            [c + m.positions @ turn.T for c, m, turn in zip(middles, templates, orientation, strict=True)]
        ),
        cell=packing.cell,
        pbc=True,
    )
    atoms.new_array("molecule", np.repeat(np.arange(len(index)), [len(m) for m in templates]))
    return atoms
