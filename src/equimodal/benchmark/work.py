"""Train the cells of a grid that are not there yet, and write down what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .cell import Cell
from .executor import Event, Executor
from .store import Record, Store
from .train_cell import is_finished, record_of

__all__ = ["Choice", "Watcher", "Work"]


class Watcher(Protocol):
    """Sees how far a bench is; `equimodal.benchmark.watch` shows it in a terminal."""

    def begin(self, cells: Sequence[Cell], done: int, what: str) -> None:
        """So many cells are to be trained; so many of the grid are there already."""

    def see(self, event: Event) -> None:
        """News of a cell."""

    def end(self) -> None:
        """No more news."""


@dataclass(frozen=True)
class Choice:
    """What of a grid is trained now.

    Attributes:
        only: texts of which a cell's label must contain one; none means all.
        retry_failed: whether cells that failed are tried again, from their last checkpoint.
    """

    only: tuple[str, ...] = ()
    retry_failed: bool = False

    def takes(self, cell: Cell, record: Record | None) -> bool:
        """Whether a cell without results is to be trained."""
        if record is not None and (record.done or not self.retry_failed):
            return False
        return not self.only or any(text in cell.label for text in self.only)


@dataclass(frozen=True)
class Work:
    """Trains cells and writes down what came out."""

    store: Store
    executor: Executor
    choice: Choice
    watcher: Watcher | None

    def train(self, cells: Sequence[Cell], what: str) -> dict[str, Record]:
        """What is known of the cells afterwards, by key."""
        known = self._known(cells)
        left = [
            c for c in {c.key: c for c in cells}.values() if self.choice.takes(c, known.get(c.key))
        ]
        if self.watcher:
            self.watcher.begin(left, len({c.key for c in cells}) - len(left), what)
        try:
            for event in self.executor.run(self.store, left):
                if event.record is not None:
                    self.store.add(event.record)
                    known[event.cell.key] = event.record
                if self.watcher:
                    self.watcher.see(event)
        finally:
            if self.watcher:
                self.watcher.end()
        return known

    def _known(self, cells: Sequence[Cell]) -> dict[str, Record]:
        """Their records; a run that was finished but not written down, by a bench that was killed, is written down now."""
        keys = {cell.key for cell in cells}
        known = self.store.records(keys)
        for key in keys:
            done = key in known and known[key].done
            if not done and is_finished(self.store, key):
                known[key] = record_of(self.store, key)
                self.store.add(known[key])
        return known
