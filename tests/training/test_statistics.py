"""The figures of an epoch, against plain Python loops over its batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equimodal.core import Balanced, Batch, Gradients, Method, Output, Step
from equimodal.training.statistics import Statistics, discrepancy
from fixtures import small


def test_discrepancy() -> None:
    assert float(discrepancy(torch.tensor([3.0, 6.0]))) == 0.5  # the model's order, may be below 1
    assert float(discrepancy(torch.tensor([3.0, 6.0, 2.0]))) == 3.0
    assert discrepancy(torch.tensor([0.3])).isnan()  # of one there is none


def run(modalities: int, missing: float, parts: int) -> tuple[Statistics, list[dict[str, object]]]:
    data, learner = (
        small.splits(modalities, missing).train,
        Balanced(small.model(modalities).double()),
    )
    statistics = Statistics(learner.model.modalities, torch.device("cpu"))
    seen = []
    for number in range(4):
        batch = data.fetch(range(10 * number, 10 * number + 10))
        micro = [batch.select(rows.tolist()) for rows in torch.arange(10).tensor_split(parts)]
        for step in learner.steps(micro, 0, number, 4):
            output = learner(step)
            statistics.add(output, learner.losses(output, step), step)
        statistics.close(number)
        seen.append(slow(learner, batch))
    return statistics, seen


@torch.no_grad()
def slow(learner: Balanced, batch: Batch) -> dict[str, object]:
    output = learner.model(batch)
    rho = []
    for m in learner.model.modalities:
        there = [i for i in range(len(batch)) if bool(batch.mask(m)[i])]
        said = [float(output.unimodal[m][i].softmax(0)[batch.target[i]]) for i in there]
        rho.append(len(batch) * sum(said) / len(said))
    right = sum(
        int(row.argmax()) == int(y) for row, y in zip(output.fused, batch.target, strict=True)
    )
    loss = torch.nn.functional.cross_entropy(output.fused, batch.target)
    return {"rho": rho, "right": right, "loss": float(loss)}


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize(("missing", "parts"), [(0.0, 1), (0.3, 1), (0.3, 3)])
def test_an_epoch(modalities: int, missing: float, parts: int) -> None:
    statistics, seen = run(modalities, missing, parts)
    found = statistics.read()
    rhos = [batch["rho"] for batch in seen]
    ratios = [r[0] / r[1] if len(r) == 2 else max(r) / min(r) for r in rhos]
    ratio = sum(ratios) / 4 if modalities > 1 else math.nan
    assert found.discrepancy_ratio == pytest.approx(ratio, abs=1e-12, nan_ok=True)
    totals = [sum(r[i] for r in rhos) for i in range(modalities)]
    assert list(found.share.values()) == pytest.approx([t / sum(totals) for t in totals], abs=1e-12)
    assert found.accuracy == sum(batch["right"] for batch in seen) / 40
    assert found.loss["task"] == pytest.approx(sum(batch["loss"] for batch in seen) / 4, abs=1e-12)
    assert found.bad_step is None


def test_the_first_bad_step_and_its_suspects() -> None:
    learner = Balanced(small.model().double())
    statistics = Statistics(("a", "b"), torch.device("cpu"))
    data = small.splits().train
    for number in range(4):
        step = learner.steps(data.fetch(range(8)), 0, number, 4)[0]
        output = learner(step)
        losses = learner.losses(output, step)
        spoiled: dict[str, Tensor] = {
            **losses,
            "own": losses["task"] * (math.inf if number == 2 else 1),
        }
        statistics.add(output, spoiled, step)
        statistics.close(number)
    found = statistics.read()
    assert (found.bad_step, found.suspects) == (2, ("loss 'own'",))


def test_a_batch_without_a_modality_leaves_the_ratio_alone() -> None:
    learner, data = Balanced(small.model().double()), small.splits().train
    statistics = Statistics(("a", "b"), torch.device("cpu"))
    whole = data.fetch(range(8))
    without = Batch(whole.inputs, whole.target, None, {"b": torch.zeros(8, dtype=torch.bool)})
    for number, batch in enumerate([whole, without]):
        step = learner.steps(batch, 0, number, 2)[0]
        output = learner(step)
        statistics.add(output, learner.losses(output, step), step)
        statistics.close(number)
    rho = slow(learner, whole)["rho"]
    assert statistics.read().discrepancy_ratio == pytest.approx(rho[0] / rho[1], abs=1e-12)


class Noting(Method):
    """Notes the number of the batch, and in odd ones something more."""

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        step.note("number", torch.tensor(float(step.number)))
        if step.number % 2:
            step.note("odd|one", torch.tensor(10.0 * step.number))
        step.note("many", torch.ones(3))
        return grads


def test_what_methods_note_is_averaged_over_the_batches_that_have_it() -> None:
    learner, data = Balanced(small.model().double(), Noting()), small.splits().train
    statistics = Statistics(("a", "b"), torch.device("cpu"))
    for number in range(4):
        step = learner.steps(data.fetch(range(8)), 0, number, 4)[0]
        output = learner(step)
        losses = learner.losses(output, step)
        learner.backward(losses, output, step)
        statistics.add(output, losses, step)
        statistics.close(number)
    assert statistics.read().notes == {"number": 1.5, "odd|one": 20.0}
    other = Statistics(("a", "b"), torch.device("cpu"))
    other.load(statistics.state())
    assert other.read().notes == statistics.read().notes


def test_the_state_is_all_that_is_known() -> None:
    statistics, _ = run(2, 0.3, 1)
    other = Statistics(("a", "b"), torch.device("cpu"))
    other.load(statistics.state())
    assert other.read() == statistics.read()
