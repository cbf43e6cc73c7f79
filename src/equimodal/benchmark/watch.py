"""How far a bench is, in the terminal."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from .cell import Cell
from .executor import Event

__all__ = ["Terminal", "duration"]


def duration(seconds: float) -> str:
    """A time in two units at most.

    >>> duration(42), duration(150), duration(8000)
    ('42 s', '2 min', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Terminal:
    """One bar for the grid and one for each cell in training; without a terminal a line per finished cell."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False, markup=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def begin(self, cells: Sequence[Cell], done: int, what: str) -> None:
        self._total, self._there, self._failed, self._what = len(cells), 0, 0, what
        self._walls: list[float] = []
        self._began = time.monotonic()
        self._tasks = {}
        if not cells:
            return
        there = f", {done} are there" if done else ""
        self._line(f"{len(cells)} {what} to train{there}")
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._all = self._progress.add_task(what, total=len(cells), figures="")
        self._progress.start()

    def see(self, event: Event) -> None:
        assert self._progress is not None
        if event.record is None:
            task = self._tasks.get(event.cell.key)
            if task is None:
                task = self._progress.add_task(event.cell.label, total=1.0, figures="")
                self._tasks[event.cell.key] = task
            self._progress.update(task, completed=event.part, figures=_figures(event))
            return
        if (task := self._tasks.pop(event.cell.key, None)) is not None:
            self._progress.remove_task(task)
        self._there += 1
        self._failed += not event.record.done
        self._walls.append(event.record.wall)
        self._line(self._finished(event))
        self._progress.update(self._all, completed=self._there, figures=self._rest())

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _finished(self, event: Event) -> str:
        record = event.record
        assert record is not None
        head = f"{self._there}/{self._total} {event.cell.label}: "
        if record.results is None:
            return f"{head}failed. {record.reason}"
        accuracy = record.results["test"]["fused"]["accuracy"]
        if event.cell.kind == "trial":  # the test split has no say in tuning
            accuracy = record.results["val"]["fused"]["accuracy"]
        return f"{head}{100 * accuracy:.1f}% in {duration(record.wall)}"

    def _rest(self) -> str:
        pace = (time.monotonic() - self._began) / self._there
        failed = f" · {self._failed} failed" if self._failed else ""
        each = f" · {duration(statistics.median(self._walls))} each"
        left = self._total - self._there
        return f"{self._there}/{self._total}{failed}{each} · {duration(pace * left)} left"

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def _figures(event: Event) -> str:
    known = event.figures
    parts = []
    if "epoch" in known:
        parts.append(f"epoch {known['epoch']:.0f}")
    judged = (("val", "val_accuracy"), ("test", "test_accuracy"))  # by the protocol one of them
    parts += [f"{part} {100 * known[name]:.1f}%" for part, name in judged if name in known]
    if "ratio" in known:
        parts.append(f"ratio {known['ratio']:.2f}")
    return " · ".join(parts)
