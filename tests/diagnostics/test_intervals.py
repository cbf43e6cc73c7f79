"""Intervals of accuracies beside scipy's, also where every sample is right or none is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import equimodal
from equimodal import Batch, Multimodal, heads
from equimodal.diagnostics import Bootstrap, Diagnosis, Interval
from equimodal.diagnostics.guess import guess
from equimodal.diagnostics.intervals import alike, balanced, rate, wilson
from equimodal.diagnostics.verdict import case


def scipys(right: int, of: int) -> tuple[float, float]:
    found = binomtest(right, of).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def ends(found: Interval) -> object:
    return pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "of"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 29), (81, 263), (9999, 10000)]
)
def test_accuracies_have_the_interval_of_wilson(right: int, of: int) -> None:
    answers = np.arange(of) < right
    for found in (wilson(right / of, of), rate(answers.astype(float))):
        assert scipys(right, of) == ends(found)
        assert 0 <= found.low <= found.value == right / of <= found.high <= 1
    assert rate(np.zeros(0)) is None


def test_answers_that_are_right_in_part_vary_less() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((5000, 4)) < 0.7
    found, whole = rate(right.mean(1)), rate(right.ravel().astype(float))  # of independent answers
    assert found.value == pytest.approx(whole.value)
    assert found.high - found.low == pytest.approx(whole.high - whole.low, rel=0.05)
    tied = np.full(20, 1 / 3)
    assert rate(tied).low < 1 / 3 < rate(tied).high  # nothing is seen of their spread


def test_values_that_are_all_alike_may_still_differ_elsewhere() -> None:
    for n in (1, 20, 500):
        assert scipys(n, n) == ends(alike(1.0, n, 0.0, 1.0))
        apart, share = alike(0.0, n, -1.0, 1.0), scipys(0, n)[1]
        assert apart.high == -apart.low == pytest.approx(share)
        assert alike(1.0, n, -1.0, 1.0).low == pytest.approx(1 - 2 * share)
    columns = np.array([[0.0, 0.0, 1.0]] * 10 + [[0.0, 1.0, -1.0]] * 10)
    there = np.arange(20) < 10
    one, two, three = Bootstrap(20).means(columns, there, within=(-1.0, 1.0))
    assert one == two == alike(0.0, 10, -1.0, 1.0) and three == alike(1.0, 10, -1.0, 1.0)
    assert Bootstrap(20).means(columns, there)[0] == Interval(0, 0, 0)  # of figures without a range


def test_balanced_accuracy_is_covered_also_where_classes_are_rare() -> None:
    rng = np.random.default_rng(1)
    chances = np.array([0.95, 0.8, 0.9])
    target = np.repeat([2, 0, 1], [8, 300, 20])
    found = [
        balanced((rng.random(328) < chances[target]).astype(float), target) for _ in range(1500)
    ]
    covered = np.mean([f.low <= chances.mean() <= f.high for f in found])
    assert 0.93 < covered < 0.985
    assert found[0].low < found[0].value < found[0].high
    always = balanced((target == 0).astype(float), target)  # one answer for all
    assert always.value == pytest.approx(1 / 3) and always.low < 1 / 3 < always.high
    # Zou and Donner: 3 of 4 and 5 of 10, each as far from its share as Wilson's interval is.
    two = balanced(
        np.array([1, 1, 1, 0, *[1] * 5, *[0] * 5], dtype=float), np.repeat([0, 1], [4, 10])
    )
    ends_of = [(3 / 4, *scipys(3, 4)), (5 / 10, *scipys(5, 10))]
    below = sum((share - low) ** 2 for share, low, _ in ends_of) ** 0.5 / 2
    above = sum((high - share) ** 2 for share, _, high in ends_of) ** 0.5 / 2
    assert (two.value - below, two.value + above) == ends(two)
    one = balanced(np.ones(5), np.zeros(5, dtype=int))  # of one class it is the accuracy
    assert scipys(5, 5) == ends(one)


def test_a_guess_among_classes_of_equal_size_is_not_better_than_an_even_one() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.integers(8, size=(300, 1000))
    values = [guess(target, 8)[0][target].mean() for target in drawn]
    assert abs(np.mean(values) - 1 / 8) < 0.004
    largest = [np.bincount(target).max() / 1000 for target in drawn]
    assert np.mean(largest) > 1 / 8 + 0.01  # what naming one of them would seem to be worth
    often, log_share = guess(np.repeat([0, 2], [70, 30]), 3)
    assert often.tolist() == [1, 0, 0] and log_share[[0, 2]] == pytest.approx(np.log([0.7, 0.3]))


def test_intervals_over_groups_cover_where_those_over_rows_do_not() -> None:
    """33 patients of 1 to 4 rows each, of which most are right or wrong together."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(33), 1 + np.arange(33) % 4)
    easy, found = rng.random((500, 33)) < 0.7, {"rows": np.zeros(2), "groups": np.zeros(2)}
    for draw in easy:
        right = np.where(
            draw[groups], rng.random(len(groups)) < 0.95, rng.random(len(groups)) < 0.1
        )
        right = right.astype(float)
        for name, of in (("rows", None), ("groups", groups)):
            both = (rate(right, of), Bootstrap(len(right), 0, 200, groups=of).mean(right))
            truth = 0.7 * 0.95 + 0.3 * 0.1
            found[name] += [figure.low <= truth <= figure.high for figure in both]
    assert (found["groups"] / 500 > 0.9).all() and (found["rows"] / 500 < 0.85).all()


def test_a_group_of_one_sample_is_a_sample() -> None:
    right = (np.arange(50) < 40).astype(float)
    alone, groups = rate(right), np.arange(50)[::-1]
    apart = rate(right, groups)
    assert apart.low == pytest.approx(alone.low, abs=2e-3) and apart.low <= alone.low
    assert Bootstrap(50, groups=np.arange(50)).mean(right) == Bootstrap(50).mean(right)
    assert scipys(10, 10) == ends(rate(np.ones(50), np.repeat(np.arange(10), 5)))  # 10 patients
    column = Bootstrap(50, groups=np.repeat(np.arange(10), 5)).mean(right * 0, within=(-1.0, 1.0))
    assert column == alike(0.0, 10, -1.0, 1.0)


@pytest.fixture(scope="module")
def perfect() -> Diagnosis:
    """40 samples; every answer, probe and model trained alone is right."""
    label = torch.arange(40) % 2
    shown = 9.0 * torch.eye(2)[label]
    head = heads.Sum({"a": 2, "b": 2}, classes=2)
    only = Multimodal({"a": torch.nn.Linear(2, 2)}, heads.Sum({"a": 2}, classes=2))
    whole = Multimodal({m: torch.nn.Linear(2, 2) for m in "ab"}, head)
    with torch.no_grad():
        for parameter in (*only.parameters(), *whole.parameters()):
            parameter.copy_(torch.eye(2) if parameter.ndim == 2 else 0 * parameter)
    batch = Batch({"a": shown, "b": shown}, label)
    return equimodal.diagnose(whole, [batch], train=[batch], alone={"a": only})


def test_no_figure_of_a_perfect_model_is_certain(perfect: Diagnosis) -> None:
    held = perfect.potential["a"]
    shown = perfect.robustness
    rates = [perfect.accuracy, held.probe, held.alone, held.alone_probe]
    rates += [s.accuracy for s in perfect.subsets if s.modalities]
    rates += [
        perfect.use["a"].decoupled,
        shown.missing_any.accuracy[0],
        shown.noise["a"].accuracy[0],
    ]
    assert [f.value for f in rates] == [1.0] * len(rates)
    for figure in rates:
        assert scipys(40, 40) == ends(figure)
    for apart in (
        held.gap,
        held.unused,
        held.adds,
        held.alone_adds,
        perfect.use["a"].leave_one_out,
    ):
        assert apart.value == 0 and apart.low < -0.08 and apart.high > 0.08
    assert all(i.high > i.low for i in perfect.use["a"].by_class.values())
    [both] = perfect.interactions
    assert both.accuracy.high - both.accuracy.value > 0.15
    assert case(perfect, "a") == "open"  # 40 samples do not show that nothing can be gained
    assert perfect.subsets[0].accuracy == Interval(0.5, 0.5, 0.5)  # with nothing it guesses


def test_tables_say_how_far_an_interval_reaches(perfect: Diagnosis) -> None:
    below = 100 * (1 - scipys(40, 40)[0])
    assert f"100.0 ± {below:.1f}" in perfect.text()
    assert Interval(0.5, 0.2, 0.6).reach == pytest.approx(0.3)
