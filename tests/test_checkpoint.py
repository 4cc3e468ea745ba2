"""A checkpoint is complete or refused, and loading it runs no code."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kflow_sci.checkpoint import FORMAT, load_checkpoint, load_weights, read_header, save_checkpoint
from kflow_sci.errors import CheckpointError, OutputError

HEADER = {"model": {"hidden": 8, "mu": "linear"}, "data": "sha256:00", "step": 7, "metrics": {"pm": 1.25}}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}, HEADER)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message


def test_tensors_and_header_come_back_exactly(weights: Path) -> None:
    tensors, header = load_checkpoint(weights)
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3)) and tensors["b"].dtype == torch.int64
    assert {key: header[key] for key in HEADER} == HEADER
    assert header["format"] == FORMAT and isinstance(header["package"], str)
    assert read_header(weights) == header


def test_the_file_is_plain_safetensors_with_a_json_header(weights: Path) -> None:
    with safe_open(weights, framework="pt") as file:
        assert sorted(file.keys()) == ["a", "b"]
        assert json.loads(file.metadata()["kflow"])["step"] == 7


def test_equal_content_gives_equal_bytes(tmp_path: Path, weights: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(
        again, {"b": torch.tensor(3), "a": torch.arange(6.0).reshape(2, 3)}, dict(reversed(HEADER.items()))
    )
    assert again.read_bytes() == weights.read_bytes()


def test_tied_and_transposed_tensors_are_saved_by_value(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "t.safetensors", {"a": tied, "b": tied, "t": tied.T}, {})
    tensors, _ = load_checkpoint(tmp_path / "t.safetensors")
    assert torch.equal(tensors["a"], tensors["b"]) and torch.equal(tensors["t"], tied.T)


def test_nothing_half_written_is_left_behind(weights: Path) -> None:
    assert [path.name for path in weights.parent.iterdir()] == ["w.safetensors"]


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.safetensors", "does not exist")
    refused(tmp_path, "folder")


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.safetensors").touch()
    refused(tmp_path / "e.safetensors", "empty")


@pytest.mark.parametrize("kept", [9, 40, 300, -1])
def test_truncated_file_is_refused(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    refused(weights, "truncated", "copy it again")


def test_trailing_bytes_are_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"x")
    refused(weights, "damaged")


class _Bomb:
    """Removes its own evidence if anybody unpickles it."""

    def __init__(self, victim: Path) -> None:
        self.victim = str(victim)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.remove, (self.victim,)


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle"])
def test_pickles_are_refused_without_being_run(tmp_path: Path, name: str, writer: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / name
    victim.touch()
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Bomb(victim)))
    else:
        torch.save(
            {"w": torch.zeros(2), "bomb": _Bomb(victim)}, path, _use_new_zipfile_serialization=writer == "zip"
        )
    refused(path, "pickle")
    assert victim.exists()


@pytest.mark.parametrize("content", [b"H", b"hello world, no weights here", bytes(range(256)), b"\0" * 64])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors", "no checkpoint")


@pytest.mark.parametrize(
    "table",
    [
        b"{nonsense" + b" " * 7,
        b'{"a":1}' + b" " * 9,
        b'{"a":{"data_offsets":[]}}',
        b'{"__metadata__":{"kflow":"{"}}',
        b'{"__metadata__":{"kflow":"7"}}',
        b'{"__metadata__":{"kflow":"{\\"format\\":1}"},"a":{"dtype":"F9","shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_damaged_header_is_refused(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(len(table).to_bytes(8, "little") + table)
    refused(tmp_path / "x.safetensors", "damaged")


def test_safetensors_of_another_program_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    refused(tmp_path / "x.safetensors", "kflow did not write it")


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"format": FORMAT + 1, "package": "9.9"})
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"kflow": text})
    refused(tmp_path / "x.safetensors", f"format {FORMAT + 1}", f"reads format {FORMAT}", "9.9")


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_header_that_is_not_json_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match="plain json"):
        save_checkpoint(tmp_path / "x.safetensors", {}, {"score": value})
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write") as caught:
        save_checkpoint(tmp_path / "file" / "x.safetensors", {}, {})
    assert "\n" not in str(caught.value)


def test_weights_load_into_the_same_model(tmp_path: Path) -> None:
    source, target = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_checkpoint(tmp_path / "x.safetensors", source.state_dict(), {})
    load_weights(target, load_checkpoint(tmp_path / "x.safetensors")[0], "x")
    assert torch.equal(source.weight, target.weight) and torch.equal(source.bias, target.bias)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (torch.nn.Linear(4, 2), ("weight", "(2, 4)", "(2, 3)")),
        (torch.nn.Linear(3, 2, bias=False), ("lacks 1", "bias")),
        (torch.nn.Sequential(), ("lacks 2", "bias")),
    ],
)
def test_weights_of_another_shape_are_refused_and_the_model_stays(
    other: torch.nn.Module, words: tuple[str]
) -> None:
    model = torch.nn.Linear(3, 2)
    before = model.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, other.state_dict(), "x.safetensors")
    assert all(word in str(caught.value) for word in ("x.safetensors", *words))
    assert torch.equal(before, model.weight)


def test_too_many_tensors_are_refused() -> None:
    with pytest.raises(CheckpointError, match="too many, first bias"):
        load_weights(torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(3, 2).state_dict(), "x")


def test_loading_weights_needs_no_lightning() -> None:
    code = "import sys, kflow_sci.checkpoint; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
