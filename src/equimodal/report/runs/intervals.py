"""Intervals of 95% for what a report compares, from what a run folder holds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...diagnostics.intervals import Interval, alike, are_alike, normal_point, rate, wilson

__all__ = ["Interval", "difference", "mean", "rate", "wilson"]


def difference(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> Interval:
    """How much more often one prediction is right than another on the same samples, as a normal interval.

    Two that are right on the same samples differ by nothing, and the interval says how little that shows, see `alike`.

    Args:
        right, other: [N], whether each is right.
    """
    apart = right.astype(np.float64) - other.astype(np.float64)
    return alike(float(apart[0]), len(apart), -1.0, 1.0) if are_alike(apart) else mean(apart)


def mean(values: NDArray[np.float64]) -> Interval:
    """The mean of independent values, as a normal interval.

    Args:
        values: [N].
    """
    value = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.inf
    half = normal_point() * spread / math.sqrt(len(values))
    return Interval(value, value - half, value + half)
