"""Energy between the molecules of a cluster by a calculator of one's choice, by name.

The one idea: energy of the cluster less that of its molecules alone, each in the shape that it has there, in kJ/mol per
molecule; so that force fields and quantum chemistry answer the same question. What a name needs is looked for when it
is asked for, and what is missing is said with the line that installs it.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from kflow_sci.assembly.elements import SYMBOLS
from kflow_sci.assembly.energy.interaction import interaction_energy
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.templates import RIGID, Templates
from kflow_sci.errors import ConfigError, ScoreError

if TYPE_CHECKING:
    from ase import Atoms

NAMES = ("mmff", "uff", "xtb", "gfn2", "gfn1", "gfnff", "ase:MODULE.CLASS")
KJ_PER_KCAL = 4.184
KJ_PER_HARTREE = 2625.4996394799  # CODATA 2018
TIMEOUT = 3600.0  # s, for one run of a program
_KEPT = 256  # kinds of molecules remembered
# What calculators raise when they fail; anything else is a fault in the code.
FAILURES = (RuntimeError, NotImplementedError, ValueError, KeyError, ArithmeticError)


class Sites(Protocol):
    """Atoms in space and the molecule each belongs to, such as ``scoring.frame.Frame``."""

    @property
    def numbers(self) -> Int[np.ndarray, " atoms"]:
        """Atomic numbers."""

    @property
    def positions(self) -> Float[np.ndarray, "atoms 3"]:
        """Å."""

    @property
    def molecule(self) -> Int[np.ndarray, " atoms"]:
        """Molecule of each atom, 0 … n−1."""


Energy = Callable[[Sites], float]


def energy_function(name: str) -> Energy:
    """A function from a cluster to the energy between its molecules, kJ/mol per molecule.

    Args:
        name: ``mmff``: ``interaction.interaction_energy``, MMFF94 contacts and charges where RDKit has types for every
            atom, else UFF contacts and Gasteiger charges; milliseconds for 400 atoms.
            ``uff``: 12-6 contacts of UFF as RDKit has them, no charges; milliseconds.
            ``xtb`` or ``gfn2``, ``gfn1``: GFN2-xTB or GFN1-xTB by tblite; 5 s of one core for 136 atoms, minutes
            for 400.
            ``gfnff``: GFN-FF by the program ``xtb``, which must be on the PATH.
            ``ase:MODULE.CLASS``: a calculator of ASE, or a function that makes one, called without arguments.

    Returns:
        A function of anything with ``numbers``, ``positions`` (Å) and ``molecule``. All molecules count as neutral. It
        raises ``ScoreError`` or ``MoleculeError`` where a cluster has no energy: an element without parameters, a
        calculation that does not converge.

    Raises:
        ConfigError: a name that is not known, or a package or program that is not installed.
    """
    if name == "mmff":
        return _ForceFieldEnergy()
    if name == "uff":
        return _uff_energy
    if name == "gfnff":
        return _DifferenceEnergy(name, _xtb())
    return _DifferenceEnergy(name, _by_calculator(calculator_class(name)))


def calculator_class(name: str) -> Callable[[], Any]:
    """What makes the calculator of ASE with a name of ``energy_function``; force fields have none here.

    Raises:
        ConfigError: as ``energy_function``.
    """
    if name in ("xtb", "gfn2", "gfn1"):
        return _tblite(name)
    if name.startswith("ase:"):
        return _ase(name.removeprefix("ase:"))
    raise ConfigError(f"there is no energy {name}: give one of {', '.join(NAMES)}")


class _ForceFieldEnergy:
    """``interaction_energy`` of atoms that are fitted with rigid templates, which are remembered."""

    def __init__(self) -> None:
        self.templates = Templates()

    def __call__(self, sites: Sites) -> float:
        if len(self.templates) > _KEPT:
            self.templates = Templates()
        members = [(sites.numbers[a], sites.positions[a], _bare) for a in _members(sites)]
        return interaction_energy(self.templates.cluster(members)).total


def _bare(numbers: Int[np.ndarray, " a"], points: Float[np.ndarray, "a 3"]) -> Molecule:
    return Molecule.build(numbers, points)[0]


def _uff_energy(sites: Sites) -> float:
    """Contacts of UFF between the molecules: ``Σ D ((x/d)^12 − 2 (x/d)^6)`` with RDKit's D and x.

    Source:
        Rappé et al., J. Am. Chem. Soc. 114 (1992) 10024.
    """
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    elements, index = np.unique(sites.numbers, return_inverse=True)
    least, depth = np.zeros((2, len(elements), len(elements)))
    for i, a in enumerate(elements):
        for j, b in enumerate(elements):
            pair = Chem.RWMol()
            for number in (a, b):
                atom = Chem.Atom(int(number))
                atom.SetNoImplicit(True)
                pair.AddAtom(atom)
            Chem.SanitizeMol(pair)
            found = rdForceFieldHelpers.GetUFFVdWParams(pair, 0, 1)
            if found is None:
                raise ScoreError(
                    f"UFF has no contacts for {SYMBOLS[a]} and {SYMBOLS[b]}: choose another energy"
                )
            least[i, j], depth[i, j] = found
    total = 0.0
    members = _members(sites)
    for k, atoms in enumerate(members[:-1]):
        later = np.concatenate(members[k + 1 :])
        distance = np.maximum(cdist(sites.positions[atoms], sites.positions[later]), 1e-3)
        cell = np.ix_(index[atoms], index[later])
        sixth = (least[cell] / distance) ** 6
        total += float((depth[cell] * (sixth * sixth - 2.0 * sixth)).sum())
    return KJ_PER_KCAL * total / len(members)


class _DifferenceEnergy:
    """Energy of the cluster less that of its molecules alone, by a function from atoms to kJ/mol."""

    def __init__(self, name: str, energy: Callable[[Atoms], float]) -> None:
        self.name = name
        self.energy = energy
        self.alone: dict[bytes, list[tuple[Float[np.ndarray, "a a"], float]]] = {}

    def __call__(self, sites: Sites) -> float:
        from ase import Atoms

        if len(self.alone) > _KEPT:
            self.alone.clear()
        members = _members(sites)
        apart = 0.0
        for atoms in members:
            numbers, points = sites.numbers[atoms], sites.positions[atoms]
            known = self.alone.setdefault(numbers.tobytes(), [])
            shape = cdist(points, points)
            value = next((v for other, v in known if np.abs(other - shape).max() < RIGID), None)
            if value is None:
                value = self.of(Atoms(numbers=numbers, positions=points))
                known.append((shape, value))
            apart += value
        whole = self.of(Atoms(numbers=sites.numbers, positions=sites.positions))
        return (whole - apart) / len(members)

    def of(self, atoms: Atoms) -> float:
        try:
            value = float(self.energy(atoms))
        except FAILURES as error:
            why = " ".join(str(error).split())[:100] or type(error).__name__
            raise ScoreError(f"{self.name} gives no energy for {len(atoms)} atoms ({why})") from error
        if not np.isfinite(value):
            raise ScoreError(f"{self.name} gives {value} as energy of {len(atoms)} atoms")
        return value


def _members(sites: Sites) -> list[Int[np.ndarray, " a"]]:
    order = np.argsort(sites.molecule, kind="stable")
    return np.split(order, np.cumsum(np.bincount(sites.molecule))[:-1])


def _by_calculator(make: Callable[[], Any]) -> Callable[[Atoms], float]:
    def energy(atoms: Atoms) -> float:
        from ase.units import kJ, mol

        atoms.calc = make()
        return float(atoms.get_potential_energy()) / (kJ / mol)

    return energy


def _tblite(name: str) -> Callable[[], Any]:
    try:
        from tblite.ase import TBLite
    except ImportError:
        raise ConfigError(f"{name} needs tblite, which is not installed: pip install tblite") from None
    method = "GFN1-xTB" if name == "gfn1" else "GFN2-xTB"
    return lambda: TBLite(method=method, verbosity=0)


def _ase(path: str) -> Callable[[], Any]:
    module_name, _, attribute = path.rpartition(".")
    if not module_name or not all(word.isidentifier() for word in path.split(".")):
        raise ConfigError(f"ase:{path} names no class: give ase:MODULE.CLASS, as ase:ase.calculators.emt.EMT")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        package = (error.name or module_name).split(".")[0]
        raise ConfigError(f"ase:{path} needs {package}: pip install {package}, or mend the name") from None
    make = getattr(module, attribute, None)
    if not callable(make):
        raise ConfigError(
            f"{module_name} has no class {attribute}: give ase:MODULE.CLASS of an ASE calculator"
        )
    return make


def _xtb() -> Callable[[Atoms], float]:
    """GFN-FF by the program; its own total in hartree is read from what it prints."""
    program = shutil.which("xtb")
    if program is None:
        raise ConfigError("gfnff needs the program xtb on the PATH: conda install -c conda-forge xtb")

    def energy(atoms: Atoms) -> float:
        from ase.io import write

        with tempfile.TemporaryDirectory(prefix="kflow-xtb-") as name:
            write(Path(name) / "in.xyz", atoms, format="xyz")
            try:
                done = subprocess.run(
                    [program, "in.xyz", "--gfnff", "--sp"],
                    cwd=name,
                    timeout=TIMEOUT,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"xtb did not finish in {TIMEOUT:g} s") from None
            except OSError as error:
                raise RuntimeError(f"xtb cannot be started: {error.strerror}") from error
        found = re.findall(r"TOTAL ENERGY\s+(-?\d+\.\d+)", done.stdout)
        if done.returncode or not found:
            raise RuntimeError(f"xtb ended with code {done.returncode} and no total energy")
        return float(found[-1]) * KJ_PER_HARTREE

    return energy
