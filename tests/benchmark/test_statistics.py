"""The tests on data whose answer is known: how often they find what is not there, and what is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from equimodal.benchmark import statistics

SIMULATIONS = 1000


def rate(found: list[bool]) -> float:
    return sum(found) / len(found)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_paired_t_finds_nothing_in_five_percent_of_nothing(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    runs = rng.normal(size=(SIMULATIONS, 2, seeds))
    found = [statistics.paired(a, b).significant for a, b in runs]
    assert rate(found) == pytest.approx(0.05, abs=0.02)


def test_paired_t_is_scipys_and_finds_an_effect() -> None:
    rng = np.random.default_rng(1)
    runs = rng.normal(size=(200, 2, 5)) * 0.01 + 0.8
    for a, b in runs[:5]:
        assert statistics.paired(a, b).p == pytest.approx(float(stats.ttest_rel(a, b).pvalue))
    found = [statistics.paired(a + 0.04, b).significant for a, b in runs]
    assert rate(found) > 0.9


def resampled(rng: np.random.Generator, test: int, train: int) -> tuple[np.ndarray, np.ndarray]:
    """Two equally good means of random halves of one population: what overlaps makes splits alike."""
    total = test + train
    values = rng.normal(size=(2, total))
    rows = np.stack([rng.permutation(total)[:train] for _ in range(10)])
    return values[0][rows].mean(1), values[1][rows].mean(1)


def test_splits_that_overlap_need_the_correction() -> None:
    rng = np.random.default_rng(3)
    draws = [resampled(rng, 20, 180) for _ in range(SIMULATIONS)]
    plain = [statistics.paired(a, b).significant for a, b in draws]
    assert rate(plain) > 0.3  # the reason for the correction
    a, b = draws[0]
    d, factor = a - b, 1 / 10 + 20 / 180
    t = d.mean() / (d.std(ddof=1) * math.sqrt(factor))
    expected = 2 * stats.t.sf(abs(t), 9)
    assert statistics.corrected(a, b, test=20, train=180).p == pytest.approx(expected)


def test_the_corrected_test_is_right_where_its_correlation_holds() -> None:
    # Differences with the correlation that Nadeau and Bengio assume: test / (test + train).
    rng = np.random.default_rng(4)
    n, test, train = 10, 20, 180
    shared = math.sqrt(test / (test + train))
    common = rng.normal(size=(SIMULATIONS, 1)) * shared
    own = rng.normal(size=(SIMULATIONS, n)) * math.sqrt(1 - shared**2)
    found = [statistics.corrected(d, np.zeros(n), test, train).significant for d in common + own]
    assert rate(found) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("sets", [6, 12])
def test_wilcoxon_is_at_most_as_often_wrong_as_it_says(sets: int) -> None:
    rng = np.random.default_rng(sets)
    runs = rng.normal(size=(SIMULATIONS, 2, sets))
    found = [statistics.over_sets(a, b).significant for a, b in runs]
    assert rate(found) <= 0.065
    better = [statistics.over_sets(a + 4, b).significant for a, b in runs[:100]]
    assert rate(better) > 0.9


def test_five_sets_claim_nothing() -> None:
    found = statistics.over_sets([0.9] * 5, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert found.p == pytest.approx(2 / 2**5)
    assert "0.062" in found.why and not found.significant
    assert found.effect == pytest.approx(1.0)


def test_one_seed_and_equal_runs_claim_nothing() -> None:
    assert "one seed" in statistics.paired([0.5], [0.4]).why
    assert statistics.paired([0.5], [0.4]).difference == pytest.approx(0.1)
    same = statistics.paired([0.5, 0.6], [0.5, 0.6])
    assert same.p is None and "do not differ" in same.why
    assert statistics.paired([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]).p is None


def test_holm_by_hand_and_over_many() -> None:
    assert statistics.holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert statistics.holm([0.6, 0.5]) == [1.0, 1.0]
    p = np.random.default_rng(5).uniform(size=(SIMULATIONS, 8))
    wrong = [min(v for v in statistics.holm(row) if v is not None) < 0.05 for row in p.tolist()]
    assert rate(wrong) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("scores", "ways"),
    [
        # Each other data set has one way of K! that is like the first's: both orders of D = 2, by hand.
        ([[3, 2, 1], [9, 8, 1]], 6),
        ([[3, 2, 1], [9, 8, 1], [7, 5, 2]], 36),
        ([[4, 3, 2, 1], [9, 8, 1, 0]], 24),
    ],
)
def test_no_agreement_is_less_likely_than_by_chance(scores: list[list[float]], ways: int) -> None:
    assert statistics.friedman(scores).p == pytest.approx(1 / ways, abs=1e-12)


@pytest.mark.parametrize(
    ("other", "wanted"),
    # Friedman (1937): of three methods on four data sets, P(χ² ≥ 8.0) = 0.0046 and P(χ² ≥ 6.5) = 0.042.
    [([1, 2, 3], 0.0046), ([1, 3, 2], 0.042)],
)
def test_friedman_is_that_of_the_published_tables(other: list[float], wanted: float) -> None:
    assert statistics.friedman([[1, 2, 3]] * 3 + [other]).p == pytest.approx(wanted, abs=5e-4)


def test_friedman_counts_ties() -> None:
    """Three ways to place the tied pair in each of two rows: by hand, 3 of 9 pairs of rows are as uneven."""
    assert statistics.friedman([[1, 1, 0], [5, 5, 2]]).p == pytest.approx(1 / 3, abs=1e-12)
    assert statistics.friedman([[1, 1, 1], [5, 5, 5]]).p == 1


@pytest.mark.parametrize(("sets", "methods"), [(2, 3), (3, 4), (5, 6)])
def test_friedman_is_right_under_the_null_and_sees_an_effect(sets: int, methods: int) -> None:
    rng = np.random.default_rng(6)
    scores = rng.normal(size=(SIMULATIONS, sets, methods))
    wrong = rate([statistics.friedman(s).p < 0.05 for s in scores])
    assert wrong <= 0.065
    if sets < 5:  # few ways to rank: the test cannot use up its level
        return
    assert wrong == pytest.approx(0.05, abs=0.02)
    shifted = scores[:100] + np.array([4.0, 3, 2, 1, 0, -1])
    assert rate([statistics.friedman(s).p < 0.05 for s in shifted]) > 0.9


def test_critical_difference_is_the_published_one() -> None:
    # Demšar (2006), Section 3.2.2: 4 classifiers, 14 data sets, q = 2.569: CD = 1.25.
    rng = np.random.default_rng(7)
    found = statistics.friedman(rng.normal(size=(14, 4)))
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert sum(found.mean) == pytest.approx(10)


def test_nemenyi_is_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs", reason="the extra 'bench' is not installed")
    rng = np.random.default_rng(8)
    scores = rng.normal(size=(9, 4)) + np.array([1.5, 0.5, 0, -0.5])
    found = statistics.friedman(scores)
    p = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    for i in range(4):
        for k in range(4):
            assert (p[i, k] < 0.05) == (abs(found.mean[i] - found.mean[k]) > found.critical)


def test_groups_are_what_ranks_do_not_tell_apart() -> None:
    scores = np.array([[4, 3, 2, 1.0]] * 20) + np.array([[0, 0, 0, 0], [0, 1.5, 0, 0]] * 10)
    found = statistics.friedman(scores)
    assert found.mean == (1.5, 1.5, 3.0, 4.0)
    assert found.critical == pytest.approx(1.05, abs=0.01)
    assert found.groups == ((0, 1), (2, 3))


def test_the_detectable_difference_is_found_in_eighty_percent() -> None:
    least = statistics.detectable(sd=0.02, n=5)
    rng = np.random.default_rng(9)
    d = rng.normal(least, 0.02, size=(SIMULATIONS, 5))
    found = [statistics.paired(row, np.zeros(5)).significant for row in d]
    assert rate(found) == pytest.approx(0.8, abs=0.04)


def test_bootstrap_covers_and_pairs() -> None:
    rng = np.random.default_rng(10)
    inside = []
    for i in range(100):
        skill = rng.normal(0.7, 0.02, size=(8, 1)).clip(0, 1)
        found = statistics.bootstrap(rng.random((8, 200)) < skill, draws=500, seed=i)
        inside.append(found.low <= 0.7 <= found.high)
    assert rate(inside) > 0.88
    right = rng.random((5, 300)) < 0.7
    same = statistics.bootstrap(right, right)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = right & (rng.random((5, 300)) < 0.9)
    assert statistics.bootstrap(right, worse).low > 0


def test_bootstraps_are_those_of_each_row_and_of_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    rows = [rng.random((s, n)) < 0.6 for s, n in ((3, 40), (2, 40), (3, 40), (1, 7))]
    found = statistics.bootstraps(rows, draws=200)
    assert found == [statistics.bootstrap(row, draws=200) for row in rows]
    runs, samples = (
        np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), 200)
        for seed, size in ((0, 2), (1, 40))
    )
    means = [
        sum(runs[b, s] * samples[b, n] * rows[1][s, n] for s in range(2) for n in range(40)) / 80
        for b in range(200)
    ]
    assert (found[1].low, found[1].high) == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_groups_are_drawn_whole() -> None:
    """Samples of which there are three each say no more than once; of groups of other sizes a slow loop."""
    rng = np.random.default_rng(5)
    rows = [rng.random((s, 30)) < 0.6 for s in (3, 2)]
    thrice, order = np.repeat(np.arange(30), 3), rng.permutation(90)
    many = [row[:, thrice][:, order] for row in rows]
    for one, other in zip(
        statistics.bootstraps(rows), statistics.bootstraps(many, thrice[order] + 7), strict=True
    ):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-6)
    assert statistics.bootstraps([rows[0], many[1]], thrice)[0] == statistics.bootstraps(rows)[0]
    [single] = statistics.bootstraps([rows[0]], np.zeros(30, dtype=int))
    assert np.isnan([single.low, single.high]).all()
    groups = np.array([4, 2, 2, 9, 4, 4, 9, 2, 2, 2])
    right = rng.random((2, 10)) < 0.5
    [found] = statistics.bootstraps([right], groups, draws=100)
    runs, units = (
        np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), 100)
        for seed, size in ((0, 2), (1, 3))
    )
    means = []
    for b in range(100):
        drawn = [sum(units[b, k] for k in range(3) if g == (2, 4, 9)[k]) for g in groups]
        sums = sum(runs[b, s] * drawn[n] * right[s, n] for s in range(2) for n in range(10))
        means.append(sums / (2 * sum(drawn)))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=1e-6)


def test_probability_of_being_better() -> None:
    assert statistics.better([1, 2], [0, 1]) == (1 + 0.5 + 1 + 1) / 4


def test_equal_differences_of_decimals_share_a_rank() -> None:
    a, b = np.array([0.3, 0.6, 0.9, 0.2]), np.array([0.1, 0.4, 0.7, 0.4])
    assert len(set(np.abs(a - b))) > 1, "the test needs rounding errors"
    assert statistics.over_sets(a, b).effect == pytest.approx((3 * 2.5 - 2.5) / 10, abs=1e-12)
