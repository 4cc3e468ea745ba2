"""Molecules as other programs would write them."""

from __future__ import annotations

import numpy as np

from kflow_sci.assembly.molecule import Molecule

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SYBYL = {1.0: "1", 2.0: "2", 3.0: "3", 1.5: "ar"}
# Rounding of one coordinate in each format; a distance carries at most 2 sqrt(3) times as much.
ROUNDING = {
    ".xyz": 5e-9,
    ".extxyz": 5e-9,
    ".sdf": 5e-5,
    ".mol": 5e-5,
    ".mol2": 5e-5,
    ".pdb": 5e-4,
    ".cif": 5e-6,
}

# Solid carbon dioxide, Pa-3, a = 5.624 Å, x(O) = 0.1185: de Smedt & Keesom, Z. Kristallogr. 88 (1934) 136, and later
# refinements; the molecule has C-O = 0.1185 · a · sqrt(3) = 1.154 Å.
CO2_CIF = """data_carbon_dioxide
_cell_length_a 5.624
_cell_length_b 5.624
_cell_length_c 5.624
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P a -3'
_chemical_formula_sum 'C O2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 C 0 0 0
O1 O 0.1185 0.1185 0.1185
"""

WATER_XYZ = "3\nwater\nO 0 0 0\nH 0.7572 0.5865 0\nH -0.7572 0.5865 0\n"


def as_rdkit(molecule: Molecule):
    from rdkit import Chem

    mol = Chem.AddHs(Chem.MolFromSmiles(molecule.smiles))
    conformer = Chem.Conformer(len(molecule))
    conformer.SetPositions(np.ascontiguousarray(molecule.positions))
    mol.AddConformer(conformer)
    return mol


def written(molecule: Molecule, suffix: str) -> str:
    """The text of a file that another program would write."""
    from rdkit import Chem

    if suffix in (".sdf", ".mol"):
        return Chem.MolToMolBlock(as_rdkit(molecule)) + ("$$$$\n" if suffix == ".sdf" else "")
    if suffix == ".pdb":
        return Chem.MolToPDBBlock(as_rdkit(molecule))
    if suffix == ".cif":
        low = molecule.positions.min(axis=0) - 6
        edge = molecule.positions.max(axis=0) + 6 - low
        lines = ["data_box"] + [f"_cell_length_{a} {e:.6f}" for a, e in zip("abc", edge, strict=True)]
        lines += [f"_cell_angle_{a} 90" for a in ("alpha", "beta", "gamma")] + [
            "_symmetry_space_group_name_H-M 'P 1'"
        ]
        lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"] + [
            f"_atom_site_fract_{a}" for a in "xyz"
        ]
        rows = (molecule.positions - low) / np.round(edge, 6)
        lines += [
            f"{s}{i} {s} {x:.7f} {y:.7f} {z:.7f}"
            for i, (s, (x, y, z)) in enumerate(zip(molecule.symbols, rows, strict=True))
        ]
        return "\n".join(lines) + "\n"
    rows = [
        f"{s} {x:.8f} {y:.8f} {z:.8f}"
        for s, (x, y, z) in zip(molecule.symbols, molecule.positions, strict=True)
    ]
    if suffix == ".mol2":
        atoms = [
            f"{i + 1} {e}{i + 1} {x:.4f} {y:.4f} {z:.4f} {e}.x 1 LIG 0.0"
            for i, (e, (x, y, z)) in enumerate(zip(molecule.symbols, molecule.positions, strict=True))
        ]
        bonds = [
            f"{i + 1} {a + 1} {b + 1} {SYBYL[o]}"
            for i, ((a, b), o) in enumerate(zip(molecule.bonds, molecule.bond_orders, strict=True))
        ]
        head = [
            "@<TRIPOS>MOLECULE",
            "aspirin",
            f"{len(atoms)} {len(bonds)} 1 0 0",
            "SMALL",
            "NO_CHARGES",
            "",
            "@<TRIPOS>ATOM",
        ]
        return "\n".join([*head, *atoms, "@<TRIPOS>BOND", *bonds]) + "\n"
    comment = "aspirin" if suffix == ".xyz" else 'Properties=species:S:1:pos:R:3 pbc="F F F"'
    return "\n".join([str(len(rows)), comment, *rows]) + "\n"
