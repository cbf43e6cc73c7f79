"""Vectors in files: features that another model or program has extracted, one array per sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError, counted
from ..arrays import moments
from .numbers import read_numbers
from .reader import Reader

__all__ = ["Vector", "read_vector"]


@dataclass(frozen=True)
class Vector(Reader):
    """A vector as [width], float32, each value standardised with train.

    Args:
        width: how many values each has; 0: as many as those of train.
        variable: of a ``.mat``, ``.npz`` or HDF5 file that holds several arrays.
        mean, deviation: of each value, as `fitted` finds them; empty: values as they are.

    Raises:
        ConfigError: an option that cannot be.
    """

    learned: ClassVar[tuple[str, ...]] = ("width", "mean", "deviation")

    width: int = 0
    variable: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ConfigError("width of a vector must be at least 0.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("vector", self.variable)

    def decode(self, path: Path) -> Tensor:
        """[width], float64, as it stands in the file."""
        values = read_vector(path, self.variable)
        if self.width and len(values) != self.width:
            raise DataError(
                f"{path} has {counted(len(values), 'value')}; it must have {self.width}."
            )
        return torch.from_numpy(values)

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        if not self.mean or len(stored) != self.width:  # the latter is refused, with its row
            return stored.float()
        mean, deviation = self._moments
        scaled: Tensor = (stored - mean) / deviation
        return scaled.float()

    @cached_property
    def _moments(self) -> Tensor:
        """[2, width]; made once, for there may be thousands."""
        return torch.tensor((self.mean, self.deviation), dtype=torch.float64)

    def fitted(self, stored: Iterable[Tensor]) -> Self:
        """With the width, and mean and deviation of each value over the given vectors of train."""
        mean, deviation = moments(one.double().numpy()[None] for one in stored)
        return replace(
            self, width=len(mean), mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist())
        )


def read_vector(path: Path, variable: str = "") -> NDArray[np.float64]:
    """The values [d] of a file that holds an array [d], [1, d] or [d, 1].

    Raises:
        DataError: it is missing, empty or damaged, is another array, or has a value that is not finite.
    """
    values = read_numbers(path, "a vector", variable)
    if not values.size or values.size != max(values.shape, default=0):
        raise DataError(f"{path} has the shape {values.shape}; a vector is [values].")
    values = values.reshape(-1)
    if not np.isfinite(values).all():
        place = int(np.argmin(np.isfinite(values)))
        raise DataError(
            f"{path} has a value that is not finite (NaN or infinite) at position {place}."
        )
    return values
