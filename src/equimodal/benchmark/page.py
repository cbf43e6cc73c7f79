"""A bench as a report: the page that `equimodal report` writes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import __version__
from ..report import figures
from ..report.figures import Series
from ..report.page import Cell, Code, Column, Figure, Page, Points, Prose, Raw, Section, Table
from . import published, statistics, tables
from .curves import Read, band, evaluated_on, histories, leading, over_epochs, padded
from .paper_figures import drawn
from .statistics import Floats, Ranks
from .summary import Line, Summary
from .tuning import Ledger, ledger

__all__ = ["Contest", "of_bench"]


def of_bench(summary: Summary) -> Page:
    """The whole report; sections without content are left out."""
    title = summary.about["title"] or f"Benchmark against {summary.about['reference']}"
    sections = [
        _front(summary),
        *(_place(summary, place) for place in summary.places),
        *_over_sets(summary),
        *_tuned(summary),
        *_published(summary),
        *_failed(summary),
        _how(summary),
    ]
    done = f"{summary.finished} of {summary.total} runs are finished"
    return Page(title, sections, done, f"equimodal {__version__}")


def _front(summary: Summary) -> Section:
    parts: list[Any] = [
        Prose(text, "lead" if i == 0 else "") for i, text in enumerate(_lead(summary))
    ]
    parts += [tables.matrix(summary), Points([(text, "") for text in tables.remarks(summary)])]
    return Section("Overview", [*parts, Prose(tables.notes(summary), "quiet")])


def _lead(summary: Summary) -> list[str]:
    better = [
        f"{one.line.label} on {' on '.join(p for p in place if p)}"
        for place in summary.places
        for one in tables.compared(summary, place)
        if one.significant and one.found is not None and one.found.difference > 0
    ]
    reference = summary.about["reference"]
    if not better:
        return [f"No method is shown to be better than {reference}."]
    return [f"Shown to be better than {reference}: {'; '.join(better)}."]


def _place(summary: Summary, place: tuple[str, str]) -> Section:
    lines = [line for line in summary.at(place) if line.done]
    parts: list[Any] = [tables.comparison(summary, place)]
    if lines:
        parts += drawn(summary, place)
        parts += [_intervals(summary, place, lines), _cost(lines), *_curves(summary, place)]
        parts.append(tables.modalities(summary, place))
    return Section(" on ".join(p for p in place if p), parts)


def _intervals(summary: Summary, place: tuple[str, str], lines: Sequence[Line]) -> Figure:
    found = tables.intervals(summary, place, lines)
    series = Series(
        "accuracy", [i.value for i in found], [i.low for i in found], [i.high for i in found]
    )
    return figures.points(
        "Accuracy with its 95% interval",
        "Intervals that overlap do not mean that two methods are alike: the table compares them seed by seed.",
        "Bootstrap over seeds and test samples together."
        if summary.split_of(place) is None
        else "Over splits, with the variance of Nadeau and Bengio.",
        [line.label for line in lines],
        [series],
        axis="test accuracy",
    )


def _cost(lines: Sequence[Line]) -> Figure:
    lines = list({line.runs: line for line in reversed(lines)}.values())[::-1]
    seconds = [float(np.median(line.values(lambda r: r["seconds"]))) for line in lines]
    accuracy = [float(line.accuracy.mean()) for line in lines]
    names = [line.label for line in lines]
    front = _front_of(seconds, accuracy)

    def draw() -> Any:
        import plotly.graph_objects as go

        drawn = go.Figure()
        drawn.add_scatter(
            x=[seconds[i] for i in front],
            y=[accuracy[i] for i in front],
            mode="lines+text",
            text=[names[i] for i in front],
            textposition="top left",
            cliponaxis=False,
            line={"width": 1, "dash": "dot", "color": "#888888"},
            hoverinfo="skip",
        )
        drawn.add_scatter(
            x=seconds,
            y=accuracy,
            mode="markers",
            customdata=names,
            hovertemplate="%{customdata}: %{y:.1%}, %{x:.1f} s<extra></extra>",
            marker={"size": 9, "color": figures.COLOURS[0]},
        )
        drawn.update_layout(
            xaxis={"title": {"text": "seconds of training"}, "rangemode": "tozero"},
            yaxis={"title": {"text": "test accuracy"}, "tickformat": ".0%"},
            showlegend=False,
        )
        return drawn

    return Figure(
        "Cost against accuracy",
        "Further up is more accurate, further left is cheaper; the named rows on the line are those that no other beats in "
        "both.",
        "Median seconds of training over seeds on the machine that ran it; mean test accuracy. Point at a row for its name.",
        {"method": names, "seconds": seconds, "accuracy": accuracy},
        draw,
    )


def _front_of(costs: Sequence[float], worths: Sequence[float]) -> list[int]:
    """The positions that none is both cheaper and better than, by cost."""
    found: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -worths[i])):
        if not found or worths[i] > worths[found[-1]]:
            found.append(i)
    return found


def _curves(summary: Summary, place: tuple[str, str]) -> list[Figure]:
    """Validation accuracy by epoch of the best methods and the reference, mean over seeds."""
    chosen = leading(summary, place)
    read: Read = lambda epoch: epoch["val"]["accuracy"] if epoch.get("val") else None
    epochs, series = padded(
        [over_epochs(x.label, histories(summary.store, x), read) for x in chosen]
    )
    if not series:
        return []
    part = evaluated_on(chosen)
    return [
        figures.lines(
            f"{part} accuracy by epoch",
            "Whether a method is ahead all along or only at the end.",
            f"{band(series)} The reference and the rows with the best test accuracy.",
            epochs,
            series,
            x_axis="epoch",
            axis=f"{part.lower()} accuracy",
            form=".1%",
        )
    ]


Rows = Mapping[str, Mapping[tuple[str, str], Line]]


@dataclass(frozen=True)
class Contest:
    """Methods that are held against each other over data sets.

    Attributes:
        labels: of K methods, those that have a finished run on every data set.
        places: of D data sets and models.
        means: [D, K], accuracy over the seeds that all of them have finished there, so that none is ahead by its seeds.
    """

    labels: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    means: Floats

    @classmethod
    def among(cls, rows: Rows, places: Sequence[tuple[str, str]]) -> Contest:
        """Of these rows; a data set on which no seed is finished by all of them is left out."""
        labels = [
            x for x, lines in rows.items() if all(p in lines and lines[p].done for p in places)
        ]
        found = {}
        for place in places:
            lines = [rows[label][place] for label in labels]
            seeds = (
                [seed for seed in lines[0].done if all(seed in x.done for x in lines)]
                if lines
                else []
            )
            if seeds:
                found[place] = [
                    round(float(line.of(seeds).mean()), 12) for line in lines
                ]  # ties stay ties
        return cls(tuple(labels), tuple(found), np.array(list(found.values())))

    def ranks(self) -> Ranks | None:
        """None where there is nothing to rank."""
        if len(self.places) < 2 or len(self.labels) < 3:
            return None
        return statistics.friedman(self.means)


def _contests(summary: Summary) -> dict[str, Rows]:
    """Rows of fixed options against each other, and tuned ones: a method is one contestant, not two."""
    everything = tables.accuracies(summary)
    fixed = {label: lines for label, lines in everything.items() if not _is_tuned(lines)}
    tuned = {label: lines for label, lines in everything.items() if _is_tuned(lines)}
    if not tuned or not fixed:
        return {"": everything}
    untuned = {x: lines for x, lines in fixed.items() if f"{x} tuned" not in tuned}
    return {"with their own options": fixed, "tuned": {**untuned, **tuned}}


def _is_tuned(lines: Mapping[tuple[str, str], Line]) -> bool:
    return any(line.kind == "tuned" for line in lines.values())


def _over_sets(summary: Summary) -> list[Section]:
    contests = {
        name: Contest.among(rows, summary.places) for name, rows in _contests(summary).items()
    }
    parts = [
        part
        for name, contest in contests.items()
        if (ranked := contest.ranks()) is not None
        for part in _contest(summary, name, contest, ranked)
    ]
    return [Section("Over data sets", parts)] if parts else []


def _contest(summary: Summary, name: str, contest: Contest, found: Ranks) -> list[Any]:
    text = (
        f"{name.capitalize() or 'All rows'}: Friedman's test of {len(contest.labels)} methods on {len(contest.places)} "
        f"data sets, p = {found.p:.2g}; critical difference {found.critical:.2f} (Nemenyi)."
    )
    left_out = [
        " on ".join(p for p in place if p)
        for place in summary.places
        if place not in contest.places
    ]
    if left_out:
        text += f" Without {', '.join(left_out)}, where no seed is finished by all of them."
    why = [Prose(found.why)] if found.why else []
    return [
        Prose(text),
        *why,
        _diagram(contest.labels, found, name),
        _wilcoxon(summary, contest),
    ]


def _diagram(labels: Sequence[str], found: Ranks, of: str) -> Figure:
    order = np.argsort(found.mean, kind="stable").tolist()

    def draw() -> Any:
        import plotly.graph_objects as go

        drawn = go.Figure()
        names = [labels[i] for i in order]
        drawn.add_scatter(
            x=[found.mean[i] for i in order], y=names, mode="markers",
            marker={"size": 9, "color": figures.COLOURS[0]}, name="mean rank",
        )  # fmt: skip
        width = max(found.mean) - min(found.mean)
        for beside, group in enumerate(found.groups, start=1):
            rows = [labels[i] for i in group]
            drawn.add_scatter(
                x=[max(found.mean) + 0.04 * beside * width] * len(rows), y=rows, mode="lines",
                hoverinfo="skip", line={"width": 3, "color": "#888888"},
            )  # fmt: skip
        drawn.update_layout(
            xaxis={"title": {"text": "mean rank, 1 is best"}},
            yaxis={"autorange": "reversed"},
            showlegend=False,
            height=120 + 26 * len(labels),
        )
        return drawn

    data = {"method": [labels[i] for i in order], "mean rank": [found.mean[i] for i in order]}
    return Figure(
        f"Critical differences, {of}" if of else "Critical differences",
        "Methods that one of the bars on the right spans are not told apart.",
        f"Mean rank over data sets; a bar spans ranks within {found.critical:.2f} (Nemenyi, 5%).",
        data,
        draw,
    )


def _wilcoxon(summary: Summary, contest: Contest) -> Table:
    reference, labels = summary.about["reference"], contest.labels
    reference = reference if reference in labels else f"{reference} tuned"
    columns = [Column("method"), Column("difference", "{:+.1f}", "mean over data sets, points")]
    columns += [Column("p", "{:.3f}", "Wilcoxon, after Holm"), Column("remark")]
    caption = f"Over data sets against {reference}"
    if reference not in labels:
        return Table(columns, [], caption)
    means = dict(zip(labels, contest.means.T, strict=True))
    others = [label for label in labels if label != reference]
    tests = [statistics.over_sets(means[label], means[reference]) for label in others]
    adjusted = statistics.holm([None if test.why else test.p for test in tests])
    rows: list[list[Raw | Cell]] = [
        [label, 100 * test.difference, p, test.why]
        for label, test, p in zip(others, tests, adjusted, strict=True)
    ]
    return Table(columns, rows, caption)


CRITERIA = {
    "accuracy": ("accuracy", "{:.1%}"),
    "balanced_accuracy": ("balanced accuracy", "{:.1%}"),
    "cross_entropy": ("cross-entropy", "{:.3f}"),
}
"""The name and format of what `select_by` chooses by."""


def _tuned(summary: Summary) -> list[Section]:
    found = ledger(summary.store)
    if not found:
        return []
    text = (
        "Every method had the same number of trials with one seed each, chosen on validation; the first trial is the "
        "method with its own options. Methods that are not listed declare nothing to tune."
    )
    criteria = dict.fromkeys(one.select_by for one in found)
    parts = [_budget([x for x in found if x.select_by == by], by) for by in criteria]
    return [Section("Tuning", parts, text)]


def _budget(found: Sequence[Ledger], by: str) -> Table:
    """Of what was tuned by one criterion, so that no column holds two figures."""
    name, form = CRITERIA[by]
    columns = [Column(c) for c in ("data", "method", "trials", "failed", "taken")]
    columns += [Column(f"validation {name}", form), Column("its own options", form)]
    rows: list[list[Raw | Cell]] = []
    for one in found:
        values = [value for _, value in one.trials]
        place = " on ".join(p for p in (one.data, one.model) if p)
        failed = values.count(None)
        rows.append([place, one.row, len(values), failed, one.best, one.taken, values[0]])
    return Table(columns, rows, f"The budget and what it found, chosen by validation {name}")


def _published(summary: Summary) -> list[Section]:
    """Tables that share at least half of their methods with this bench."""
    ours = {line.label for line in summary.lines}
    parts: list[Any] = []
    for name in published.names():
        one = published.published(name)
        wanted = {row.get("ours") for row in one.rows} - {None, ""}
        if len(wanted & ours) * 2 >= len(wanted):
            parts += [
                one.table(),
                Prose(one.protocol, "quiet"),
                Points([(d, "") for d in one.doubts]),
            ]
    text = (
        "Other networks, other data, other epochs, other selection: only the order of methods within one table can be "
        "held against the order within another. (!) marks values that contradict others of the paper."
    )
    return [Section("Published", parts, text)] if parts else []


def _failed(summary: Summary) -> list[Section]:
    found = tables.failures(summary)
    return [Section("Failures", [found])] if found.rows else []


def _how(summary: Summary) -> Section:
    places = dict.fromkeys(summary.places)
    texts = []
    for place in places:
        line = next(x for x in summary.at(place) if x.label == summary.about["reference"] or x)
        settings = {
            k: v for k, v in line.cells[0].settings.items() if k != "data_root" and v is not None
        }
        texts.append(Code(json.dumps(settings, indent=1), " on ".join(p for p in place if p)))
    seeds = ", ".join(map(str, summary.about["seeds"]))
    return Section(
        "Settings", [Prose(f"Seeds {seeds}."), *texts], "Of the first row of each data set."
    )
