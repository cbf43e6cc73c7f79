"""Jacobian descent beside closed forms, and beside plain training that solves for the direction."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import TOTAL, Gradients, Step
from equimodal.core.expression import build
from equimodal.errors import ConfigError
from equimodal.methods import BY_NAME, OGMGE, InfoNCE, TorchJD, Uniform
from fixtures.plain import FLOAT, SIZE, Plain, batches_of, model_of, train, worked_example

pytest.importorskip("torchjd", reason="TorchJD is not installed")


def direction(
    aggregator: str, *rows: list[float] | None, number: int = 0
) -> tuple[list[float], Step]:
    """What becomes of the given gradients of a bias of two and a weight of one entry; None reaches nothing."""
    first, second = nn.Parameter(torch.zeros(2).double()), nn.Parameter(torch.zeros(1, 1).double())
    model, batch = worked_example()
    learner = Balanced(model, TorchJD(aggregator))
    (step,) = learner.steps(batch, 0, number, 9)
    losses = {
        f"loss{i}": {}
        if row is None
        else {"first": torch.tensor(row[:2], dtype=FLOAT)}
        | ({"second": torch.tensor([row[2:]], dtype=FLOAT)} if len(row) > 2 else {})
        for i, row in enumerate(rows)
    }
    grads = Gradients(losses, {first: "first", second: "second"})
    output, state = learner(step), torch.get_rng_state()
    total = learner.method.gradients(grads, output, step).rows
    assert set(total) == {TOTAL}
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is the user's
    return [v for grad in total[TOTAL].values() for v in grad.flatten().tolist()], step


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        ("MGDA", [0.5, 0.5]),  # ¾ and ¼, the shortest
        ("Sum", [0, 2]),
        ("Mean", [0, 1]),
        ("PCGrad", [0.8, 2.4]),  # [1, 0] + [-1, 2]/5 and [-1, 2] + [1, 0]
    ],
)
def test_golden_conflict(aggregator: str, expected: list[float]) -> None:
    found, step = direction(aggregator, [1, 0], [-1, 2])
    assert found == pytest.approx(expected, abs=1e-12)
    length = (expected[0] ** 2 + expected[1] ** 2) ** 0.5
    cosine = step.notes["torchjd/cosine/loss1"].item()
    assert cosine == pytest.approx((2 * expected[1] - expected[0]) / length / 5**0.5, abs=1e-12)


def test_a_parameter_that_a_loss_does_not_reach_counts_as_zero() -> None:
    found, _ = direction("MGDA", [2, 0, 0], [0, 2])
    assert found == pytest.approx([1, 1, 0], abs=1e-12)
    found, _ = direction("Mean", [2, 0, 6], [0, 2])
    assert found == pytest.approx([1, 1, 3], abs=1e-12)


@pytest.mark.parametrize("silent", [[0.0, 0.0], None])
def test_a_loss_without_gradient_does_not_stop_the_others(silent: list[float] | None) -> None:
    assert direction("MGDA", [1, 0], silent, [-1, 2])[0] == pytest.approx([0.5, 0.5], abs=1e-12)
    assert direction("MGDA", [0, 0], silent)[0] == [0, 0]
    assert direction("MGDA", [3, 4], silent)[0] == [3, 4]
    assert direction("MGDA", silent if silent is None else None)[0] == []


class Reference(Plain):
    """Every loss by itself, and the direction with equal projections on all of them (IMTL-G) from a linear system."""

    def losses(self, batch: Batch) -> list[Tensor]:
        own: dict[str, list[Tensor]] = {}
        for i in range(SIZE):
            for m, g in self.unimodal(batch, i).items():
                own.setdefault(m, []).append(-torch.log_softmax(g, 0)[batch.target[i]])
        return [self.joint_loss(batch), *(sum(each) / len(each) for each in own.values())]

    def direction(self, batch: Batch) -> dict[str, Tensor]:
        count = len(self.losses(batch))
        rows = [self.gradients(self.losses(batch)[k]) for k in range(count)]
        reached = {name for row in rows for name in row}
        flat = []
        for row in rows:
            parts = []
            for name in sorted(reached):
                parts += row.get(name, torch.zeros_like(self.parameters[name])).flatten().tolist()
            flat.append(torch.tensor(parts, dtype=FLOAT))
        unit = [v / (v * v).sum().sqrt() for v in flat]
        size = len(flat)
        system, right = torch.zeros(size, size, dtype=FLOAT), torch.zeros(size, dtype=FLOAT)
        for j in range(size):
            for i in range(1, size):
                system[i, j] = flat[j] @ (unit[0] - unit[i])
            system[0, j] = 1
        right[0] = 1
        weights = torch.linalg.solve(system, right).tolist()
        return {
            name: sum(w * row[name] for w, row in zip(weights, rows, strict=True) if name in row)
            for name in reached
        }


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing, count=4)[:3]
    plain = Reference(model)
    for batch in batches * 2:
        plain.update(plain.direction(batch))
    train(Uniform() + TorchJD("IMTLG"), model, batches, epochs=2)
    plain.assert_equals(model, 1e-9)


@pytest.mark.parametrize(
    "aggregator", ["MGDA", "PCGrad", "IMTLG", "AlignedMTL", "ConFIG", "GradDrop"]
)
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_trains_with_missing_modalities(modalities: int, aggregator: str) -> None:
    model = model_of(modalities)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(Uniform() + TorchJD(aggregator), model, batches_of(modalities, missing=True), epochs=1)
    for name, value in model.state_dict().items():
        assert torch.isfinite(value).all()
        assert not torch.equal(value, before[name])


def test_the_sum_is_what_would_be_without() -> None:
    for other in (Method(), Uniform(), InfoNCE()):
        descending, plain, batches = model_of(2), model_of(2), batches_of(2)
        train(other + TorchJD("Sum"), descending, batches, epochs=2)
        train(other, plain, batches, epochs=2)
        for name, value in plain.state_dict().items():
            found = descending.state_dict()[name]
            torch.testing.assert_close(found, value, atol=1e-12, rtol=0)


def test_draws_belong_to_the_step() -> None:
    rows = [[3, -1, 4], [-1, 5, -9], [2, 6, 5]]
    first, again = (direction("Random", *rows)[0] for _ in range(2))
    assert first == again
    assert direction("Random", *rows, number=1)[0] != first


def test_low_precision_is_aggregated_in_float32() -> None:
    known = ("one", "two")
    model = Multimodal(
        {m: nn.Linear(2, 2) for m in known}, heads.Linear(dict.fromkeys(known, 2), 3)
    ).to(torch.bfloat16)
    learner = Balanced(model, Uniform() + TorchJD())
    _, batch = worked_example()
    low = batch.with_inputs({m: x.bfloat16() for m, x in batch.inputs.items()})
    (step,) = learner.steps(low, 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    assert step.notes["torchjd/cosine/task"].dtype == torch.float32
    assert all(p.grad.dtype == torch.bfloat16 for p in model.parameters())


def test_outside_its_window_it_asks_for_nothing() -> None:
    windowed, plain, batches = model_of(2), model_of(2), batches_of(2)
    train(Uniform() + TorchJD("MGDA").during(1, 1), windowed, batches, epochs=2)
    train(Uniform(), plain, batches, epochs=2)
    for name, value in plain.state_dict().items():
        assert torch.equal(windowed.state_dict()[name], value)


def test_it_comes_before_methods_that_mix_the_rows() -> None:
    with pytest.raises(ConfigError, match="before ogm_ge"):
        OGMGE() + TorchJD()


def test_its_expression_builds_it() -> None:
    method = build('uniform() + torchjd("FairGrad(alpha=2.0)")', BY_NAME, "method", Method)
    assert method.expression() == "uniform() + torchjd(aggregator='FairGrad(alpha=2.0)')"
    learner = Balanced(model_of(2), method)
    assert learner.method.methods[1].aggregate.alpha == 2


@pytest.mark.parametrize(
    ("aggregator", "sentence"),
    [
        ("MDGA", "'MGDA'"),
        ("GradVac", "remembers earlier steps"),
        ("MGDA(epsilon=-1)", "positive"),
        ("FairGrad", "alpha"),
        ("Constant([1.0, 2.0])", "cannot be built"),
    ],
)
def test_what_cannot_work_is_refused(aggregator: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Balanced(model_of(2), TorchJD(aggregator))


def test_too_few_losses_for_an_aggregator_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot aggregate 2 losses"):
        direction("TrimmedMean(1)", [1, 0], [0, 1])


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("qpsolvers", "quadprog"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="quadprog"):
        Balanced(model_of(2), TorchJD("DualProj"))
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError, match=r"equimodal\[jacobian\]"):
        Balanced(model_of(2), TorchJD())
