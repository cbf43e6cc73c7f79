"""Rows of a table as vectors: numbers standardised, categories as one entry each, gaps marked; fitted on train alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import DataError

__all__ = ["Category", "Number", "Table"]

MOST = 256  # categories of a column; more are rather names than categories


@dataclass(frozen=True)
class Number:
    """A column of numbers as its deviations from the mean of train; a gap is the mean.

    Attributes:
        name: of the column.
        mean, deviation: of the train rows that have a value.
        gaps: whether a train row has none: a second entry then marks gaps with 1.
    """

    name: str
    mean: float
    deviation: float
    gaps: bool

    @classmethod
    def fitted(cls, name: str, values: NDArray[np.float64]) -> Number:
        """From the values of train, [N], NaN where there is none."""
        known = values[~np.isnan(values)]
        if not len(known):
            raise DataError(f"The column {name!r} has no value in train; leave it out.")
        deviation = float(known.std())
        return cls(name, float(known.mean()), deviation or 1.0, len(known) < len(values))

    @property
    def width(self) -> int:
        return 1 + self.gaps

    def encode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """[B] to [B, width]."""
        gap = np.isnan(values)
        scaled = np.where(gap, 0.0, (values - self.mean) / self.deviation)
        parts = [scaled, gap] if self.gaps else [scaled]
        return np.stack(parts, 1).astype(np.float32)


@dataclass(frozen=True)
class Category:
    """A column of words as one entry for each that train has; a gap, or a word that train lacks, is zeros.

    Attributes:
        name: of the column.
        known: [K] the codes that occur in train, sorted.
    """

    name: str
    known: tuple[int, ...]

    @classmethod
    def fitted(cls, name: str, codes: NDArray[np.int32]) -> Category:
        """From the codes of train, [N], -1 where there is none."""
        known = np.unique(codes[codes >= 0])
        if len(known) > MOST:
            raise DataError(
                f"The column {name!r} has {len(known)} different values in train, more than {MOST}: it is rather a name "
                "than a category; leave it out, or read it as text."
            )
        return cls(name, tuple(known.tolist()))

    @property
    def width(self) -> int:
        return len(self.known)

    def encode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """[B] to [B, width]."""
        same = np.equal(values[:, None], np.array(self.known, dtype=values.dtype))
        return np.asarray(same, dtype=np.float32)


@dataclass(frozen=True)
class Table:
    """Some columns of a table as one vector.

    Args:
        columns: fitted, in order; empty before that.
    """

    columns: tuple[Number | Category, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    def encode(self, values: Sequence[NDArray[Any]]) -> Tensor:
        """For each column the values [B] of some rows, to [B, width]."""
        parts = [column.encode(v) for column, v in zip(self.columns, values, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=1))
