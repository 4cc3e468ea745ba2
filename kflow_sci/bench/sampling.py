"""Clusters of every test cluster from one method, in parts, so that nothing is made twice.

The one idea: whatever the method, it is asked in the same words and its answer is kept as atoms; what it refuses or
fails to make is kept too, with the reason, and counts.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kflow_sci.assembly.cluster import Cluster
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.errors import ClusterError, KFlowError
from kflow_sci.files import atomic_write

if TYPE_CHECKING:
    from kflow_sci.assembly.baselines.learned import Rival

PART = 50  # test clusters per file


@dataclass(frozen=True)
class Sampled:
    """What came of one test cluster.

    Attributes:
        id: Of the test cluster.
        frames: Its samples; None for one that was not made.
        note: Why not; empty if all were.
        seconds: Of the whole.
        calls: Of the network, for one sample.
    """

    id: str
    frames: list[Frame | None]
    note: str = ""
    seconds: float = 0.0
    calls: int = 0


@dataclass
class Proposer:
    """A method that is ready to be asked.

    Attributes:
        floor: Module of ``assembly.baselines``; empty for a learned method.
        rival: The trained method.
        samples: Clusters per test cluster.
        seed: Of all draws, together with the id of the test cluster.
    """

    samples: int
    seed: int
    floor: str = ""
    rival: Rival | None = None
    _module: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.floor:
            self._module = import_module(f"kflow_sci.assembly.baselines.{self.floor}")

    def asked(self, start: Cluster | None) -> int:
        """Samples for a test cluster: a method that draws nothing gives one from a given start."""
        rival = self.rival
        alone = rival is not None and start is not None and rival.uses_start and not rival.stochastic
        return 1 if alone else self.samples

    def __call__(self, truth: Cluster, start: Cluster | None) -> Sampled:
        """The samples for a test cluster.

        Args:
            truth: The test cluster; all but the ceiling look at its molecule and its number of copies, floors at its
                volume too.
            start: Where learned methods begin; at random if None.
        """
        name, count = str(truth.info["id"]), self.asked(start)
        began = time.perf_counter()
        frames: list[Frame | None] = []
        notes: list[str] = []
        calls = 0
        if self.rival is None:
            for k in range(count):  # one by one, so that a failure costs one sample
                try:
                    frames.append(Frame.of(self._floor(truth, sample_seed(self.seed, name, k))))
                except KFlowError as error:
                    frames.append(None)
                    notes.append(str(error))
        else:
            try:
                made = self._learned(self.rival, truth, start, count)
                frames += [Frame.of(one) if isinstance(one, Cluster) else one for one in made]
                calls = int(made[0].info["calls"])
            except KFlowError as error:
                frames, notes = [None] * count, [str(error)]
        note = "; ".join(dict.fromkeys(notes))
        return Sampled(name, frames, note, time.perf_counter() - began, calls)

    def _floor(self, truth: Cluster, seed: int) -> Cluster:
        if self.floor == "renumbered":
            made: list[Cluster] = self._module.propose(truth, 1, seed)
        else:
            molecule = _one_molecule(truth)
            made = self._module.propose(molecule, len(truth), 1, seed, float(truth.info["volume"]))
        return made[0]

    def _learned(self, rival: Rival, truth: Cluster, start: Cluster | None, count: int) -> list[Any]:
        from kflow_sci.assembly.baselines.learned import propose_learned

        molecule = _one_molecule(truth)
        given = [start] * count if start is not None and rival.uses_start else None
        seed = sample_seed(self.seed, str(truth.info["id"]), 0)
        return list(
            propose_learned(rival, molecule, len(truth), count, seed, molecule.crystal_volume, start=given)
        )


def _one_molecule(truth: Cluster) -> Any:
    """The molecule that is asked for: of several conformers that of the centre."""
    if len({truth.molecules[k].numbers.tobytes() for k in truth.kind}) > 1:
        raise ClusterError(
            f"{truth.info['id']} holds several kinds of molecules, but methods place copies of one: leave it out"
        )
    return truth.molecules[truth.kind[0]]


def sample_seed(seed: int, name: str, sample: int) -> int:
    """A seed that follows from the seed of the benchmark, the test cluster and the sample."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{name}|{sample}".encode()).digest()[:4], "big")


def sample_in_parts(
    proposer: Proposer,
    pairs: Sequence[tuple[Cluster, Cluster | None]],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the samples of all test clusters; parts that are there stay.

    Args:
        proposer: The method.
        pairs: Test clusters with their starts.
        folder: Where the parts go.
        progress: Called with the number of test clusters done, and of all.
    """
    for number, first in enumerate(range(0, len(pairs), PART)):
        some = pairs[first : first + PART]
        if not _about(folder, number).is_file():
            _write_part(folder, number, [proposer(truth, start) for truth, start in some])
        if progress is not None:
            progress(min(first + PART, len(pairs)), len(pairs))


def read_samples(folder: Path) -> list[Sampled]:
    """What ``sample_in_parts`` wrote, in the order of the test clusters."""
    found: list[Sampled] = []
    number = 0
    while _about(folder, number).is_file():
        entries = json.loads(_about(folder, number).read_text(encoding="utf-8"))
        with np.load(_atoms(folder, number), allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("numbers", "molecule", "positions", "atoms")}
        pieces = iter(_pieces(arrays))
        for entry in entries:
            made = [next(pieces) if one else None for one in entry.pop("made")]
            found.append(Sampled(frames=made, **entry))
        number += 1
    return found


def _write_part(folder: Path, number: int, some: Sequence[Sampled]) -> None:
    frames = [frame for one in some for frame in one.frames if frame is not None]
    with atomic_write(_atoms(folder, number)) as temporary:
        np.savez_compressed(
            temporary,
            numbers=_joined([f.numbers for f in frames], np.int64),
            molecule=_joined([f.molecule for f in frames], np.int64),
            positions=_joined([f.positions for f in frames], np.float64).reshape(-1, 3),
            atoms=np.array([len(f.numbers) for f in frames], dtype=np.int64),
        )
    entries = [
        {
            "id": one.id,
            "made": [frame is not None for frame in one.frames],
            "note": one.note,
            "seconds": one.seconds,
            "calls": one.calls,
        }
        for one in some
    ]
    with atomic_write(_about(folder, number)) as temporary:  # last: a part without it is not there
        temporary.write_text(json.dumps(entries), encoding="utf-8")


def _pieces(arrays: dict[str, np.ndarray]) -> list[Frame]:
    ends = np.cumsum(arrays["atoms"])
    spans = [slice(end - count, end) for end, count in zip(ends, arrays["atoms"], strict=True)]
    return [Frame(arrays["numbers"][s], arrays["positions"][s], arrays["molecule"][s]) for s in spans]


def _joined(arrays: Sequence[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(arrays).astype(kind) if arrays else np.zeros(0, dtype=kind)


def _atoms(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.npz"


def _about(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.json"
