"""The pair energy against hand calculations, ASE and RDKit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy import interaction as module
from kflow_sci.assembly.energy.interaction import (
    CHARGE_WALL,
    COULOMB,
    WALL,
    energy_and_gradient,
    interaction_energy,
    rank,
    with_energies,
)
from kflow_sci.assembly.energy.relax import resolve_clashes
from kflow_sci.assembly.forcefield.parameters import KJ_PER_KCAL, force_field
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, ConfigError, MoleculeError


@cache
def from_smiles(smiles: str) -> Molecule:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return Molecule.build(
        np.array([a.GetAtomicNum() for a in mol.GetAtoms()]),
        mol.GetConformer().GetPositions(),
        bonds=np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in mol.GetBonds()]),
        bond_orders=np.array([b.GetBondTypeAsDouble() for b in mol.GetBonds()]),
        name=smiles,
    )[0]


def copies(
    molecules: Molecule | tuple[Molecule, ...], centroid: np.ndarray, seed: int | None = None
) -> Cluster:
    """Copies at given places, in the template's orientation or at random."""
    molecules = molecules if isinstance(molecules, tuple) else (molecules,)
    n = len(centroid)
    rotation = (
        np.tile(np.eye(3), (n, 1, 1)) if seed is None else Rotation.random(n, random_state=seed).as_matrix()
    )
    parity = np.ones(n, int) if seed is None else np.random.default_rng(seed).choice([-1, 1], n)
    return Cluster(
        molecules, np.arange(n) % len(molecules), np.asarray(centroid, dtype=float), rotation, parity
    )


def scattered(smiles: str, n: int = 5, seed: int = 0, apart: float = 5.0) -> Cluster:
    grid = np.array([[x, y, z] for x in range(2) for y in range(2) for z in range(2)], dtype=float)[:n]
    return copies(
        from_smiles(smiles), apart * grid + np.random.default_rng(seed).normal(size=(n, 3), scale=0.2), seed
    )


def sodium_fluoride() -> Molecule:
    """Two ions 2 Å apart: has UFF contacts, but no MMFF94 types."""
    return Molecule(np.array([11, 9]), np.array([[-1.0, 0, 0], [1.0, 0, 0]]), name="NaF")


def test_two_unit_charges_by_hand():
    # Charges +1 and 0 on each molecule, 2.5 Å apart: e²/(4 π ε0 · 2.5 Å) = 1389.35 / 2.5 kJ/mol for two molecules.
    pair = copies(sodium_fluoride(), [[0, 0, 0], [0, 2.5, 0]])
    terms = interaction_energy(pair, [np.array([1.0, 0.0])])
    assert terms.coulomb == pytest.approx(1389.35 / 2.5 / 2, rel=1e-5)
    assert terms.charges == "given"


def test_coulomb_constant_from_its_definition():
    charge, avogadro, permittivity = 1.602176634e-19, 6.02214076e23, 8.8541878128e-12
    by_definition = charge**2 * avogadro / (4 * np.pi * permittivity * 1e-10) / 1000
    assert pytest.approx(by_definition, rel=1e-8) == COULOMB


def test_dipoles_in_line_attract_by_hand():
    # + at -1, - at +1 Å, the second copy 6 Å on: distances 6, 6, 8 (+ to −) and 4 Å (− to +).
    pair = copies(sodium_fluoride(), [[0, 0, 0], [6, 0, 0]])
    terms = interaction_energy(pair, [np.array([1.0, -1.0])])
    assert terms.coulomb == pytest.approx(1389.35 * (2 / 6 - 1 / 8 - 1 / 4) / 2, rel=1e-5)


def test_uff_contacts_equal_lennard_jones_of_ase():
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    # Two Se2 molecules (no MMFF94 types): 12-6 potentials between like atoms, without the two bonds.
    molecule = Molecule(np.array([34, 34]), np.array([[-1.1, 0, 0], [1.1, 0, 0]]))
    pair = copies(molecule, [[0, 0, 0], [0.7, 3.9, 0.4]])
    terms = interaction_energy(pair, "none")
    assert terms.force_field == "UFF"

    distance, depth = 4.205, 0.291 * KJ_PER_KCAL
    calculator = LennardJones(sigma=distance / 2 ** (1 / 6), epsilon=depth, rc=1e4)
    whole = Atoms("Se4", pair.positions, calculator=calculator).get_potential_energy()
    bond = Atoms("Se2", pair.positions[:2], calculator=calculator).get_potential_energy()
    assert 2 * terms.van_der_waals == pytest.approx(whole - 2 * bond, rel=1e-6)


def test_uff_table_is_that_of_rdkit():
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    from kflow_sci.assembly.forcefield.parameters import _UFF

    # Hydrides of the elements that UFF types without help.
    for symbol in ("C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I", "Se"):
        mol = Chem.AddHs(Chem.MolFromSmiles(symbol if symbol not in ("Si", "Se") else f"C[{symbol}]C"))
        heavy = next(a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == symbol)
        hydrogen = next(a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == "H")
        distance, depth = rdForceFieldHelpers.GetUFFVdWParams(mol, heavy, hydrogen)
        assert distance == pytest.approx(np.sqrt(_UFF[symbol][0] * _UFF["H"][0]), abs=2e-3), symbol
        assert depth == pytest.approx(np.sqrt(_UFF[symbol][1] * _UFF["H"][1]), abs=2e-4), symbol


def test_mmff_energy_equals_rdkits_own_for_a_dimer():
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers
    from rdkit.Geometry import Point3D

    smiles = "CC(N)=O"
    template = from_smiles(smiles)
    pair = copies(template, [[0, 0, 0], [1.0, 4.6, 0.5]], seed=3)
    one = Chem.AddHs(Chem.MolFromSmiles(smiles))
    both = Chem.CombineMols(one, one)
    Chem.SanitizeMol(both)
    conformer = Chem.Conformer(len(pair.positions))
    for atom, place in enumerate(pair.positions):
        conformer.SetAtomPosition(atom, Point3D(*place.tolist()))
    both.AddConformer(conformer)

    def energy(*, vdw: bool, coulomb: bool) -> float:
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(both)
        for term in ("Bond", "Angle", "StretchBend", "Oop", "Torsion"):
            getattr(properties, f"SetMMFF{term}Term")(False)
        properties.SetMMFFVdWTerm(vdw)
        properties.SetMMFFEleTerm(coulomb)
        together, apart = (
            rdForceFieldHelpers.MMFFGetMoleculeForceField(
                both, properties, nonBondedThresh=1e4, ignoreInterfragInteractions=alone
            ).CalcEnergy()
            for alone in (False, True)
        )
        return KJ_PER_KCAL * (together - apart)

    terms = interaction_energy(pair)
    assert (terms.force_field, terms.charges) == ("MMFF94", "MMFF94")
    assert 2 * terms.van_der_waals == pytest.approx(energy(vdw=True, coulomb=False), rel=1e-5)
    assert 2 * terms.coulomb == pytest.approx(energy(vdw=False, coulomb=True), rel=1e-4)


@pytest.mark.parametrize("form", ["14-7", "12-6"])
def test_contact_has_its_well_and_a_soft_wall(form):
    def contact(share):
        return module._contact(form, share)

    assert contact(np.array([1.0]))[0][0] == pytest.approx(-1.0, abs=1e-12)
    shares = np.linspace(0.82, 2.0, 60)
    numeric = (contact(shares + 1e-6)[0] - contact(shares - 1e-6)[0]) / 2e-6
    assert np.abs(numeric - contact(shares)[1]).max() < 1e-6
    shares = np.array([0.0, 0.5 * WALL, WALL])
    value, slope = contact(shares)
    assert np.ptp(slope) == 0
    assert np.ptp(value + slope * (WALL - shares)) < 1e-12 * abs(value).max()


@pytest.mark.parametrize("charges", ["gasteiger", "none"])
def test_without_contacts_below_a_wall_the_crystals_energy_of_a_cluster_is_the_same(charges):
    from kflow_sci.assembly.forcefield.energy import lattice_energy

    cluster = scattered("NC=O", n=6, apart=6.0)
    field = force_field(cluster.molecules, charges, "auto")
    other = lattice_energy(cluster, field)
    terms = interaction_energy(cluster, charges)
    assert terms.force_field == "MMFF94" and abs(terms.van_der_waals) > 0.1
    assert terms.van_der_waals == pytest.approx(other.van_der_waals, rel=1e-9)
    assert terms.coulomb == pytest.approx(other.coulomb, rel=1e-9, abs=1e-12)


def test_opposite_charges_in_one_place_gain_a_bounded_energy():
    value, slope = module._coulomb(np.array([0.0, CHARGE_WALL]), 0.0)
    assert value[0] == pytest.approx(2 * COULOMB / CHARGE_WALL)
    assert slope[0] == slope[1]


@pytest.mark.parametrize("charges", ["auto", "gasteiger", "none"])
def test_gradient_by_finite_differences(charges):
    cluster = scattered("CC(N)=O", n=4, apart=4.2)
    terms, by_centroid, by_turn = energy_and_gradient(cluster, charges)
    assert terms == interaction_energy(cluster, charges)
    step = 1e-5
    for copy in range(len(cluster)):
        for axis in np.eye(3):
            moved, turned = [], []
            for sign in (1, -1):
                centroid, rotation = cluster.centroid.copy(), cluster.rotation.copy()
                centroid[copy] += sign * step * axis
                rotation[copy] = Rotation.from_rotvec(sign * step * axis).as_matrix() @ rotation[copy]
                poses = (cluster.molecules, cluster.kind)
                a = interaction_energy(
                    Cluster(*poses, centroid, cluster.rotation, cluster.parity), charges
                ).total
                b = interaction_energy(
                    Cluster(*poses, cluster.centroid, rotation, cluster.parity), charges
                ).total
                moved.append(sign * a / (2 * step))
                turned.append(sign * b / (2 * step))
            scale = max(1.0, np.abs(by_centroid).max(), np.abs(by_turn).max())
            assert sum(moved) == pytest.approx(by_centroid[copy] @ axis, abs=1e-6 * scale)
            assert sum(turned) == pytest.approx(by_turn[copy] @ axis, abs=1e-6 * scale)


def test_energy_is_unchanged_by_motion_reflection_and_renumbering():
    cluster = scattered("NC(N)=O", n=6)
    reference = interaction_energy(cluster)
    turn = Rotation.from_rotvec([0.3, -2.0, 1.1]).as_matrix()
    order = np.random.default_rng(1).permutation(6)
    for sign in (1, -1):
        moved = Cluster(
            cluster.molecules,
            cluster.kind[order],
            (sign * cluster.centroid @ turn.T + [40.0, 3.0, -9.0])[order],
            (turn @ cluster.rotation)[order],
            sign * cluster.parity[order],
        )
        terms = interaction_energy(moved)
        for name in ("total", "van_der_waals", "coulomb", "central"):
            assert getattr(terms, name) == pytest.approx(getattr(reference, name), rel=1e-9)


def test_energy_per_molecule_of_far_pairs_is_that_of_one_pair():
    near = copies(from_smiles("NC(N)=O"), [[0, 0, 0], [0, 0, 4.0]])
    far = copies(from_smiles("NC(N)=O"), [[0, 0, 0], [0, 0, 4.0], [1e4, 0, 0], [1e4, 0, 4.0]])
    assert interaction_energy(far).total == pytest.approx(interaction_energy(near).total, rel=1e-6)


def test_central_is_half_of_what_the_innermost_molecule_feels():
    molecule = from_smiles("c1ccccc1")
    row = copies(molecule, [[0, 0, -5.0], [0, 0, 0], [0, 0, 5.0]])
    near = 2 * interaction_energy(copies(molecule, [[0, 0, 0], [0, 0, 5.0]])).total
    assert interaction_energy(row).central == pytest.approx(0.5 * 2 * near)


def test_two_templates_and_their_swap_agree():
    urea, benzene = from_smiles("NC(N)=O"), from_smiles("c1ccccc1")
    one = copies((urea, benzene), [[0, 0, 0], [0, 0, 5.0]])
    other = copies((benzene, urea), [[0, 0, 5.0], [0, 0, 0]])
    assert interaction_energy(one).total == pytest.approx(interaction_energy(other).total, rel=1e-12)


def test_molecule_without_bond_orders_gets_the_same_energy():
    full = from_smiles("CC(N)=O")
    bare = Molecule(full.numbers, full.positions, name="bare")
    centroid = [[0, 0, 0], [0, 4.5, 1.0]]
    assert interaction_energy(copies(bare, centroid)) == interaction_energy(copies(full, centroid))


def test_porphyrin_like_imbalance_falls_back_to_gasteiger(monkeypatch):
    from kflow_sci.assembly.forcefield import parameters

    monkeypatch.setattr(parameters, "_balanced", lambda *_: False)
    template = from_smiles("CC(C)=O")
    fresh = Molecule(
        template.numbers, template.positions, bonds=template.bonds, bond_orders=template.bond_orders
    )
    assert force_field((fresh,), contacts="auto").charge_name == "Gasteiger"


def test_ions_without_types_have_contacts_and_no_charges():
    field = force_field((sodium_fluoride(),), contacts="auto")
    assert (field.name, field.charge_name) == ("UFF", "none")


def test_true_order_of_hydrogen_bonds_in_urea():
    # N-H...O=C in line binds by about 20 kJ/mol and more, head to head repels.
    urea = from_smiles("NC(N)=O")
    carbon, oxygen = urea.positions[urea.numbers == 6][0], urea.positions[urea.numbers == 8][0]
    axis = (oxygen - carbon) / np.linalg.norm(oxygen - carbon)
    tail = interaction_energy(copies(urea, [np.zeros(3), 4.7 * axis]))
    flip = Rotation.from_rotvec(
        np.pi * np.cross(axis, [0.6, 0.64, 0.48]) / np.linalg.norm(np.cross(axis, [0.6, 0.64, 0.48]))
    )
    pair = copies(urea, [np.zeros(3), 4.7 * axis])
    head = interaction_energy(
        Cluster(
            pair.molecules, pair.kind, pair.centroid, np.stack([np.eye(3), flip.as_matrix()]), pair.parity
        )
    )
    assert tail.total < -5 < 5 < head.total


def test_rank_puts_clash_free_and_low_energy_first():
    urea = from_smiles("NC(N)=O")
    far, near, clashing = (copies(urea, [np.zeros(3), [0, 0, z]]) for z in (9.0, 4.0, 1.5))
    energies = [interaction_energy(c).total for c in (far, near)]
    best = int(np.argmin(energies))
    order = rank([clashing, far, near])
    expected = [(far, near)[best], (near, far)[best], clashing]
    assert all(np.array_equal(a.centroid, b.centroid) for a, b in zip(order, expected, strict=True))
    assert [c.info["rank"] for c in order] == [1, 2, 3]
    assert order[0].info["energy"] == pytest.approx(min(energies), abs=1e-3)
    assert order[2].info["clashing_pairs"] > 0
    assert with_energies([]) == []


def test_bad_input_is_refused_in_one_line():
    pair = copies(from_smiles("NC(N)=O"), [[0, 0, 0], [0, 0, 5.0]])
    with pytest.raises(
        ConfigError, match="charges is 'resp', but must be one of auto, mmff, gasteiger, none"
    ):
        interaction_energy(pair, "resp")
    with pytest.raises(ConfigError, match="one array per molecule with 8 values"):
        interaction_energy(pair, [np.zeros(5)])
    with pytest.raises(MoleculeError, match="NaF: no mmff charges"):
        interaction_energy(copies(sodium_fluoride(), [[0, 0, 0], [0, 0, 5.0]]), "mmff")
    with pytest.raises(ClusterError, match="not finite"):
        interaction_energy(copies(from_smiles("NC(N)=O"), [[0, 0, 0], [0, 0, np.inf]]))


@pytest.mark.parametrize("name", ["COD2100665", "COD2206832", "COD7056752", "OWN_alanine"])
def test_true_packing_binds_better_than_the_same_molecules_turned_at_random(crystals, name):
    from kflow_sci.assembly.reading.crystal import cluster_from_crystal, read_crystal

    true = cluster_from_crystal(read_crystal(crystals / "experimental" / f"{name}.cif"), 13)
    turned = [
        Cluster(
            true.molecules,
            true.kind,
            true.centroid,
            Rotation.random(13, random_state=k).as_matrix(),
            true.parity,
        )
        for k in range(5)
    ]
    first = rank([*resolve_clashes(turned), true])[0]
    assert first.info["energy_model"] == "MMFF94 contacts, MMFF94 charges"
    assert np.array_equal(first.centroid, true.centroid)
    assert first.info["energy"] < -20
