"""`Step.mean`, `Step.generator`, and what an epoch says."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from equimodal import Batch, Output
from equimodal.core import Epoch
from fixtures.plain import step_of, worked_example


def values() -> torch.Tensor:
    return torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64, requires_grad=True)


def batch(present: list[int] | None = None) -> Batch:
    there = {} if present is None else {"two": torch.tensor(present)}
    return Batch(
        {"one": torch.zeros(4, 2), "two": torch.zeros(4, 2)}, torch.zeros(4), present=there
    )


MODEL = worked_example()[0]


def test_mean_of_all() -> None:
    assert step_of(MODEL, batch()).mean(values()).item() == 15 / 4


def test_mean_of_those_who_have_a_modality() -> None:
    step = step_of(MODEL, batch([0, 1, 0, 1]))
    assert step.mean(values(), "two").item() == 5
    assert step.mean(values(), "one").item() == 15 / 4


def test_mean_over_nobody_is_zero_and_has_no_gradient() -> None:
    seen = values()
    step_of(MODEL, batch([0, 0, 0, 0])).mean(seen, "two").backward()
    assert step_of(MODEL, batch([0, 0, 0, 0])).mean(values(), "two").item() == 0
    assert seen.grad.tolist() == [0, 0, 0, 0]


def test_a_modality_without_input_has_mean_zero() -> None:
    only = Batch({"one": torch.zeros(4, 2)}, torch.zeros(4))
    assert step_of(MODEL, only).mean(values(), "two").item() == 0


def test_what_the_mask_hides_may_be_infinite() -> None:
    seen = torch.tensor([1.0, torch.inf, 3.0, torch.nan])
    step = step_of(MODEL, batch())
    assert step.mean(seen, mask=torch.tensor([True, False, True, False])).item() == 2
    assert step_of(MODEL, batch([1, 0, 1, 0])).mean(seen, "two").item() == 2


def test_means_of_micro_batches_sum_to_that_of_the_batch() -> None:
    whole = batch([1, 0, 1, 1])
    counts = {"": 4, "one": 4, "two": 3}
    parts = [slice(0, 1), slice(1, 4)]
    for modality in (None, "one", "two"):
        shares = [
            step_of(MODEL, whole.select(part), counts=counts).mean(values()[part], modality)
            for part in parts
        ]
        wanted = step_of(MODEL, whole).mean(values(), modality)
        assert torch.stack(shares).sum().item() == wanted.item()


def test_a_mask_weighs_by_the_size_of_its_micro_batch() -> None:
    part = batch().select([0, 1])
    step = step_of(MODEL, part, counts={"": 8, "one": 8, "two": 8})
    mask = torch.tensor([False, True])
    assert step.mean(values()[:2], mask=mask).item() == 2 * 2 / 8


def test_draws_depend_on_where_training_is() -> None:
    def draw(purpose: str = "noise", **where: int) -> float:
        generator = step_of(MODEL, batch(), **where).generator(purpose)
        return torch.rand((), generator=generator, dtype=torch.float64).item()

    assert draw() == draw()
    others = [
        draw("other"),
        draw(epoch=1),
        draw(number=1),
        draw(seed=1),
        draw(position=1),
        draw(micro=1),
    ]
    assert len({draw(), *others}) == 7


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    torch.rand((), generator=step_of(MODEL, batch()).generator("noise"))
    torch.rand((), generator=Epoch(0, MODEL, step_of(MODEL, batch()).task).generator("noise"))
    assert torch.equal(torch.get_rng_state(), before)


def test_notes_are_detached_and_shared_along_a_chain() -> None:
    step = step_of(MODEL, batch())
    step.at(3).note("figure", values().sum())
    assert step.notes["figure"].item() == 15 and not step.notes["figure"].requires_grad
    assert step.at(3).position == 3 and step.position == 0


def logits() -> torch.Tensor:
    return torch.tensor([[2.0, 0, -1], [0, 1, 0], [3, 3, 3], [-1, 0, 1]], dtype=torch.float64)


def of_classes(present: list[int] | None = None) -> Batch:
    return dataclasses.replace(batch(present), target=torch.tensor([0, 2, 1, 1]))


def cross_entropies() -> list[float]:
    """Written out: log Σ exp minus the logit of the truth."""
    truth = [0, 2, 1, 1]
    return [
        math.log(sum(math.exp(x) for x in row)) - row[y]
        for row, y in zip(logits().tolist(), truth, strict=True)
    ]


@pytest.mark.parametrize("present", [None, [1, 0, 1, 1]])
def test_loss_is_the_mean_over_those_who_have_the_modality(present: list[int] | None) -> None:
    step, each = step_of(MODEL, of_classes(present)), cross_entropies()
    kept = [x for x, there in zip(each, present or [1] * 4, strict=True) if there]
    assert step.loss(logits(), "two").item() == pytest.approx(sum(kept) / len(kept), abs=1e-12)
    assert step.loss(logits()).item() == pytest.approx(sum(each) / 4, abs=1e-12)


def test_losses_of_micro_batches_sum_to_that_of_the_batch() -> None:
    whole, counts = of_classes([1, 0, 1, 1]), {"": 4, "one": 4, "two": 3}
    for modality in (None, "one", "two"):
        parts = [
            step_of(MODEL, whole.select(rows), counts=counts).loss(logits()[rows], modality)
            for rows in (slice(0, 1), slice(1, 4))
        ]
        expected = step_of(MODEL, whole).loss(logits(), modality)
        torch.testing.assert_close(sum(parts), expected)


def test_verdicts_are_those_of_this_output_and_computed_once() -> None:
    step = step_of(MODEL, of_classes())
    output = Output({}, {"one": logits(), "two": -logits()}, logits())
    found = step.verdicts(output)
    truth = [math.exp(-x) for x in cross_entropies()]
    torch.testing.assert_close(found.confidence[0], torch.tensor(truth, dtype=torch.float64))
    assert found.correct.tolist() == [[True, False, False, False], [False] * 4]
    assert step.at(3).verdicts(output) is found
    other = Output({}, {"one": -logits(), "two": logits()}, logits())
    assert step.verdicts(other).correct.tolist() == found.correct.flip(0).tolist()
