"""Energies by name, against hand calculations, RDKit's own UFF, ASE and tblite; and what is said when one lacks."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.units import kJ, mol
from rdkit import Chem
from rdkit.Chem import AllChem, rdForceFieldHelpers

from kflow_sci.assembly.baselines import random_ball, renumbered
from kflow_sci.assembly.energy.calculators import KJ_PER_HARTREE, energy_function
from kflow_sci.assembly.energy.interaction import interaction_energy
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.errors import ConfigError, KFlowError, ScoreError

WATER = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]])


def methanes(gap: float) -> tuple[Frame, Chem.Mol]:
    one = Chem.AddHs(Chem.MolFromSmiles("C"))
    AllChem.EmbedMolecule(one, randomSeed=7)
    both = Chem.CombineMols(one, one)
    points = one.GetConformer().GetPositions()
    positions = np.concatenate([points, points + np.array([gap, 0.3, -0.2])])
    for i, place in enumerate(positions):
        both.GetConformer().SetAtomPosition(i, place.tolist())
    numbers = np.array([atom.GetAtomicNum() for atom in both.GetAtoms()])
    Chem.SanitizeMol(both)
    return Frame(numbers, positions, np.repeat([0, 1], 5)), both


@pytest.mark.parametrize("gap", [3.5, 4.0, 6.0])
def test_uff_is_the_part_between_molecules_of_rdkits_own_force_field(gap: float) -> None:
    frame, both = methanes(gap)

    def uff(between: bool) -> float:
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(
            both, vdwThresh=100.0, ignoreInterfragInteractions=not between
        )
        return float(field.CalcEnergy())

    expected = 4.184 * (uff(True) - uff(False)) / 2
    assert energy_function("uff")(frame) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_mmff_of_atoms_is_that_of_the_poses_they_came_from() -> None:
    molecule = Molecule.build(np.array([8, 1, 1]), WATER, name="water")[0]
    cluster = random_ball.propose(molecule, 9, 1, 0, 30.0)[0]
    energy = energy_function("mmff")
    expected = interaction_energy(cluster).total
    assert energy(Frame.of(cluster)) == pytest.approx(expected, rel=1e-6)
    assert energy(Frame.of(renumbered.propose(cluster, 1, 0)[0])) == pytest.approx(expected, rel=1e-6)
    mirrored = replace(Frame.of(cluster), positions=-Frame.of(cluster).positions)
    assert energy(mirrored) == pytest.approx(expected, rel=1e-6)


def test_mmff_also_takes_molecules_that_are_not_rigid_copies() -> None:
    other = WATER.copy()
    other[1, 0] = 1.05
    frame = Frame(
        np.array([8, 1, 1, 8, 1, 1]),
        np.concatenate([WATER, other + np.array([0, 0, 3.0])]),
        np.repeat([0, 1], 3),
    )
    same = replace(frame, positions=np.concatenate([WATER, WATER + np.array([0, 0, 3.0])]))
    energy = energy_function("mmff")
    assert 0.01 < abs(energy(frame) - energy(same)) < 2.0


def test_an_ase_calculator_by_name_gives_the_difference_per_molecule_in_kj() -> None:
    # Two argon dimers by Lennard-Jones with ε = 1 eV and σ = 1 Å, all pairs within the cut-off of 3 Å.
    positions = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.3, 0], [1.1, 1.3, 0]])
    frame = Frame(np.full(4, 18), positions, np.array([0, 0, 1, 1]))

    def lj(points: np.ndarray) -> float:
        atoms = Atoms("Ar" * len(points), points, calculator=LennardJones())
        return float(atoms.get_potential_energy())

    expected = (lj(positions) - lj(positions[:2]) - lj(positions[2:])) / 2 / (kJ / mol)
    found = energy_function("ase:ase.calculators.lj.LennardJones")(frame)
    assert found == pytest.approx(expected, rel=1e-12)
    # By hand: 4 ε (x^12 − x^6) less the shift at 3 Å, for 1.3 Å twice and √(1.1² + 1.3²) Å twice.
    shift = 4 * (3.0**-12 - 3.0**-6)
    pairs = [4 * (d**-12 - d**-6) - shift for d in (1.3, np.hypot(1.1, 1.3))]
    assert found == pytest.approx(sum(pairs) * 96.485332, rel=1e-6)


@pytest.mark.parametrize("name", ["gfn2", "gfn1"])
def test_xtb_binds_the_water_dimer_by_what_tblite_says(name: str) -> None:
    interface = pytest.importorskip("tblite.interface")
    acceptor = np.array([[2.9, 0, 0], [3.3, 0.6, 0.6], [3.3, -0.6, -0.6]])
    positions = np.concatenate([WATER, acceptor])
    frame = Frame(np.array([8, 1, 1, 8, 1, 1]), positions, np.repeat([0, 1], 3))
    found = energy_function(name)(frame)

    def total(atoms: slice) -> float:
        method = {"gfn2": "GFN2-xTB", "gfn1": "GFN1-xTB"}[name]
        calculator = interface.Calculator(method, frame.numbers[atoms], positions[atoms] / 0.529177210544)
        calculator.set("verbosity", 0)
        return float(calculator.singlepoint().get("energy"))

    expected = (total(slice(0, 6)) - total(slice(0, 3)) - total(slice(3, 6))) / 2 * KJ_PER_HARTREE
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert -15 < found < -5, "about −20 kJ/mol for the pair"


def fake_xtb(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "xtb"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_gfnff_reads_the_total_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A program that says −1 hartree per atom, and −0.02 more for more than three atoms.
    fake_xtb(
        tmp_path,
        "assert sys.argv[2:] == ['--gfnff', '--sp']\n"
        "n = int(open(sys.argv[1]).readline())\n"
        "print(f'         | TOTAL ENERGY          {-n - 0.02 * (n > 3):20.12f} Eh   |')",
        monkeypatch,
    )
    frame = Frame(np.array([8, 1, 1, 8, 1, 1]), np.concatenate([WATER, WATER + 3.0]), np.repeat([0, 1], 3))
    assert energy_function("gfnff")(frame) == pytest.approx(-0.01 * KJ_PER_HARTREE)


def test_a_program_that_fails_is_a_cluster_without_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_xtb(tmp_path, "sys.exit(128)", monkeypatch)
    frame = Frame(np.array([8, 1, 1, 8, 1, 1]), np.concatenate([WATER, WATER + 3.0]), np.repeat([0, 1], 3))
    with pytest.raises(ScoreError, match="xtb ended with code 128"):
        energy_function("gfnff")(frame)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mmf", "there is no energy mmf: give one of mmff, uff"),
        ("", "there is no energy"),
        ("ase:", "names no class"),
        ("ase:json", "names no class"),
        ("ase:os.system('x')", "names no class"),
        ("ase:no_such_package_here.Calc", "pip install no_such_package_here"),
        ("ase:ase.calculators.lj.Nothing", "has no class Nothing"),
        ("ase:ase.calculators.lj.__doc__", "has no class __doc__"),
    ],
)
def test_a_name_that_is_not_known_or_not_installed_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        energy_function(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_programs_give_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ConfigError, match="pip install tblite"):
        energy_function("gfn2")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="conda install -c conda-forge xtb"):
        energy_function("gfnff")


@pytest.mark.parametrize("name", ["mmff", "uff", "ase:ase.calculators.emt.EMT"])
def test_an_element_without_parameters_is_said_and_counted_by_the_caller(name: str) -> None:
    positions = np.array([[0, 0, 0], [3.0, 0, 0], [0, 5, 0], [3.0, 5, 0]])
    frame = Frame(np.array([110, 1, 110, 1]), positions, np.array([0, 0, 1, 1]))
    with pytest.raises(KFlowError) as error:
        energy_function(name)(frame)
    assert "\n" not in str(error.value)
