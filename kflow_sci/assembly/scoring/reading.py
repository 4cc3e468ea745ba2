"""Reads clusters to score, from any program's extended xyz, and finds what belongs together.

The one idea: prediction and reference must hold the same atoms in the same order, so molecules are told apart once, in
the reference, and whatever does not fit is refused with the number of the frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from kflow_sci.assembly.elements import SYMBOLS
from kflow_sci.assembly.scoring.batches import files_of, identify, is_batches, read_batches
from kflow_sci.assembly.scoring.frame import Frame, molecules_by_bonds, number_without_gaps
from kflow_sci.errors import ScoreError

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".xyz", ".extxyz")
UNKNOWN = -1  # molecule of an atom in a file without a column `molecule`


def read_frames(path: str | Path) -> list[Frame]:
    """Read every frame of an xyz or extended xyz file.

    Cell and periodicity are ignored: a cluster has none. The molecule of each atom is taken from the integer column
    ``molecule`` and is ``UNKNOWN`` for all atoms of a frame without one.

    Args:
        path: ``.xyz`` or ``.extxyz``.

    Returns:
        The frames in file order; ``id`` from the info key of that name, else empty.

    Raises:
        ScoreError: the file is missing, empty, of another kind, truncated, or not text.
    """
    from ase.io import iread
    from ase.io.extxyz import XYZError

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ScoreError(f"{path.name} is not an xyz file: give .xyz or .extxyz, one frame per cluster")
    if not path.is_file():
        raise ScoreError(f"{path} does not exist or is not a file: check the path")
    frames: list[Frame] = []
    try:
        for atoms in iread(path, index=":", format="extxyz"):
            frames.append(_frame(atoms, f"frame {len(frames)} of {path.name}"))
    except ScoreError:
        raise
    except PermissionError:
        raise ScoreError(f"{path} cannot be read: permission denied") from None
    except UnicodeDecodeError:
        raise ScoreError(f"{path.name} is not text: give an xyz or extended xyz file") from None
    except (XYZError, ValueError, KeyError, IndexError, TypeError) as error:
        what = " ".join(str(error).split())[:100]
        raise ScoreError(
            f"{path.name} breaks off or is no xyz after {len(frames)} frame(s) ({what}): repair it"
        ) from None
    if not frames:
        raise ScoreError(f"{path.name} holds no frame: give an xyz file with one frame per cluster")
    return frames


def _frame(atoms: Atoms, label: str) -> Frame:
    if len(atoms) == 0:
        raise ScoreError(f"{label} holds no atom: remove it, or write its atoms")
    if (atoms.numbers == 0).any():
        raise ScoreError(f"{label}: atom {int(np.argmin(atoms.numbers))} has an unknown element: repair it")
    molecule = np.full(len(atoms), UNKNOWN)
    if atoms.has("molecule"):
        column = np.asarray(atoms.get_array("molecule"))
        if column.ndim != 1 or column.dtype.kind not in "iu":
            raise ScoreError(
                f"{label}: its column `molecule` is not one whole number per atom: write it as molecule:I:1"
            )
        molecule = number_without_gaps(column.tolist())
    identity = str(atoms.info.get("id", "")).strip()
    return Frame(
        atoms.numbers.astype(np.int64), atoms.positions.astype(np.float64), molecule, identity, _info(atoms)
    )


def _info(atoms: Atoms) -> dict[str, Any]:
    """The values of a frame's comment line as plain ones; ASE files the energy under the results of a calculator."""
    results = {} if atoms.calc is None else {k: v for k, v in atoms.calc.results.items() if np.ndim(v) == 0}
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in {**atoms.info, **results}.items()
    }


def read_groups(
    pred: str | Path, ref: str | Path | None
) -> tuple[list[tuple[Frame, list[Frame]]], dict[str, str]]:
    """Read predictions and references, whatever they are kept in, and find what belongs together.

    Args:
        pred: An xyz or extended xyz file; or result files of AssembleFlow, see ``batches.read_batches``.
        ref: An xyz or extended xyz file. None for result files that hold their own truths.

    Returns:
        For each reference its samples, as ``group`` gives them; and names and digests of the files.

    Raises:
        ScoreError: a file cannot be read, the two do not fit, or there is no reference.
    """
    pred = Path(pred)
    if not is_batches(pred):
        if ref is None:
            raise ScoreError(
                f"{pred.name} holds predictions alone: give the reference clusters as second file"
            )
        groups = group(read_frames(pred), read_frames(ref), (pred.name, Path(ref).name))
        return groups, {"pred": pred.name, "pred_sha256": sha256(pred)} | _digest(ref)
    batches = read_batches(pred)
    files = files_of(pred)
    digests = "".join(sha256(file) for file in files).encode()
    single = sha256(files[0]) if pred.is_file() else hashlib.sha256(digests).hexdigest()
    data = {"pred": pred.name, "pred_sha256": single}
    if ref is None:
        frames, truths = [sample for _, mine in batches for sample in mine], [truth for truth, _ in batches]
        return group(frames, truths, (pred.name, pred.name)), data | {"ref": "the truths in PRED"}
    truths = [replace(frame, id=frame.id or str(k)) for k, frame in enumerate(read_frames(ref))]
    frames = identify(batches, truths, Path(ref).name)
    return group(frames, truths, (pred.name, Path(ref).name)), data | _digest(ref)


def _digest(ref: str | Path) -> dict[str, str]:
    return {"ref": Path(ref).name, "ref_sha256": sha256(ref)}


def sha256(path: str | Path) -> str:
    """Digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def group(
    pred: Sequence[Frame], ref: Sequence[Frame], names: tuple[str, str] = ("PRED", "REF")
) -> list[tuple[Frame, list[Frame]]]:
    """Find the samples of each reference.

    By ``id`` where every frame of both has one; else all samples belong to a single reference, or the two are
    matched one to one by order.

    Args:
        pred: Predicted frames.
        ref: Reference frames.
        names: What the two are called in messages.

    Returns:
        For each reference, checked, its samples; perhaps none. All have the reference's molecules.

    Raises:
        ScoreError: ids that occur twice in the reference or not at all, numbers of frames that do not fit, or a frame
            that does not have the atoms of its reference.
    """
    labels = [f"frame {k} of {names[0]}" for k in range(len(pred))]
    if all(frame.id for frame in pred) and all(frame.id for frame in ref):
        index: dict[str, int] = {}
        for k, frame in enumerate(ref):
            if frame.id in index:
                raise ScoreError(
                    f"frames {index[frame.id]} and {k} of {names[1]} have the same id {frame.id}: "
                    "give every reference an id of its own"
                )
            index[frame.id] = k
        unknown = [k for k, frame in enumerate(pred) if frame.id not in index]
        if unknown:
            raise ScoreError(
                f"{labels[unknown[0]]} has id {pred[unknown[0]].id}, which {names[1]} does not have "
                f"({len(unknown)} such frame(s)): add the reference or remove the frame"
            )
        owner = [index[frame.id] for frame in pred]
    elif len(ref) == 1:
        owner = [0] * len(pred)
    elif len(pred) == len(ref):
        owner = list(range(len(pred)))
    else:
        raise ScoreError(
            f"{names[0]} has {len(pred)} frames and {names[1]} has {len(ref)}, and not all have an id: "
            "give as many, or an info key id in each"
        )
    groups: list[tuple[Frame, list[Frame]]] = []
    for k, frame in enumerate(ref):
        mine = [i for i, j in enumerate(owner) if j == k]
        known = [pred[i].molecule for i in mine if not _is_unknown(pred[i])]
        label = f"frame {k} of {names[1]}"
        whole = _reference(frame, known[0] if known else None, label)
        whole = replace(whole, id=frame.id or str(k))
        groups.append((whole, [_fitting(pred[i], whole, labels[i], label) for i in mine]))
    return groups


def _is_unknown(frame: Frame) -> bool:
    return bool((frame.molecule == UNKNOWN).all())


def _reference(frame: Frame, fallback: Int[np.ndarray, " atoms"] | None, label: str) -> Frame:
    if not np.isfinite(frame.positions).all():
        atom = int(np.argmin(np.isfinite(frame.positions).all(axis=1)))
        raise ScoreError(f"{label}: atom {atom} has a coordinate that is not finite: repair the reference")
    molecule = frame.molecule
    if _is_unknown(frame):
        fits = fallback is not None and len(fallback) == len(frame.numbers)
        molecule = (
            fallback if fits and fallback is not None else molecules_by_bonds(frame.numbers, frame.positions)
        )
    whole = replace(frame, molecule=molecule)
    if whole.n_molecules < 2:
        raise ScoreError(
            f"{label} holds {whole.n_molecules} molecule: a cluster has at least 2; "
            "if its molecules touch, give a per-atom integer column `molecule`"
        )
    return whole


def _fitting(pred: Frame, ref: Frame, label: str, ref_label: str) -> Frame:
    """The sample with the molecules of its reference."""
    if len(pred.numbers) != len(ref.numbers):
        raise ScoreError(
            f"{label} has {len(pred.numbers)} atoms, but {ref_label} (id {ref.id}) has {ref.describe()}: "
            "write the same atoms in the same order"
        )
    wrong = np.flatnonzero(pred.numbers != ref.numbers)
    if len(wrong):
        i = int(wrong[0])
        same = np.array_equal(np.sort(pred.numbers), np.sort(ref.numbers))
        raise ScoreError(
            f"{label}: atom {i} is {_symbol(pred.numbers[i])}, but in {ref_label} (id {ref.id}) it is "
            f"{_symbol(ref.numbers[i])}: "
            + ("write the atoms in the order of the reference" if same else "the two hold different elements")
        )
    if not _is_unknown(pred) and not np.array_equal(pred.molecule, number_without_gaps(ref.molecule)):
        raise ScoreError(
            f"{label}: its column `molecule` divides the atoms in another way than {ref_label} (id {ref.id}): "
            "write the same molecules in the same order"
        )
    return replace(pred, molecule=ref.molecule, id=ref.id)


def _symbol(number: int) -> str:
    return SYMBOLS[number] if number < len(SYMBOLS) else f"element {number}"
