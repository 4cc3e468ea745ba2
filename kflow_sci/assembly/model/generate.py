"""The assembler: from one molecule to candidate clusters.

The one idea: what the user fixes (molecule, copies, density, hand) makes a batch of empty poses; the model
walks them from random starts; clashes are resolved; the candidates come back ranked. Every step is a function
of its own, so a user can own the loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int

from kflow_sci.assembly import DEFAULT_COPIES
from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import ClusterBatch, molecule_table
from kflow_sci.assembly.model.cluster_model import ClusterModel, Known, ModelConfig, SettlePose
from kflow_sci.assembly.model.region import Region
from kflow_sci.assembly.model.request import Request, mixture, surroundings
from kflow_sci.assembly.model.scene import Scene
from kflow_sci.assembly.model.settle import RELAX_ITERATIONS, Confine, StepApart, without_clashes
from kflow_sci.assembly.model.walk import Walk, walks_of
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.assembly.superpose import best_rotation
from kflow_sci.checkpoint import load_checkpoint, load_weights
from kflow_sci.errors import CheckpointError, ClusterError
from kflow_sci.flow.rigid import Pose
from kflow_sci.settings import from_plain

# A chunk on a CPU keeps its arrays in the cache of one core; on another device it fills the device.
_BODIES_PER_CHUNK, _BODIES_PER_DEVICE = 204, 1 << 14
Made = TypeVar("Made")
Placed = TypeVar("Placed", bound=torch.nn.Module)


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
        ConfigError: it has settings that this version does not know.
        ClusterError: the device is not there.
    """
    path = default_weights() if weights is None else Path(weights)
    tensors, header = load_checkpoint(path)
    if "model" not in header or "kind" in header:
        raise CheckpointError(f"{path} holds no cluster model: give weights that `kflow train` wrote")
    model = ClusterModel(from_plain(ModelConfig, header["model"]))
    model.adopt_bases(tensors)
    load_weights(model, tensors, path)
    return on_device(model, device).eval(), header


def on_device(model: Placed, device: str) -> Placed:
    """The model, moved to a torch device.

    Raises:
        ClusterError: the device is not there.
    """
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ClusterError(
            f"device '{device}' is not available: {str(error).splitlines()[0]} Use --device cpu"
        ) from error


def propose(
    model: ClusterModel,
    molecules: Molecule | Sequence[Molecule] | Scene,
    request: Request,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, Walk], None] | None = None,
    weights: tuple[float, ...] | None = None,
    finished: list[Cluster] | None = None,
) -> list[Cluster]:
    """Raw samples of the flow, clashes not resolved, in the order they were drawn.

    Sample i depends on (seed, i) alone, up to rounding, not on how many are drawn. On a CPU the samples are shared out
    to as many threads as torch has, each of which works on a few samples at a time, with arrays that fit its cache.
    The weights in the package were trained on clusters of one kind of molecule each; of several they have seen none.

    Args:
        model: See ``load_model``.
        molecules: The rigid molecule, or several, or a scene; a scene decides molecules, copies, hands and volume.
        request: What is wanted.
        progress: Called with the number of samples finished.
        watch: Called with the number of each sample and how it came about; states are kept only if it is given.
        weights: Of the shells, in which samples agree with the known cluster of a scene that has one.
        finished: An empty list that fills as samples are made, for who wants them even if this is interrupted.
    """
    if isinstance(molecules, Molecule | Sequence):
        scene: Scene = mixture(molecules, request)
    else:
        scene = molecules
    parameter = next(model.parameters())
    table = type(empty := molecule_table(scene.molecules, parameter.dtype))(
        *(t.to(parameter.device) for t in empty)
    )

    def walk(members: Sequence[int]) -> tuple[list[Cluster], list[Walk]]:
        setups = [scene.setup(i, parameter.dtype) for i in members]
        start = _stacked([one.start for one in setups], parameter.device)
        kind = np.stack([one.kind for one in setups])
        parity = np.stack([one.parity for one in setups])
        size, volume = len(members), scene.volume
        batch = ClusterBatch(
            tuple(str(i) for i in members),
            table,
            torch.as_tensor(kind, device=parameter.device),
            torch.as_tensor(parity, dtype=parameter.dtype, device=parameter.device),
            torch.ones(size, scene.copies, dtype=torch.bool, device=parameter.device),
            torch.full((size,), volume ** (1.0 / 3.0), dtype=parameter.dtype, device=parameter.device),
            start,
        )
        known = [one.known for one in setups if one.known is not None]
        held = np.stack([one.held for one in setups])
        free = scene.region is None and not known and not held.any()
        begin = clusters_at(start, scene.molecules, parity, kind)
        apart = StepApart.of(begin, model.config.room if free else None)
        settle: list[SettlePose] = [apart] if request.contacts else []
        if scene.region is not None:
            settle.append(Confine(apart, scene.region))
        pose, solution = model.sample(
            batch,
            start,
            request.steps,
            settle=settle,
            keep=watch is not None,
            known=Known(_stacked(known, parameter.device), weights) if known and weights else None,
            held=torch.as_tensor(held, device=parameter.device),
        )
        clusters = [
            replace(cluster, centroid=cluster.centroid + one.origin)
            for cluster, one in zip(clusters_at(pose, scene.molecules, parity, kind), setups, strict=True)
        ]
        for i, cluster in zip(members, clusters, strict=True):
            cluster.info.update(sample=i, volume=volume, calls=solution.calls)
        return clusters, walks_of(model, batch, solution) if watch is not None else []

    on_cpu = parameter.device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    chunk = max(1, (_BODIES_PER_CHUNK if on_cpu else _BODIES_PER_DEVICE) // scene.copies)
    # The same number of chunks for every thread, and those of nearly equal size: none waits for the last one.
    rounds = -(-request.samples // (chunk * threads))
    chunk = -(-request.samples // (rounds * threads))
    chunks = [range(first, min(first + chunk, request.samples)) for first in range(0, request.samples, chunk)]
    clusters: list[Cluster] = [] if finished is None else finished
    for made, walks in _in_threads(walk, chunks, threads):
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


def clusters_at(
    pose: Pose,
    molecules: Molecule | tuple[Molecule, ...],
    parity: Int[np.ndarray, "batch copies"],
    kind: Int[np.ndarray, "batch copies"] | None = None,
) -> list[Cluster]:
    """Clusters at the poses of a batch; rotations without the rounding of single precision.

    Args:
        pose: Of the batch.
        molecules: One, or the templates that ``kind`` names.
        parity: ±1.
        kind: All of the first one if None.
    """
    centroid, rotation = (x.detach().double().cpu().numpy() for x in pose)
    templates = (molecules,) if isinstance(molecules, Molecule) else molecules
    kind = np.zeros(parity.shape, dtype=np.int64) if kind is None else kind
    return [
        Cluster(templates, k, c, best_rotation(r)[0], p)
        for k, c, r, p in zip(kind, centroid, rotation, parity, strict=True)
    ]


def _stacked(poses: Sequence[Pose], device: torch.device) -> Pose:
    return Pose(*(torch.cat(parts).to(device) for parts in zip(*poses, strict=True)))


def assemble(
    source: object,
    copies: int | Sequence[int] = DEFAULT_COPIES,
    samples: int = 10,
    seed: int = 0,
    *,
    steps_per_shell: int | Sequence[int] | None = None,
    density: float | None = None,
    hands: str = "auto",
    contacts: bool = True,
    resolve: bool = True,
    around: object | None = None,
    region: Region | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Cluster]:
    """Candidate clusters of a molecule or of several, best first.

    Args:
        source: A SMILES, an InChI, a file (xyz, extxyz, sdf, mol, mol2, pdb, cif), ASE atoms, an RDKit or pymatgen
            molecule, or a ``Molecule``; a list of them for a mixture.
        copies: Molecules per cluster; of a mixture the number of each.
        samples: Clusters to make.
        seed: The same seed gives the same clusters.
        steps_per_shell: Solver steps, one number or one per shell; the model's own if None.
        density: g/cm^3; else the expected density of the crystal.
        hands: ``auto``, ``same`` or ``both`` mirror images; see ``scene.choose_hands``.
        contacts: Let overlapping molecules step apart while the flow sets the detail; see ``StepApart``.
        resolve: Resolve the clashes of the final poses by a short rigid relaxation (at most 20 iterations).
        around: What is held while the molecules fill shells around it: a cluster file, ASE atoms, an RDKit or pymatgen
            molecule, or a ``Cluster``.
        region: ``region.Sphere`` or ``region.Box`` that atoms are kept in.
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
    from kflow_sci.assembly.reading.formats import read_molecule

    steps = (steps_per_shell,) if isinstance(steps_per_shell, int) else steps_per_shell
    count = copies if isinstance(copies, int) else tuple(copies)
    core = None if around is None else read_core(around)
    there = 0 if core is None else len(core)
    walk = None if steps is None else tuple(steps)
    request = Request(count, samples, seed, walk, density, hands, contacts, there)
    sources = source if isinstance(source, list | tuple) else [source]
    molecules = [read_molecule(one) for one in sources]  # type: ignore[arg-type]
    if core is None:
        scene: Scene = mixture(molecules, request, region)
        held = None
    else:
        scene = surroundings(core, molecules, request, region)
        held = np.arange(scene.copies) < len(core)
    model, _ = load_model(weights, device)
    return finish(propose(model, scene, request, progress), resolve, held, region)


def read_core(source: object) -> Cluster:
    """The first cluster of a file, or an object that holds one.

    Raises:
        KFlowError: it is refused.
    """
    from kflow_sci.assembly.exchange.formats import read_clusters
    from kflow_sci.assembly.exchange.objects import to_cluster

    return read_clusters(source)[0] if isinstance(source, str | os.PathLike) else to_cluster(source)


def finish(
    clusters: list[Cluster],
    resolve: bool,
    held: Bool[np.ndarray, " n"] | None = None,
    region: Region | None = None,
) -> list[Cluster]:
    """Resolve clashes if asked, add energies, and rank; copies may be held, and atoms kept in a region."""
    from kflow_sci.assembly.energy.interaction import rank

    still = None if held is None else [held] * len(clusters)
    return rank(without_clashes(clusters, RELAX_ITERATIONS if resolve else 0, still, region))
