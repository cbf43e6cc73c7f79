"""Rows of a table as vectors: numbers standardised, categories coded, gaps marked; all of it learned from train alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import DataError
from ..arrays import choose, divisor

__all__ = ["Category", "Number", "Table"]

MOST = 256  # categories of a column that are coded as one entry each


@dataclass(frozen=True)
class Number:
    """A column of numbers as its deviations from the mean of train; a gap is the mean.

    Attributes:
        name: of the column.
        mean, deviation: of the train rows that have a value; the deviation is 1 where all have the same.
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
        deviation = float(divisor(known.std(), np.abs(known).max()))
        return cls(name, float(known.mean()), deviation, len(known) < len(values))

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
    """A column of words.

    Attributes:
        name: of the column.
        known: [K] the codes that occur in train, sorted.
        coding: one_hot: an entry for each that is known, zeros for a gap or a word that train lacks; codes: one entry, 0 to
            K - 1, or -1.
    """

    name: str
    known: tuple[int, ...]
    coding: str = "one_hot"

    @classmethod
    def fitted(cls, name: str, codes: NDArray[np.int32], coding: str) -> Category:
        """From the codes of train, [N], -1 where there is none."""
        known = np.unique(codes[codes >= 0])
        if coding == "one_hot" and len(known) > MOST:
            raise DataError(
                f"The column {name!r} has {len(known)} different values in train, more than {MOST}: say coding = 'codes', "
                "or leave it out if it is rather a name than a category."
            )
        if not len(known):
            raise DataError(f"The column {name!r} has no value in train; leave it out.")
        return cls(name, tuple(known.tolist()), coding)

    @property
    def width(self) -> int:
        return len(self.known) if self.coding == "one_hot" else 1

    def encode(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """[B] to [B, width]."""
        known = np.array(self.known, dtype=values.dtype)
        if self.coding == "one_hot":
            return np.asarray(np.equal(values[:, None], known), dtype=np.float32)
        at = np.searchsorted(known, values).clip(max=len(known) - 1)
        return np.where(known[at] == values, at, -1).astype(np.float32)[:, None]


@dataclass(frozen=True)
class Table:
    """Some columns of a table as one vector: the numbers, then the categories.

    Args:
        coding: of categories: one_hot, or codes, which the encoder `table` reads.
        columns: fitted, in order; empty before that.

    Raises:
        ConfigError: there is no such coding.
    """

    coding: str = "one_hot"
    columns: tuple[Number | Category, ...] = ()

    def __post_init__(self) -> None:
        choose("coding", self.coding, ("one_hot", "codes"))

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    @property
    def encoder(self) -> str:
        """The expression of an encoder that reads it."""
        if self.coding == "one_hot":
            return f"mlp(inputs={self.shape[0]})"
        sizes = tuple(len(c.known) for c in self.columns if isinstance(c, Category))
        return f"table(numbers={self.shape[0] - len(sizes)}, categories={sizes})"

    def encode(self, values: Sequence[NDArray[Any]]) -> Tensor:
        """For each column the values [B] of some rows, to [B, width]."""
        parts = [column.encode(v) for column, v in zip(self.columns, values, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=1))
