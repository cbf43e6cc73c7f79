"""Intervals over test samples that need no resampling: of accuracies, and of figures that are the same for every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Interval", "alike", "are_alike", "normal_point", "rate", "wilson"]

Array = NDArray[np.float64]

LEVEL = 0.95
ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A figure and where it may lie.

    Attributes:
        value: the estimate.
        low, high: ends of the interval, which covers the truth in 95 of 100 test sets.
    """

    value: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        """Whether the figure is above zero beyond doubt."""
        return self.low > 0

    @property
    def negative(self) -> bool:
        """Whether the figure is below zero beyond doubt."""
        return self.high < 0

    @property
    def differs(self) -> bool:
        """Whether the interval excludes zero: only then is a difference called one."""
        return self.positive or self.negative

    @property
    def reach(self) -> float:
        """How far the farther end is from the value."""
        return max(self.value - self.low, self.high - self.value)

    def text(self, form: str = "{:.1f}", scale: float = 100) -> str:
        """``81.7 [78.2, 84.8]``."""
        value, low, high = (form.format(scale * v) for v in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def normal_point(level: float = LEVEL) -> float:
    """z: a standard normal variable lies in [-z, z] with this probability."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def wilson(fraction: float, samples: float, level: float = LEVEL) -> Interval:
    """The score interval of a fraction of independent samples; also of none and of all of them it has a width.

    Args:
        fraction: in [0, 1].
        samples: N; not a whole number where it is an effective one.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    z2 = normal_point(level) ** 2
    centre = fraction + z2 / (2 * samples)
    half = math.sqrt(z2 * (fraction * (1 - fraction) / samples + z2 / (4 * samples**2)))
    scale = 1 + z2 / samples
    # At 0 and 1 the end is the fraction itself, but for rounding.
    low, high = min((centre - half) / scale, fraction), max((centre + half) / scale, fraction)
    return Interval(fraction, max(low, 0.0), min(high, 1.0))


def rate(right: Array, level: float = LEVEL) -> Interval | None:
    """An accuracy, the mean of answers that are 1 where right and 0 where wrong, with Wilson's interval.

    An answer in between is right by chance (of classes that tie) or in expectation. Such answers vary less, so that they stand
    for as many samples as would leave the mean as uncertain, as with the effective samples of a survey: Korn and Graubard,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data", Survey
    Methodology 1998.

    Args:
        right: [N] in [0, 1]; of no sample there is no accuracy.
    """
    right = np.asarray(right, dtype=np.float64)
    if not len(right):
        return None
    value = float(right.mean())
    if are_alike(right):
        return alike(value, len(right), 0.0, 1.0, level)
    return wilson(value, len(right) * value * (1 - value) / float(right.var()), level)


def are_alike(values: Array) -> bool:
    """Whether all values [N] are the same, so that nothing is seen of their spread."""
    return float(np.ptp(values)) < ROUNDING


def alike(value: float, samples: int, least: float, most: float, level: float = LEVEL) -> Interval:
    """A mean of N values that are all the same: that none of N differs does not show that none ever does.

    A share of up to u may differ, the upper end of Wilson's interval of 0 of N, and be anywhere between the least and the most
    that a value can be. Of an accuracy of 0 or 1 this is Wilson's interval.

    >>> alike(0.0, 20, -1.0, 1.0).text()  # two models that are right on the same 20 samples
    '0.0 [-16.1, 16.1]'
    """
    share = wilson(0.0, samples, level).high
    return Interval(value, value - share * (value - least), value + share * (most - value))
