"""Where cells are trained: what an executor is asked, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .cell import Cell
from .store import Record, Store

__all__ = ["Event", "Executor"]


@dataclass(frozen=True)
class Event:
    """News of a cell.

    Attributes:
        cell: of which.
        figures: the newest figures of its training; empty at its start.
        part: how much of its training is done, in [0, 1].
        record: what became of it, once it is over.
    """

    cell: Cell
    figures: Mapping[str, float]
    part: float = 0.0
    record: Record | None = None


class Executor(Protocol):
    """Trains cells somewhere; every executor writes into the same store."""

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        """Train all cells, in this order as far as there is room; each ends with an event that has its record.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the cells that were being trained have written a checkpoint.
        """
