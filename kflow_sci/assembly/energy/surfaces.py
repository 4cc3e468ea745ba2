"""Calculators of ASE for a cluster, by name: forces to relax by.

The one idea: MMFF94 and UFF come from RDKit, which needs bonds, all else from ASE, which needs none; both end as a
calculator that is made for a list of molecules, so that the whole and its parts are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.units import kJ, mol

from kflow_sci.assembly.bonds import bonded_pairs
from kflow_sci.assembly.energy.calculators import KJ_PER_KCAL, calculator_class
from kflow_sci.assembly.forcefield.bond_orders import bond_orders
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ConfigError, MoleculeError

_REACH = 1e3  # Å; RDKit's cut-off, so that there is none
Surface = Callable[[Sequence[Molecule]], Any]


def surface(name: str) -> Surface:
    """What makes a calculator for molecules, whose atoms come in their order.

    Args:
        name: As in ``calculators.energy_function``, but for ``gfnff``, whose program is asked for energies only.

    Raises:
        ConfigError: a name that is not known or has no forces here, or a package that is not installed.
        MoleculeError: when called: the force field lacks parameters for a molecule.
    """
    if name in ("mmff", "uff"):
        return lambda molecules: RDKitField(molecules, name)
    if name == "gfnff":
        raise ConfigError(
            "gfnff gives energies here but no forces: relax with mmff, uff, xtb or ase:MODULE.CLASS"
        )
    make = calculator_class(name)
    return lambda molecules: make()


class RDKitField(Calculator):
    """MMFF94 or UFF of any number of molecules, bonds and all, without cut-off.

    Args:
        molecules: In the order of the atoms.
        name: ``mmff`` or ``uff``.

    Raises:
        MoleculeError: bonds that make no sense, or an atom without parameters.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, molecules: Sequence[Molecule], name: str) -> None:
        super().__init__()
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdForceFieldHelpers

        from kflow_sci.assembly.reading.identity import with_orders

        parts = []
        for molecule in molecules:
            orders, charges = bond_orders(molecule)
            parts.append(
                with_orders(molecule.numbers, molecule.positions, bonded_pairs(molecule), orders, charges)
            )
        whole = reduce(Chem.CombineMols, parts)
        label = ", ".join(sorted({m.name for m in molecules}))
        with rdBase.BlockLogs():
            if Chem.SanitizeMol(whole, catchErrors=True):
                raise MoleculeError(f"{label}: the bonds make no sense to RDKit, so {name} has no parameters")
            if name == "mmff":
                properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(whole)
                field = properties and rdForceFieldHelpers.MMFFGetMoleculeForceField(
                    whole, properties, nonBondedThresh=_REACH, ignoreInterfragInteractions=False
                )
            else:
                known = rdForceFieldHelpers.UFFHasAllMoleculeParams(whole)
                field = known and rdForceFieldHelpers.UFFGetMoleculeForceField(
                    whole, vdwThresh=_REACH, ignoreInterfragInteractions=False
                )
        if not field:
            raise MoleculeError(f"{label}: {name} lacks parameters for an atom: choose another energy")
        self._mol, self._field = whole, field  # the field points into the molecule

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Energy, eV, and forces, eV/Å, at the positions of the atoms."""
        super().calculate(atoms, properties, system_changes)
        flat = atoms.positions.ravel().tolist()
        scale = KJ_PER_KCAL * kJ / mol
        self.results = {
            "energy": scale * self._field.CalcEnergy(flat),
            "forces": -scale * np.array(self._field.CalcGrad(flat)).reshape(-1, 3),
        }
