"""Intervals over test samples that need no resampling: of accuracies, and of figures that are the same for every sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..training.groups import effective_samples

__all__ = [
    "LEVEL",
    "Interval",
    "alike",
    "are_alike",
    "balanced",
    "normal_point",
    "rate",
    "wilson",
]

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


def rate(
    right: Array, groups: NDArray[np.int64] | None = None, level: float = LEVEL
) -> Interval | None:
    """An accuracy, the mean of answers that are 1 where right and 0 where wrong, with Wilson's interval.

    Of as many samples as the answers are worth, see `effective_samples`.

    Args:
        right: [N] in [0, 1]; of no sample there is no accuracy.
        groups: [N] codes of what samples are of, such as the patient; None where each stands by itself.
    """
    right = np.asarray(right, dtype=np.float64)
    if not len(right):
        return None
    value = float(right.mean())
    if are_alike(right):
        return alike(value, len(right if groups is None else np.unique(groups)), 0.0, 1.0, level)
    return wilson(value, effective_samples(right, groups), level)


def balanced(
    right: Array,
    target: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Interval:
    """The mean over the classes that there are of the accuracy on their samples, from the intervals of these.

    Of an answer that does not depend on the sample it is one over the number of these classes, however frequent they are. The
    bootstrap would take a class of few samples that are all right or all wrong for certain.

    Args:
        right: [N] in [0, 1], as for `rate`; at least one.
        target: [N] class ids.
        groups: [N], as for `rate`; what is said of one class is taken as independent of what is said of another.

    Source: Zou and Donner, "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine
    2008.
    """
    order = np.argsort(target, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(target[order])) + 1)
    right = np.asarray(right, dtype=np.float64)
    each = [rate(right[p], None if groups is None else groups[p], level) for p in parts]
    known = [figure for figure in each if figure is not None]
    value = sum(figure.value for figure in known) / len(known)
    below = math.sqrt(sum((f.value - f.low) ** 2 for f in known)) / len(known)
    above = math.sqrt(sum((f.high - f.value) ** 2 for f in known)) / len(known)
    return Interval(value, max(value - below, 0.0), min(value + above, 1.0))


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
