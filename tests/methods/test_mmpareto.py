"""MMPareto beside its golden numbers, and beside plain training that combines gradients by loops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import TOTAL, Gradients, Losses, Output, Step
from equimodal.errors import ConfigError
from equimodal.methods import BIO, OGMGE, MMPareto, Uniform
from fixtures.plain import (
    CLASSES,
    FLOAT,
    INPUTS,
    SIZE,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    names,
    step_of,
    tensor,
    train,
)

Row = list[list[float] | None]  # a gradient per parameter; None where the loss does not reach it


def combined(method: MMPareto, *rows: Row) -> tuple[list[list[float]], Step]:
    """What becomes of an encoder's gradients."""
    return combined_of(method, {"one": range(len(rows[0]))}, *rows)


def combined_of(
    method: MMPareto, encoders: Mapping[str, Sequence[int]], *rows: Row
) -> tuple[list[list[float]], Step]:
    """The same with several encoders, each some of the parameters, which they may share."""
    sizes = [len(next(filter(None, parts))) for parts in zip(*rows, strict=True)]
    parameters = [nn.Parameter(torch.zeros(size, dtype=FLOAT)) for size in sizes]
    known = [f"parameter {i}" for i in range(len(parameters))]
    model = Multimodal(
        {m: nn.ParameterList([parameters[i] for i in own]) for m, own in encoders.items()},
        heads.Linear(dict.fromkeys(encoders, 1), 2),
    ).double()
    reached = {
        str(i): {n: tensor(*g) for n, g in zip(known, row, strict=True) if g is not None}
        for i, row in enumerate(rows)
    }
    nothing = tensor([0, 0])
    step = step_of(model, Batch(dict.fromkeys(encoders, tensor([0]))))
    output = Output(dict.fromkeys(encoders, nothing), dict.fromkeys(encoders, nothing), nothing)
    grads = Gradients(reached, dict(zip(parameters, known, strict=True)))
    found = method.gradients(grads, output, step)
    return [found.rows[TOTAL][name].tolist() for name in known], step


@pytest.mark.parametrize("rescale", ["tensor", "encoder"])
@pytest.mark.parametrize(
    ("g", "u", "cosine", "weight", "wanted"),
    [
        ([1, 0], [-1, 2], -0.4472135954999579, 0.75, [2.1213203435596424, 2.1213203435596424]),
        ([2, 0], [-1, 1], -0.7071067811865475, 0.4, [0.6708203932499371, 2.0124611797498106]),
        ([3, 4], [1, 2], 0.9838699100999074, 0.5, [6, 9]),
        ([1, 0], [-1, 0], -1, 0.5, [0, 0]),
        ([0, 0], [1, 1], 1, 0.999, [1.5, 1.5]),
    ],
)
def test_golden_vectors(
    g: list[float], u: list[float], cosine: float, weight: float, wanted: list[float], rescale: str
) -> None:
    (found,), step = combined(MMPareto(rescale=rescale), [g], [u])
    assert found == pytest.approx(wanted, abs=1e-12)
    assert step.notes["mmpareto/joint/one"].item() == pytest.approx(weight, abs=1e-12)
    assert step.notes["mmpareto/cosine/one"].item() == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize(
    ("rescale", "wanted"),
    [
        ("tensor", [[2.5858026454733083, 1.5210603796901818], [-3.75]]),
        ("encoder", [[4.0567159679283, 2.3863035105460595], [-0.9545214042184246]]),
    ],
)
def test_golden_two_tensors(rescale: str, wanted: list[list[float]]) -> None:
    found, step = combined(MMPareto(rescale=rescale), [[1, 0], [0.5]], [[-1, 2], [-3]])
    for part, values in zip(found, wanted, strict=True):
        assert part == pytest.approx(values, abs=1e-12)
    notes = step.notes
    assert notes["mmpareto/cosine/one"].item() == pytest.approx(-0.5976143046671969, abs=1e-12)
    assert notes["mmpareto/joint/one"].item() == pytest.approx(0.8148148148148148, abs=1e-12)


def test_opposite_gradients_of_different_length_give_no_noise() -> None:
    """Their shortest combination is zero up to rounding, which is not to be blown up."""
    g = [0.1, 0.7, -0.3]
    (found,), _ = combined(MMPareto(), [g], [[-3 * v for v in g]])
    assert found == [0, 0, 0]


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("seed", range(5))
def test_more_gradients_have_the_shortest_vector_in_their_hull(count: int, seed: int) -> None:
    """Beside non-negative least squares, whose solution is the same up to its sum."""
    rows = np.random.default_rng([seed, count]).normal(size=(count, 8))
    rows[0] -= rows[1]  # they conflict
    augmented = np.vstack([rows.T, np.ones(count)])
    weights, _ = scipy.optimize.nnls(augmented, np.append(np.zeros(8), 1.0))
    shortest, found = weights / weights.sum() @ rows, []
    for part in (slice(0, 2), slice(2, 8)):  # two tensors, of which one may have grown
        grown = np.linalg.norm(count * shortest[part]) / np.linalg.norm(rows[:, part].sum(0))
        found.append(1.5 * count * shortest[part] * max(1, 1 / grown))
    parts, step = combined(MMPareto(), *([row[:2].tolist(), row[2:].tolist()] for row in rows))
    assert step.notes["mmpareto/cosine/one"] < 0
    for part, wanted in zip(parts, found, strict=True):
        assert part == pytest.approx(wanted.tolist(), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_gradients_all_around_give_nothing(seed: int) -> None:
    """Where their hull holds the origin no direction serves all."""
    around = np.random.default_rng(seed).normal(size=(4, 2)) * 0.3
    rows = around + np.array([[3, 0], [-3, 0], [0, 3], [0, -3]])
    (found,), _ = combined(MMPareto(), *([row.tolist()] for row in rows))
    assert found == [0, 0]


def test_a_gradient_that_is_zero_counts_for_nothing_beside_two_others() -> None:
    two, _ = combined(MMPareto(), [[2, 0]], [[-1, 1]])
    three, _ = combined(MMPareto(), [[2, 0]], [[0, 0]], [[-1, 1]])
    assert three[0] == pytest.approx(two[0], abs=1e-12)
    agreeing, _ = combined(MMPareto(), [[3, 4]], [[1, 2]], [[0, 0]])
    assert agreeing[0] == pytest.approx([6, 9], abs=1e-12)
    all_agreeing, _ = combined(MMPareto(), [[3, 4]], [[1, 2]], [[2, 0]])
    assert all_agreeing[0] == pytest.approx([9, 9], abs=1e-12)
    nothing, _ = combined(MMPareto(), *[[[0, 0]]] * 3)
    assert nothing == [[0, 0]]


@pytest.mark.parametrize("rescale", ["tensor", "encoder"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_parameter_that_a_loss_does_not_reach_has_a_zero_there(first: int, rescale: str) -> None:
    rows: list[Row] = [[[1, 0], [0.5]], [[-1, 2], None]]
    zeros: list[Row] = [rows[0], [[-1, 2], [0]]]
    if first:
        rows.reverse()
        zeros.reverse()
    found, step = combined(MMPareto(rescale=rescale), *rows)
    wanted, other = combined(MMPareto(rescale=rescale), *zeros)
    for part, values in zip(found, wanted, strict=True):
        assert part == pytest.approx(values, abs=1e-12)
    weights = [s.notes["mmpareto/joint/one"].item() for s in (step, other)]
    assert weights[0] == pytest.approx(weights[1], abs=1e-12) and weights[0] != 0.5


def test_a_parameter_of_two_encoders_is_combined_once_with_the_first() -> None:
    joint, one, two = [[1, 0], [0.5], [2, -1]], [[-1, 2], [-3], None], [None, [1], [-2, 2]]
    found, _ = combined_of(MMPareto(), {"one": (0, 1), "two": (1, 2)}, joint, one, two)
    first, _ = combined(MMPareto(), joint[:2], one[:2], two[:2])
    second, _ = combined(MMPareto(), joint[2:], two[2:])
    for part, values in zip(found, [*first, *second], strict=True):
        assert part == pytest.approx(values, abs=1e-12)


def auxiliary(modalities: int) -> Multimodal:
    model = model_of(modalities)
    model.head = heads.Auxiliary(dict.fromkeys(names(modalities), WIDTH), CLASSES).double()
    return model


class PlainAuxiliary(Plain):
    """A head on the concatenation, and a classifier of each modality."""

    def joint(self, batch: Batch) -> Tensor:
        p, loss = self.parameters, torch.zeros((), dtype=FLOAT)
        for i in range(SIZE):
            there = self.present(batch, i)
            g = torch.zeros(CLASSES, dtype=FLOAT)
            for m in there:
                start = WIDTH * self.modalities.index(m)
                part = p["head.fusion.linear.weight"][:, start : start + WIDTH]
                g = g + part @ self.feature(m, batch.inputs[m][i])
            if there:
                g = g + p["head.fusion.linear.bias"]
            loss = loss - torch.log_softmax(g, 0)[batch.target[i]]
        return loss / SIZE

    def own(self, m: str, batch: Batch) -> Tensor | None:
        p, losses = self.parameters, []
        for i in range(SIZE):
            if m in self.present(batch, i):
                z = self.feature(m, batch.inputs[m][i])
                g = p[f"head.own.{m}.weight"] @ z + p[f"head.own.{m}.bias"]
                losses.append(-torch.log_softmax(g, 0)[batch.target[i]])
        return sum(losses) / len(losses) if losses else None


def norm(parts: list[list[float]]) -> float:
    return math.sqrt(sum(v * v for part in parts for v in part))


def reference_encoder(
    joint: list[Tensor], own: list[Tensor], gamma: float, rescale: str
) -> tuple[list[Tensor], bool]:
    g = [part.flatten().tolist() for part in joint]
    u = [part.flatten().tolist() for part in own]
    dot = sum(a * b for one, two in zip(g, u, strict=True) for a, b in zip(one, two, strict=True))
    cg = 0.5
    if dot <= 0:
        cg = (norm(u) ** 2 - dot) / (norm(g) ** 2 + norm(u) ** 2 - 2 * dot)
    h = [[2 * cg * a + 2 * (1 - cg) * b for a, b in zip(*p, strict=True)] for p in zip(g, u)]  # noqa: B905
    t = [[a + b for a, b in zip(*p, strict=True)] for p in zip(g, u)]  # noqa: B905
    found = []
    for part, whole, like in zip(h, t, joint, strict=True):
        ratio = norm([whole]) / norm([part]) if rescale == "tensor" else norm(t) / norm(h)
        values = [gamma * max(1.0, ratio) * v for v in part]
        found.append(torch.tensor(values, dtype=FLOAT).reshape(like.shape))
    return found, dot <= 0


@pytest.mark.parametrize("rescale", ["tensor", "encoder"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool, rescale: str) -> None:
    model, batches = auxiliary(modalities), batches_of(modalities, missing)
    with torch.no_grad():  # classifiers that disagree with the fusion, so that gradients conflict
        for m in names(modalities):
            model.head.own[m].weight.copy_(-model.head.weight(m))
    plain, conflicts = PlainAuxiliary(model), 0
    for batch in batches * 2:
        joint = plain.gradients(plain.joint(batch))
        total = dict(joint)
        for m in plain.modalities:
            loss = plain.own(m, batch)
            parts = [f"encoders.{m}.weight", f"encoders.{m}.bias"]
            if loss is None:  # the library has zeros here, so that momentum goes on
                total |= {
                    n: torch.zeros_like(p) for n, p in plain.parameters.items() if f"own.{m}" in n
                }
                continue
            own = plain.gradients(loss)
            total |= {name: grad for name, grad in own.items() if name not in parts}
            found, conflict = reference_encoder(
                [joint[p] for p in parts], [own[p] for p in parts], 1.5, rescale
            )
            total |= dict(zip(parts, found, strict=True))
            conflicts += conflict
        plain.update(total)
    assert conflicts > 0
    train(MMPareto(rescale=rescale), model, batches, epochs=2)
    plain.assert_equals(model)


def backward(method: Method, model: Multimodal, batch: Batch) -> Step:
    learner = Balanced(model, method)
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    return step


def test_gradients_are_compared_before_they_accumulate() -> None:
    """Read after accumulation, as published elsewhere, joint and own gradient are one and the cosine is always 1."""
    model, (batch,) = auxiliary(2), batches_of(2, count=1)
    step = backward(MMPareto(), model, batch)
    plain = PlainAuxiliary(model)
    joint = plain.gradients(plain.joint(batch))
    for m in names(2):
        own = plain.gradients(plain.own(m, batch))
        parts = [f"encoders.{m}.weight", f"encoders.{m}.bias"]
        g, u = (torch.cat([row[p].flatten() for p in parts]) for row in (joint, own))
        cosine = step.notes[f"mmpareto/cosine/{m}"].item()
        assert cosine == pytest.approx((g @ u / (g.norm() * u.norm())).item(), abs=1e-12)
        assert cosine < 0.999


def test_without_conflict_and_enlargement_it_is_uniform() -> None:
    pareto, uniform, batch = auxiliary(2), auxiliary(2), batches_of(2)[0]
    for model in (pareto, uniform):
        with (
            torch.no_grad()
        ):  # small weights, so that both are about as wrong, and in the same direction
            model.head.fusion.linear.weight.mul_(0.1)
            for m in names(2):
                model.head.own[m].weight.copy_(model.head.weight(m))
                model.head.own[m].bias.copy_(model.head.fusion.linear.bias)
    step = backward(MMPareto(gamma=1.0), pareto, batch)
    assert all(step.notes[f"mmpareto/cosine/{m}"] > 0 for m in names(2))
    backward(Uniform(), uniform, batch)
    for name, p in pareto.named_parameters():
        torch.testing.assert_close(p.grad, uniform.get_parameter(name).grad, atol=1e-12, rtol=0)


def test_any_other_head_gets_classifiers_beside_it() -> None:
    own, beside = auxiliary(2), model_of(2)
    beside.head.load_state_dict(own.head.fusion.state_dict())
    learner = Balanced(beside, MMPareto())
    learner.method.classifiers.load_state_dict(own.head.own.state_dict())
    (batch,) = batches_of(2, missing=True, count=1)
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    backward(MMPareto(), own, batch)
    for name, p in beside.encoders.named_parameters():
        wanted = own.encoders.get_parameter(name).grad
        torch.testing.assert_close(p.grad, wanted, atol=1e-12, rtol=0)
    for name, p in learner.method.classifiers.named_parameters():
        torch.testing.assert_close(
            p.grad, own.head.own.get_parameter(name).grad, atol=1e-12, rtol=0
        )
    with pytest.raises(ConfigError, match=r"build it from learner\.parameters"):
        learner.begin_epoch(0, optimizer=torch.optim.SGD(beside.parameters(), lr=0.1))


def test_an_encoder_of_two_modalities_has_three_gradients() -> None:
    torch.manual_seed(0)
    both = nn.Linear(INPUTS, WIDTH)
    model = Multimodal(
        {"m0": both, "m1": both}, heads.Auxiliary({"m0": WIDTH, "m1": WIDTH}, CLASSES)
    )
    model, (batch,) = model.double(), batches_of(2, count=1)
    rows = []
    output = model(batch)
    for logits in (output.fused, *output.unimodal.values()):
        loss = nn.functional.cross_entropy(logits, batch.target)
        grads = torch.autograd.grad(loss, list(both.parameters()), retain_graph=True)
        rows.append([grad.flatten().tolist() for grad in grads])
    wanted, _ = combined(MMPareto(), *rows)
    backward(MMPareto(), model, batch)
    for p, part in zip(both.parameters(), wanted, strict=True):
        assert p.grad.flatten().tolist() == pytest.approx(part, abs=1e-12)


class Scaled(Method):
    """Another loss, that reaches one encoder only."""

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        return {**losses, "scaled": output.features["m0"].square().mean()}


def test_losses_of_other_methods_are_gradients_of_their_own() -> None:
    model, (batch,) = auxiliary(2), batches_of(2, count=1)
    output, rows = model(batch), []
    losses = [
        nn.functional.cross_entropy(g, batch.target) for g in (output.fused, output.unimodal["m0"])
    ]
    for loss in (losses[0], output.features["m0"].square().mean(), losses[1]):
        grads = torch.autograd.grad(
            loss, list(model.encoders["m0"].parameters()), retain_graph=True
        )
        rows.append([grad.flatten().tolist() for grad in grads])
    wanted, _ = combined(MMPareto(), *rows)
    backward(Scaled() + MMPareto(), model, batch)
    for p, part in zip(model.encoders["m0"].parameters(), wanted, strict=True):
        assert p.grad.flatten().tolist() == pytest.approx(part, abs=1e-12)


def test_what_follows_has_one_gradient_again() -> None:
    model, (batch,) = auxiliary(2), batches_of(2, count=1)
    backward(MMPareto() + OGMGE(alpha=0.0, noise=False), model, batch)
    alone = auxiliary(2)
    backward(MMPareto(), alone, batch)
    assert all(
        torch.equal(p.grad, alone.get_parameter(n).grad) for n, p in model.named_parameters()
    )


def test_bfloat16_gradients_are_compared_in_float32() -> None:
    (batch,) = batches_of(2, count=1)
    low = Batch({m: x.bfloat16() for m, x in batch.inputs.items()}, batch.target)
    model = auxiliary(2).bfloat16()
    step = backward(MMPareto(), model, low)
    assert step.notes["mmpareto/cosine/m0"].dtype == torch.float32
    assert model.encoders["m0"].weight.grad.dtype == torch.bfloat16


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mmpareto\(gamma=0"):
        MMPareto(gamma=0.0)
    with pytest.raises(ConfigError, match="'tensor' or 'encoder'"):
        MMPareto(rescale="model")
    with pytest.raises(ConfigError, match=r"put it before ogm_ge\(\)"):
        OGMGE() + MMPareto()
    with pytest.raises(ConfigError, match="Only one method"):
        MMPareto() + BIO(scores="current") + MMPareto()
