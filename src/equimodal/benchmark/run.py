"""Run a grid: plan, tune, train what is not there yet, and leave a store behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError
from .cell import Cell
from .executor import Event, Executor
from .grid import Grid
from .local import Local
from .plan import Plan, Row, cells_of, refusals
from .store import Record, Store
from .train_cell import record_of

__all__ = ["Choice", "Watcher", "bench"]


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


EVERYTHING = Choice()


def bench(
    grid: Grid,
    out: Path | str,
    *,
    executor: Executor | None = None,
    choice: Choice = EVERYTHING,
    watcher: Watcher | None = None,
) -> Store:
    """Train the cells of a grid that are not there yet.

    Args:
        grid: what is compared.
        out: the store's folder; made where there is none.
        executor: where cells are trained; one local process by default.
        choice: which of them.
        watcher: sees how far it is.

    Raises:
        ConfigError: something of the grid cannot be trained (nothing was), or another bench writes into the store.
        KeyboardInterrupt: Ctrl-C; every cell that was being trained has written a checkpoint.
    """
    store = Store.create(out)
    with store.writing():
        plan = Plan(grid)
        rows, wrong = refusals(plan)
        if wrong:
            raise ConfigError(
                f"{len(wrong)} of the grid cannot be trained, and nothing was: {' '.join(wrong)}"
                if len(wrong) > 1
                else wrong[0]
            )
        work = _Work(store, executor or Local(), choice, watcher)
        about = _about(grid, plan)
        fixed = rows if grid.fixed else [row for row in rows if row.kind == "alone"]
        cells = cells_of(fixed, grid.seeds)
        store.write_plan(cells, about)
        if grid.tune:
            from .tuning import tune

            tuned = tune(plan, [row for row in rows if row.kind == "method"], work)
            cells = cells_of(_in_order(fixed, tuned), grid.seeds)
            store.write_plan(cells, about)
        work.train(cells, "runs")
    return store


def _about(grid: Grid, plan: Plan) -> dict[str, Any]:
    return {
        "title": grid.title,
        "reference": grid.compared_with,
        "seeds": list(grid.seeds),
        "tune": grid.tune,
        "figures": list(grid.figures),
        "against": grid.against,
        "resplits": {d.label: plan.sizes(d) for d in grid.data} if grid.resplits else {},
    }


def _in_order(fixed: Sequence[Row], tuned: Sequence[Row]) -> list[Row]:
    """Data sets stay together."""
    order = {row.data: i for i, row in reversed(list(enumerate([*fixed, *tuned])))}
    return sorted([*fixed, *tuned], key=lambda row: order[row.data])


@dataclass(frozen=True)
class _Work:
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
            if not done and self.store.folder(key).results.exists():
                known[key] = record_of(self.store, key)
                self.store.add(known[key])
        return known
