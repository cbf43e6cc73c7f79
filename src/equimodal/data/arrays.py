"""Arithmetic that several data sets share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, DataError, nearest

__all__ = ["choose", "divisor", "moments", "non_negative", "resample", "standardise"]


def standardise(
    values: NDArray[Any], train: NDArray[np.bool_], axes: tuple[int, ...] = (0,)
) -> torch.Tensor:
    """Float32 values with mean 0 and deviation 1 over the given axes of the train rows; a constant becomes 0.

    Args:
        values: [N, ...].
        train: [N] booleans.
        axes: what mean and deviation are taken over; 0 is the samples.
    """
    known = values[train].astype(np.float64, copy=False)
    mean = known.mean(axes, keepdims=True)
    deviation = known.std(axes, keepdims=True)
    largest = np.abs(known).max(axes, keepdims=True, initial=0)
    scaled = (values - mean) / divisor(deviation, largest)
    return torch.from_numpy(scaled.astype(np.float32))


def divisor(deviation: ArrayLike, largest: ArrayLike) -> NDArray[np.float64]:
    """What values of such a deviation are divided by: itself, or 1 where they do not move.

    The mean of equal numbers is rounded, so that their deviation is not quite 0.

    Args:
        deviation: computed in float64.
        largest: the largest magnitude among the values.
    """
    moves = np.asarray(deviation) > 1e-13 * np.asarray(largest)
    return np.where(moves, deviation, 1.0)


def moments(
    parts: Iterable[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and `divisor` [C] of each column over all rows of some arrays [N, C], which are seen one at a time.

    Raises:
        DataError: one has other columns than the first.
    """
    count = 0
    mean: Any = 0.0
    squares: Any = 0.0  # of what is apart from the mean
    largest: Any = 0.0
    for values in parts:
        # T. F. Chan et al., 1979: sums of squares would lose what moves beside a large mean.
        here = values.mean(0)
        if count and here.shape != mean.shape:
            raise DataError(
                f"All must have equally many channels: here {len(here)} and {len(mean)}."
            )
        count += len(values)
        share = len(values) / count
        squares = squares + ((values - here) ** 2).sum(0)
        squares = squares + (here - mean) ** 2 * share * (count - len(values))
        mean = mean + (here - mean) * share
        largest = np.maximum(largest, np.abs(values).max(0))
    return mean, divisor(np.sqrt(squares / count), largest)


def resample(values: NDArray[Any], steps: int) -> NDArray[np.float64]:
    """Values [T, F] interpolated linearly at `steps` even positions from the first to the last: [steps, F]."""
    positions = np.linspace(0, len(values) - 1, steps)
    before = np.floor(positions).astype(np.int64)
    after = np.minimum(before + 1, len(values) - 1)
    weight = (positions - before)[:, None]
    return np.asarray((1 - weight) * values[before] + weight * values[after])


def choose(option: str, value: str, known: Sequence[str]) -> str:
    """The value of an option, checked against those that there are."""
    if value not in known:
        raise ConfigError(f"{option} has no value {value!r}; {nearest(value, known)}")
    return value


def non_negative(**options: float) -> None:
    """Refuses an option that is below 0."""
    for name, value in options.items():
        if not value >= 0:
            raise ConfigError(f"{name} must be at least 0; here {value}.")
