"""The energy of crystals: by hand, against other programs, its gradient, and what must not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.forcefield.batched import lattice_energies
from kflow_sci.assembly.forcefield.energy import lattice_energy
from kflow_sci.assembly.forcefield.ewald import ewald_energy, madelung_sum
from kflow_sci.assembly.forcefield.parameters import force_field
from kflow_sci.assembly.lattice.packing import Packing, SpaceGroup
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError, ConfigError
from tests.assembly.forcefield.crystals_at_hand import acetamide, expanded, packing

COULOMB = 1389.35458
GROUPS = ["P1", "P-1", "P21", "P21/c", "Pna21", "C2/c", "P212121", "P41", "P-42m", "P61"]
ALL_FORMS = [("uff", None), ("uff", "9-6"), ("uff", "exp-6"), ("mmff", None)]


def field_of(molecule: Molecule, contacts: str = "uff", form: str | None = None):
    field = force_field((molecule,), contacts=contacts)
    return replace(field, form=form, steepness=12.5) if form else field


def ions(length: float) -> Molecule:
    """Na and F a given distance apart along x."""
    half = length / 2
    return Molecule(np.array([11, 9]), np.array([[-half, 0, 0], [half, 0, 0]]), name="NaF")


def test_madelung_constant_of_rock_salt():
    # 1.747564594633, Borwein, Borwein & Taylor, J. Math. Phys. 26 (1985) 2999, per distance of neighbours.
    edge = 5.64
    sodium = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = edge * np.concatenate([sodium, sodium + np.array([0.5, 0, 0])])
    energy = madelung_sum(edge * np.eye(3), positions, np.repeat([1.0, -1.0], 4), 1e-12)
    assert -energy * (edge / 2) / 4 == pytest.approx(1.747564594633, abs=1e-9)


def test_rock_salt_of_rigid_pairs_has_madelungs_energy_less_that_of_the_pair():
    near = 2.317
    primitive = near * np.array([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])
    cell = np.linalg.cholesky(primitive @ primitive.T)
    turn = np.linalg.solve(primitive, cell)  # rows: primitive turned into the standard orientation
    sign = np.sign(np.linalg.det(turn))
    crystal = Packing(
        (ions(near),), SpaceGroup.named("P1"), cell, np.zeros(1, dtype=int), np.full((1, 3), 0.3),
        sign * turn.T[None], np.array([int(sign)]),
    )  # fmt: skip
    field = force_field(crystal.molecules, [np.array([1.0, -1.0])])
    by_hand = -(1.747564594633 - 1.0) * COULOMB / near
    assert lattice_energy(crystal, field, cutoff=14.0).coulomb == pytest.approx(by_hand, abs=1e-3)
    assert ewald_energy(crystal, field, accuracy=1e-12) == pytest.approx(by_hand, abs=1e-6)


def test_dipoles_of_a_cluster_by_hand():
    # + at -1, - at +1 Å, the second copy 6 Å on: distances 6, 6, 8 (+ to −) and 4 Å (− to +).
    pair = Cluster(
        (ions(2.0),), np.zeros(2, dtype=int), np.array([[0.0, 0, 0], [6, 0, 0]]), np.stack(2 * [np.eye(3)]),
        np.ones(2, dtype=int),
    )  # fmt: skip
    energy = lattice_energy(pair, force_field(pair.molecules, [np.array([1.0, -1.0])]))
    assert energy.coulomb == pytest.approx(COULOMB * (2 / 6 - 1 / 8 - 1 / 4) / 2, rel=1e-9)
    assert energy.by_cell is None


@pytest.mark.parametrize("group", ["P1", "P-1", "P21/c"])
def test_dispersion_and_repulsion_are_those_of_ase(group):
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    # Molecules of two Se atoms; ASE shifts each pair by its energy at the cut-off, which is taken out again, and adds
    # nothing for what lies beyond (textbook: −2/3 π N ρ c / rc³).
    crystal = packing(Molecule(np.array([34, 34]), np.array([[-1.1, 0, 0], [1.1, 0, 0]])), group, scale=0.9)
    crystal = replace(crystal, place=np.array([[0.21, 0.17, 0.31]]))
    field = force_field(crystal.molecules, "none", "uff")
    depth, distance = field.depth[0, 0], field.distance[0, 0]
    reach, whole = 24.0, expanded(crystal)
    positions = np.concatenate(
        [
            f @ whole.cell + p * crystal.molecules[0].positions @ r.T
            for f, p, r in zip(whole.place, whole.parity, whole.rotation, strict=True)
        ]
    )
    atoms = Atoms("Se2" * len(whole), positions, cell=whole.cell, pbc=True)
    atoms.calc = LennardJones(sigma=distance / 2 ** (1 / 6), epsilon=depth, rc=reach)
    shift = depth * ((distance / reach) ** 12 - 2 * (distance / reach) ** 6)
    density = len(atoms) / whole.volume / len(whole)
    pairs_within = _pairs_within(positions, whole.cell, reach)
    beyond = -4 / 3 * np.pi * density * depth * distance**6 / reach**3 * len(atoms)
    bonds = len(whole) * depth * ((distance / 2.2) ** 12 - 2 * (distance / 2.2) ** 6)
    expected = (atoms.get_potential_energy() + shift * pairs_within + beyond - bonds) / len(whole)
    assert lattice_energy(crystal, field, cutoff=24.0).total == pytest.approx(expected, abs=2e-3)


def _pairs_within(positions: np.ndarray, cell: np.ndarray, reach: float) -> float:
    from ase.neighborlist import primitive_neighbor_list

    return 0.5 * len(primitive_neighbor_list("i", (True, True, True), cell, positions, reach))


@pytest.mark.parametrize("group", ["P1", "P21", "P21/c", "Pna21"])
def test_charges_of_a_crystal_approach_ewalds_sum(group):
    crystal = packing(acetamide(), group, scale=1.0)
    field = field_of(acetamide())
    exact = ewald_energy(crystal, field)
    assert lattice_energy(crystal, field, cutoff=8.0).coulomb == pytest.approx(exact, abs=0.05)
    assert lattice_energy(crystal, field, cutoff=16.0).coulomb == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(("contacts", "form"), ALL_FORMS)
@pytest.mark.parametrize("group", ["P-1", "P21/c", "Pna21", "P61"])
def test_gradient_by_finite_differences(group, contacts, form):
    crystal = packing(acetamide(), group, independent=2, seed=3)
    field = field_of(acetamide(), contacts, form)
    exact = lattice_energy(crystal, field, gradient=True)
    step = 1e-5

    def slope(plus: Packing, minus: Packing) -> float:
        return (lattice_energy(plus, field).total - lattice_energy(minus, field).total) / (2 * step)

    for direction in crystal.group.cell_basis:
        found = slope(*(replace(crystal, cell=crystal.cell + s * step * direction) for s in (1, -1)))
        assert found == pytest.approx(float((exact.by_cell * direction).sum()), rel=1e-6, abs=1e-4)
    for i in range(2):
        for axis in range(3):
            moved, turned = [], []
            for sign in (1, -1):
                place, rotation = crystal.place.copy(), crystal.rotation.copy()
                place[i, axis] += sign * step
                rotation[i] = Rotation.from_rotvec(sign * step * np.eye(3)[axis]).as_matrix() @ rotation[i]
                moved.append(replace(crystal, place=place))
                turned.append(replace(crystal, rotation=rotation))
            assert slope(*moved) == pytest.approx(exact.by_place[i, axis], rel=1e-6, abs=1e-3)
            assert slope(*turned) == pytest.approx(exact.by_turn[i, axis], rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(("contacts", "form"), ALL_FORMS)
def test_both_back_ends_agree(contacts, form):
    field = field_of(acetamide(), contacts, form)
    crystals = [packing(acetamide(), group, independent=z, seed=z) for group in GROUPS for z in (1, 2)]
    for one, other in zip(lattice_energies(crystals, field, gradient=True), crystals, strict=True):
        compiled = lattice_energy(other, field, gradient=True)
        for name in ("total", "van_der_waals", "coulomb", "by_cell", "by_place", "by_turn"):
            expected = getattr(compiled, name)
            np.testing.assert_allclose(
                getattr(one, name), expected, rtol=1e-8, atol=1e-8 * (1 + np.abs(expected).max())
            )


def test_both_back_ends_agree_for_clusters_and_one_call_of_each():
    molecule, random = acetamide(), np.random.default_rng(5)
    cluster = Cluster(
        (molecule,), np.zeros(5, dtype=int), 4.5 * random.normal(size=(5, 3)),
        Rotation.random(5, random_state=1).as_matrix(), np.array([1, -1, 1, 1, -1]),
    )  # fmt: skip
    field = field_of(molecule)
    one, other = (lattice_energy(cluster, field, gradient=True, backend=b) for b in ("compiled", "torch"))
    assert one.total == pytest.approx(other.total, rel=1e-10)
    np.testing.assert_allclose(one.by_place, other.by_place, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(one.by_turn, other.by_turn, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("group", GROUPS)
def test_energy_is_the_same_without_symmetry_and_in_a_larger_cell(group):
    crystal = packing(acetamide(), group, scale=1.1, seed=4)
    field = field_of(acetamide())
    exact = lattice_energy(crystal, field).total
    for repeats in ((1, 1, 1), (2, 1, 1)):
        same = lattice_energy(expanded(crystal, repeats), field).total
        assert same == pytest.approx(exact, rel=1e-6, abs=1e-3)


def test_energy_ignores_origin_axes_hand_and_frame_of_the_molecule():
    crystal = packing(acetamide(), "P-1", seed=7)
    field = field_of(acetamide())
    exact = lattice_energy(crystal, field).total
    moved = replace(crystal, place=crystal.place + np.array([3.5, -2.0, 1.5]))
    assert lattice_energy(moved, field).total == pytest.approx(exact, rel=1e-10)
    inverted = replace(crystal, place=-crystal.place, parity=-crystal.parity)
    assert lattice_energy(inverted, field).total == pytest.approx(exact, rel=1e-10)
    # Other axes of the same lattice: a, b + a, c + b.
    change = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    new = change @ crystal.cell
    cell = np.linalg.cholesky(new @ new.T)
    turn = np.linalg.solve(new, cell).T
    other = replace(
        crystal, cell=cell, place=crystal.place @ np.linalg.inv(change), rotation=turn @ crystal.rotation
    )
    assert lattice_energy(other, field).total == pytest.approx(exact, abs=1e-4)
    spin = Rotation.random(random_state=2).as_matrix()
    molecule = crystal.molecules[0]
    spun = replace(molecule, positions=molecule.positions @ spin.T)
    turned = replace(crystal, molecules=(spun,), rotation=crystal.rotation @ spin.T)
    assert lattice_energy(turned, force_field((spun,), contacts="uff")).total == pytest.approx(
        exact, rel=1e-9
    )


def test_two_templates_count_like_one():
    molecule = acetamide()
    twin = replace(molecule, name="twin")
    crystal = packing(molecule, "P21/c", independent=2)
    both = replace(crystal, molecules=(molecule, twin), kind=np.array([0, 1]))
    one = lattice_energy(crystal, force_field((molecule,)), gradient=True)
    two = lattice_energy(both, force_field((molecule, twin)), gradient=True)
    assert two.total == pytest.approx(one.total, rel=1e-12)
    np.testing.assert_allclose(two.by_turn, one.by_turn, rtol=1e-9, atol=1e-9)


def test_a_wider_reach_changes_little_because_the_tail_is_there():
    crystal = packing(acetamide(), "P21/c", scale=0.9)
    field = field_of(acetamide())
    far = lattice_energy(crystal, field, cutoff=25.0).van_der_waals
    near = lattice_energy(crystal, field, cutoff=8.0).van_der_waals
    assert near == pytest.approx(far, abs=0.15)


def test_atoms_in_one_place_have_a_finite_energy():
    crystal = packing(acetamide(), "P1", independent=2)
    crystal = replace(
        crystal, place=np.full((2, 3), 0.5), rotation=np.stack(2 * [np.eye(3)]), parity=np.ones(2, int)
    )
    for backend in ("compiled", "torch"):
        energy = lattice_energy(crystal, field_of(acetamide()), gradient=True, backend=backend)
        assert np.isfinite([energy.total, *energy.by_place.ravel(), *energy.by_turn.ravel()]).all()
        assert energy.total > 100


def test_bad_input_is_refused_in_one_line():
    crystal, field = packing(acetamide(), "P1"), field_of(acetamide())
    with pytest.raises(ConfigError, match="backend is 'cuda', but must be one of compiled, torch"):
        lattice_energy(crystal, field, backend="cuda")
    with pytest.raises(ConfigError, match="cutoff is 1 Å"):
        lattice_energy(crystal, field, cutoff=1.0)
    with pytest.raises(ConfigError, match="cutoff is inf Å"):
        lattice_energy(crystal, field, cutoff=np.inf)
    with pytest.raises(ConfigError, match="made for molecules of"):
        lattice_energy(crystal, force_field((ions(2.0),)))
    with pytest.raises(ConfigError, match=r"charges add up to 9.00"):
        lattice_energy(crystal, force_field(crystal.molecules, [np.ones(9)]))
    with pytest.raises(ClusterError, match="not finite"):
        lattice_energy(replace(crystal, place=np.full((1, 3), np.nan)), field)
    with pytest.raises(ClusterError, match="flat or collapsed"):
        lattice_energy(replace(crystal, cell=0.02 * crystal.cell), field)
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        ewald_energy(crystal, field, accuracy=2.0)
    with pytest.raises(ConfigError, match="different molecules"):
        lattice_energies([crystal, packing(ions(2.0), "P1")], field)
