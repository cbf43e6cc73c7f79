"""Sums, means and gathered records of two processes beside the same computed in one place."""

from __future__ import annotations

import pytest
import torch

from equimodal import distributed
from equimodal.testing import Workers
from fixtures import shares
from fixtures.plain import model_of

pytestmark = pytest.mark.processes


def test_alone_everything_is_the_identity() -> None:
    values = torch.ones(3, 2, requires_grad=True)
    assert (distributed.processes(), distributed.rank()) == (1, 0)
    assert distributed.gather_with_gradient(values) is values
    for found in (distributed.sum(values), distributed.gather(values)):
        assert torch.equal(found, values) and not found.requires_grad
    gradients = [torch.ones(2), None]
    assert distributed.average_gradients(gradients, [torch.ones(2), torch.ones(1)]) == gradients
    there = torch.tensor([[True, False], [False, False]])
    sums, counts = distributed.totals(torch.tensor([[2.0, 9], [torch.nan, 9]]), there)
    assert sums.tolist() == [2, 0] and counts.tolist() == [1, 0]


def test_who_is_who(workers: Workers) -> None:
    assert workers.run(shares.who) == [(0, 2), (1, 2)]


def test_rows_are_gathered_in_the_order_of_the_processes(workers: Workers) -> None:
    """Also where the processes hold different numbers of them, or one or both hold none."""
    wanted = {
        "uneven": shares.ROWS,
        "booleans": shares.ROWS[:, 0] > 3,
        "integers": torch.arange(5),
        "one side only": shares.ROWS,
        "nobody's": shares.ROWS[:0],
        "sum": shares.ROWS.sum(0),
    }
    for found in workers.run(shares.gathered):
        for name, value in wanted.items():
            assert found[name].dtype == value.dtype, name
            assert torch.equal(found[name], value), name


def test_counts_are_not_made_in_bfloat16(workers: Workers) -> None:
    for sums, counts in workers.run(shares.totals):
        assert sums.tolist() == counts.tolist() == [600, 30]
        assert sums.dtype == torch.float32


def test_gradients_come_back_from_all_that_used_a_row(workers: Workers) -> None:
    first, second = workers.run(shares.gradient_through_gather)
    weights = 3 * torch.arange(10, dtype=torch.float64).reshape(5, 2)  # 1 + 2 processes' weights
    assert torch.equal(torch.cat([first, second]), 2 * shares.ROWS * weights)


def test_an_absent_gradient_counts_as_zero_and_stays_absent_if_it_is_so_everywhere(
    workers: Workers,
) -> None:
    for both, one, none in workers.run(shares.averaged):
        assert torch.equal(both, torch.full((2, 2), 3.0))
        assert torch.equal(one, torch.full((3,), 0.5, dtype=torch.float64))
        assert none is None


def test_noise_is_the_same_everywhere_unless_asked_otherwise(workers: Workers) -> None:
    (first, alone), (second, other) = workers.run(shares.draws)
    assert first == second
    assert alone != other


def test_all_meet_in_the_backward_pass_also_those_without_a_gradient(workers: Workers) -> None:
    """As where a process's samples all lack the modality of the only encoder that is trained."""
    first, second = workers.run(shares.gradient_of_the_first_only)
    assert torch.equal(first, 2 * shares.ROWS[:3] * 3) and second is None


def test_all_start_from_the_weights_of_the_first(workers: Workers) -> None:
    first, second = workers.run(shares.from_other_weights)
    assert first.keys() == second.keys() and len(first) > 6
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(
        first["model.head.linear.weight"], model_of(2, seed=0).head.linear.weight.detach()
    )


HALVES = [[slice(0, 3)], [slice(3, 6)]]
UNEVEN = [[slice(0, 5)], [slice(5, 6)]]
NOTHING = [[slice(0, 6)], [slice(6, 6)]]
MICRO = [[slice(0, 2), slice(2, 3)], [slice(3, 4), slice(4, 6)]]


@pytest.mark.parametrize("number", [0, 2])  # in the last batch nobody has the second modality
@pytest.mark.parametrize(
    ("method", "cuts"),
    [
        ("uniform(weight=0.5)", HALVES),
        ("uniform(weight=0.5)", UNEVEN),
        ("uniform(weight=0.5)", MICRO),
        ("uniform(weight=0.5)", NOTHING),
        ("infonce()", NOTHING),
        ("infobridge()", NOTHING),
        ("bio(scores='current')", HALVES),
        ("bio(scores='current')", UNEVEN),
    ],
)
def test_processes_and_micro_batches_are_one_batch(
    method: str, cuts: list[list[slice]], number: int, workers: Workers
) -> None:
    losses, gradients = shares.one_step(method, number, [[slice(0, 6)]])
    answers = workers.run(shares.one_step, method, number, cuts)
    for name, value in losses.items():
        mean = sum(part[name] for part, _ in answers) / 2
        assert mean == pytest.approx(value, abs=1e-12), name
    for _, found in answers:
        for name, gradient in gradients.items():
            if gradient is None:
                assert found[name] is None, name
            else:
                torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=0)
