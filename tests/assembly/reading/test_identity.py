"""Names of molecules, held against published ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kflow_sci.assembly.reading.embed import distinct_conformers, from_smiles
from kflow_sci.assembly.reading.identity import inchikey, rotatable_bonds, smiles_of, to_rdkit
from kflow_sci.errors import MoleculeError

# InChIKeys as PubChem lists them, without stereo.
KNOWN = {
    "CC(=O)Oc1ccccc1C(=O)O": "BSYNRYMUTXBXSQ-UHFFFAOYSA-N",
    "NC(N)=O": "XSQUKJJJFZCRTK-UHFFFAOYSA-N",
    "c1ccc2ccccc2c1": "UFWIBTONFRDIAS-UHFFFAOYSA-N",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O": "RYYVLZVUVIJVGH-UHFFFAOYSA-N",
    "O=[N+]([O-])c1ccccc1": "LQNUZADURLCDLV-UHFFFAOYSA-N",
}


@pytest.mark.parametrize("smiles", KNOWN)
def test_inchikeys_are_those_of_the_literature(smiles: str) -> None:
    assert inchikey(from_smiles(smiles, conformers=1)) == KNOWN[smiles]


@pytest.mark.parametrize(
    ("smiles", "bonds"), [("NC(N)=O", 0), ("c1ccccc1-c1ccccc1", 1), ("CC(=O)Nc1ccccc1", 1), ("CCCCCCCC", 5)]
)
def test_rotatable_bonds_by_hand(smiles: str, bonds: int) -> None:
    # Between atoms that both have further neighbours; not in rings, and not the C-N of an amide.
    assert rotatable_bonds(from_smiles(smiles, conformers=1)) == bonds


def test_a_molecule_gives_its_smiles_back_with_its_hand() -> None:
    from rdkit import Chem

    for smiles in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "O=C1NC(=O)c2ccccc12"):
        assert smiles_of(from_smiles(smiles, conformers=1)) == Chem.CanonSmiles(smiles)


def test_a_molecule_without_bond_orders_has_no_names() -> None:
    bare = replace(from_smiles("NC(N)=O", conformers=1), bond_orders=np.zeros(0))
    assert inchikey(bare) is None and rotatable_bonds(bare) is None and to_rdkit(bare) is None
    with pytest.raises(MoleculeError, match="no SMILES"):
        smiles_of(bare)


def test_conformers_differ_in_shape_and_rise_in_energy() -> None:
    # Ethylene glycol has gauche and trans conformers, benzene one shape.
    found = distinct_conformers("OCCO", count=5)
    energies = [energy for _, energy in found]
    assert len(found) >= 3 and energies[0] == 0.0 and energies == sorted(energies) and energies[-1] <= 25.0
    torsion = set()
    for molecule, _ in found:
        a, b = molecule.positions[molecule.numbers == 8]
        torsion.add(round(float(np.linalg.norm(a - b)), 0))
    assert len(torsion) > 1  # O...O of about 2.8 Å (gauche) and 3.7 Å (trans)
    assert len(distinct_conformers("c1ccccc1", count=5)) == 1
    again = distinct_conformers("OCCO", count=5)
    np.testing.assert_array_equal(again[1][0].positions, found[1][0].positions)
