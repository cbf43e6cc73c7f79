"""What the runs of a row have in common, epoch by epoch, from their `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..report.figures import COLOURS, Series
from .statistics import Spread, spread
from .store import Store
from .summary import Line, Summary

__all__ = [
    "History",
    "Read",
    "around",
    "band",
    "evaluated_on",
    "histories",
    "leading",
    "over_epochs",
    "padded",
]

BANDS = 3
"""Curves with bands in one figure; more of them hide one another."""


History = Sequence[Mapping[str, Any]]
Read = Callable[[Mapping[str, Any]], float | None]


def leading(summary: Summary, place: tuple[str, str]) -> list[Line]:
    """The reference and the methods with the best test accuracy: as many as there are colours that can be told apart."""
    lines = [line for line in summary.at(place) if line.done and line.kind != "alone"]
    reference = summary.reference(place)
    ordered = sorted(lines, key=lambda line: (line is not reference, -float(line.accuracy.mean())))
    once: dict[tuple[str, ...], Line] = {}
    for line in ordered:
        once.setdefault(line.runs, line)
    return list(once.values())[: len(COLOURS)]


def evaluated_on(lines: Sequence[Line]) -> str:
    """What epochs were evaluated on: under the protocol of the papers the test split, which they are selected by."""
    return "Test" if all(line.paper for line in lines) else "Validation"


def histories(store: Store, line: Line) -> list[History]:
    """The epochs of each finished run of a row that has kept them."""
    paths = [store.folder(cell.key).metrics for cell in line.cells if cell.seed in line.done]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
    return [[json.loads(epoch) for epoch in text.splitlines()] for text in texts]


def over_epochs(name: str, runs: Sequence[History], read: Read) -> Series:
    """Mean over runs, as far as all of them went; an epoch in which one has no figure has no mean.

    Args:
        name: of the curve.
        runs: of one row.
        read: the figure of an epoch.
    """
    columns = [[read(epoch) for epoch in epochs] for epochs in zip(*runs, strict=False)]
    return around(name, [_known(column) for column in columns])


def _known(values: Sequence[float | None]) -> Spread | None:
    found = [value for value in values if value is not None]
    return spread(found) if found and len(found) == len(values) else None


def around(name: str, spreads: Sequence[Spread | None]) -> Series:
    """Means, and one standard deviation to either side where every one of them is known."""
    values = [None if one is None else one.mean for one in spreads]
    sure = [one for one in spreads if one is not None and not math.isnan(one.sd)]
    if len(sure) < len(spreads):
        return Series(name, values)
    return Series(name, values, [s.mean - s.sd for s in sure], [s.mean + s.sd for s in sure])


def padded(series: Sequence[Series]) -> tuple[list[int], list[Series]]:
    """The epochs from 1 to the last of any curve, and the curves over all of them; without any figure they are left out."""
    known = [one for one in series if any(value is not None for value in one.values)]
    longest = max((len(one.values) for one in known), default=0)

    def fill(values: Sequence[float | None]) -> list[float | None]:
        return [*values, *[None] * (longest - len(values))] if values else []

    if len(known) > BANDS:
        known = [replace(one, low=(), high=()) for one in known]
    filled = [replace(s, values=fill(s.values), low=fill(s.low), high=fill(s.high)) for s in known]
    return list(range(1, longest + 1)), filled


def band(series: Sequence[Series]) -> str:
    """What curves and bands are, for below a figure."""
    return f"Mean over seeds{', with one standard deviation to either side' if any(s.low for s in series) else ''}."
