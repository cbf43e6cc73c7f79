"""Run a grid: plan, tune, train what is not there yet, and leave a store behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .executor import Executor
from .grid import Grid
from .local import Local
from .plan import Plan, Row, cells_of, refusals
from .space import space
from .store import Store
from .tuning import tune
from .work import Choice, Watcher, Work

__all__ = ["bench"]


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
        ConfigError: something of the grid cannot be trained (nothing was, nor written), or another bench writes into the store.
        KeyboardInterrupt: Ctrl-C; every cell that was being trained has written a checkpoint.
    """
    Store.check(out)
    plan = Plan(grid)
    rows, wrong = refusals(plan)
    if wrong:
        raise ConfigError(
            f"{len(wrong)} of the grid cannot be trained, and nothing was: {' '.join(wrong)}"
            if len(wrong) > 1
            else wrong[0]
        )
    store = Store.create(out)
    with store.writing():
        work = Work(store, executor or Local(), choice, watcher)
        about = _about(grid, plan)
        fixed = rows if grid.fixed else [row for row in rows if _stays_fixed(row)]
        cells = cells_of(fixed, grid.seeds)
        store.write_plan(cells, about)
        if grid.tune:
            tuned = tune(plan, [row for row in rows if row.kind == "method"], work)
            cells = cells_of(_in_order(fixed, tuned), grid.seeds)
            store.write_plan(cells, about)
        work.train(cells, "runs")
    return store


def _stays_fixed(row: Row) -> bool:
    """Also without fixed rows: what is trained alone, and a method that has nothing to tune, such as the reference."""
    return row.kind == "alone" or not space(row.settings.method)


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
