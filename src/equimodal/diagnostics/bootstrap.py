"""Intervals over test samples: the bootstrap, with the same resamples for every figure, so that differences are paired.

Accuracies have Wilson's interval instead, see `intervals`.

Every figure is a mean over samples, or a function of a table of counts; resampling N samples with replacement is drawing
how often each one counts, so R resamples of K means are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
    """

    samples: int
    seed: int = 0
    resamples: int = RESAMPLES
    level: float = LEVEL

    def counts(self) -> Iterator[Array]:
        """How often each sample counts: blocks [r, N] whose rows sum to N, R rows in all."""
        rng = np.random.default_rng(self.seed)
        block = max(1, CELLS // max(self.samples, 1))
        for start in range(0, self.resamples, block):
            rows = min(block, self.resamples - start)
            drawn = rng.integers(self.samples, size=(rows, self.samples))
            drawn += self.samples * np.arange(rows)[:, None]
            found = np.bincount(drawn.ravel(), minlength=rows * self.samples)
            yield found.reshape(rows, self.samples).astype(np.float64)

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
            seen = values[counted[:, k] > 0, k]
            if not len(seen):
                found.append(None)
            elif within is not None and are_alike(seen):
                found.append(alike(float(value[k]), len(seen), *within, self.level))
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
