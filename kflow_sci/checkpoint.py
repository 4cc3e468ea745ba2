"""Weights on disk: one safetensors file that carries its own json header.

The one idea: loading can run no code. Tensors are safetensors, everything else is plain json in the metadata
of the same file, so one file is a whole checkpoint, and it is complete or absent. Before any tensor is read,
the sizes the file promises are held against the sizes it has; what is missing, cut off, a pickle, or from
another format is refused in one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from kflow_sci import __version__
from kflow_sci.errors import CheckpointError
from kflow_sci.files import atomic_write

FORMAT = 1
"""Version of the header; a reader refuses every other one."""

_KEY = "kflow"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 100_000_000  # the limit of the safetensors format itself


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a json header as one file, atomically; equal content gives equal bytes.

    Args:
        path: The file, ``*.safetensors`` by custom.
        tensors: Name to tensor, any shape and device; copied, so tied weights may be given twice.
        header: Plain json values (what model, which step, scores); ``format`` and ``package`` are added.

    Raises:
        CheckpointError: ``header`` is not plain finite json.
        OutputError: The place cannot be written.
    """
    try:
        text = json.dumps(
            {**header, "format": FORMAT, "package": __version__}, sort_keys=True, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"header of {path} is not plain json ({error}): pass str, int, finite float"
        ) from error
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path) as beside:
        beside.write_bytes(save(plain, metadata={_KEY: text}))


def read_header(path: str | Path) -> dict[str, Any]:
    """The json header alone, after the whole-file checks; reads no tensor.

    Raises:
        CheckpointError: As ``load_checkpoint``.
    """
    path = Path(path)
    table = _table(path)
    plain = table.get("__metadata__")
    if not isinstance(plain, dict) or _KEY not in plain:
        raise CheckpointError(
            f"{path} is safetensors, but kflow did not write it: give a file made by `kflow train`"
        )
    try:
        header: dict[str, Any] = dict(json.loads(plain[_KEY]))
    except (ValueError, TypeError) as error:
        raise _damaged(path) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {header.get('format')} (kflow {header.get('package', '?')}), but "
            f"this kflow {__version__} reads format {FORMAT}: use that version, or train again"
        )
    return header


def load_checkpoint(
    path: str | Path, *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that ``save_checkpoint`` wrote.

    Raises:
        CheckpointError: The file is missing, empty, truncated, a pickle (``.pt``, ``.ckpt``), of another
            format, or no checkpoint at all.
    """
    header = read_header(path)
    try:
        return load_file(path, device=str(device)), header
    except SafetensorError as error:
        raise _damaged(path) from error


def load_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy ``tensors`` into ``module``, which must have exactly these names and shapes.

    Raises:
        CheckpointError: A name is missing or unknown, or a shape differs; ``module`` is untouched then.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    advice = "the file belongs to a model with other settings"
    if missing:
        raise CheckpointError(
            f"{source} lacks {len(missing)} tensors of the model, first {missing[0]}: {advice}"
        )
    if unknown:
        raise CheckpointError(f"{source} has {len(unknown)} tensors too many, first {unknown[0]}: {advice}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise CheckpointError(
                f"{name} has shape {tuple(tensors[name].shape)} in {source}, but {tuple(tensor.shape)} in "
                f"the model: {advice}"
            )
    module.load_state_dict(dict(tensors))


def _table(path: Path) -> dict[str, Any]:
    """The safetensors table of contents, after checking that the file is whole."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"weights {path}: {what}; give the .safetensors file that `kflow train` wrote")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_LENGTH_BYTES + 1)
            length = int.from_bytes(head[:_LENGTH_BYTES], "little")
            if size == 0:
                raise CheckpointError(f"{path} is empty (0 bytes): copy or train it again")
            if head[_LENGTH_BYTES:] != b"{" or length > _LARGEST_HEADER:
                raise CheckpointError(_not_safetensors(path, head))
            file.seek(_LENGTH_BYTES)
            raw = file.read(length)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path} ({error.strerror or error}): check its permissions"
        ) from error
    begin = _LENGTH_BYTES + length
    if len(raw) < length:
        raise CheckpointError(
            f"{path} is truncated ({size} bytes, its header alone needs {begin}): copy it again"
        )
    try:
        table: dict[str, Any] = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"]
        end = begin + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _damaged(path) from error
    if size != end:
        what = "truncated" if size < end else "damaged"
        raise CheckpointError(f"{path} is {what} ({size} bytes, its header promises {end}): copy it again")
    return table


def _damaged(path: str | Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged (its safetensors header is not readable): copy it again")


def _not_safetensors(path: Path, head: bytes) -> str:
    # torch.save writes a zip archive, older versions and plain pickles begin with the protocol byte 0x80
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return (
            f"{path} is a pickle (torch.save), which can run any code when loaded: kflow reads only "
            ".safetensors; convert it with safetensors.torch.save_file in a place you trust"
        )
    return (
        f"{path} is no checkpoint (it begins with {head!r}): give the .safetensors that `kflow train` wrote"
    )
