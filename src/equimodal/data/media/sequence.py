"""Sequences of measurements in files: a row per step, a column per channel (csv, tsv, txt, npy, npz, mat, h5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from ..arrays import moments, resample
from .numbers import read_numbers
from .reader import Reader

__all__ = ["Sequence", "read_sequence"]


@dataclass(frozen=True)
class Sequence(Reader):
    """Measurements over time as [steps, channels], float32, each channel standardised with train.

    Args:
        channels: how many each step has.
        steps: all are resampled linearly to so many; 0: as they are, of different lengths.
        limit: longest sequence, cut at the end; 0: no limit.
        variable: of a ``.mat``, ``.npz`` or HDF5 file that holds several arrays.
        mean, deviation: of each channel, as `fitted` finds them; empty: values as they are.

    Raises:
        ConfigError: an option that cannot be.
    """

    learned: ClassVar[tuple[str, ...]] = ("channels", "mean", "deviation")

    channels: int = 0
    steps: int = 0
    limit: int = 0
    variable: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if min(self.channels, self.steps, self.limit) < 0:
            raise ConfigError("channels, steps and limit of a sequence must be at least 0.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.steps or -1, self.channels)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("sequence", self.variable)

    def decode(self, path: Path) -> Tensor:
        """[T, channels], float64, as it stands in the file: float32 would not keep how a channel of times moves."""
        values = read_sequence(path, self.variable)
        if self.channels and values.shape[1] != self.channels:
            raise DataError(f"{path} has {values.shape[1]} channels; it must be {self.channels}.")
        return torch.from_numpy(values)

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        values = (stored[: self.limit] if self.limit else stored).double()
        if self.steps:
            values = torch.from_numpy(resample(values.numpy(), self.steps))
        if self.mean:
            mean, deviation = torch.tensor((self.mean, self.deviation), dtype=torch.float64)
            values = (values - mean) / deviation
        return values.float()

    def fitted(self, stored: Iterable[Tensor]) -> Self:
        """With the number of channels, and mean and deviation over all steps of the given sequences of train."""
        mean, deviation = moments(one.double().numpy() for one in stored)
        return replace(
            self,
            channels=len(mean),
            mean=tuple(mean.tolist()),
            deviation=tuple(deviation.tolist()),
        )


def read_sequence(path: Path, variable: str = "") -> NDArray[np.float64]:
    """The values [T, channels] of a file; a list of single numbers is one channel.

    Raises:
        DataError: it is missing, empty or damaged, is no table of numbers, or has a value that is not finite.
    """
    values = read_numbers(path, "a sequence", variable)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise DataError(f"{path} has the shape {values.shape}; a sequence is [steps, channels].")
    if not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(f"{path} has a value that is not finite (NaN or infinite) in step {step}.")
    return values
