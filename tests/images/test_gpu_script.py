"""The script that measures training on a GPU, as far as a machine without one can hold it to account."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "images_gpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("size", "published"), [("S", 6.06), ("B", 23.01), ("L", 80.71)])
def test_operations_are_twice_the_published_products(script: ModuleType, size: str, published: float) -> None:
    # Peebles & Xie, table 1, patches of 2, where a product with its sum counts once.
    forward, both = script.operations_per_image(size)
    assert forward / 1e9 == pytest.approx(2 * published, rel=0.005)
    # Backward has two products for each one forward, but for the first layer, whose input needs no gradient.
    assert both / forward == pytest.approx(3.0, rel=0.005)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA H100 80GB HBM3", 989.0), ("Abacus", None)],
)  # fmt: skip
def test_the_peak_is_that_of_the_card(script: ModuleType, name: str, peak: float | None) -> None:
    assert script.peak_of(name) == peak


def test_a_step_trains_every_weight_that_hears_the_loss(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(script.SIZES, "T", (16, 1, 2))
    torch.manual_seed(0)
    model = script.make_model("T", "wavelet", (2, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step = script.training_step(model, 4, torch.bfloat16, compiled=False)
    seconds = script.seconds_per_step(step, 2, 3, lambda: None)
    # After the first step the gates are open, so the next ones reach every layer.
    still = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert seconds > 0 and still <= {name for name in before if name.startswith("net.told.values")}
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_without_a_gpu_it_says_so_in_one_line(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["images_gpu.py"])
    assert script.main() == 2
    said = capsys.readouterr().err
    assert "torch sees no CUDA device" in said and said.count("\n") == 1
