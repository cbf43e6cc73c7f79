"""Sequences of measurements in files: a row per step, a column per channel (csv, tsv, txt, npy, mat)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError, counted
from ..arrays import divisor, resample
from .reader import Reader, require

__all__ = ["SEQUENCE_SUFFIXES", "Sequence", "read_sequence"]

SEQUENCE_SUFFIXES = (".csv", ".tsv", ".txt", ".npy", ".mat")


@dataclass(frozen=True)
class Sequence(Reader):
    """Measurements over time as [steps, channels], float32, each channel standardised with train.

    Args:
        channels: how many each step has.
        steps: all are resampled linearly to so many; 0: as they are, of different lengths.
        limit: longest sequence, cut at the end; 0: no limit.
        variable: of a ``.mat`` file that holds several arrays.
        mean, deviation: of each channel, as `fitted` finds them; empty: values as they are.

    Raises:
        ConfigError: an option that cannot be.
    """

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
        channels, count = self.channels, 0
        mean: Any = 0.0
        squares: Any = 0.0  # of what is apart from the mean
        largest: Any = 0.0
        for one in stored:
            values: Any = one.double().numpy()
            channels = channels or values.shape[1]
            if values.shape[1] != channels:
                raise DataError(
                    f"Sequences must have equally many channels: here {values.shape[1]} and {channels}."
                )
            # T. F. Chan et al., 1979: sums of squares would lose what moves beside a large mean.
            here = values.mean(0)
            count += len(values)
            share = len(values) / count
            squares = squares + ((values - here) ** 2).sum(0)
            squares = squares + (here - mean) ** 2 * share * (count - len(values))
            mean = mean + (here - mean) * share
            largest = np.maximum(largest, np.abs(values).max(0))
        deviation = divisor(np.sqrt(squares / count), largest)
        return replace(
            self, channels=channels, mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist())
        )


def read_sequence(path: Path, variable: str = "") -> NDArray[np.float64]:
    """The values [T, channels] of a file; a list of single numbers is one channel.

    Raises:
        DataError: it is missing, empty or damaged, is no table of numbers, or has a value that is not finite.
    """
    require(path)
    suffix = path.suffix.lower()
    readers = {".npy": _npy, ".mat": _mat}
    values = readers[suffix](path, variable) if suffix in readers else _text(path)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise DataError(f"{path} has the shape {values.shape}; a sequence is [steps, channels].")
    if not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(f"{path} has a value that is not finite (NaN or infinite) in step {step}.")
    return values


def _npy(path: Path, variable: str) -> NDArray[np.float64]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise DataError(f"{path} is damaged, or no array of numbers ({error}).") from None


def _mat(path: Path, variable: str) -> NDArray[np.float64]:
    from scipy.io import loadmat

    try:
        held = loadmat(path)
    except Exception as error:  # scipy raises nearly anything on damaged bytes
        raise DataError(f"{path} is damaged or not a MATLAB file ({error}).") from None
    names = [name for name in held if not name.startswith("__")]
    name = variable or (names[0] if len(names) == 1 else "")
    if name not in names:
        raise DataError(
            f"{path} has the arrays {', '.join(names) or 'none'}; name one by the option variable."
        )
    try:
        return np.asarray(held[name], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {name} is no array of numbers ({error}).") from None


def _text(path: Path) -> NDArray[np.float64]:
    """Numbers separated by commas, semicolons, tabs or spaces; a first line that holds none is a header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text ({error}).") from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        cells = _cells(line)
        if not cells:
            continue
        try:
            row = [float(cell) if cell else float("nan") for cell in cells]
        except ValueError:
            if not rows and number == 1:
                continue
            raise DataError(
                f"{path} line {number} is not a row of numbers: {line[:60]!r}."
            ) from None
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path} line {number} has {counted(len(row), 'value')}; those before {len(rows[0])}."
            )
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _cells(line: str) -> list[str]:
    """Of a line; a comma in a line with semicolons is a decimal one."""
    for separator in (";", "\t", ","):
        if separator in line:
            parts = [part.strip() for part in line.split(separator)]
            return [part.replace(",", ".") for part in parts] if separator == ";" else parts
    return line.split()
