"""Result files of AssembleFlow: read without its library, found in the reference, and nothing else let in."""

from __future__ import annotations

import os
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kflow_sci.assembly.scoring.batches import identify, read_batches
from kflow_sci.assembly.scoring.frame import Frame
from kflow_sci.assembly.scoring.reading import read_groups
from kflow_sci.errors import ScoreError

SIZES = (3, 4)  # atoms per molecule of two clusters of 17


@pytest.fixture
def geometric(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Classes that pickle under the names of PyTorch Geometric, and are gone again when a file is read."""
    found: dict[str, Any] = {}
    for parent in ("torch_geometric", "torch_geometric.data"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    for module_name, names in {
        "torch_geometric.data.data": ("Data", "DataEdgeAttr", "DataTensorAttr"),
        "torch_geometric.data.storage": ("GlobalStorage",),
    }.items():
        module = types.ModuleType(module_name)
        for name in names:
            kind = type(name, (), {"__module__": module_name, "__qualname__": name})
            setattr(module, name, kind)
            found[name] = kind
        monkeypatch.setitem(sys.modules, module_name, module)
    return types.SimpleNamespace(**found)


def tensors(repeats: int = 2, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Entries of two clusters, the first ``repeats`` times, and where each begins."""
    generator = torch.Generator().manual_seed(seed)
    truths = [10 * torch.rand((17 * n, 3), generator=generator) for n in SIZES]
    which = [0] * repeats + [1]
    atoms = [17 * SIZES[w] for w in which]
    entries = {
        "x": torch.cat([torch.tensor([7, 0, 0, 5][:n]).repeat(17) for n in (SIZES[w] for w in which)]),
        "initial_positions": torch.zeros(sum(atoms), 3),
        "final_positions": torch.cat([truths[w] for w in which]),
        "intra_batch": torch.cat([torch.arange(17).repeat_interleave(SIZES[w]) for w in which]),
        "repeat_idx_to_idx": torch.tensor(which),
    }
    for step in (0, 10, 200, 50):
        entries[f"pred_positions_tid_{step}"] = entries["final_positions"] + step / 100
    ends = torch.tensor([0, *np.cumsum(atoms)])
    slices = dict.fromkeys(entries, ends)
    slices["repeat_idx_to_idx"] = torch.arange(len(which) + 1)
    return entries, slices


def save(path: Path, geometric: types.SimpleNamespace, entries: dict, slices: dict) -> Path:
    data, store = geometric.Data(), geometric.GlobalStorage()
    vars(store).update(_mapping=entries, _parent=data)
    vars(data).update(
        _edge_attr_cls=geometric.DataEdgeAttr, _tensor_attr_cls=geometric.DataTensorAttr, _store=store
    )
    torch.save((data, slices), path)
    return path


def one_line(error: pytest.ExceptionInfo[ScoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_truths_and_samples_of_the_last_step_are_read(
    tmp_path: Path, geometric: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "batch_0.pt", geometric, *tensors())
    monkeypatch.undo()
    groups = read_batches(path)
    assert [(truth.id, len(samples)) for truth, samples in groups] == [("batch_0-0", 2), ("batch_0-1", 1)]
    truth, (sample, _) = groups[0]
    assert truth.numbers[:3].tolist() == [8, 1, 1]
    assert truth.n_molecules == sample.n_molecules == 17
    assert np.abs(sample.positions - truth.positions - 2.0).max() < 1e-5, "step 200, not 50"
    assert truth.positions.dtype == np.float64


def test_a_file_of_the_library_itself_is_read(tmp_path: Path) -> None:
    data_module = pytest.importorskip("torch_geometric.data", exc_type=ImportError)
    entries, slices = tensors()
    parts = []
    for k in range(3):
        part = data_module.Data()
        for key, whole in entries.items():
            part[key] = whole[slices[key][k] : slices[key][k + 1]]
        parts.append(part)
    torch.save(data_module.InMemoryDataset.collate(parts), tmp_path / "batch_0.pt")
    groups = read_batches(tmp_path)
    assert [(truth.id, len(samples)) for truth, samples in groups] == [("batch_0-0", 2), ("batch_0-1", 1)]


def test_a_folder_is_read_in_the_order_of_its_numbers_and_a_gap_is_refused(
    tmp_path: Path, geometric: types.SimpleNamespace
) -> None:
    for k in range(11):
        save(tmp_path / f"batch_{k}.pt", geometric, *tensors(seed=k))
    (tmp_path / "notes.txt").write_text("mine")
    ids = [truth.id for truth, _ in read_batches(tmp_path)]
    assert ids[::2] == [f"batch_{k}-0" for k in range(11)]
    (tmp_path / "batch_4.pt").unlink()
    with pytest.raises(ScoreError, match=r"lacks batch_4.pt \(1 missing below batch_10.pt\)") as error:
        read_batches(tmp_path)
    one_line(error)


def test_samples_find_their_reference_by_elements_and_distances(
    tmp_path: Path, geometric: types.SimpleNamespace
) -> None:
    save(tmp_path / "batch_0.pt", geometric, *tensors())
    groups = read_batches(tmp_path)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    refs = [
        replace(truth, id=f"r{k}", positions=truth.positions @ turn.T + 5)
        for k, (truth, _) in enumerate(groups)
    ]
    extra = replace(refs[0], id="unused", positions=refs[0].positions * 1.1)
    samples = identify(groups, [extra, *refs[::-1]], "REF")
    assert [sample.id for sample in samples] == ["r0", "r0", "r1"]
    with pytest.raises(
        ScoreError, match=r"the truth of batch_0-0 \(51 atoms in 17 molecules\) is in no frame of REF"
    ):
        identify(groups, [extra, refs[1]], "REF")


def test_read_groups_takes_the_truths_of_the_files_where_there_is_no_reference(
    tmp_path: Path, geometric: types.SimpleNamespace
) -> None:
    save(tmp_path / "batch_0.pt", geometric, *tensors())
    groups, data = read_groups(tmp_path, None)
    assert [(truth.id, len(samples)) for truth, samples in groups] == [("batch_0-0", 2), ("batch_0-1", 1)]
    assert len(data["pred_sha256"]) == 64
    with pytest.raises(ScoreError, match="give the reference"):
        read_groups(tmp_path / "a.xyz", None)


class Evil:
    """Makes a folder when it is loaded by a loader that runs what it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_not_run_and_its_name_is_said(tmp_path: Path) -> None:
    torch.save((Evil(tmp_path / "made"), {}), tmp_path / "batch_0.pt")
    with pytest.raises(ScoreError, match=r"names \w+.mkdir, which is not loaded") as error:
        read_batches(tmp_path)
    one_line(error)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content", [{"model": torch.zeros(3)}, torch.zeros(3), (torch.zeros(2), {}), (1, 2, 3), []]
)
def test_other_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "batch_0.pt")
    with pytest.raises(ScoreError, match="is no result file of AssembleFlow") as error:
        read_batches(tmp_path)
    one_line(error)


@pytest.mark.parametrize("content", [b"", b"junk", bytes(range(256)) * 9, b"PK\x03\x04" + bytes(99)])
def test_what_torch_cannot_load_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "batch_0.pt").write_bytes(content)
    with pytest.raises(ScoreError, match="is no result file of AssembleFlow") as error:
        read_batches(tmp_path)
    one_line(error)


def test_a_truncated_file_is_refused(tmp_path: Path, geometric: types.SimpleNamespace) -> None:
    path = save(tmp_path / "batch_0.pt", geometric, *tensors())
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(ScoreError, match="damaged"):
        read_batches(path)


def test_folders_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="holds no batch_0"):
        read_batches(tmp_path)
    with pytest.raises(ScoreError, match="does not exist"):
        read_batches(tmp_path / "nowhere")


def remove(key: str) -> Any:
    return lambda entries, slices: entries.pop(key)


def put(key: str, value: torch.Tensor) -> Any:
    return lambda entries, slices: entries.update({key: value})


def cut(key: str, value: torch.Tensor) -> Any:
    return lambda entries, slices: slices.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("x"), "lacks x or its slices"),
        (remove("intra_batch"), "lacks intra_batch"),
        (put("x", torch.full((170,), 200)), "no elements"),
        (put("final_positions", torch.zeros(170, 2)), "one row per atom"),
        (put("final_positions", torch.rand(170, 3)), "a repeat of cluster 0, but has another truth"),
        (cut("x", torch.tensor([0, 51, 102])), "slices of x do not fit"),
        (cut("x", torch.tensor([0, 51, 170])), r"entries hold \[2, 3\] clusters"),
        (cut("x", torch.tensor([0, 102, 51, 170])), "slices of x do not fit"),
    ],
)
def test_entries_that_do_not_fit_are_refused(
    tmp_path: Path, geometric: types.SimpleNamespace, change: Any, message: str
) -> None:
    entries, slices = tensors()
    change(entries, slices)
    save(tmp_path / "batch_0.pt", geometric, entries, slices)
    with pytest.raises(ScoreError, match=message) as error:
        read_batches(tmp_path)
    one_line(error)


def test_a_file_from_before_sampling_is_refused(tmp_path: Path, geometric: types.SimpleNamespace) -> None:
    entries, slices = tensors()
    entries = {key: value for key, value in entries.items() if not key.startswith("pred")}
    save(tmp_path / "batch_0.pt", geometric, entries, slices)
    with pytest.raises(ScoreError, match="holds no pred_positions_tid"):
        read_batches(tmp_path)


def test_a_prediction_that_is_not_finite_is_kept_for_the_count(
    tmp_path: Path, geometric: types.SimpleNamespace
) -> None:
    entries, slices = tensors()
    entries["pred_positions_tid_200"][5] = float("nan")
    save(tmp_path / "batch_0.pt", geometric, entries, slices)
    ((_, samples), _) = read_batches(tmp_path)
    assert isinstance(samples[0], Frame)
    assert np.isnan(samples[0].positions).any()
