"""Whether a difference is one: tests, intervals and effect sizes, each a function of arrays.

Runs of one row differ by their seed and share the split, so that two rows are compared seed by seed. A claim is made
only where the number of seeds or data sets allows one at all.

Sources: C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52, 2003, pp. 239-281 (the
corrected t-test); J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, pp. 1-30
(Wilcoxon, Friedman, Nemenyi, the diagram); M. Friedman, "The use of ranks to avoid the assumption of normality implicit
in the analysis of variance", JASA 32, 1937, pp. 675-701 (the exact distribution, by permuting each row); S. Holm, "A
simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979, pp. 65-70; X.
Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021 (the probability that A is
better than B).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

__all__ = [
    "ALPHA",
    "Interval",
    "Paired",
    "Ranks",
    "Spread",
    "better",
    "bootstrap",
    "bootstraps",
    "corrected",
    "corrected_interval",
    "detectable",
    "friedman",
    "holm",
    "over_sets",
    "paired",
    "spread",
]

ALPHA = 0.05
"""The level of every test."""

WEIGHTS = 1 << 22
"""Of samples in resamples, that are held as numbers at a time."""

RANKINGS = 20_000
"""Ways to rank the methods that Friedman's test looks at: all, where there are no more."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over n runs; the deviation of one run is not known (nan)."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A comparison of two rows.

    Attributes:
        difference: mean of a - b.
        p: two-sided; None where no test is possible.
        effect: the difference over the standard deviation of the differences, with Hedges' correction for few runs;
            for Wilcoxon the rank-biserial correlation; None below three pairs, or without a spread.
        n: pairs.
        why: why there is no p, or why it says nothing; empty where it counts.
    """

    difference: float
    p: float | None
    effect: float | None
    n: int
    why: str = ""

    @property
    def significant(self) -> bool:
        """Before any correction for several comparisons."""
        return self.p is not None and not self.why and self.p < ALPHA


@dataclass(frozen=True)
class Ranks:
    """Several methods over several data sets.

    Attributes:
        mean: rank of each method, 1 is best, in the order given.
        p: of the hypothesis that all are alike (Friedman's statistic); exact, or by permutation.
        critical: two mean ranks that differ by less are not told apart (Nemenyi, 5%).
        groups: the longest runs of methods that are not told apart, as positions sorted by rank; two at least.
        why: why nothing is claimed; empty where it is.
    """

    mean: tuple[float, ...]
    p: float
    critical: float
    groups: tuple[tuple[int, ...], ...]
    why: str = ""


def spread(values: ArrayLike) -> Spread:
    """Mean and standard deviation (n - 1)."""
    found = np.asarray(values, dtype=float)
    sd = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(float(found.mean()), sd, len(found))


def paired(a: ArrayLike, b: ArrayLike) -> Paired:
    """Paired t-test over seeds.

    Args:
        a, b: [S], run i of both with the same seed.
    """
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return _t(d, 1 / len(d), "one seed: no test is possible, and none is claimed")


def corrected(a: ArrayLike, b: ArrayLike, test: int, train: int) -> Paired:
    """Corrected resampled t-test (Nadeau and Bengio), for runs that differ by their split into train and test.

    Args:
        a, b: [S], run i of both on the same split.
        test, train: samples in each part.
    """
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return _t(d, 1 / len(d) + test / train, "one split: no test is possible, and none is claimed")


def corrected_interval(values: ArrayLike, test: int, train: int) -> Interval:
    """Mean over splits with its 95% interval by the variance of Nadeau and Bengio; of one split without ends (nan).

    Args:
        values: [S], one per split into train and test.
        test, train: samples in each part.
    """
    found = np.asarray(values, dtype=float)
    n, mean = len(found), float(found.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * found.std(ddof=1) * math.sqrt(1 / n + test / train)
    return Interval(mean, float(mean - half), float(mean + half))


def _t(d: Floats, factor: float, alone: str) -> Paired:
    n, mean = len(d), float(d.mean())
    if n < 2:
        return Paired(mean, None, None, n, alone)
    sd = float(d.std(ddof=1))
    if sd <= 1e-12 * max(1.0, abs(mean)):
        why = (
            "the runs do not differ"
            if mean == 0
            else "all differences are equal: no spread to test against"
        )
        return Paired(mean, None, None, n, why)
    t = mean / (sd * math.sqrt(factor))
    effect = None if n < 3 else mean / sd * (1 - 3 / (4 * (n - 1) - 1))
    return Paired(mean, float(2 * special.stdtr(n - 1, -abs(t))), effect, n)


def over_sets(a: ArrayLike, b: ArrayLike) -> Paired:
    """Wilcoxon's signed-rank test over data sets.

    Args:
        a, b: [D], the mean of both on data set i.
    """
    # Rounded, because equal differences of decimals are not equal in binary, and ranks would follow the rounding.
    d = np.round(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 12)
    mean, rest = float(d.mean()), d[d != 0]
    least = 2.0 ** (1 - len(rest))  # both tails hold one of 2^n patterns of signs
    if not len(rest):
        return Paired(mean, None, None, len(d), "the means do not differ")
    exact = len(np.unique(np.abs(rest))) == len(rest) and len(rest) <= 50
    p = float(stats.wilcoxon(rest, method="exact" if exact else _all_signs(len(rest))).pvalue)
    ranks = stats.rankdata(np.abs(rest))
    effect = float((ranks * np.sign(rest)).sum() / ranks.sum())
    why = ""
    if least >= ALPHA:
        why = f"with {len(rest)} data sets that differ no p below {least:.3f} is possible: nothing is claimed"
    return Paired(mean, p, effect, len(d), why)


def _all_signs(n: int) -> stats.PermutationMethod | str:
    """Ties among the differences: all patterns of signs where they can be counted."""
    return stats.PermutationMethod(n_resamples=2**n) if n <= 12 else "approx"


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values; None stays None and does not count.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[i] = largest
    return adjusted


def bootstrap(
    right: NDArray[np.bool_],
    other: NDArray[np.bool_] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Accuracy, or the difference of two, when seeds and test samples are both drawn again.

    Args:
        right: [S, N], whether run s is right on sample n.
        other: of the row that is subtracted, for the same seeds and samples.
        draws: resamples.
        seed: of the draws.
    """
    values = right.astype(np.float32)
    if other is not None:
        values = values - other.astype(np.float32)
    return _intervals([values], draws, seed)[0]


def bootstraps(
    rows: Sequence[NDArray[np.bool_]],
    groups: NDArray[np.int64] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """`bootstrap` of many rows at once, which is many times faster.

    Args:
        rows: each [S, N]; rows may differ in S, and those of other data in N.
        groups: [N] what the samples of the rows with N of them are of, if several are of one: groups are then drawn, whole.
        draws, seed: as there.
    """
    found: dict[int, Interval] = {}
    for size in {row.shape[1] for row in rows}:
        alike = [i for i, row in enumerate(rows) if row.shape[1] == size]
        of = groups if groups is not None and len(groups) == size else None
        intervals = _intervals([rows[i].astype(np.float32) for i in alike], draws, seed, of)
        found |= zip(alike, intervals, strict=True)
    return [found[i] for i in range(len(rows))]


def _intervals(
    rows: Sequence[NDArray[np.float32]],
    draws: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> list[Interval]:
    """Of rows over the same N samples: sums over drawn samples for all runs in one product, then over drawn runs."""
    runs = np.concatenate(rows)
    sizes = np.ones(runs.shape[1], dtype=np.float32)
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1]
        sizes = np.bincount(codes).astype(np.float32)
        runs = np.stack([np.bincount(codes, run) for run in runs]).astype(np.float32)
    of_units = _weights(draws, len(sizes), seed + 1)
    ends = np.cumsum([len(row) for row in rows])
    means = np.empty((len(rows), draws))
    block = max(1, WEIGHTS // len(sizes))
    for start in range(0, draws, block):
        part = slice(start, start + block)
        weights = of_units[part].astype(np.float32).T
        sums, samples = np.split(runs @ weights, ends[:-1]), sizes @ weights
        for i, (row, of_runs) in enumerate(zip(rows, sums, strict=True)):
            drawn = _weights(draws, len(row), seed)[part].T
            means[i, part] = (of_runs * drawn).sum(0, dtype=np.float64) / (len(row) * samples)
    bounds = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    if groups is not None and len(sizes) < 2:  # of one group nothing is known of others
        bounds = np.full_like(bounds, np.nan)
    centres = [float(row.mean(dtype=np.float64)) for row in rows]
    return [
        Interval(centre, float(low), float(high))
        for centre, low, high in zip(centres, *bounds, strict=True)
    ]


@lru_cache(maxsize=8)
def _weights(draws: int, size: int, seed: int) -> NDArray[np.uint8]:
    """How often each of `size` things is drawn in each resample; the same for all rows of a table."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(size, np.full(size, 1 / size), draws).astype(np.uint8)


def better(a: ArrayLike, b: ArrayLike) -> float:
    """The probability that a run of A is better than a run of B: the share of all pairs, half for a tie."""
    x, y = np.asarray(a, dtype=float)[:, None], np.asarray(b, dtype=float)[None]
    return float(((x > y) + 0.5 * (x == y)).mean())


def detectable(sd: float, n: int, power: float = 0.8) -> float:
    """The smallest true difference that a paired t-test of n runs would have shown with this power.

    Args:
        sd: standard deviation of the paired differences.
        n: pairs.
        power: probability of p < 0.05.
    """
    if n < 3 or not sd > 0:  # two runs would need a difference of dozens of deviations
        return math.nan
    limit = stats.t.ppf(1 - ALPHA / 2, n - 1)

    def missing(effect: float) -> float:
        centre = effect * math.sqrt(n)
        found = stats.nct.sf(limit, n - 1, centre) + stats.nct.cdf(-limit, n - 1, centre)
        return float(found) - power

    above = 1.0
    while missing(above) < 0:
        above *= 2
    return float(optimize.brentq(missing, 1e-6, above) * sd)


def friedman(scores: ArrayLike) -> Ranks:
    """Friedman's test over data sets with Nemenyi's critical difference.

    Args:
        scores: [D, K], of K ≥ 3 methods on D ≥ 2 data sets; higher is better.

    Raises:
        ValueError: fewer methods or data sets.
    """
    values = np.asarray(scores, dtype=float)
    sets, methods = values.shape
    if methods < 3 or sets < 2:
        raise ValueError("Friedman's test needs three methods and two data sets.")
    ranks = stats.rankdata(-values, axis=1)
    mean, p = ranks.mean(0), _p_of_ranks(ranks)
    critical = float(_nemenyi(methods) * math.sqrt(methods * (methods + 1) / (6 * sets)))
    why = (
        "" if p < ALPHA else f"all methods may be alike (p = {p:.2f}): no pair is claimed to differ"
    )
    return Ranks(tuple(map(float, mean)), p, critical, _groups(mean, critical), why)


@cache
def _nemenyi(methods: int) -> float:
    return float(stats.studentized_range.ppf(1 - ALPHA, methods, np.inf) / math.sqrt(2))


def _p_of_ranks(ranks: Floats) -> float:
    """How often the methods' rank sums [D, K] would differ so much, if each data set ranked them by chance.

    Exact where there are few ways to rank, else from so many drawn ones. Approximations by χ² or F are far off for few data
    sets: of three methods on two, every third pair of rows by chance seems to differ at 5%.
    """
    null, exact = _null_of_ranks(tuple(sorted(tuple(sorted(row)) for row in ranks.tolist())))
    as_far = int((null >= _unevenness(*ranks.T, axis=0)).sum())
    return as_far / len(null) if exact else (as_far + 1) / (len(null) + 1)


@lru_cache(maxsize=64)
def _null_of_ranks(rows: tuple[tuple[float, ...], ...]) -> tuple[Floats, bool]:
    """The unevenness of rank sums by chance, and whether these are all ways; without ties it depends on D and K alone."""
    ranks = np.asarray(rows)
    found = stats.permutation_test(
        tuple(ranks.T),
        _unevenness,
        permutation_type="samples",
        n_resamples=RANKINGS,
        vectorized=True,
        batch=max(1, WEIGHTS // ranks.size),
        rng=np.random.default_rng(0),
    )
    ways = float(math.factorial(ranks.shape[1])) ** len(ranks)
    return found.null_distribution, ways <= RANKINGS


def _unevenness(*ranks: Floats, axis: int) -> Floats:
    """The sum of squared rank sums, which orders as Friedman's statistic does; exact, since ranks are halves."""
    sums = np.stack([method.sum(axis) for method in ranks])
    uneven: Floats = (sums**2).sum(0)
    return uneven


def _groups(mean: Floats, critical: float) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(mean, kind="stable")
    found: list[tuple[int, ...]] = []
    for i in range(len(order)):
        inside = [k for k in order[i:] if mean[k] - mean[order[i]] < critical]
        group = tuple(int(k) for k in inside)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)
