"""A store as tables: what `equimodal bench` prints, and what its report holds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import counted
from ..report.page import Cell, Column, Raw, Table
from . import statistics
from .statistics import Floats, Paired
from .summary import Line, Summary
from .watch import duration

__all__ = [
    "accuracies",
    "compared",
    "comparison",
    "csv_text",
    "failures",
    "intervals",
    "matrix",
    "modalities",
    "notes",
    "progress",
    "remarks",
]


def notes(summary: Summary) -> str:
    """What the figures of the tables are."""
    if summary.about.get("resplits"):
        over, interval = "splits", "is that of the corrected resampled t-test"
        test = "corrected resampled t-test over splits (Nadeau and Bengio)"
    else:
        over, interval = "seeds", "is a bootstrap over seeds and test samples together"
        test = "paired t-test over seeds"
    return (
        f"Accuracy on the test split in percent, mean ± standard deviation over {over}. The 95% interval {interval}. "
        f"p: {test} against the reference, after Holm's correction over all rows of the table; * below 0.05. d: mean "
        "difference over the standard deviation of the differences (Hedges). P(better): share of all pairs of runs in "
        "which the row beats the reference. Bold: the best row, where it differs from every other method after Holm."
    )


@dataclass(frozen=True)
class Compared:
    """A row and its comparison with the reference; `p` is after Holm."""

    line: Line
    found: Paired | None
    p: float | None
    better: float | None

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p < statistics.ALPHA


def compared(summary: Summary, place: tuple[str, str]) -> list[Compared]:
    """Every row of a data set and model against the reference, over the seeds that both have."""
    reference, split = summary.reference(place), summary.split_of(place)
    lines = summary.at(place)
    found = [_against(line, reference, split) for line in lines]
    tested = [f if line.kind != "alone" else None for f, line in zip(found, lines, strict=True)]
    # Tuning may come back to the method's own options: two rows of the same runs are one test.
    once = {line.runs: None if f is None else f.p for line, f in zip(lines, tested, strict=True)}
    adjusted = dict(zip(once, statistics.holm(list(once.values())), strict=True))
    return [
        Compared(line, one, adjusted[line.runs], _better(line, reference) if one else None)
        for line, one in zip(lines, tested, strict=True)
    ]


def _against(line: Line, reference: Line | None, split: tuple[int, int] | None) -> Paired | None:
    if reference is None or line is reference or not line.shared(reference):
        return None
    return _paired(line, reference, split)


def _paired(a: Line, b: Line, split: tuple[int, int] | None) -> Paired:
    """Over the seeds that both have; `split` is of `Summary.split_of`."""
    seeds = a.shared(b)
    if split is None:
        return statistics.paired(a.of(seeds), b.of(seeds))
    return statistics.corrected(a.of(seeds), b.of(seeds), *split)


def _better(line: Line, reference: Line | None) -> float | None:
    if reference is None or not len(line.accuracy) or not len(reference.accuracy):
        return None
    return statistics.better(line.accuracy, reference.accuracy)


def winner(summary: Summary, place: tuple[str, str]) -> Line | None:
    """The method with the highest mean, where it differs from every other one after Holm."""
    split = summary.split_of(place)
    rivals = [line for line in summary.at(place) if line.kind != "alone" and len(line.done) > 1]
    if len(rivals) < 2:
        return None
    best = max(rivals, key=lambda line: float(line.accuracy.mean()))
    others = [line for line in {x.runs: x for x in rivals}.values() if line.runs != best.runs]
    tests = [_paired(best, other, split) for other in others if best.shared(other)]
    adjusted = statistics.holm([test.p for test in tests])
    sure = [p is not None and p < statistics.ALPHA for p in adjusted]
    return best if sure and all(sure) and len(sure) == len(others) else None


def _runs_of(line: Line | None) -> tuple[str, ...] | None:
    return None if line is None else line.runs


def comparison(summary: Summary, place: tuple[str, str], *, bounded: bool = True) -> Table:
    """The table of one data set and model, one row per method."""
    best = _runs_of(winner(summary, place))
    over = "seeds" if summary.split_of(place) is None else "splits"
    how = "bootstrap over seeds and test samples" if over == "seeds" else "corrected, over splits"
    test = f"{'paired' if over == 'seeds' else 'corrected t-test'} over {over}, after Holm"
    columns = [
        Column("method"),
        Column("accuracy", note=f"test, %, mean ± sd over {over}"),
        *([Column("95% interval", note=how)] if bounded else []),
        Column("difference", "{:+.1f}", note="to the reference, points"),
        Column("p", note=test),
        Column("d", "{:+.1f}", note="effect size"),
        Column("P(better)", "{:.2f}", note="than the reference, per run"),
        Column("ratio", note="discrepancy ratio over training"),
        Column("time", note="median per run"),
        Column(over),
    ]
    found = compared(summary, place)
    lines = [one.line for one in found]
    bounds = _bounds(summary, place, lines) if bounded else [None] * len(found)
    rows = [
        _row(one, one.line.runs == best, bound) for one, bound in zip(found, bounds, strict=True)
    ]
    return Table(columns, rows, _caption(summary, place))


def _row(one: Compared, strong: bool, interval: Cell | None) -> list[Raw | Cell]:
    line, found = one.line, one.found
    ratio = line.values(_ratio)
    test = None if found is None else Cell(one.p, _p(one), note=found.why)
    return [
        _label(line),
        _spread(line.accuracy, strong=strong),
        *([interval] if interval is not None else []),
        None if found is None else 100 * found.difference,
        test,
        None if found is None else found.effect,
        one.better,
        _spread(ratio, scale=1, digits=2),
        Cell(_median(line.walls), duration(_median(line.walls)) if line.walls else None),
        Cell(len(line.done), f"{len(line.done)}/{len(line.cells)}", note=_missing(line)),
    ]


def _ratio(results: Mapping[str, Any]) -> float | None:
    """The discrepancy ratio; one modality has none, whatever an older run says."""
    ratio: float | None = results["train"]["discrepancy_ratio"]
    return ratio if len(results["test"]["modalities"]) > 1 else None


def _label(line: Line) -> Cell:
    """Rows that saw the test split say so."""
    if not line.paper:
        return Cell(line.label)
    note = "the epoch was selected on the test split: not comparable with honest rows"
    return Cell(line.label, f"{line.label} (selected on test)", note=note)


def _missing(line: Line) -> str:
    """Why a row has fewer runs than it should."""
    failed = len(line.failed)
    left = len(line.cells) - len(line.done) - failed
    parts = [f"{n} {what}" for n, what in ((failed, "failed"), (left, "not finished")) if n]
    return f"of {counted(len(line.cells), 'run')} {' and '.join(parts)}" if parts else ""


def _p(one: Compared) -> str:
    if one.p is None:
        return "–"
    text = "<.001" if one.p < 0.001 else f"{one.p:.3f}"
    return f"{text} *" if one.significant else text


def _spread(values: Floats, *, scale: float = 100, digits: int = 1, strong: bool = False) -> Cell:
    if not len(values):
        return Cell(None)
    found = statistics.spread(scale * values)
    text = f"{found.mean:.{digits}f}"
    if not math.isnan(found.sd):
        text += f" ± {found.sd:.{digits}f}"
    return Cell(found.mean, text, strong)


def intervals(
    summary: Summary, place: tuple[str, str], lines: Sequence[Line]
) -> list[statistics.Interval]:
    """Of the accuracies of rows with finished runs, on one data set and model."""
    split = summary.split_of(place)
    if split is not None:
        return [statistics.corrected_interval(line.accuracy, *split) for line in lines]
    groups = next((line.groups for line in lines if line.groups is not None), None)
    return statistics.bootstraps([line.right(list(line.done)) for line in lines], groups)


def _bounds(summary: Summary, place: tuple[str, str], lines: Sequence[Line]) -> list[Cell]:
    known = [line for line in lines if line.done]
    found = zip(known, intervals(summary, place, known), strict=True)
    texts = {
        id(line): Cell(one.low, f"{100 * one.low:.1f} to {100 * one.high:.1f}")
        for line, one in found
        if not math.isnan(one.low)
    }
    return [texts.get(id(line), Cell(None)) for line in lines]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else math.nan


def _caption(summary: Summary, place: tuple[str, str]) -> str:
    data, model = place
    reference = summary.about["reference"]
    return f"{data}{f' on {model}' if model else ''}; reference {reference}"


def accuracies(summary: Summary) -> dict[str, dict[tuple[str, str], Line]]:
    """Methods' rows by label, and by data set and model."""
    found: dict[str, dict[tuple[str, str], Line]] = {}
    for line in summary.lines:
        if line.kind != "alone":
            found.setdefault(line.label, {})[line.place] = line
    return found


def matrix(summary: Summary) -> Table:
    """Methods by data sets: accuracies alone."""
    places = summary.places
    best = {place: _runs_of(winner(summary, place)) for place in places}
    stars = {
        (one.line.label, place): one.significant
        for place in places
        for one in compared(summary, place)
    }
    rows: list[list[Raw | Cell]] = []
    for label, lines in accuracies(summary).items():
        row: list[Raw | Cell] = [label]
        for place in places:
            line = lines.get(place)
            cell = (
                Cell(None)
                if line is None
                else _spread(line.accuracy, strong=line.runs == best[place])
            )
            text = f"{cell.text} *" if cell.text and stars.get((label, place)) else cell.text
            note = "" if line is None else _missing(line)
            row.append(Cell(cell.value, text, cell.strong, note))
        rows.append(row)
    columns = [Column("method"), *(Column(_place(place)) for place in places)]
    return Table(columns, rows, f"Accuracy, %; * differs from {summary.about['reference']}")


def _place(place: tuple[str, str]) -> str:
    return " on ".join(part for part in place if part)


def modalities(summary: Summary, place: tuple[str, str]) -> Table:
    """What each modality can do: alone, from its decoupled logits, and by a linear probe of its features."""
    lines = [line for line in summary.at(place) if line.done]
    names = list(dict.fromkeys(n for x in lines for r in x.done.values() for n in r["modalities"]))

    def of(name: str, what: str) -> Callable[[Mapping[str, Any]], float | None]:
        return lambda r: r["test"]["modalities"].get(name, {}).get(what)

    columns = [Column("method")]
    columns += [Column(f"{n} {what}") for n in names for what in ("decoupled", "probe")]
    rows: list[list[Raw | Cell]] = [
        [
            _label(line),
            *(_spread(line.values(of(n, what))) for n in names for what in ("decoupled", "probe")),
        ]
        for line in lines
    ]
    return Table(columns, rows, f"Each modality on {_place(place)}, accuracy in %")


def remarks(summary: Summary) -> list[str]:
    """What the numbers cannot say, and what they say against the methods."""
    found: list[str] = []
    for place in summary.places:
        rows = [one for one in compared(summary, place) if one.found is not None]
        where = _place(place)
        if rows and all(one.found is not None and one.found.n < 2 for one in rows):
            found.append(
                f"{where}: one seed only, so no test is possible and no difference is claimed."
            )
            continue
        found += _negatives(rows, where, summary.about["reference"])
        least = _detectable(rows, summary.reference(place), summary.split_of(place))
        if least is not None:
            found.append(
                f"{where}: with these runs a paired test shows a difference of {100 * least:.1f} points with a "
                "probability of 80% before any correction (median over rows); smaller ones stay unseen."
            )
    if any(line.paper for line in summary.lines):
        found.append(
            "Rows that were selected on the test split are not comparable with the others."
        )
    return found


def _negatives(rows: Sequence[Compared], where: str, reference: str) -> list[str]:
    worse = [
        one.line.label for one in rows if one.found and one.significant and one.found.difference < 0
    ]
    alike = [one.line.label for one in rows if _not_told_apart(one)]
    found = []
    if worse:
        found.append(f"{where}: significantly worse than {reference}: {', '.join(worse)}.")
    if alike:
        found.append(f"{where}: not told apart from {reference}: {', '.join(alike)}.")
    return found


def _not_told_apart(one: Compared) -> bool:
    """Two methods that agree in every run have no p, and are told apart least of all."""
    if one.p is not None:
        return not one.significant
    return one.found is not None and one.found.n > 1 and not one.found.difference


def _detectable(
    rows: Sequence[Compared], reference: Line | None, split: tuple[int, int] | None
) -> float | None:
    if reference is None:
        return None
    found = []
    for one in rows:
        seeds = one.line.shared(reference)
        if len(seeds) > 1:
            apart = statistics.spread(one.line.of(seeds) - reference.of(seeds))
            overlap = 0.0 if split is None else apart.n * split[0] / split[1]
            found.append(statistics.detectable(apart.sd * math.sqrt(1 + overlap), apart.n))
    known = [value for value in found if not math.isnan(value)]
    return _median(known) if known else None


def failures(summary: Summary) -> Table:
    """Runs that failed, and why; seeds that failed alike share a line."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for line in summary.lines:
        for cell, reason in line.failed:
            seeds.setdefault((line.label, _place(line.place), reason), []).append(cell.seed)
    rows = [
        [label, place, ", ".join(map(str, found)), reason]
        for (label, place, reason), found in seeds.items()
    ]
    names = ("method", "data", "seeds", "why")
    return Table([Column(name) for name in names], rows, "Runs that failed")


def progress(summary: Summary) -> Table:
    """How much of the grid is there, per data set and row."""
    rows: list[list[Raw | Cell]] = []
    for line in summary.lines:
        begun = sum(
            record is None and summary.store.folder(cell.key).is_run()
            for cell, record in zip(line.cells, line.records, strict=True)
        )
        left = len(line.cells) - len(line.done) - len(line.failed) - begun
        wall = Cell(_median(line.walls), duration(_median(line.walls)) if line.walls else None)
        place = _place(line.place)
        rows.append([place, line.label, len(line.done), begun, len(line.failed), left, wall])
    names = ("data", "method", "done", "begun", "failed", "left", "time")
    return Table([Column(name) for name in names], rows)


def csv_text(summary: Summary) -> str:
    """A line per run, unrounded: what one's own statistics need."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = (
        "data",
        "model",
        "kind",
        "method",
        "seed",
        "status",
        "accuracy",
        "val_accuracy",
        "ratio",
    )
    writer.writerow([*head, "epoch", "protocol", "seconds", "key"])
    for line in summary.lines:
        for cell, record in zip(line.cells, line.records, strict=True):
            r = None if record is None else record.results
            status = "left" if record is None else record.status
            figures: list[Any] = [""] * 6
            if r is not None:
                val = r["val"]["fused"]["accuracy"] if r["val"] else ""
                figures = [r["test"]["fused"]["accuracy"], val, _ratio(r)]
                figures += [r["epoch"], r["protocol"], round(r["seconds"], 3)]
            where = [cell.data, cell.model, cell.kind, cell.row, cell.seed, status]
            writer.writerow([*where, *figures, cell.key])
    return out.getvalue()
