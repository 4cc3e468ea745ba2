"""All scores at once: counts, floors, warnings; and the samples they are taken of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kflow_sci.errors import ImageError
from kflow_sci.images.data import MemoryImages
from kflow_sci.images.model import ImageModel
from kflow_sci.images.scores.classifier import Classifier
from kflow_sci.images.scores.evaluate import score_sets, told_accuracy, warnings_of
from kflow_sci.images.scores.frechet import frechet_distance
from kflow_sci.images.scores.kernel import kernel_distance
from kflow_sci.images.scores.neighbours import precision_recall
from kflow_sci.images.scores.sampling import Draws, conditions_for
from tests.images.small_model import small_config


def cloud(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, 3))


def test_every_score_has_its_counts_and_its_floor() -> None:
    samples, reference, real = cloud(50, 0, 0.5), cloud(30, 1), cloud(40, 2)
    found = {score.name: score for score in score_sets(samples, reference, real=real)}
    assert list(found) == ["frechet", "kernel", "precision", "recall"]
    assert found["frechet"].found.value == pytest.approx(frechet_distance(samples, reference))
    assert found["frechet"].floor is not None and found["kernel"].floor is not None
    assert found["frechet"].floor.value == pytest.approx(frechet_distance(real, reference))
    assert found["kernel"].floor.value == kernel_distance(real, reference).value
    assert (found["kernel"].samples, found["kernel"].reference) == (50, 30)
    assert (found["recall"].samples, found["recall"].reference) == (30, 30)  # equal numbers
    assert all(score.floor is None for score in score_sets(samples, reference))


def test_precision_and_recall_of_equal_numbers_use_all_images() -> None:
    samples, reference = cloud(30, 3, 0.5), cloud(30, 1)
    found = {score.name: score.found for score in score_sets(samples, reference, seed=5)}
    expected = precision_recall(samples, reference)
    assert (found["precision"], found["recall"]) == (expected.precision, expected.recall)


def test_the_dropping_ratio_stands_beside_both_of_its_distances() -> None:
    samples, reference, dropped = cloud(50, 0, 0.5), cloud(30, 1), cloud(50, 4, 0.9)
    found = {score.name: score.found.value for score in score_sets(samples, reference, dropped=dropped)}
    assert found["frechet_dropped"] == pytest.approx(frechet_distance(dropped, reference))
    assert found["cdr"] == pytest.approx(found["frechet_dropped"] / found["frechet"])


def test_the_share_of_samples_with_the_class_they_were_told() -> None:
    net = Classifier((1, 4, 4), ("a", "b"), 4, 2).eval()
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(2))
        net.head.bias.zero_()
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    found = told_accuracy(net, features, np.array([0, 1, 0, 0]), (features, np.array([0, 1, 1, 0])))
    assert found.found.value == 0.75 and found.floor is not None and found.floor.value == 1.0


def test_few_images_on_either_side_are_warned_of() -> None:
    assert warnings_of(5000, 5000, 64) == []
    assert [line.split(":")[0] for line in warnings_of(100, 2047, 64)] == ["samples", "reference"]
    assert "65 that 64 features need" in warnings_of(64, 5000, 64)[0]


def labelled() -> MemoryImages:
    """Three quarters of class a, always thick."""
    labels = torch.tensor([[0, 1]] * 30 + [[2, 1]] * 10)
    config = small_config()
    return MemoryImages(
        torch.zeros(40, 1, 8, 8), [str(i) for i in range(40)], dict(config.conditions), labels
    )


def test_conditions_are_as_frequent_as_in_training_and_keep_their_company() -> None:
    model = ImageModel(small_config())
    told = conditions_for(model, labelled(), 4000, seed=0)
    assert told is not None and set(told[:, 0].tolist()) == {0, 2} and set(told[:, 1].tolist()) == {1}
    assert float((told[:, 0] == 0).double().mean()) == pytest.approx(0.75, abs=0.03)
    only = conditions_for(model, labelled(), 50, seed=0, names=["class"])
    assert only is not None and set(only[:, 1].tolist()) == {2}  # ink is not told
    assert conditions_for(model, labelled(), 50, seed=0, names=[]) is None
    with pytest.raises(ImageError, match="condition 'size' is unknown to this model; known are class, ink"):
        conditions_for(model, labelled(), 50, seed=0, names=["size"])


def test_samples_follow_from_the_seed_and_dropping_changes_only_what_is_told() -> None:
    torch.manual_seed(0)
    model = ImageModel(small_config()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # an untrained net hears nothing
    told = conditions_for(model, labelled(), 10, seed=0)
    draws = Draws(model, lambda x: x, 10, 3, told, batch=4)
    kept, again = (torch.cat([b.images for b in draws.batches()]) for _ in range(2))
    assert [len(batch.images) for batch in draws.batches()] == [4, 4, 2]
    assert torch.equal(kept, again)
    dropped = torch.cat([b.images for b in draws.batches(drop=0.5)])
    nothing = torch.cat([b.images for b in draws.batches(drop=1.0)])
    untold = Draws(model, lambda x: x, 10, 3, batch=4)
    assert torch.equal(nothing, torch.cat([b.images for b in untold.batches()]))
    assert not torch.equal(kept, dropped) and not torch.equal(dropped, nothing)
    assert draws.classes(("a", "b", "c")) is not None and draws.classes(("x", "y")) is None
    assert untold.classes(("a", "b", "c")) is None


def test_samples_that_are_not_finite_are_refused() -> None:
    model = ImageModel(small_config()).eval()
    with torch.no_grad():
        next(model.net.parameters()).fill_(float("nan"))
    with pytest.raises(ImageError, match="samples are not finite: take more steps, or less guidance"):
        next(Draws(model, lambda x: x, 2, 0).batches())
