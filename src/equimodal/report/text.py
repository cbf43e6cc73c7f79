"""Tables and progress bars for the terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ..errors import counted

if TYPE_CHECKING:  # most of what prints tables needs no numbers
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Bar",
    "CountBar",
    "DownloadBar",
    "answered",
    "figure",
    "of_groups",
    "percent",
    "print_table",
    "print_text",
    "results",
]

NONE = "–"
_SHOWN = {
    "epoch": "{:.0f}",
    "loss": "{:.3f}",
    "val_accuracy": "{:.1%}",
    "test_accuracy": "{:.1%}",
    "ratio": "{:.2f}",
}


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Collection[str] = (),
    wrap: Collection[str] = (),
) -> None:
    """Print rows in columns that fit the terminal; where there is none, as wide as they need.

    Args:
        headers: a name per column.
        rows: a text per column.
        words: columns that hold words and are aligned to the left, besides the first; the others hold numbers.
        wrap: columns whose text may be broken into lines where room is scarce.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, header in enumerate(headers):
        aligned: JustifyMethod = "left" if i == 0 or header in words else "right"
        table.add_column(header, justify=aligned, no_wrap=header not in wrap, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def print_text(text: str) -> None:
    """Print without interpreting anything in the text."""
    print(text, flush=True)


def percent(fraction: float | None) -> str:
    """A fraction with one digit in percent: 0.8167 is 81.7."""
    return NONE if fraction is None else f"{100 * fraction:.1f}"


def figure(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


UNEQUAL = 1.5
"""Times its share among equal classes that the most frequent class has before accuracy alone misleads."""


def results(found: Mapping[str, Any]) -> None:
    """Print the final figures of a run, as they stand in its `results.json`."""
    from ..training.groups import worth

    test = found["test"]
    rows = [_accuracy("fused", test["fused"]["accuracy"], worth(test["fused"], test["samples"]))]
    fusion = found.get("fusion")
    if fusion and fusion["kept"]:
        rows += [
            _accuracy(
                "fused, fitted", test["fitted"]["accuracy"], worth(test["fitted"], test["samples"])
            )
        ]
    rows += [
        _accuracy(f"{name}, decoupled", of["decoupled"], worth(of, of["samples"]), of.get("probe"))
        for name, of in test["modalities"].items()
    ]
    what = f"test accuracy, {counted(test['samples'], 'sample')}{of_groups(test.get('groups'))}"
    print_table((what, "%", "95% interval", "linear probe, %"), rows)
    counts = [sum(row) for row in test["confusion"]]
    if max(counts) >= UNEQUAL * sum(counts) / len(counts):
        mean = f"{percent(test['fused'].get('balanced_accuracy'))}%"
        if fusion and fusion["kept"]:
            mean += f", fitted {percent(test['fitted']['balanced_accuracy'])}%"
        most = percent(max(counts) / sum(counts))
        print_text(f"mean over the classes {mean} · always naming the most frequent class {most}%")
    ratio = figure(found["train"]["discrepancy_ratio"])
    print_text(
        f"discrepancy ratio {ratio} · weights of epoch {found['epoch'] + 1} of {found['epochs']} "
        f"({found['select']}{_SELECTED[found['protocol']]}) · {found['seconds']:.0f} s"
    )
    if fusion and fusion["kept"]:
        weights = ", ".join(f"{name} {figure(w)}" for name, w in fusion["weights"].items())
        print_text(f"weights of the fitted fusion: {weights}")


def answered(right: NDArray[np.bool_], groups: NDArray[np.int64] | None, samples: int) -> None:
    """Print the accuracy of predictions over the samples whose class is known; nothing where there is none.

    Args:
        right: of each of those.
        groups: that they are of, if several are of one.
        samples: of which there are so many in all.
    """
    from ..diagnostics.intervals import rate

    found = rate(right.astype(float), groups)
    if found is None:
        return
    of = counted(samples, "sample")
    of = of if len(right) == samples else f"the {len(right):,} of {of} that have a label"
    of += of_groups(None if groups is None else len(set(groups.tolist())))
    print_text(
        f"accuracy {percent(found.value)}% (95% interval {percent(found.low)} to {percent(found.high)}), {of}"
    )


def of_groups(groups: int | None) -> str:
    """``" of 30 groups"`` after a number of samples, if there are groups."""
    return "" if groups is None else f" of {counted(groups, 'group')}"


def _accuracy(
    name: str, accuracy: float | None, samples: float, probe: float | None = None
) -> tuple[str, str, str, str]:
    """A row: of no sample there is no accuracy, and what was not probed has a dash."""
    from ..diagnostics.intervals import wilson  # here: most of what prints tables needs no PyTorch

    if accuracy is None or not samples:
        return name, NONE, NONE, percent(probe)
    found = wilson(accuracy, samples)
    interval = f"{percent(found.low)} to {percent(found.high)}"
    return name, percent(accuracy), interval, percent(probe)


_SELECTED = {"honest": "", "paper": " on test: not comparable with honest figures"}


class Bar:
    """The progress of one training: a bar in a terminal, elsewhere a line per epoch. A `Progress` of training.

    Args:
        label: stands before the bar; if empty, a line above it says what is trained.
        stream: where it is drawn; the error stream by default, so that results can be piped.
    """

    def __init__(self, label: str = "", stream: IO[str] | None = None) -> None:
        self._label = label
        self._console = _console(stream or sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
            expand=True,
        )
        self._task = TaskID(0)
        self._figures: dict[str, float] = {}

    def start(self, total_steps: int, description: str) -> None:
        """Training begins: so many steps in all."""
        if not self._label:
            self.message(description)
        self._task = self._progress.add_task(self._label, total=total_steps, figures="")
        self._progress.start()

    def advance(self, n: int, figures: Mapping[str, float]) -> None:
        """`n` more steps are done; the newest figures."""
        if figures.get("epoch") != self._figures.get("epoch"):
            self._end_line()
        self._figures = {name: v for name, v in figures.items() if not math.isnan(v)}
        self._progress.update(self._task, advance=n, figures=_line(self._figures))

    def message(self, text: str) -> None:
        """One line that stays on the screen."""
        self._console.print(Text(text))

    def close(self) -> None:
        """Training has ended, one way or another."""
        self._progress.stop()
        self._end_line()
        self._figures = {}

    def _end_line(self) -> None:
        """Where there is no bar, the last figures of an epoch stay as a line."""
        if len(self._figures) > 1 and not self._console.is_terminal:
            self._console.print(Text(f"{self._label} {_line(self._figures)}".strip()))


class DownloadBar:
    """The progress of files that are fetched: a bar for each in a terminal, elsewhere a line when it begins."""

    def __init__(self) -> None:
        self._console = _console(sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of a file are there, out of so many if that is known."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
            if not self._console.is_terminal:
                self._console.print(Text(name))
        self._progress.update(self._tasks[name], completed=done, total=total)


class CountBar:
    """The progress of something that is counted: a bar in a terminal, elsewhere nothing.

    Args:
        label: stands before the bar.
    """

    def __init__(self, label: str) -> None:
        console = _console(sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """So many are done, of so many."""
        self._progress.update(self._task, completed=done, total=total)


def _line(figures: Mapping[str, float]) -> str:
    """``epoch 3 · loss 1.204 · val 61.2%``: the figures that matter, so that a bar fits beside them."""
    return " · ".join(
        f"{name.removesuffix('_accuracy')} {_SHOWN[name].format(value)}"
        for name, value in figures.items()
        if name in _SHOWN
    )


def _console(stream: IO[str] | None = None) -> Console:
    """As wide as the terminal; elsewhere as wide as any line."""
    console = Console(file=stream or sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    return console
