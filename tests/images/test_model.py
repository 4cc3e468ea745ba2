"""The image model: the same path and solver, told conditions by scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kflow_sci.errors import ConfigError, ImageError, KFlowError
from kflow_sci.images.config import PREDICTIONS, ImageConfig
from kflow_sci.images.model import ImageBatch, ImageModel
from kflow_sci.images.shells import ImageShells, fit_shells
from kflow_sci.images.told import plan_of, read_telling
from kflow_sci.transforms.pca import PCATransform
from tests.images.small_model import small_config, small_model


def seed(n: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def batch(n: int = 6) -> ImageBatch:
    x = torch.randn(n, 1, 8, 8, generator=seed(3))
    return ImageBatch(tuple(map(str, range(n))), x, torch.tensor([[i % 3, i % 2] for i in range(n)]))


class Oracle(torch.nn.Module):
    """Knows the one image there is, and answers what it is asked for."""

    def __init__(self, model: ImageModel, image: torch.Tensor) -> None:
        super().__init__()
        self.owner, self.image = [model], image

    def forward(
        self, x: torch.Tensor, s: torch.Tensor, alpha: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        model, (target,) = self.owner[0], [self.image.expand_as(x)]
        path = model.path()
        if model.config.prediction == "endpoint":
            return target
        # the noise is what x holds beside the image
        noise = path.convert(target, x, s, given="endpoint", wanted="noise")
        if model.config.prediction == "velocity":
            return target - noise
        from kflow_sci.flow.residual import Residual

        return Residual(path, model.config.variance).target(noise, target, s)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_net_that_knows_the_answer_has_no_loss_and_its_samples_are_the_image(
    prediction: str, overlap: float
) -> None:
    model = small_model(prediction=prediction, overlap=overlap)
    image = torch.randn(1, 1, 8, 8, generator=seed(5))
    model.net = Oracle(model, image)
    model.register_parameter("anchor", torch.nn.Parameter(torch.zeros(1)))
    one = ImageBatch(("a",) * 9, image.expand(9, -1, -1, -1), torch.zeros(9, 2).long())
    assert model.loss(one, seed())["loss"] < 1e-6
    found = model.sample(3, seed())
    assert torch.allclose(found.x, image.expand(3, -1, -1, -1), atol=1e-3) and found.calls == 6


def test_plain_flow_matching_is_one_setting_and_its_velocity_loss_is_the_textbook_one() -> None:
    model, b = small_model(prediction="velocity", overlap=1.0, drop=0.0), batch()
    noise = torch.randn(b.x.shape, generator=seed(7))
    # The net answers zero, so the loss is the mean square of x₁ − x₀ whatever the times are.
    assert model.loss(b, seed(7))["loss"].item() == pytest.approx(
        (b.x - noise).square().mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("net", [{"net": "mlp"}, {"net": "dit", "patch": 2, "hidden": 8, "heads": 2},
                                 {"net": "unet", "hidden": 8, "layers": 2, "heads": 2}])  # fmt: skip
def test_every_net_trains_under_every_prediction(net: dict[str, Any], prediction: str) -> None:
    model = small_model(prediction=prediction, **net)
    loss = model.loss(batch(), seed())["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_conditions_change_at_their_scales_and_guidance_costs_calls_only_where_it_acts() -> None:
    model = small_model()
    seen: list[tuple[float, list[int]]] = []

    def net(x: torch.Tensor, s: torch.Tensor, alpha: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        seen.append((round(float(model.schedule.scale(s)[0]), 3), condition[0].tolist()))
        return torch.zeros_like(x)

    model.net.forward = net  # type: ignore[method-assign]
    plan = plan_of([read_telling("class=b@0-2"), read_telling("ink=thick@1-2")], 3)
    found = model.sample(2, seed(), 3, plan=plan, guidance=[1.0, 2.0, 2.0])
    # shells 0, 1, 2: class alone; both, guided (a second call without); nothing told, so nothing to guide
    assert seen == [(0.0, [1, 2]), (1.0, [1, 1]), (1.0, [3, 2]), (2.0, [3, 2])]
    assert found.calls == 4


def test_a_label_is_dropped_over_the_last_share_of_the_scale_axis() -> None:
    model = small_model()
    told: list[int] = []

    def net(x: torch.Tensor, s: torch.Tensor, alpha: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        told.append(int(condition[0, 0]))
        return torch.zeros_like(x)

    model.net.forward = net  # type: ignore[method-assign]
    model.sample(1, seed(), 3, label="c", drop=1 / 3)
    model.sample(1, seed(), 3, label=2, drop=1.0)
    assert told == [2, 2, 3, 3, 3, 3]


def test_a_sample_depends_on_the_seed_and_nothing_else() -> None:
    model = small_model()
    one, two = (model.sample(3, seed(4)).x for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, model.sample(3, seed(5)).x)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"guidance": 1.5}, "guidance strengthens a condition, but none is given"),
        ({"label": "z"}, "class 'z' is unknown to this model: choose a, b, c"),
        ({"label": 7}, "class '7' is unknown to this model"),
        ({"label": ["a", "b", "c"]}, "3 values of condition 'class' for 2 samples"),
        ({"label": "a", "plan": [(0, {})]}, "a plan is given too"),
        ({"plan": [(0, {"colour": "red"})]}, "condition 'colour' is unknown to this model; known are class, ink"),
        ({"plan": [(0, {}), (4, {"class": "a"})]}, r"scale is 4, outside \[0, 3\]: the model has 3 shells"),
        ({"label": "a", "guidance": [1.0, 2.0]}, "2 guidance weights for 3 shells"),
        ({"label": "a", "guidance": float("nan")}, "guidance is nan: give finite numbers"),
        ({"label": 1.5}, "class '1.5' is unknown to this model: choose a, b, c"),
        ({"drop": 1.5}, r"drop is 1.5, outside \[0, 1\]"),
        ({"steps": 2}, "2 steps for 3 shells"),
        ({"method": "leap"}, "solver 'leap' is unknown"),
        ({"start": torch.zeros(2, 1, 4, 4)}, "the start has shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_sampled_is_said_in_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(KFlowError, match=said) as caught:
        small_model().sample(2, seed(), **arguments)
    assert "\n" not in str(caught.value)


def test_a_label_for_a_model_without_conditions_is_refused() -> None:
    with pytest.raises(ImageError, match=r"label 'a' cannot be told: the model has no condition"):
        small_model(conditions={}).sample(2, seed(), label="a")


@pytest.mark.parametrize("text", ["class", "class=a@", "class=a@2-", "=a", "class=a@x"])
def test_a_telling_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match=r"tells nothing: write name=value"):
        read_telling(text)


def test_tellings_must_not_overlap_and_must_lie_within_the_scales() -> None:
    with pytest.raises(ImageError, match=r"class is told twice at scale 1"):
        plan_of([read_telling("class=a@0-2"), read_telling("class=b@1-3")], 3)
    with pytest.raises(ImageError, match=r"class is told from scale 2 to 5, but scales are 0 … 3"):
        plan_of([read_telling("class=a@2-5")], 3)


def test_the_config_survives_json() -> None:
    config = small_config(shells=(2.0, 3.5), conditions={"class": ("a", "b")})
    assert ImageConfig.from_dict(ImageModel(config).config_dict()) == config
    with pytest.raises(ConfigError, match=r"model settings \['odd'\] do not fit"):
        ImageConfig.from_dict({**ImageModel(config).config_dict(), "odd": 1})


def test_shells_of_equal_energy_become_numbers_that_make_the_same_transform() -> None:
    images = torch.randn(40, 2, 8, 8, generator=seed()).cumsum(-1).cumsum(-2)
    for name in ("fourier", "pca"):
        found, transform = fit_shells(ImageShells(name, 3), images, "energy")
        pca = transform if isinstance(transform, PCATransform) else None
        again = PCATransform(pca.basis, pca.values, 3, shape=(2, 8, 8), cut=[int(k) for k in found.shells]) if pca \
            else found.make((2, 8, 8))  # fmt: skip
        assert torch.equal(again.shell_of, transform.shell_of) and transform.n_shells == 3


@pytest.mark.parametrize(
    ("shells", "cut", "said"),
    [
        (
            ImageShells("wavelet", 3),
            "energy",
            "cut = 'energy' shares out a number of shells of fourier or pca",
        ),
        (ImageShells("wavelet", (1.0,)), "even", "wavelets have a number of shells, at least 2"),
        (ImageShells("wavelet", 5, "haar"), "even", "size 8 cannot be halved 4 times: use 16"),
        (ImageShells("pca", "unit"), "even", "are rings of fourier"),
        (ImageShells("fourier", 40), "even", "hold no coefficient"),
        (ImageShells("curvelet", 3), "even", "transform 'curvelet' is unknown"),
    ],
)
def test_shells_that_a_transform_does_not_have_are_refused(shells: ImageShells, cut: str, said: str) -> None:
    with pytest.raises(KFlowError, match=said):
        fit_shells(shells, torch.randn(4, 1, 8, 8), cut)


def test_settings_that_a_net_does_not_have_are_refused() -> None:
    for changes, said in (
        ({"patch": 2}, "net mlp has no patches"),
        ({"heads": 2}, "net mlp has no attention"),
        ({"net": "cnn"}, "net 'cnn' is unknown: choose dit, unet, conv, mlp"),
        ({"net": "unet", "layers": 5}, "size 8 cannot be halved 4 times: sizes 16 can"),
        ({"prediction": "score"}, "prediction 'score' is unknown"),
        ({"prediction": "residual", "variance": (1.0,)}, "expected 3 positive numbers"),
    ):
        with pytest.raises(KFlowError, match=said):
            small_model(**changes)
