"""Intervals of 95% for what a report compares, from what a run folder holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "difference", "mean", "wilson"]

Z = 1.959963984540054  # the 97.5% point of the normal distribution


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether it excludes zero."""
        return self.low > 0 or self.high < 0

    def text(self, form: str = "{:.1f}", scale: float = 100) -> str:
        """``81.7 [78.2, 84.8]``."""
        value, low, high = (form.format(scale * v) for v in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def wilson(accuracy: float, samples: int) -> Interval:
    """The score interval of a fraction of independent samples.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    centre = accuracy + Z**2 / (2 * samples)
    half = Z * math.sqrt(accuracy * (1 - accuracy) / samples + Z**2 / (4 * samples**2))
    scale = 1 + Z**2 / samples
    return Interval(accuracy, (centre - half) / scale, (centre + half) / scale)


def difference(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> Interval:
    """How much more often one prediction is right than another on the same samples, as a normal interval.

    Args:
        right, other: [N], whether each is right.
    """
    return mean(right.astype(np.float64) - other.astype(np.float64))


def mean(values: NDArray[np.float64]) -> Interval:
    """The mean of independent values, as a normal interval.

    Args:
        values: [N].
    """
    value = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Interval(value, value - half, value + half)
