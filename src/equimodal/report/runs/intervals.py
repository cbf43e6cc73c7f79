"""Intervals of 95% for what a report compares, from what a run folder holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...diagnostics.intervals import Interval, alike, are_alike, normal_point, rate, wilson
from ...training.groups import mean_spread

__all__ = ["Interval", "difference", "mean", "rate", "wilson"]

Groups = NDArray[np.int64] | None


def difference(
    right: NDArray[np.bool_], other: NDArray[np.bool_], groups: Groups = None
) -> Interval:
    """How much more often one prediction is right than another on the same samples, as a normal interval.

    Two that are right on the same samples differ by nothing, and the interval says how little that shows, see `alike`.

    Args:
        right, other: [N], whether each is right.
        groups: [N] what the samples are of, if several are of one.
    """
    apart = right.astype(np.float64) - other.astype(np.float64)
    if not are_alike(apart):
        return mean(apart, groups)
    units = len(apart if groups is None else np.unique(groups))
    return alike(float(apart[0]), units, -1.0, 1.0)


def mean(values: NDArray[np.float64], groups: Groups = None) -> Interval:
    """The mean of values, as a normal interval.

    Args:
        values: [N].
        groups: [N] what the samples are of, if several are of one.
    """
    value = float(values.mean())
    half = normal_point() * mean_spread(values, groups)
    return Interval(value, value - half, value + half)
