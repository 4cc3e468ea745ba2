"""Relaxing a cluster in an energy of one's choice: as rigid molecules, or all atoms.

The one idea: a rigid molecule feels the sum of the forces on its atoms and their torque, so one minimiser over
centroids and turns serves every energy that has forces; bonds cannot change. All atoms are relaxed by ASE, and each
molecule then is a template of its own. A cluster in vacuum relaxes to a droplet, not to its crystal.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy.calculators import FAILURES
from kflow_sci.errors import ScoreError

STEPS = 200
FORCE = 0.05  # eV/Å; the largest force left when all atoms are relaxed
Slope = Callable[[Cluster], tuple[float, np.ndarray, np.ndarray]]
"""``cluster -> (energy, gradient by centroids, gradient by turns)``, of the whole cluster, kJ/mol, Å and rad"""


def relax_rigid(
    cluster: Cluster, name: str = "mmff", steps: int = STEPS, held: Bool[np.ndarray, " n"] | None = None
) -> Cluster:
    """Move and turn rigid molecules downhill, by L-BFGS.

    Args:
        cluster: Where to begin.
        name: See ``surfaces.surface``. ``mmff`` is plain MMFF94: in ``interaction.interaction_energy``, whose walls are
            soft so that it can rank rough poses, a hydrogen would fall onto an acceptor.
        steps: Most iterations.
        held: Copies that stay.

    Returns:
        The cluster in its new poses; ``info`` gains ``relax_steps`` and ``relax_rms``, the root mean square move of
        the atoms, Å.

    Raises:
        ConfigError, MoleculeError: see ``surfaces.surface``.
        ScoreError: the energy cannot be computed.
    """
    slope = _surface_slope(cluster, name)
    n = len(cluster)
    free = np.ones(n, dtype=bool) if held is None else ~held

    def at(x: np.ndarray) -> tuple[Cluster, np.ndarray]:
        move, turn = x.reshape(2, n, 3)
        rotation = Rotation.from_rotvec(turn).as_matrix() @ cluster.rotation
        return replace(cluster, centroid=cluster.centroid + move, rotation=rotation), turn

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        moved, turn = at(x)
        energy, by_centroid, by_turn = slope(moved)
        gradient = np.stack([by_centroid, chart_gradient(turn, by_turn)]) * free[:, None]
        return energy, gradient.ravel()

    with np.errstate(all="ignore"):
        found = minimize(function, np.zeros(6 * n), jac=True, method="L-BFGS-B", options={"maxiter": steps})
    relaxed = at(found.x)[0]
    return replace(relaxed, info={**cluster.info, **_moved(cluster, relaxed.positions, int(found.nit))})


def chart_gradient(
    turn: Float[np.ndarray, "n 3"], by_turn: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """The gradient by rotation vectors θ of ``exp(θ) R`` from that by small turns δ of ``exp(δ) exp(θ) R``.

    Source:
        The transpose of the left Jacobian of SO(3); Iserles et al., Acta Numerica 9 (2000) 215, eq. B.10.
    """
    angle = np.linalg.norm(turn, axis=1, keepdims=True)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1.0 / 6.0, (safe - np.sin(safe)) / safe**3)
    once = np.cross(turn, by_turn)
    return by_turn - first * once + second * np.cross(turn, once)


def _surface_slope(cluster: Cluster, name: str) -> Slope:
    from ase import Atoms
    from ase.units import kJ, mol

    from kflow_sci.assembly.energy.surfaces import surface

    atoms = Atoms(numbers=cluster.numbers, positions=cluster.positions)
    atoms.calc = surface(name)([cluster.molecules[k] for k in cluster.kind])
    owner = cluster.molecule_of
    first = np.searchsorted(owner, np.arange(len(cluster)))

    def slope(moved: Cluster) -> tuple[float, np.ndarray, np.ndarray]:
        positions = moved.positions
        atoms.set_positions(positions)
        energy, forces = _computed(atoms, name)
        pull = -forces / (kJ / mol)
        arm = positions - moved.centroid[owner]
        return energy / (kJ / mol), np.add.reduceat(pull, first), np.add.reduceat(np.cross(arm, pull), first)

    return slope


def _computed(atoms: object, name: str) -> tuple[float, np.ndarray]:
    try:
        return float(atoms.get_potential_energy()), np.asarray(atoms.get_forces())  # type: ignore[attr-defined]
    except FAILURES as error:
        why = " ".join(str(error).split())[:100] or type(error).__name__
        raise ScoreError(f"{name} gives no forces for the cluster ({why})") from error


def relax_full(
    cluster: Cluster, name: str = "mmff", steps: int = STEPS, held: Bool[np.ndarray, " n"] | None = None
) -> Cluster:
    """Relax all atoms by ASE's L-BFGS until no force exceeds 0.05 eV/Å.

    Args:
        cluster: Where to begin.
        name: See ``surfaces.surface``.
        steps: Most steps.
        held: Copies whose atoms stay.

    Returns:
        A cluster in which each copy has a template of its own. ``info`` gains ``relax_steps``, ``relax_rms`` (Å) and
        ``energy``: that of the whole less that of the molecules alone as they were before, kJ/mol per molecule.

    Raises:
        ConfigError, MoleculeError: see ``surfaces.surface``.
        ScoreError: the energy cannot be computed.
    """
    from ase import Atoms
    from ase.constraints import FixAtoms
    from ase.optimize import LBFGS
    from ase.units import kJ, mol

    from kflow_sci.assembly.energy.surfaces import surface

    make = surface(name)
    members = [cluster.molecules[k] for k in cluster.kind]
    apart = 0.0
    for k, count in zip(*np.unique(cluster.kind, return_counts=True), strict=True):
        molecule = cluster.molecules[k]
        alone = Atoms(numbers=molecule.numbers, positions=molecule.positions)
        alone.calc = make([molecule])
        apart += count * _computed(alone, name)[0]
    atoms = Atoms(numbers=cluster.numbers, positions=cluster.positions)
    atoms.calc = make(members)
    _computed(atoms, name)
    if held is not None and held.any():
        atoms.set_constraint(FixAtoms(mask=held[cluster.molecule_of]))
    optimiser = LBFGS(atoms, logfile=os.devnull)
    try:
        optimiser.run(fmax=FORCE, steps=steps)
    except FAILURES as error:
        raise ScoreError(
            f"{name} fails while all atoms are relaxed: relax as rigid molecules first"
        ) from error
    energy = (_computed(atoms, name)[0] - apart) / (kJ / mol) / len(cluster)
    positions = atoms.get_positions()
    cuts = np.cumsum([len(m) for m in members])[:-1]
    parts = np.split(positions, cuts)
    n = len(cluster)
    info = {
        **cluster.info,
        **_moved(cluster, positions, int(optimiser.nsteps)),
        "energy": round(float(energy), 4),
    }
    return Cluster(
        tuple(replace(m, positions=p - p.mean(axis=0)) for m, p in zip(members, parts, strict=True)),
        np.arange(n),
        np.array([p.mean(axis=0) for p in parts]),
        np.tile(np.eye(3), (n, 1, 1)),
        np.ones(n, dtype=np.int64),
        info,
    )


def _moved(cluster: Cluster, positions: Float[np.ndarray, "atoms 3"], steps: int) -> dict[str, float]:
    shift = np.sqrt(((positions - cluster.positions) ** 2).sum(1).mean())
    return {"relax_steps": steps, "relax_rms": round(float(shift), 4)}
