"""Shapley values beside their definition over all orders, and beside captum's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from equimodal.diagnostics.coalitions import plan

NAMES = ("a", "b", "c", "d")


def by_definition(value: dict[frozenset[str], float], names: tuple[str, ...]) -> list[float]:
    """The mean marginal contribution over all orders, one by one."""
    orders = list(itertools.permutations(names))
    found = dict.fromkeys(names, 0.0)
    for order in orders:
        for i, m in enumerate(order):
            before = frozenset(order[:i])
            found[m] += (value[before | {m}] - value[before]) / len(orders)
    return [found[m] for m in names]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_exact_values_are_those_of_the_definition(count: int) -> None:
    names = NAMES[:count]
    game = plan(names)
    values = np.random.default_rng(count).normal(size=2**count)
    table = {frozenset(s): v for s, v in zip(game.coalitions, values, strict=True)}
    assert np.allclose(game.shapley @ values, by_definition(table, names))
    assert game.coalitions[0] == () and game.coalitions[-1] == names
    assert game.sampling_error(values).tolist() == [0.0] * count


def test_sampled_values_are_efficient_and_within_their_error() -> None:
    names = tuple(f"m{i}" for i in range(8))
    game = plan(names, seed=1)
    size = np.array([len(s) for s in game.coalitions])
    weight = {m: float(i) for i, m in enumerate(names)}
    total = np.array([sum(weight[m] for m in s) for s in game.coalitions])
    values = total * (1 + total) + np.where(size == 3, 0.5, 0.0)
    found, error = game.shapley @ values, game.sampling_error(values)
    assert not game.exact
    assert found.sum() == pytest.approx(values[-1] - values[0])
    pairs = sum(weight.values())
    exact = np.array([w + w * pairs for w in weight.values()])  # of t + t²: w + w·Σ
    assert (np.abs(found - exact) < 4 * error + 0.1).all()
    assert (error > 0).all()


def test_values_are_those_of_captum() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed")
    game = plan(NAMES)
    values = torch.tensor(np.random.default_rng(5).normal(size=len(game.coalitions)))

    def ask(there: torch.Tensor) -> torch.Tensor:
        rows = [tuple(n for n, on in zip(NAMES, row, strict=True) if on) for row in there.bool()]
        return torch.stack([values[game.coalitions.index(row)] for row in rows])

    everyone = torch.ones(1, len(NAMES), dtype=torch.double)
    exact = captum.ShapleyValues(ask).attribute(everyone)[0]  # over all orders
    assert np.allclose(game.shapley @ values.numpy(), exact.numpy())


def test_single_figures_pick_their_coalitions() -> None:
    game = plan(("a", "b", "c"))
    values = {(): 1.0, ("a",): 2.0, ("b",): 4.0, ("c",): 8.0, ("a", "b"): 16.0}
    values |= {("a", "c"): 32.0, ("b", "c"): 64.0, ("a", "b", "c"): 128.0}
    v = np.array([values[s] for s in game.coalitions])
    assert game.leave_one_out("b") @ v == 128 - 32
    assert game.add_one_in("c") @ v == 8 - 1
    assert game.interaction("a", "b") @ v == 16 - 2 - 4 + 1
