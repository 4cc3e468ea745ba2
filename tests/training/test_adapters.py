"""LoRA: what is trained, what is saved, and that nobody needs to know."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kflow_sci.checkpoint import read_header
from kflow_sci.errors import ConfigError, KFlowError
from kflow_sci.images.model import ImageModel, load_image_model
from kflow_sci.images.networks import make_net
from kflow_sci.images.start import begin_from
from kflow_sci.training import images
from kflow_sci.training.adapters import add_lora, merged_weights, trained_share
from kflow_sci.training.images import divide, new_image_model, train_images
from tests.images.small_model import train_config

SHAPE, SHELLS = (1, 8, 8), 3
NETS = {
    "dit": {"name": "dit", "patch": 2, "hidden": 16, "layers": 2, "heads": 2},
    "mlp": {"name": "mlp", "patch": 1, "hidden": 16, "layers": 2, "heads": 1},
    "unet": {"name": "unet", "patch": 1, "hidden": 8, "layers": 2, "heads": 2},
    "packed": {"name": "dit", "patch": 1, "hidden": 16, "layers": 1, "heads": 2, "packing": "db2"},
}


def net_of(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    net = make_net(**NETS[kind], shape=SHAPE, n_shells=SHELLS, conditions=[4])
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net.eval()


def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, *SHAPE, generator=generator)
    s, alpha = torch.rand(3, generator=generator), torch.rand(3, SHELLS, generator=generator)
    return x, s, alpha, torch.tensor([[0], [3], [4]])


def plain_weights(folder: Path, **changes: object) -> Path:
    config = train_config(folder, overlap=1.0, prediction="endpoint", **changes)
    assert train_images(config, device="cpu", show=False).finished
    return folder / "best.safetensors"


@pytest.mark.parametrize("kind", NETS)
def test_what_is_added_is_zero_at_first_and_saved_as_a_plain_net_afterwards(kind: str) -> None:
    net = net_of(kind)
    plain, names = copy.deepcopy(net), set(net.state_dict())
    add_lora(net, 2, seed=0)
    before = plain(*inputs())
    assert torch.allclose(net(*inputs()), before, atol=1e-6)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".lora_B." in name:
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    after = net(*inputs()).detach()
    assert (after - before).abs().max() > 1e-3
    merged = merged_weights(net)
    assert set(merged) == names
    plain.load_state_dict(merged)
    assert torch.allclose(plain(*inputs()), after, atol=1e-4 * float(after.abs().max()))


def test_a_product_of_low_rank_has_the_parameters_of_its_two_factors() -> None:
    net = net_of("mlp")
    total = sum(p.numel() for p in net.parameters())
    add_lora(net, 2, seed=0)
    # hidden 16: two layers tune 16→48, think 16→32→16; into 64→16, out 16→64, told.scale.2 16→16; and told.scale.0,
    # which hears s, 16 sines, 16 cosines and 3 shells, whole
    factors = 2 * 2 * ((16 + 48) + (16 + 32) + (32 + 16)) + 2 * ((64 + 16) + (16 + 64) + (16 + 16))
    assert trained_share(net) == (factors + 16 * 36 + 16, total)


def test_the_first_factors_follow_from_the_seed() -> None:
    one, two, other = net_of("dit"), net_of("dit"), net_of("dit")
    for net, seed in ((one, 5), (two, 5), (other, 6)):
        add_lora(net, 2, seed)
    same, differ = one.state_dict(), other.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in two.state_dict().items())
    assert any(not torch.equal(value, same[name]) for name, value in differ.items())


def test_a_rank_that_saves_nothing_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"lora_rank = 16 is not below 16, the rank of the largest layer: lower it"
    ):
        add_lora(net_of("dit"), 16, seed=0)


@pytest.mark.parametrize("shells", [3, 5])
def test_a_model_of_other_shells_begins_as_the_plain_flow_it_came_from(tmp_path: Path, shells: int) -> None:
    weights = plain_weights(tmp_path / "plain", steps=6)
    source, _ = load_image_model(weights)
    config = train_config("unused", overlap=1.0, prediction="endpoint", shells=shells, cut="even")
    model = new_image_model(config, divide(config)[0]).eval()
    begin_from(model, weights)
    # Windows that are the whole of time: all shells have the progress s, whatever their number.
    x, s, _, _ = inputs()
    condition = torch.tensor([[1, 2], [9, 0], [10, 3]])
    assert source(x, s, condition).abs().max() > 1e-4
    assert torch.allclose(model(x, s, condition), source(x, s, condition), atol=1e-5)


def test_a_fine_tuned_model_is_loaded_like_any_other_and_kept_what_was_frozen(tmp_path: Path) -> None:
    start = plain_weights(tmp_path / "plain")
    changes = {
        "start_from": str(start),
        "lora_rank": 2,
        "prediction": "endpoint",
        "overlap": 0.0,
        "shells": 3,
    }
    result = train_images(train_config(tmp_path / "lora", **changes), device="cpu", show=False)
    weights = result.folder / "best.safetensors"
    model, header = load_image_model(weights)
    assert type(model) is ImageModel and model.config.overlap == 0.0
    before, after = load_image_model(start)[0].state_dict(), model.state_dict()
    assert set(after) == set(before)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name for name in changed if name.endswith(".bias")} == {"net.told.scale.0.bias"}
    difference = after["net.think.0.0.weight"] - before["net.think.0.0.weight"]
    assert torch.linalg.matrix_rank(difference, rtol=1e-4) == 2
    assert header["started_from"]["trained"] < header["started_from"]["of"]
    assert torch.isfinite(model.sample(2, torch.Generator().manual_seed(0), label=3).x).all()
    assert read_header(weights)["settings"]["lora_rank"] == 2


def stopped_after(n: int, find: Callable[[int, int, int], int]) -> Callable[[int, int, int], int]:
    """As ``find``, but whoever asks for one image more is interrupted."""
    left = iter(range(n))

    def find_or_stop(seed: int, place: int, total: int) -> int:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return find(seed, place, total)

    return find_or_stop


def test_an_interrupted_fine_tuning_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = str(plain_weights(tmp_path / "plain"))
    changes = {"start_from": start, "lora_rank": 2, "prediction": "endpoint", "save_every": 1, "steps": 4}
    whole, parts = (train_config(tmp_path / name, **changes) for name in ("whole", "parts"))
    assert train_images(whole, device="cpu", show=False).finished
    with monkeypatch.context() as patch:
        patch.setattr(images, "_image", stopped_after(2 * whole.batch_size, images._image))
        assert not train_images(parts, device="cpu", show=False).finished
    assert train_images(parts, device="cpu", show=False).finished
    one, two = (load_image_model(Path(c.out) / "last.safetensors")[0].state_dict() for c in (whole, parts))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_rank": 2}, "lora_rank = 2, but start_from is null: give the weights that are adapted"),
        ({"start_from": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"start_from": "PLAIN", "hidden": 32}, "has hidden = 16, but the model to train 32: make them equal"),
        ({"start_from": "PLAIN", "prediction": "residual"}, "has prediction = 'endpoint', but the model to train 'res"),
        ({"start_from": "PLAIN", "conditions": ["class"]}, "has conditions = "),
        ({"start_from": "PLAIN", "lora_rank": 40}, "lora_rank = 40 is not below 16"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    if changes.get("start_from") == "PLAIN":
        changes = {**changes, "start_from": str(plain_weights(tmp_path / "plain"))}
    changes = {"prediction": "endpoint", **changes}
    with pytest.raises(KFlowError) as caught:
        train_images(train_config(tmp_path / "run", **changes), device="cpu", show=False)
    assert said in str(caught.value) and "\n" not in str(caught.value)
