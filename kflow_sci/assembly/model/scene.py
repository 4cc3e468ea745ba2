"""What a sample begins with: which molecules, where they stand at s = 0, and what of them is given.

The one idea: everything a user may fix comes down to four things per sample: kinds and hands, start poses, copies that
are held, and a known cluster whose shells are kept in part. A scene makes them for each sample from its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.model.batch import likely_volume, molecule_table, without_mirror_twins
from kflow_sci.assembly.model.region import Region, Sphere, even_points
from kflow_sci.assembly.model.start import random_rotations, random_start
from kflow_sci.assembly.molecule import Molecule
from kflow_sci.errors import ClusterError
from kflow_sci.flow.coupling import couple, nearest_equivalent
from kflow_sci.flow.rigid import Pose

HANDS = ("auto", "same", "both")


@dataclass(frozen=True, eq=False)
class Setup:
    """Where one sample begins.

    Attributes:
        kind: Molecule of each copy.
        parity: ±1.
        start: Poses at s = 0, a batch of one.
        held: Copies that stay there.
        known: Poses whose shells are kept in part; None where nothing is known.
        origin: Added to the centroids of the sample, Å.
    """

    kind: Int[np.ndarray, " n"]
    parity: Int[np.ndarray, " n"]
    start: Pose
    held: Bool[np.ndarray, " n"]
    known: Pose | None
    origin: Float[np.ndarray, " 3"]


class Scene(Protocol):
    """Setups of the same molecules for any number of samples."""

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """Templates."""

    @property
    def volume(self) -> float:
        """Å^3 per molecule."""

    @property
    def copies(self) -> int:
        """Molecules per cluster."""

    @property
    def region(self) -> Region | None:
        """Where atoms may be."""

    def setup(self, sample: int, dtype: torch.dtype) -> Setup:
        """The setup of one sample; a function of its number and the seed of the scene."""


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


def generator(seed: int, sample: int) -> torch.Generator:
    """The randomness of one sample."""
    state = np.random.SeedSequence([seed, sample]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def _deal(
    molecules: tuple[Molecule, ...], counts: tuple[int, ...], hands: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    # Start points come in random order, so kinds in a fixed order are dealt to them at random, as in training.
    parity = [choose_hands(m, count, hands, rng) for m, count in zip(molecules, counts, strict=True)]
    return np.repeat(np.arange(len(counts)), counts), np.concatenate(parity)


def _pose(centroid: np.ndarray, rotation: torch.Tensor, dtype: torch.dtype) -> Pose:
    return Pose(torch.as_tensor(centroid, dtype=dtype)[None], rotation.to(dtype)[None])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Some copies of each molecule, started at random in a ball or a region.

    Attributes:
        molecules: Templates.
        counts: Copies of each.
        volume: Å^3 per molecule.
        hands: See ``choose_hands``.
        seed: Of everything random.
        region: A ball of the volume if None.
    """

    molecules: tuple[Molecule, ...]
    counts: tuple[int, ...]
    volume: float
    hands: str = "auto"
    seed: int = 0
    region: Region | None = None

    @property
    def copies(self) -> int:
        return sum(self.counts)

    def setup(self, sample: int, dtype: torch.dtype) -> Setup:
        rng = np.random.default_rng([self.seed, sample])
        kind, parity = _deal(self.molecules, self.counts, self.hands, rng)
        chance, nothing = generator(self.seed, sample), np.zeros(self.copies, dtype=bool)
        if self.region is None:
            mask = torch.ones(1, self.copies, dtype=torch.bool)
            length = torch.full((1,), self.volume ** (1.0 / 3.0), dtype=dtype)
            return Setup(kind, parity, random_start(mask, length, chance), nothing, None, np.zeros(3))
        start = _pose(
            even_points(self.region, self.copies, rng),
            random_rotations((self.copies,), chance, dtype),
            dtype,
        )
        return Setup(kind, parity, start, nothing, None, np.zeros(3))


@dataclass(frozen=True, eq=False)
class Around:
    """Molecules in shells around a part that is held where it is.

    Places for the molecules are spread evenly about the core; as many of them as the core fills, those nearest to its
    atoms, are left out, and the next nearest are taken, so that the shells follow the shape of the core.

    Attributes:
        core: Held.
        fill: Templates of what goes around it.
        counts: Copies of each.
        fill_volume: Å^3 per molecule of the fill.
        hands: See ``choose_hands``; of the fill.
        seed: Of everything random.
        region: About the middle of the core; as far out as needed if None.
    """

    core: Cluster
    fill: tuple[Molecule, ...]
    counts: tuple[int, ...]
    fill_volume: float
    hands: str = "auto"
    seed: int = 0
    region: Region | None = None

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        return (*self.core.molecules, *self.fill)

    @property
    def copies(self) -> int:
        return len(self.core) + sum(self.counts)

    @property
    def volume(self) -> float:
        return (self._core_volume + self.fill_volume * sum(self.counts)) / self.copies

    @property
    def _core_volume(self) -> float:
        return sum(likely_volume(self.core.molecules[k]) for k in self.core.kind)

    def setup(self, sample: int, dtype: torch.dtype) -> Setup:
        from scipy.spatial import cKDTree

        rng = np.random.default_rng([self.seed, sample])
        kind, parity = _deal(self.fill, self.counts, self.hands, rng)
        wanted, size = len(kind), self.fill_volume
        atoms = self.core.positions
        middle = atoms.mean(axis=0)
        atoms = atoms - middle
        place = self.region
        if place is None:
            # Room for all molecules on every side of the core.
            thickness = (3.0 * (wanted * size + self._core_volume) / (4.0 * np.pi)) ** (1.0 / 3.0)
            place = Sphere(float(np.linalg.norm(atoms, axis=1).max()) + thickness)
        else:
            size = min(size, (place.volume - self._core_volume) / wanted)
        points = even_points(place, max(int(place.volume / size), wanted), rng)
        order = np.argsort(cKDTree(atoms).query(points)[0])
        taken = min(round(self._core_volume / size), len(points) - wanted)
        free = order[taken:] if self.region is not None else order[taken : taken + wanted]
        free = rng.permutation(free)[:wanted]
        core = without_mirror_twins(self.core)
        rotation = random_rotations((wanted,), generator(self.seed, sample), torch.float64)
        start = _pose(
            np.concatenate([core.centroid - middle, points[free]]),
            torch.cat([torch.as_tensor(core.rotation), rotation]),
            dtype,
        )
        held = np.arange(self.copies) < len(core)
        return Setup(
            np.concatenate([core.kind, kind + len(core.molecules)]),
            np.concatenate([core.parity, parity]),
            start,
            held,
            None,
            middle,
        )


@dataclass(frozen=True, eq=False)
class Given:
    """Clusters that are there already: where samples start, or what they keep in part.

    Sample i starts from cluster i as it stands if ``edit`` is False. Else there is one cluster, each sample starts at
    random, and the cluster is known to the flow (``ClusterModel.sample`` with weights of its shells).

    Attributes:
        clusters: Of the same molecules.
        keep: Copies that are held.
        edit: Start at random.
        seed: Of everything random.

    Raises:
        ClusterError: clusters of different molecules, or a copy that is not there.
    """

    clusters: tuple[Cluster, ...]
    keep: tuple[int, ...] = ()
    edit: bool = False
    seed: int = 0
    region: Region | None = None

    def __post_init__(self) -> None:
        n = self.copies
        if n < 2:
            raise ClusterError(f"the given cluster has {n} molecule(s), but at least 2 are needed")
        bad = [k for k in self.keep if not 0 <= k < n]
        if bad:
            raise ClusterError(f"molecule {bad[0]} is to be kept, but there are {n}, from 0 to {n - 1}")

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        return tuple({id(m): m for c in self.clusters for m in c.molecules}.values())

    @property
    def copies(self) -> int:
        return len(self.clusters[0])

    @property
    def volume(self) -> float:
        """As the first cluster says, else as expected in crystals."""
        first = self.clusters[0]
        stated = first.info.get("volume")
        if isinstance(stated, int | float) and 0 < stated < np.inf:
            return float(stated)
        return sum(likely_volume(first.molecules[k]) for k in first.kind) / len(first)

    def setup(self, sample: int, dtype: torch.dtype) -> Setup:
        cluster = without_mirror_twins(self.clusters[0 if self.edit else sample])
        row = {id(m): i for i, m in enumerate(self.molecules)}
        kind = np.array([row[id(cluster.molecules[k])] for k in cluster.kind])
        held = np.isin(np.arange(len(cluster)), self.keep)
        origin = cluster.centroid.mean(axis=0)
        pose = _pose(cluster.centroid - origin, torch.as_tensor(cluster.rotation), dtype)
        if not self.edit:
            return Setup(kind, cluster.parity, pose, held, None, origin)
        start = self._coupled(pose, kind, cluster.parity, sample)
        still = torch.as_tensor(held)[None, :, None]
        start = Pose(
            torch.where(still, pose.centroid, start.centroid),
            torch.where(still[..., None], pose.rotation, start.rotation),
        )
        return Setup(kind, cluster.parity, start, held, pose, origin)

    def _coupled(self, pose: Pose, kind: np.ndarray, parity: np.ndarray, sample: int) -> Pose:
        """A random start, each copy of which stands near the copy it is to become."""
        chance, copies = generator(self.seed, sample), len(kind)
        mask = torch.ones(1, copies, dtype=torch.bool)
        length = torch.full((1,), self.volume ** (1.0 / 3.0), dtype=pose.centroid.dtype)
        start = random_start(mask, length, chance)
        label = torch.as_tensor(2 * kind + (parity > 0))[None]
        turn = random_rotations((1,), chance, length.dtype)
        node, turn = couple(start.centroid, pose.centroid, label, label, mask, turn)
        place = node[0].argsort()  # the start of each copy
        group = molecule_table(self.molecules, length.dtype).group[torch.as_tensor(kind)[None]]
        back = turn.transpose(1, 2)
        rotation = nearest_equivalent((back[:, None] @ start.rotation)[:, place], pose.rotation, group)
        return Pose((start.centroid @ turn)[:, place], rotation)
