"""MMCosine beside its golden numbers, its invariances, and plain training with cosines computed by loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.errors import ConfigError
from equimodal.methods import MMCosine
from equimodal.models.heads import Head
from fixtures.plain import (
    CLASSES,
    SIZE,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    names,
    step_of,
    tensor,
    train,
    worked_example,
)


def small_head() -> tuple[Multimodal, Batch]:
    model = Multimodal(
        {"one": nn.Identity(), "two": nn.Identity()}, heads.Linear({"one": 2, "two": 2}, 2)
    ).double()
    with torch.no_grad():
        model.head.linear.weight.copy_(tensor([3, 4, 1, 0], [0, 2, 0, 5]))
    return model, Batch({"one": tensor([1, 0]), "two": tensor([1, 1])}, torch.tensor([0]))


@pytest.mark.parametrize(
    ("scale", "fused", "losses"),
    [
        (10.0, [13.071067811865476, 7.071067811865475], [0.002475685137730357, 6.002475685137731]),
        (
            15.0,
            [19.606601717798213, 10.606601717798211],
            [0.00012340218972333965, 9.000123402189725],
        ),
    ],
)
def test_golden_logits(scale: float, fused: list[float], losses: list[float]) -> None:
    model, batch = small_head()
    output = Balanced(model, MMCosine(scale)).predict(batch)
    assert output.fused[0].tolist() == pytest.approx(fused, abs=1e-12)
    assert (output.unimodal["one"][0] / scale).tolist() == pytest.approx([0.6, 0], abs=1e-12)
    root = 0.7071067811865475
    assert (output.unimodal["two"][0] / scale).tolist() == pytest.approx([root, root], abs=1e-12)
    for y, loss in enumerate(losses):
        found = nn.functional.cross_entropy(output.fused, torch.tensor([y]))
        assert found.item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize(
    ("scale", "loss"), [(10.0, 0.6931585304135892), (15.0, 0.6931472570355195)]
)
def test_golden_worked_example(scale: float, loss: float) -> None:
    model, batch = worked_example()
    learner = Balanced(model, MMCosine(scale))
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    expected = scale * tensor([1, 1, -2], [1, 1, 0])
    torch.testing.assert_close(output.fused, expected, atol=1e-12, rtol=0)
    assert learner.losses(output, step)["task"].item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "posterior", "scale"),
    [
        (6, 0.9, 1.5861093707376335),
        (309, 0.9, 3.950834794458603),
        (28, 0.99, 3.8045684167098357),
        (101, 0.99, 4.554599027783505),
    ],
)
def test_golden_least_scale(classes: int, posterior: float, scale: float) -> None:
    assert heads.Cosine.least_scale(2, classes, posterior) == pytest.approx(scale, abs=1e-12)


def test_the_least_scale_reaches_the_posterior_on_a_simplex() -> None:
    """Class weights that form a regular simplex, features at one of them: p is what was asked for."""
    corners = torch.eye(4, dtype=torch.float64) - 0.25
    head = heads.Cosine({"a": 4, "b": 4, "c": 4}, 4, heads.Cosine.least_scale(3, 4, 0.97)).double()
    with torch.no_grad():
        for linear in head.linears.values():
            linear.weight.copy_(corners)
    features = {m: corners[:1] * norm for m, norm in (("a", 1.0), ("b", 7.0), ("c", 0.1))}
    _, fused = head(features, Batch(features))
    assert fused.softmax(1)[0, 0].item() == pytest.approx(0.97, abs=1e-12)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (sum(a * a for a in one).sqrt() * sum(b * b for b in other).sqrt())


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Plain(model)

    def loss_of(batch: Batch, i: int) -> Tensor:
        logits = [torch.zeros((), dtype=torch.float64) for _ in range(CLASSES)]
        for m in plain.present(batch, i):
            z = plain.feature(m, batch.inputs[m][i])
            start = WIDTH * plain.modalities.index(m)
            for c in range(CLASSES):
                row = plain.parameters["head.linear.weight"][c, start : start + WIDTH]
                logits[c] = logits[c] + 5.0 * cosine(z, row)
        return torch.stack(logits).exp().sum().log() - logits[batch.target[i]]

    for batch in batches * 2:
        losses = [loss_of(batch, i) for i in range(SIZE)]
        plain.update(plain.gradients(sum(losses) / SIZE))
    train(MMCosine(scale=5.0), model, batches, epochs=2)
    plain.assert_equals(model)


def test_prediction_uses_the_cosines_that_were_trained() -> None:
    """The published test loop predicts with the linear layer and its bias."""
    model, (batch,) = model_of(2), batches_of(2, count=1)
    with torch.no_grad():
        model.head.linear.bias.copy_(tensor(50, 0, 0)[:])
    learner = Balanced(model, MMCosine())
    (step,) = learner.steps(batch, 0)
    predicted, plain = learner.predict(batch), Balanced(model, Method()).predict(batch)
    assert torch.equal(predicted.fused, learner(step).fused.detach())
    assert (plain.fused.argmax(1) == 0).all()
    assert not (predicted.fused.argmax(1) == 0).all()


def test_norms_do_not_count_and_gradients_are_orthogonal() -> None:
    model, (batch,) = model_of(3), batches_of(3, count=1)
    step, method = step_of(model, batch), MMCosine()
    output = model(batch)
    features = {m: z.detach().requires_grad_() for m, z in output.features.items()}
    found = method.outputs(type(output)(features, output.unimodal, output.fused), step).fused
    nn.functional.cross_entropy(found, batch.target).backward()
    for z in features.values():
        assert z.grad.abs().max() > 1e-3
        torch.testing.assert_close(
            (z.grad * z).sum(1), torch.zeros(SIZE).double(), atol=1e-12, rtol=0
        )
    with torch.no_grad():
        model.head.linear.weight[1] *= 4  # positive: a row keeps its direction
        longer = {
            m: z * factor for (m, z), factor in zip(features.items(), (0.1, 1, 50), strict=True)
        }
        again = method.outputs(type(output)(longer, output.unimodal, output.fused), step).fused
    torch.testing.assert_close(again, found.detach(), atol=1e-12, rtol=0)


def test_a_zero_feature_has_a_finite_gradient() -> None:
    model, _ = worked_example()
    z = tensor([0, 0], [1, 2]).requires_grad_()
    batch = Batch({"one": z, "two": tensor([0, 1], [1, 0])}, torch.tensor([0, 1]))
    learner = Balanced(model, MMCosine())
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    assert output.unimodal["one"][0].tolist() == [0, 0, 0]
    learner.backward(learner.losses(output, step), output, step)
    assert z.grad.abs().max() < 1e8
    assert torch.isfinite(model.head.linear.weight.grad).all()
    assert model.head.linear.bias.grad is None


def test_a_learned_scale_is_learned() -> None:
    learner = train(MMCosine(scale=2.0, learn_scale=True), model_of(2), batches_of(2), epochs=1)
    assert learner.method.learned.item() != 2.0
    assert learner.method.expression() == "mmcosine(scale=2.0, learn_scale=True)"


def test_the_cosine_head_is_the_same_function() -> None:
    linear, cosines = model_of(3), model_of(3)
    head = heads.Cosine(dict.fromkeys(names(3), WIDTH), CLASSES, scale=10.0).double()
    with torch.no_grad():
        for m in names(3):
            head.linears[m].weight.copy_(linear.head.weight(m))
    cosines.head = head
    batches = batches_of(3, missing=True)
    train(MMCosine(), linear, batches, epochs=2)
    train(Method(), cosines, batches, epochs=2)
    for m in names(3):
        torch.testing.assert_close(
            cosines.head.weight(m), linear.head.weight(m), atol=1e-12, rtol=0
        )


def test_a_sum_head_works_the_same() -> None:
    model, (batch,) = model_of(2), batches_of(2, count=1)
    linear = Balanced(model, MMCosine()).predict(batch)
    head = heads.Sum(dict.fromkeys(names(2), WIDTH), CLASSES).double()
    with torch.no_grad():
        for m in names(2):
            head.linears[m].weight.copy_(model.head.weight(m))
    model.head = head
    assert torch.equal(Balanced(model, MMCosine()).predict(batch).fused, linear.fused)


class Deep(Head):
    """A head without a linear layer per modality."""

    additive = False

    def forward(
        self, features: dict[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        raise AssertionError("never asked")


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mmcosine\(scale=0"):
        MMCosine(scale=0.0)
    with pytest.raises(ConfigError, match=r"cosine\(scale=-1"):
        heads.Cosine({"one": 2}, 2, scale=-1.0)
    with pytest.raises(ConfigError, match="window of epochs"):
        MMCosine().during(0, 5)
    model = Multimodal({"one": nn.Linear(2, 2)}, Deep({"one": 2}, 2))
    with pytest.raises(ConfigError, match=r"deep\(\) has no linear layer"):
        Balanced(model, MMCosine())
    with pytest.warns(UserWarning, match="last one counts"):
        MMCosine() + MMCosine(scale=math.pi)
