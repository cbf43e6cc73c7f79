"""InfoNCE beside its golden numbers, and beside plain training that loops over anchors and keys."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import Step
from equimodal.errors import ConfigError
from equimodal.methods import InfoNCE
from fixtures.plain import (
    INPUTS,
    SIZE,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    names,
    tensor,
    train,
    worked_example,
)


def identical(**options: object) -> Balanced:
    """Features are the inputs, and so are the projections; α = 1."""
    model, _ = worked_example()
    learner = Balanced(model, InfoNCE(alpha=1.0, dim=2, **options), samples=9)
    for projection in learner.method.projections.values():
        with torch.no_grad():
            projection.weight.copy_(torch.eye(2))
    return learner


def step_of(learner: Balanced, first: Tensor, second: Tensor, **rest: object) -> Step:
    target = rest.pop("target", torch.zeros(len(first), dtype=torch.long))
    (step,) = learner.steps(Batch({"one": first, "two": second}, target, **rest), 0)
    return step


def loss_of(learner: Balanced, step: Step) -> Tensor:
    return learner.losses(learner(step), step)["infonce/one-two"]


FIRST = tensor([1, 0], [0, 1], [1, 1])
SECOND = tensor([1, 0.5], [0.2, 1], [1, -1])


@pytest.mark.parametrize(
    ("temperature", "loss"), [(1.0, 0.31326168751822286), (0.1, 4.5398899216870535e-05)]
)
def test_golden_identity(temperature: float, loss: float) -> None:
    learner = identical(temperature=temperature)
    step = step_of(learner, torch.eye(2).double(), torch.eye(2).double())
    assert loss_of(learner, step).item() == pytest.approx(loss, abs=1e-12)


def test_golden_equal_similarities() -> None:
    learner, ones = identical(), torch.ones(4, 2).double()
    step = step_of(learner, ones, ones)
    assert loss_of(learner, step).item() == pytest.approx(1.3862943611198906, abs=1e-12)
    assert step.notes["infonce/bound/one-two"].item() == pytest.approx(0, abs=1e-12)


def test_golden_directions() -> None:
    learner = identical(temperature=0.5)
    step = step_of(learner, FIRST, SECOND)
    assert loss_of(learner, step).item() == pytest.approx(1.1357333081399343, abs=1e-12)
    turned = step_of(learner, SECOND, FIRST)
    assert loss_of(learner, turned).item() == pytest.approx(1.1357333081399343, abs=1e-12)
    order = torch.tensor([2, 0, 1])
    permuted = step_of(learner, FIRST[order], SECOND[order])
    assert loss_of(learner, permuted).item() == pytest.approx(1.1357333081399343, abs=1e-12)


def test_one_sample_has_no_loss_and_no_gradient() -> None:
    learner = identical()
    first = FIRST[:1].clone().requires_grad_()
    loss = loss_of(learner, step_of(learner, first, SECOND[:1]))
    loss.backward()
    assert loss == 0
    assert not first.grad.any()


def test_one_modality_has_no_term() -> None:
    model, (batch,) = model_of(1), batches_of(1, count=1)
    learner = Balanced(model, InfoNCE(learn_temperature=True))
    (step,) = learner.steps(batch, 0)
    assert set(learner.losses(learner(step), step)) == {"task"}
    assert [p for p in learner.method.parameters() if p.requires_grad] == []


def test_with_the_class_masked_and_one_class_only_the_diagonal_remains() -> None:
    learner = identical(false_negatives="mask")
    assert loss_of(learner, step_of(learner, FIRST, SECOND)) == 0
    several = step_of(learner, FIRST, SECOND, target=torch.tensor([0, 1, 2]))
    assert loss_of(learner, several) == loss_of(identical(), several)


def test_further_positives_count_by_their_mean_log_probability() -> None:
    learner = identical(false_negatives="positives", temperature=0.5)
    target = torch.tensor([1, 0, 1])
    found = loss_of(learner, step_of(learner, FIRST, SECOND, target=target)).item()
    s = [
        [1.7888543819998317, 0.39223227027636803, 1.414213562373095],
        [0.8944271909999159, 1.9611613513818402, -1.414213562373095],
        [1.8973665961010273, 1.664100588675687, 0],
    ]
    expected = 0.0
    for rows in (s, list(zip(*s, strict=True))):
        for i, row in enumerate(rows):
            surprise = [math.log(sum(math.exp(v) for v in row)) - v for v in row]
            alike = [surprise[j] for j in range(3) if target[j] == target[i]]
            expected += sum(alike) / len(alike) / 6
    assert found == pytest.approx(expected, abs=1e-12)


class Reference(Plain):
    """Every anchor, every key, one direction after the other."""

    def __init__(self, model: Multimodal, method: InfoNCE) -> None:
        super().__init__(model)
        for m, projection in Balanced(model, method).method.projections.items():
            weight = projection.weight.detach().clone().requires_grad_()
            self.parameters[f"projection {m}"] = weight
            self.velocity[f"projection {m}"] = torch.zeros_like(weight)

    def direction(self, m: str, x: Tensor) -> Tensor:
        u = self.parameters[f"projection {m}"] @ self.feature(m, x)
        return u / (u * u).sum().sqrt()

    def surprise(self, batch: Batch, a: str, b: str) -> Tensor | float:
        both = [i for i in range(SIZE) if {a, b} <= set(self.present(batch, i))]
        total: Tensor | float = 0.0
        for i in both:
            anchor = self.direction(a, batch.inputs[a][i])
            logits = {j: anchor @ self.direction(b, batch.inputs[b][j]) / 0.2 for j in both}
            total = total + sum(v.exp() for v in logits.values()).log() - logits[i]
        return total / max(len(both), 1)

    def loss(self, batch: Batch, alpha: float, anchor: str | None) -> Tensor:
        pairs = [
            (a, b)
            for a in self.modalities
            for b in self.modalities
            if a < b and anchor in (None, a, b)
        ]
        total = self.joint_loss(batch)
        for m in {
            m for pair in pairs for m in pair
        }:  # takes part, also where nobody has the modality
            total = total + 0 * self.parameters[f"projection {m}"].sum()
        for a, b in pairs:
            both = self.surprise(batch, a, b) + self.surprise(batch, b, a)
            total = total + alpha / len(pairs) * both / 2
        return total


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("modalities", "anchor"), [(1, None), (2, None), (3, None), (3, "m1")])
def test_equals_plain_training(modalities: int, anchor: str | None, missing: bool) -> None:
    def method() -> InfoNCE:
        return InfoNCE(alpha=0.7, dim=4, temperature=0.2, anchor=anchor)

    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Reference(model, method())
    for batch in batches * 2:
        plain.update(plain.gradients(plain.loss(batch, 0.7, anchor)))
    learner = train(method(), model, batches, epochs=2)
    plain.assert_equals(model)
    for m, projection in learner.method.projections.items():
        expected = plain.parameters[f"projection {m}"].detach()
        torch.testing.assert_close(projection.weight.detach(), expected, atol=1e-10, rtol=0)


def test_no_weight_is_joint_for_the_model() -> None:
    weighted, joint, batches = model_of(2), model_of(2), batches_of(2)
    train(InfoNCE(alpha=0.0), weighted, batches, epochs=2)
    train(Method(), joint, batches, epochs=2)
    for name, value in joint.state_dict().items():
        assert torch.equal(weighted.state_dict()[name], value), name


def test_the_temperature_is_learned_up_to_its_limit() -> None:
    model, batches = model_of(2), batches_of(2)
    learner = train(InfoNCE(alpha=1.0, learn_temperature=True), model, batches, epochs=2)
    assert learner.method.log_scale.item() != -math.log(0.1)
    short = identical(temperature=0.01, learn_temperature=True)
    step = step_of(short, FIRST, SECOND)
    before = loss_of(short, step).item()
    with torch.no_grad():
        short.method.log_scale.add_(3)
    assert loss_of(short, step).item() == pytest.approx(before, abs=1e-12)


def with_index(batch: Batch, index: list[int]) -> Batch:
    return Batch(batch.inputs, batch.target, torch.tensor(index), batch.present)


def stepped(learner: Balanced, step: Step) -> None:
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    learner.zero_grad()


def cross_entropy(logits: list[float], own: int) -> float:
    return math.log(sum(math.exp(v) for v in logits)) - logits[own]


def cosines(u: Tensor, keys: list[Tensor]) -> list[float]:
    return [float(u @ k / u.norm() / k.norm()) for k in keys]


def test_a_queue_adds_the_last_samples_but_never_the_anchor_itself() -> None:
    learner = identical(temperature=1.0, memory="queue", memory_size=2)
    empty = step_of(learner, FIRST[:2], SECOND[:2], index=torch.tensor([4, 5]))
    assert loss_of(learner, empty) == loss_of(identical(temperature=1.0), empty)
    stepped(learner, empty)
    again = step_of(learner, FIRST[1:], SECOND[1:], index=torch.tensor([5, 6]))
    found = loss_of(learner, again).item()
    expected = 0.0
    for x, y in (
        (FIRST, SECOND),
        (SECOND, FIRST),
    ):  # sample 5 does not meet its own past, sample 6 does
        expected += cross_entropy(cosines(x[1], [y[1], y[2], y[0]]), 0) / 4
        expected += cross_entropy(cosines(x[2], [y[1], y[2], y[0], y[1]]), 1) / 4
    assert found == pytest.approx(expected, abs=1e-12)
    stepped(learner, again)  # the queue has two places: the first batch is gone
    assert sorted(learner.method.store.index.tolist()) == [5, 6]


def test_a_bank_gives_positive_and_negatives_of_one_age() -> None:
    learner = identical(temperature=1.0, memory="bank", memory_size=100)
    stepped(learner, step_of(learner, FIRST[:2], SECOND[:2], index=torch.tensor([4, 5])))
    moved = SECOND.flip(1)
    later = step_of(learner, FIRST[1:], moved[1:], index=torch.tensor([5, 6]))
    found = loss_of(learner, later).item()
    expected = 0.0
    for x, y, old in ((FIRST, moved, SECOND), (moved, FIRST, FIRST)):
        expected += (
            cross_entropy(cosines(x[1], [old[1], old[0]]), 0) / 4
        )  # known: from the bank only
        expected += cross_entropy(cosines(x[2], [y[1], y[2]]), 1) / 4  # new: from the batch only
    assert found == pytest.approx(expected, abs=1e-12)
    stepped(learner, later)
    unit = [v[1] / v[1].norm() for v in (SECOND, moved)]
    half = (unit[0] + unit[1]) / (unit[0] + unit[1]).norm()
    kept = learner.method.store.features(torch.tensor([5]))["two"][0]
    torch.testing.assert_close(kept, half, atol=1e-12, rtol=0)


def test_a_memory_needs_the_index_and_a_bank_the_number_of_samples() -> None:
    learner = identical(memory="queue")
    with pytest.raises(ConfigError, match="give every Batch the index"):
        loss_of(learner, step_of(learner, FIRST, SECOND))
    with pytest.raises(ConfigError, match="samples=N"):
        Balanced(model_of(2), InfoNCE(memory="bank"))


def test_features_at_zero_are_finite() -> None:
    learner = identical()
    first = torch.zeros(3, 2).double().requires_grad_()
    loss = loss_of(learner, step_of(learner, first, SECOND))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(first.grad).all()


def test_logits_are_exact_under_autocast() -> None:
    known = names(2)
    encoders = {m: nn.Linear(INPUTS, WIDTH) for m in known}
    model = Multimodal(encoders, heads.Linear(dict.fromkeys(known, WIDTH), 3))
    (batch,) = batches_of(2, count=1)
    batch = replace(batch, inputs={m: x.float() for m, x in batch.inputs.items()})
    learner = Balanced(model, InfoNCE())
    (step,) = learner.steps(batch, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = learner.losses(learner(step), step)["infonce/m0-m1"]
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -1}, "alpha"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": 0.005, "learn_temperature": True}, "0.01"),
        ({"dim": 0}, "dim"),
        ({"memory_size": 0}, "memory_size"),
        ({"memory": "que"}, "queue"),
        ({"false_negatives": "masked"}, "mask"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        InfoNCE(**options)


def test_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(ConfigError, match="'m1'"):
        Balanced(model_of(2), InfoNCE(anchor="m11"))
