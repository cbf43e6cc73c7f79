"""Diagnosing & Re-learning beside its golden numbers, and beside plain training that interpolates by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import Epoch
from equimodal.errors import ConfigError
from equimodal.methods import Relearn
from equimodal.methods._clusters import kmeans, purity, scaled
from fixtures.plain import (
    CLASSES,
    FLOAT,
    MOMENTUM,
    RATE,
    Plain,
    batches_of,
    model_of,
    tensor,
    train,
    worked_example,
)


def integers(text: str) -> Tensor:
    return torch.tensor([int(c) for c in text])


@pytest.mark.parametrize(
    ("clusters", "labels", "expected"),
    [
        ("001111", "000111", 5 / 6),
        ("001122", "000000", 1),
        ("012345", "001122", 1),
        ("000000", "000112", 0.5),
        ("220022", "110011", 1),
    ],
)
def test_golden_purity(clusters: str, labels: str, expected: float) -> None:
    assert purity(integers(clusters), integers(labels)).item() == pytest.approx(expected, abs=1e-15)


def test_purity_equals_counting() -> None:
    draw = torch.Generator().manual_seed(0)
    clusters, labels = (torch.randint(k, (50,), generator=draw) for k in (4, 3))
    most = 0
    for c in range(4):
        counts = Counter(labels[i].item() for i in range(50) if clusters[i] == c)
        most += max(counts.values())
    assert purity(clusters, labels).item() == pytest.approx(most / 50, abs=1e-15)


def test_features_are_scaled_and_a_constant_dimension_is_zero() -> None:
    found = scaled(tensor([0, 5, -1], [4, 5, 3], [1, 5, 1]))
    assert found.tolist() == [[-1, 0, -1], [1, 0, 1], [-0.5, 0, 0]]


def test_kmeans_finds_separate_clouds_and_is_the_same_every_time() -> None:
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    points = 10 * torch.eye(3, dtype=FLOAT)[labels]
    points = points + torch.randn(60, 3, generator=draw, dtype=FLOAT)
    found = [kmeans(points, 3, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*found)
    assert purity(found[0], labels) == 1
    assert len(kmeans(torch.ones(4, 2), 3, torch.Generator().manual_seed(0)).unique()) == 1


class Diagnosed(Relearn):
    """With given gaps, where what follows from them is looked at."""

    def __init__(self, *gaps: float, **options: float) -> None:
        super().__init__(**options)
        self.given = gaps

    def _diagnosed(self, epoch: Epoch) -> Tensor:
        return tensor(*self.given)


@pytest.mark.parametrize(
    ("gap", "weight", "value"),
    [
        (0.3, 0.7162978701990245, 1.567404259601951),
        (0.1, 0.2913126124515909, 2.417374775096818),
        (0.05, 0.14888503362331798, 2.702229932753364),
        (1.0, math.tanh(3), 3 - 2 * math.tanh(3)),
        (0.0, 0.0, 3.0),
    ],
)
def test_golden_interpolation(gap: float, weight: float, value: float) -> None:
    encoders = {m: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)) for m in ("one", "two")}
    model = Multimodal(encoders, heads.Linear({"one": 2, "two": 2}, CLASSES)).double()
    parameters = list(model.parameters())
    with torch.no_grad():
        for p in parameters:
            p.fill_(1)
    learner = Balanced(model, Diagnosed(gap, 0.0, every=1))
    batch = worked_example()[1]
    for epoch in range(3):
        learner.begin_epoch(epoch, [batch], [batch])
        if epoch == 0:
            with torch.no_grad():
                for p in parameters:
                    p.fill_(3)
            statistics = {n: b.clone() for n, b in model.named_buffers()}
        if epoch == 1:  # nothing happens after epoch 0
            assert all(bool((p == 3).all()) for p in parameters)
    assert learner.method.weights.tolist() == pytest.approx([weight, 0], abs=1e-12)
    for name, p in model.named_parameters():
        expected = value if name.startswith("encoders.one") else 3.0
        assert p.flatten().tolist() == pytest.approx([expected] * p.numel(), abs=1e-12), name
    for name, b in model.named_buffers():
        assert torch.equal(b, statistics[name]), name


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool, reset: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Plain(model)
    initial = {name: p.detach().clone() for name, p in plain.parameters.items()}
    gaps = [0.3, 0.05, 0.1][:modalities]
    for epoch in range(10):
        if epoch in (3, 5):  # after epochs 2 and 4; two times are enough
            for m, gap in zip(plain.modalities, gaps, strict=True):
                a = math.tanh(2 * gap)
                for part in ("weight", "bias"):
                    name = f"encoders.{m}.{part}"
                    with torch.no_grad():
                        plain.parameters[name].mul_(1 - a).add_(a * initial[name])
                    if reset:
                        plain.velocity[name].zero_()
        for batch in batches:
            plain.update(plain.gradients(plain.joint_loss(batch)))
    learner = Balanced(
        model, Diagnosed(*gaps, strength=2.0, every=2, times=2, reset_momentum=reset)
    )
    optimizer = torch.optim.SGD(learner.parameters(), lr=RATE, momentum=MOMENTUM)
    for epoch in range(10):
        learner.begin_epoch(epoch, batches, batches, optimizer)
        for number, batch in enumerate(batches):
            (step,) = learner.steps(batch, epoch, number, len(batches))
            output = learner(step)
            learner.backward(learner.losses(output, step), output, step)
            optimizer.step()
            optimizer.zero_grad()
    plain.assert_equals(model)
    assert int(learner.method.count) == 2


class Read:
    """Batches that say how often they were read through."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.times = batches, 0

    def __iter__(self) -> Iterator[Batch]:
        self.times += 1
        return iter(self.batches)


def clouds(spread: tuple[float, float], seed: int) -> list[Batch]:
    """Classes that are apart by ten in each modality, with noise of the given size."""
    draw = torch.Generator().manual_seed(seed)
    target = torch.arange(60) % 2
    centre = 10.0 * torch.stack([target, 1 - target], 1).double()
    inputs = {
        m: centre + s * torch.randn(60, 2, generator=draw, dtype=FLOAT)
        for m, s in zip(("one", "two"), spread, strict=True)
    }
    return [Batch({m: x[i::3] for m, x in inputs.items()}, target[i::3]) for i in range(3)]


def two_clouds() -> Multimodal:
    encoders = {m: nn.Sequential(nn.Linear(2, 2), nn.Dropout()) for m in ("one", "two")}
    model = Multimodal(encoders, heads.Linear({"one": 2, "two": 2}, 2)).double()
    with torch.no_grad():
        for encoder in encoders.values():
            encoder[0].weight.copy_(torch.eye(2))
            encoder[0].bias.zero_()
    return model


def test_a_modality_that_separates_training_samples_only_has_a_gap() -> None:
    model = two_clouds()
    learner = Balanced(model, Relearn(every=1))
    training, validation = Read(clouds((0.1, 0.1), 0)), Read(clouds((0.1, 1000.0), 1))
    for epoch in range(2):
        learner.begin_epoch(epoch, training, validation)
    assert training.times == validation.times == 0
    learner.begin_epoch(2, training, validation)
    assert training.times == validation.times == 1
    gaps = learner.method.gaps.tolist()
    assert gaps[0] == 0  # both sets are separated; with dropout the features would not be
    assert 0.25 < gaps[1] <= 0.5
    assert model.training
    (step,) = learner.steps(training.batches[0], 2)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    assert step.notes["relearn/gap/two"].item() == gaps[1]


def test_a_frozen_encoder_is_not_diagnosed() -> None:
    model = two_clouds()
    model.encoders["two"].requires_grad_(False)
    learner = Balanced(model, Relearn(every=1))
    for epoch in range(3):
        learner.begin_epoch(epoch, clouds((0.1, 0.1), 0), clouds((1000.0, 1000.0), 1))
    assert learner.method.gaps[0] > 0
    assert learner.method.gaps[1] == 0


def test_a_modality_that_a_set_lacks_has_no_gap_and_few_samples_are_enough() -> None:
    model = two_clouds()
    learner = Balanced(model, Relearn(every=1))
    (batch, *_) = clouds((1000.0, 0.1), 0)
    nobody = {"two": torch.zeros(len(batch), dtype=torch.bool)}
    lacking = Batch(batch.inputs, batch.target, present=nobody)
    single = Batch({m: x[:1] for m, x in batch.inputs.items()}, batch.target[:1])
    for epoch in range(3):
        learner.begin_epoch(epoch, [lacking], [single])
    assert learner.method.gaps[0] > 0
    assert learner.method.gaps[1] == 0


def test_rows_without_the_modality_do_not_count() -> None:
    model = two_clouds()
    there = clouds((0.1, 0.1), 0)
    spoilt = []
    for batch in there:
        size = len(batch)
        mask = torch.arange(2 * size) < size
        wrong = {m: torch.cat([x, 7 * torch.ones_like(x)]) for m, x in batch.inputs.items()}
        wrong_target = torch.cat([batch.target, 1 - batch.target])
        spoilt.append(Batch(wrong, wrong_target, present={"one": mask, "two": mask}))
    learner = Balanced(model, Relearn(every=1))
    for epoch in range(3):
        learner.begin_epoch(epoch, spoilt, there)
    assert learner.method.gaps.tolist() == [0, 0]


def test_a_parameter_of_two_encoders_is_pulled_once_by_the_mean() -> None:
    shared = nn.Linear(2, 2, bias=False)
    head = heads.Linear({"one": 2, "two": 2}, 3)
    model = Multimodal({"one": shared, "two": shared}, head).double()
    batch = [worked_example()[1]]
    learner = Balanced(model, Diagnosed(0.3, 0.1, every=1))
    learner.begin_epoch(0, batch, batch)
    initial = shared.weight.detach().clone()
    with torch.no_grad():
        shared.weight.add_(1)
    for epoch in (1, 2):
        learner.begin_epoch(epoch, batch, batch)
    a = (0.7162978701990245 + 0.2913126124515909) / 2
    torch.testing.assert_close(shared.weight.detach(), initial + 1 - a, atol=1e-12, rtol=0)


def test_outside_its_window_nothing_is_edited() -> None:
    relearning, batches = model_of(2), batches_of(2)
    learner = Balanced(relearning, Diagnosed(1.0, 1.0, every=1).during(0, 2))
    before = relearning.encoders["m0"].weight.detach().clone()
    learner.begin_epoch(0, batches, batches)
    with torch.no_grad():
        relearning.encoders["m0"].weight.add_(1)
    for epoch in (1, 2, 3):
        learner.begin_epoch(epoch, batches, batches)
    assert torch.equal(relearning.encoders["m0"].weight, before + 1)


def test_no_strength_is_joint() -> None:
    def trained(method: Method) -> dict[str, Tensor]:
        model, batches = model_of(2), batches_of(2)
        learner = Balanced(model, method)
        optimizer = torch.optim.SGD(learner.parameters(), lr=RATE, momentum=MOMENTUM)
        for epoch in range(4):
            learner.begin_epoch(epoch, batches, batches, optimizer)
            for batch in batches:
                (step,) = learner.steps(batch, epoch)
                output = learner(step)
                learner.backward(learner.losses(output, step), output, step)
                optimizer.step()
                optimizer.zero_grad()
        return model.state_dict()

    free, joint = trained(Relearn(strength=0.0, every=1)), trained(Method())
    assert all(torch.equal(free[name], value) for name, value in joint.items())


def test_it_needs_both_sets_before_the_first_step_and_an_optimiser_to_reset() -> None:
    batches = batches_of(2)
    with pytest.raises(ConfigError, match="train, val"):
        train(Relearn(), model_of(2), batches, epochs=1)
    with pytest.raises(ConfigError, match="train, val"):
        Balanced(model_of(2), Relearn()).begin_epoch(0, batches, [])
    learner = Balanced(model_of(2), Relearn(reset_momentum=True))
    with pytest.raises(ConfigError, match="optimizer"):
        learner.begin_epoch(0, batches, batches)


@pytest.mark.parametrize("options", [{"strength": -1}, {"every": 0}, {"times": -1}])
def test_wrong_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Relearn(**options)
