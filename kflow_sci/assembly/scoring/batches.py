"""Result files of the original AssembleFlow code: ``batch_0.pt``, ``batch_1.pt`` … of its test run.

The one idea: such a file holds prediction and truth of many clusters end to end, as tensors inside objects of
PyTorch Geometric. Only the tensors are wanted, so those objects are replaced by empty ones while loading: no code of
the file runs, and that library need not be installed.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.spatial.distance import cdist

from kflow_sci.assembly.scoring.frame import Frame, number_without_gaps
from kflow_sci.errors import ScoreError

NAME = re.compile(r"batch_(\d+)\.pt")
PREDICTED = re.compile(r"pred_positions_tid_(\d+)")
SAME_TRUTH = 0.02  # Å; a truth in single precision is the reference if no distance differs by more

Groups = list[tuple[Frame, list[Frame]]]


class _Shell:
    """Stands for an object whose attributes are wanted and nothing else."""


_CLASSES = (
    "torch_geometric.data.data.Data",
    "torch_geometric.data.data.DataEdgeAttr",
    "torch_geometric.data.data.DataTensorAttr",
    "torch_geometric.data.storage.GlobalStorage",
)
_ALLOWED: list[Any] = [(_Shell, name) for name in _CLASSES]
_ALLOWED += [(defaultdict, "collections.defaultdict"), (dict, "builtins.dict"), (dict, "__builtin__.dict")]


def is_batches(path: str | Path) -> bool:
    """Whether a path is a folder or a ``.pt`` file, and so not one of the other formats."""
    path = Path(path)
    return path.is_dir() or path.suffix.lower() == ".pt"


def read_batches(path: str | Path) -> Groups:
    """Read the clusters of one ``batch_*.pt``, or of all those in a folder.

    Of the steps that a file holds (``pred_positions_tid_…``) the last one is the prediction; the file's own
    ``final_positions`` are the truth.

    Args:
        path: A file, or a folder with ``batch_0.pt``, ``batch_1.pt`` … without a gap.

    Returns:
        For each cluster the truth, with id ``batch_B-I``, and its samples, in the order of the files.

    Raises:
        ScoreError: nothing of that kind there, a missing file between others, or a file with another content.
    """
    paths = _paths(Path(path))
    groups: Groups = []
    for file in paths:
        groups += _clusters(file)
    return groups


def files_of(path: str | Path) -> list[Path]:
    """The files that ``read_batches`` reads, in its order.

    Raises:
        ScoreError: as ``read_batches``.
    """
    return _paths(Path(path))


def identify(groups: Groups, ref: list[Frame], name: str) -> list[Frame]:
    """Give each sample the id of the reference frame that has its truth; frames without an id are named by number.

    Args:
        groups: As ``read_batches`` returns them.
        ref: Reference frames; those without an id get their number.
        name: What the reference is called in messages.

    Returns:
        All samples.

    Raises:
        ScoreError: a truth that no reference frame has: other elements, another order of atoms, or other distances.
    """
    by_elements: dict[bytes, list[Frame]] = defaultdict(list)
    for frame in ref:
        by_elements[frame.numbers.tobytes()].append(frame)
    samples: list[Frame] = []
    for truth, mine in groups:
        shape = cdist(truth.positions, truth.positions)
        for frame in by_elements[truth.numbers.tobytes()]:
            if np.abs(cdist(frame.positions, frame.positions) - shape).max() < SAME_TRUTH:
                samples += [replace(sample, id=frame.id) for sample in mine]
                break
        else:
            raise ScoreError(
                f"the truth of {truth.id} ({truth.describe()}) is in no frame of {name}: give the clusters that the "
                "results were made for, with their atoms in the same order, or no reference at all"
            )
    return samples


def _paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ScoreError(f"{path} does not exist: give a batch_*.pt file or a folder with such files")
    found = {int(match[1]): file for file in path.iterdir() if (match := NAME.fullmatch(file.name))}
    if not found:
        raise ScoreError(
            f"{path} holds no batch_0.pt, batch_1.pt …: give the output_data_… folder of an AssembleFlow run, "
            "or an xyz file"
        )
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise ScoreError(
            f"{path} lacks batch_{missing[0]}.pt ({len(missing)} missing below batch_{max(found)}.pt): "
            "a score of part of the set would mislead, so add the missing"
        )
    return [found[k] for k in sorted(found)]


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of a file and where each cluster begins in them."""
    import torch
    from torch._weights_only_unpickler import UnpicklingError  # type: ignore[attr-defined]

    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise ScoreError(f"{path} cannot be read: permission denied") from None
    except (
        UnpicklingError,
        struct.error,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        what = " ".join(str(error).split())
        unsafe = re.search(r"GLOBAL ([\w.]+)", what)
        why = f"it names {unsafe[1]}, which is not loaded" if unsafe else "it is damaged or of another kind"
        raise ScoreError(
            f"{path.name} is no result file of AssembleFlow: {why}: give batch_*.pt as its code writes them"
        ) from None
    if isinstance(content, tuple) and len(content) == 2 and all(hasattr(c, "items") for c in content[1:]):
        store = getattr(content[0], "_store", content[0])
        mapping = getattr(store, "_mapping", None)
        if isinstance(mapping, dict):
            return mapping, dict(content[1])
    raise ScoreError(
        f"{path.name} is no result file of AssembleFlow: it holds {type(content).__name__}, not a pair of collated "
        "data and slices: give batch_*.pt as its code writes them"
    )


def _clusters(path: Path) -> Groups:
    tensors, slices = _load(path)
    steps = sorted((int(match[1]), key) for key in tensors if (match := PREDICTED.fullmatch(str(key))))
    if not steps:
        raise ScoreError(f"{path.name} holds no pred_positions_tid_…: it was written before sampling")
    predicted = steps[-1][1]
    parts = {
        key: _parts(path, tensors, slices, key)
        for key in ("x", "final_positions", "intra_batch", "repeat_idx_to_idx", predicted)
    }
    counts = {len(part) for part in parts.values()}
    if len(counts) != 1 or counts == {0}:
        raise ScoreError(
            f"{path.name} is damaged: its entries hold {sorted(counts)} clusters: write it again"
        )
    groups: dict[int, tuple[Frame, list[Frame]]] = {}
    for k in range(counts.pop()):
        label = f"cluster {k} of {path.name}"
        numbers = parts["x"][k].reshape(len(parts["x"][k]), -1)[:, 0].astype(np.int64) + 1
        truth, pred = (parts[key][k].astype(np.float64) for key in ("final_positions", predicted))
        molecule = parts["intra_batch"][k]
        if not (truth.shape == pred.shape == (len(numbers), 3) and molecule.shape == numbers.shape):
            raise ScoreError(
                f"{label}: x, final_positions, {predicted} and intra_batch have shapes {parts['x'][k].shape}, "
                f"{truth.shape}, {pred.shape} and {molecule.shape}: one row per atom was expected"
            )
        if len(numbers) == 0 or not 0 < numbers.min() <= numbers.max() <= 118:
            raise ScoreError(f"{label}: its x are no elements: they must be atomic number − 1, 0 to 117")
        if parts["repeat_idx_to_idx"][k].size != 1:
            raise ScoreError(f"{label}: its repeat_idx_to_idx is not one number: write the file again")
        which = int(parts["repeat_idx_to_idx"][k].ravel()[0])
        identity = f"{path.stem}-{which}"
        owner: Int[np.ndarray, " atoms"] = number_without_gaps(molecule.tolist())
        if which not in groups:
            groups[which] = (Frame(numbers, truth, owner, identity), [])
        known = groups[which][0]
        if not np.array_equal(known.numbers, numbers) or np.abs(known.positions - truth).max() > SAME_TRUTH:
            raise ScoreError(
                f"{label}: it is called a repeat of cluster {which}, but has another truth: write the file again"
            )
        groups[which][1].append(Frame(numbers, pred, owner, identity))
    return list(groups.values())


def _parts(path: Path, tensors: dict[str, Any], slices: dict[str, Any], key: str) -> list[np.ndarray]:
    """One entry of a file, cut into clusters."""
    import torch

    whole, ends = tensors.get(key), slices.get(key)
    if not (isinstance(whole, torch.Tensor) and isinstance(ends, torch.Tensor)):
        raise ScoreError(
            f"{path.name} lacks {key} or its slices: give batch_*.pt as AssembleFlow writes them"
        )
    ends = ends.long().ravel()
    if (
        whole.dim() == 0
        or len(ends) < 2
        or int(ends[0]) != 0
        or int(ends[-1]) != len(whole)
        or bool((ends.diff() < 0).any())
    ):
        raise ScoreError(f"{path.name} is damaged: the slices of {key} do not fit its length: write it again")
    return [
        part.detach().float().numpy() if part.is_floating_point() else part.numpy()
        for part in whole.split(ends.diff().tolist())
    ]
