"""Intervals over test samples: the bootstrap, with the same resamples for every figure, so that differences are paired.

Accuracies have Wilson's interval instead, see `intervals`.

Every figure is a mean over samples, or a function of a table of counts; resampling N samples with replacement is drawing
how often each one counts, so R resamples of K means are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .intervals import LEVEL, Interval, alike, are_alike, normal_point

__all__ = ["Bootstrap"]

Array = NDArray[np.float64]

RESAMPLES = 1000
CELLS = 4_000_000  # of the matrix of counts that is held at a time


@dataclass(frozen=True)
class Bootstrap:
    """R resamples of N samples, a function of the seed alone.

    Attributes:
        samples: N.
        groups: [N] codes of what samples are of, such as the patient: whole groups are then drawn, so that samples of one group
            may say the same. None: each sample stands by itself.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979; of groups: Field and Welsh,
    "Bootstrapping clustered data", Journal of the Royal Statistical Society B 2007.
    """

    samples: int
    seed: int = 0
    resamples: int = RESAMPLES
    level: float = LEVEL
    groups: NDArray[np.int64] | None = field(default=None, compare=False)

    def of(self, rows: NDArray[np.bool_]) -> Bootstrap:
        """The same over some of the samples, [N]."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, samples=int(rows.sum()), groups=groups)

    def counts(self) -> Iterator[Array]:
        """How often each sample counts: blocks [r, N], R rows in all, whose rows sum to N; of groups to N in the mean."""
        rng = np.random.default_rng(self.seed)
        codes, units = None, self.samples
        if self.groups is not None:
            names, codes = np.unique(self.groups, return_inverse=True)
            units = len(names)
        block = max(1, CELLS // max(self.samples, 1))
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            drawn = rng.integers(units, size=(rows, units))
            drawn += units * np.arange(rows)[:, None]
            counted = np.bincount(drawn.ravel(), minlength=rows * units)
            found = counted.reshape(rows, units).astype(np.float64)
            yield found if codes is None else found[:, codes]

    def means(
        self,
        values: Array,
        weight: Array | None = None,
        within: tuple[float, float] | None = None,
    ) -> list[Interval | None]:
        """For each column of values [N, K] its mean, in a normal interval of the resamples' spread.

        Args:
            values: one row per sample.
            weight: [N] or [N, K], 1 where a sample counts; a column in which none does has no mean.
            within: the least and the most that a value can be: a column of values that are all the same, whose resamples have
                no spread, then has the interval of `alike`.
        """
        values = np.asarray(values, dtype=np.float64)
        counted = np.ones_like(values) if weight is None else _columns(weight, values)
        # Where no sample counts the value may be anything, also NaN.
        both = np.concatenate([np.where(counted > 0, values, 0.0) * counted, counted], 1)
        sums = np.concatenate([block @ both for block in self.counts()])
        total, there = np.split(sums, 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(there > 0, total / there, np.nan)
            value = both[:, : values.shape[1]].sum(0) / counted.sum(0)
        found: list[Interval | None] = []
        for k in range(values.shape[1]):
            there_are = counted[:, k] > 0
            seen = values[there_are, k]
            if not len(seen):
                found.append(None)
            elif within is not None and are_alike(seen):
                found.append(alike(float(value[k]), self._apart(there_are), *within, self.level))
            else:
                found.append(self.normal(value[k], means[:, k][there[:, k] > 0]))
        return found

    def mean(
        self,
        values: Array,
        weight: Array | None = None,
        within: tuple[float, float] | None = None,
    ) -> Interval | None:
        """The mean of values [N]; None where no sample counts."""
        return self.means(np.asarray(values)[:, None], weight, within)[0]

    def _apart(self, rows: NDArray[np.bool_]) -> int:
        """How many of some samples stand by themselves: their groups, if there are any."""
        return int(rows.sum()) if self.groups is None else len(np.unique(self.groups[rows]))

    def normal(self, value: float, resampled: Array) -> Interval:
        """The value ± z · spread of the resamples."""
        reach = normal_point(self.level) * float(resampled.std())
        return Interval(float(value), float(value) - reach, float(value) + reach)

    def corrected(self, value: float, resampled: Array) -> Interval:
        """The same around 2 · value - mean of the resamples, for estimates that are biased in small samples."""
        return self.normal(2 * float(value) - float(resampled.mean()), resampled)


def _columns(weight: Array, values: Array) -> Array:
    weight = np.asarray(weight, dtype=np.float64)
    return np.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, values.shape)
