"""The assembler: from one molecule to candidate clusters.

The one idea: what the user fixes (molecule, copies, density, hand) makes a batch of empty poses; the model
walks them from random starts; clashes are resolved; the candidates come back ranked. Every step is a function
of its own, so a user can own the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.energy.relax import Parting, resolve_clashes
from kflow_sci.assembly.model.batch import ClusterBatch, molecule_table
from kflow_sci.assembly.model.cluster_model import ClusterModel, ModelConfig
from kflow_sci.assembly.model.start import random_start
from kflow_sci.assembly.model.walk import Walk, walks_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.superpose import best_rotation
from kflow_sci.checkpoint import load_checkpoint, load_weights
from kflow_sci.errors import CheckpointError, ClusterError, MoleculeError
from kflow_sci.flow.rigid import Pose

MAX_COPIES = 1000
RELAX_ITERATIONS = 20
HANDS = ("auto", "same", "both")
# A chunk on a CPU keeps its arrays in the cache of one core; on another device it fills the device.
_BODIES_PER_CHUNK, _BODIES_PER_DEVICE = 204, 1 << 14
_GRAM_PER_CM3 = 1.66053906660  # one dalton per Å^3 in g/cm^3 (CODATA 2018)
Made = TypeVar("Made")


def default_weights() -> Path:
    """The weights that come with the package."""
    return Path(str(resources.files("kflow_sci"))) / "weights" / "assembly.safetensors"


def load_model(weights: str | Path | None = None, device: str = "cpu") -> tuple[ClusterModel, dict[str, Any]]:
    """A cluster model and the header of its weights (what it is, what it was trained on).

    Args:
        weights: A checkpoint; the one in the package if None.
        device: A torch device.

    Raises:
        CheckpointError: not a checkpoint of a cluster model.
        ClusterError: the device is not there.
    """
    path = default_weights() if weights is None else Path(weights)
    tensors, header = load_checkpoint(path)
    if "model" not in header:
        raise CheckpointError(f"{path} holds no cluster model: give weights that `kflow train` wrote")
    model = ClusterModel(ModelConfig.from_dict(header["model"]))
    model.adopt_bases(tensors)
    load_weights(model, tensors, path)
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ClusterError(
            f"device '{device}' is not available: {str(error).splitlines()[0]} Use --device cpu"
        ) from error
    return model.eval(), header


def volume_per_molecule(molecule: Molecule, density: float | None = None) -> float:
    """Å^3 per molecule at a density in g/cm^3, or the expected volume in a crystal if None.

    Raises:
        ClusterError: the density is not a positive number below 30 g/cm^3.
        MoleculeError: no density given and an element without a known crystal volume.
    """
    if density is None:
        return molecule.crystal_volume
    if not 0.0 < density < 30.0:
        raise ClusterError(
            f"density is {density:g} g/cm^3, outside (0, 30): organic crystals have about 0.8 to 2.5"
        )
    return molecule.mass * _GRAM_PER_CM3 / density


def choose_hands(molecule: Molecule, copies: int, hands: str, rng: np.random.Generator) -> np.ndarray:
    """Parity of each copy.

    ``same``: all as given. ``both``: half of the copies are mirror images, dealt at random, as in a crystal
    with inversion or glide. ``auto``: ``same`` for a molecule that equals its mirror image or whose
    stereocentre was fixed by the input, else ``both``.

    Raises:
        ClusterError: unknown choice.
    """
    if hands not in HANDS:
        raise ClusterError(f"hands '{hands}' is unknown: choose {', '.join(HANDS)}")
    same = hands == "same" or not molecule.symmetry.chiral or (hands == "auto" and molecule.handed)
    parity = np.ones(copies, dtype=np.int64)
    if not same:
        parity[rng.permutation(copies)[: copies // 2]] = -1
    return parity


@dataclass(frozen=True)
class Request:
    """What is to be assembled: all that decides the answer, together with the weights.

    Attributes:
        copies: Molecules per cluster.
        samples: Clusters.
        seed: Of start positions, orientations and hands.
        steps: Steps per shell; the model's own if None.
        density: g/cm^3; the expected density in a crystal if None.
        hands: See ``choose_hands``.
        contacts: Let overlapping molecules step apart while the flow sets the detail; see ``StepApart``.

    Raises:
        ClusterError: a number out of range.
    """

    copies: int = DEFAULT_COPIES
    samples: int = 10
    seed: int = 0
    steps: tuple[int, ...] | None = None
    density: float | None = None
    hands: str = "auto"
    contacts: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.copies <= MAX_COPIES:
            raise ClusterError(
                f"copies is {self.copies}, outside 2 … {MAX_COPIES}: a cluster needs at least two molecules"
            )
        if self.samples < 1:
            raise ClusterError(f"samples is {self.samples}, but at least 1 is needed")
        if self.seed < 0:
            raise ClusterError(f"seed is {self.seed}, but must be >= 0")


def propose(
    model: ClusterModel,
    molecule: Molecule,
    request: Request,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, Walk], None] | None = None,
) -> list[Cluster]:
    """Raw samples of the flow, clashes not resolved, in the order they were drawn.

    Sample i depends on (seed, i) alone, up to rounding, not on how many are drawn. On a CPU the samples are shared out
    to as many threads as torch has, each of which works on a few samples at a time, with arrays that fit its cache.

    Args:
        model: See ``load_model``.
        molecule: The rigid molecule.
        request: What is wanted.
        progress: Called with the number of samples finished.
        watch: Called with the number of each sample and how it came about; states are kept only if it is given.
    """
    _refuse_charged(molecule)
    volume = volume_per_molecule(molecule, request.density)
    parameter = next(model.parameters())
    table = type(empty := molecule_table([molecule], parameter.dtype))(
        *(t.to(parameter.device) for t in empty)
    )

    def walk(members: Sequence[int]) -> tuple[list[Cluster], list[Walk]]:
        parity = np.stack(
            [
                choose_hands(
                    molecule, request.copies, request.hands, np.random.default_rng([request.seed, i])
                )
                for i in members
            ]
        )
        size = len(members)
        mask = torch.ones(size, request.copies, dtype=torch.bool, device=parameter.device)
        length = torch.full((size,), volume ** (1.0 / 3.0), dtype=parameter.dtype, device=parameter.device)
        starts = [random_start(mask[:1], length[:1], _generator(request.seed, i)) for i in members]
        start = Pose(torch.cat([p.centroid for p in starts]), torch.cat([p.rotation for p in starts]))
        batch = ClusterBatch(
            tuple(str(i) for i in members),
            table,
            torch.zeros(size, request.copies, dtype=torch.long, device=parameter.device),
            torch.as_tensor(parity, dtype=parameter.dtype, device=parameter.device),
            mask,
            length,
            start,
        )
        settle = [StepApart.of(clusters_at(start, molecule, parity))] if request.contacts else []
        pose, solution = model.sample(batch, start, request.steps, settle=settle, keep=watch is not None)
        clusters = clusters_at(pose, molecule, parity)
        for i, cluster in zip(members, clusters, strict=True):
            cluster.info.update(sample=i, volume=volume, calls=solution.calls)
        return clusters, walks_of(model, batch, solution) if watch is not None else []

    on_cpu = parameter.device.type == "cpu"
    chunk = max(1, (_BODIES_PER_CHUNK if on_cpu else _BODIES_PER_DEVICE) // request.copies)
    chunks = [range(first, min(first + chunk, request.samples)) for first in range(0, request.samples, chunk)]
    clusters: list[Cluster] = []
    for made, walks in _in_threads(walk, chunks, torch.get_num_threads() if on_cpu else 1):
        if watch is not None:
            for i, one in enumerate(walks, len(clusters)):
                watch(i, one)
        clusters += made
        if progress is not None:
            progress(len(clusters))
    return clusters


def _in_threads(
    walk: Callable[[Sequence[int]], Made], chunks: Sequence[Sequence[int]], threads: int
) -> Iterator[Made]:
    """Results in the order of the chunks. Threads that share a chunk would mostly wait for each other."""
    if min(threads, len(chunks)) < 2:
        yield from map(walk, chunks)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(walk, chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def clusters_at(pose: Pose, molecule: Molecule, parity: Int[np.ndarray, "batch copies"]) -> list[Cluster]:
    """Clusters of one molecule at the poses of a batch; rotations without the rounding of single precision."""
    centroid, rotation = (x.detach().double().cpu().numpy() for x in pose)
    kind = np.zeros(parity.shape[1], dtype=np.int64)
    return [
        Cluster((molecule,), kind, c, best_rotation(r)[0], p)
        for c, r, p in zip(centroid, rotation, parity, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class StepApart:
    """Physics by scale: while the flow sets the detail, overlapping molecules step apart after each of its steps.

    The network never meets overlaps on its training path and does not mend them; ``relax`` does, a few linearised
    steps at a time, in all shells of the state.

    Attributes:
        parting: The molecules of the batch.
        body: Atoms of all copies in the frames of their molecules, mirrored where the copy is, Å, ``(atoms, 3)``.
        after: Flow time from which it acts.
        iterations: Steps of the relaxation after each step of the flow. With 4 from s = .6 on, raw samples of the
            validation crystals had 1.2 clashing pairs per molecule at unchanged matched PM; with 2 from s = ⅓ on
            4.4, without any 12.5.
    """

    parting: Parting
    body: Float[np.ndarray, "atoms 3"]
    after: float = 0.6
    iterations: int = 4

    @classmethod
    def of(cls, clusters: Sequence[Cluster]) -> StepApart:
        """For clusters of these molecules and hands, wherever they are.

        Raises:
            ClusterError: see ``Parting.of``.
        """
        body = [p * c.molecules[k].positions for c in clusters for k, p in zip(c.kind, c.parity, strict=True)]
        return cls(Parting.of(clusters), np.concatenate(body))

    def __call__(self, pose: Pose, s: Float[torch.Tensor, " batch"]) -> Pose:
        """The poses, their overlaps smaller."""
        if float(s[0]) < self.after:
            return pose
        centroid, rotation = (x.double().cpu().numpy() for x in pose)
        turned = rotation.reshape(-1, 3, 3)[self.parting.stack.owner]
        arm = np.einsum("aij,aj->ai", turned, self.body)
        moved, turn = self.parting(centroid.reshape(-1, 3), arm, self.iterations)
        return Pose(
            torch.as_tensor(moved.reshape(centroid.shape)).to(pose.centroid),
            torch.as_tensor(turn.reshape(rotation.shape) @ rotation).to(pose.rotation),
        )


def _refuse_charged(molecule: Molecule) -> None:
    charge = 0 if molecule.formal_charges is None else int(np.sum(molecule.formal_charges))
    if charge:
        raise MoleculeError(
            f"{molecule.name} has the charge {charge:+d}, but only neutral molecules pack alone: "
            "give the neutral form; salts are not supported yet"
        )


def _generator(seed: int, sample: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, sample]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def assemble(
    source: object,
    copies: int = DEFAULT_COPIES,
    samples: int = 10,
    seed: int = 0,
    *,
    steps_per_shell: int | Sequence[int] | None = None,
    density: float | None = None,
    hands: str = "auto",
    contacts: bool = True,
    resolve: bool = True,
    weights: str | Path | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Cluster]:
    """Candidate clusters of a molecule, best first.

    Args:
        source: A SMILES, a file (xyz, extxyz, sdf, mol, mol2, pdb, cif), ASE atoms, an RDKit or pymatgen
            molecule, or a ``Molecule``.
        copies: Molecules per cluster.
        samples: Clusters to make.
        seed: The same seed gives the same clusters.
        steps_per_shell: Solver steps, one number or one per shell; the model's own if None.
        density: g/cm^3; else the expected density of the crystal.
        hands: ``auto``, ``same`` or ``both`` mirror images; see ``choose_hands``.
        contacts: Let overlapping molecules step apart while the flow sets the detail; see ``StepApart``.
        resolve: Resolve the clashes of the final poses by a short rigid relaxation (at most 20 iterations).
        weights: A checkpoint; that of the package if None.
        device: A torch device.
        progress: Called with the number of samples finished.

    Returns:
        Clusters in rank order: fewest clashing pairs, then lowest interaction energy per molecule. Their
        ``info`` holds ``rank``, ``sample``, ``volume`` (Å^3 per molecule), ``calls`` of the network,
        ``clashing_pairs`` per molecule and the energies of ``interaction.interaction_energy`` (kJ/mol per
        molecule). ``to_ase()`` gives ASE atoms.

    Raises:
        KFlowError: bad input of any kind, in one line.
    """
    from kflow_sci.assembly.reading.formats import to_molecule

    steps = (steps_per_shell,) if isinstance(steps_per_shell, int) else steps_per_shell
    request = Request(
        copies, samples, seed, None if steps is None else tuple(steps), density, hands, contacts
    )
    molecule = to_molecule(source)
    model, _ = load_model(weights, device)
    return finish(propose(model, molecule, request, progress), resolve)


def finish(clusters: list[Cluster], resolve: bool) -> list[Cluster]:
    """Resolve clashes if asked, add energies, and rank."""
    from kflow_sci.assembly.energy.interaction import rank

    return rank(resolve_clashes(clusters, iterations=RELAX_ITERATIONS if resolve else 0))
