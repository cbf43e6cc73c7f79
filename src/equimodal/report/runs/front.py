"""The front page: what was found, the imbalance at a glance, one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...training.groups import worth
from ..figures import Series, points
from ..page import Cell, Column, Points, Prose, Section, Table
from ..text import of_groups
from .intervals import Interval, difference, wilson
from .record import Record, named
from .seeds import over_seeds

__all__ = ["alone", "front", "reference", "together"]

PERCENT = "{:.1%}"
LAZY = "Under-trained, trained alone the encoder learns more"
BETTER = "Learns more than trained alone"
LEVEL = "No difference from the same modality trained alone that is beyond chance"
UNPROBED = "Not probed, so that an encoder cannot be told from its part of the head"
UNKNOWN = (
    "What each modality could reach is not known: train each alone (equimodal diagnose RUN --train-alone; or equimodal train "
    "... --modalities NAME, and name these runs as well)"
)
STATEMENTS = (LAZY, BETTER, LEVEL, UNPROBED, UNKNOWN)


def together(runs: Sequence[Record]) -> list[Record]:
    """The runs that the report is about: where some train several modalities, those of one are their ceilings."""
    several = [run for run in runs if len(run.modalities) > 1]
    return several or list(runs)


def alone(runs: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """For each data set and modality the run that trained it by itself; the best on validation if there are several.

    These are runs of one modality beside runs of several, and those that were trained for a run of several.
    """
    found: dict[tuple[str, str], Record] = {}
    several = [run for run in runs if len(run.modalities) > 1]
    single = [run for run in runs if len(run.modalities) == 1] if several else []
    for run in (*single, *(one for whole in several for one in whole.alone)):
        key = (run.settings.data, run.modalities[0])
        if key not in found or _selected(run) > _selected(found[key]):
            found[key] = run
    return found


def _selected(run: Record) -> float:
    val = run.results.get("val")
    return float(val["fused"]["accuracy"]) if val else 0.0


def reference(runs: Sequence[Record]) -> Record:
    """The run that others are compared with: the first that is joint training, else the first."""
    return next((run for run in runs if run.method == "joint()"), runs[0])


def front(runs: Sequence[Record]) -> Section:
    """The section that one reads first."""
    shown, ceilings = together(runs), alone(runs)
    return Section(
        "Overview",
        [
            Prose(_lead(shown), "lead"),
            Points([*_verdicts(shown), *_findings(shown, ceilings)]),
            _glance(shown, ceilings),
            _table(shown, ceilings),
            *over_seeds(shown, _labelled),
        ],
    )


# In words.


def _lead(runs: Sequence[Record]) -> str:
    if len(runs) == 1:
        [run] = runs
        fused = run.results["test"]["fused"]
        found = wilson(fused["accuracy"], worth(fused, run.samples))
        return (
            f"{run.method} classifies {found.value:.1%} of {run.samples:,} test samples{of_groups(run.groups)} correctly; "
            f"with 95% confidence the accuracy lies between {found.low:.1%} and {found.high:.1%}."
        )
    first = reference(runs)
    apart = {run.name: _apart(run, first) for run in runs if run is not first}
    sure = {name: found for name, found in apart.items() if found is not None and found.differs}
    if all(found is None for found in apart.values()):
        return f"The runs are not compared: none was tested on the same samples as {first.name}."
    if not sure:
        return (
            f"No run differs from {first.name} by more than chance among the test samples allows."
        )
    if len(sure) > 3:
        better = [name for name, found in sure.items() if found.value > 0]
        worse = [name for name in sure if name not in better]
        said = [
            f"{_listed(some)} {word} {first.name}"
            for some, word in ((better, "above"), (worse, "below"))
            if some
        ]
    else:
        said = [_distance(name, found, first) for name, found in sure.items()]
    return "; ".join(said) + ", on the same test samples. Another seed may give another order."


def _distance(name: str, apart: Interval, first: Record) -> str:
    word, sign = ("above", 1) if apart.value > 0 else ("below", -1)
    low, high = sorted((sign * apart.low, sign * apart.high))
    return f"{name} is {Interval(sign * apart.value, low, high).text()} points {word} {first.name}"


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last} are" if most else f"{last} is"


def _apart(run: Record, first: Record) -> Interval | None:
    """By how much a run is above the reference, where both were asked about the same samples."""
    here, there = run.said, first.said
    if here is None or there is None or not _same_samples(run, first):
        return None
    return difference(here.right(), there.right(), here.groups)


def _same_samples(run: Record, first: Record) -> bool:
    here, there = run.said, first.said
    if (
        here is None
        or there is None
        or run.data.get("fingerprint") != first.data.get("fingerprint")
    ):
        return False
    return np.array_equal(here.index, there.index) and np.array_equal(here.target, there.target)


def _findings(
    runs: Sequence[Record], ceilings: Mapping[tuple[str, str], Record]
) -> list[tuple[str, str]]:
    """Statements about modalities with their evidence; what holds for several is said once."""
    found: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        if run.diagnosis:
            continue
        for name in run.modalities if len(run.modalities) > 1 else ():
            statement, evidence = _finding(run, name, ceilings.get((run.settings.data, name)))
            subject = named(name, run, runs, " in ")
            found.setdefault(statement, []).append((subject, evidence))
    return [
        (f"{statement}: {', '.join(subject for subject, _ in of)}.", _evidence(of))
        if statement != UNKNOWN
        else (f"{statement}.", _evidence(of))
        for statement, of in sorted(found.items(), key=lambda item: STATEMENTS.index(item[0]))
    ]


def _verdicts(runs: Sequence[Record]) -> list[tuple[str, str]]:
    """What the diagnosis of each run concludes; of several runs one item each."""
    found = []
    for run in runs:
        said = [str(sentence["text"]) for sentence in (run.diagnosis or {}).get("verdict", ())]
        if len(runs) == 1:
            found += [(sentence, "") for sentence in said]
        elif said:
            found.append((f"{run.name}: {said[0]}", " ".join(said[1:])))
    return found


def _evidence(found: Sequence[tuple[str, str]]) -> str:
    """Each with its evidence; if there are many, the figure and the table below tell."""
    if len(found) == 1:
        return found[0][1]
    return "; ".join(f"{name}: {text}" for name, text in found) if len(found) <= 4 else ""


def _finding(run: Record, name: str, ceiling: Record | None) -> tuple[str, str]:
    """A modality against itself trained alone."""
    of = run.of(name)
    probe, decoupled = of.get("probe"), _percent(of["decoupled"])
    if ceiling is None:
        return (
            UNKNOWN,
            f"decoupled {decoupled}, linear probe {_percent(probe)}",
        )
    ceilings = ceiling.of(name)
    best = ceilings.get("probe")
    if probe is None or best is None:
        return UNPROBED, decoupled
    apart = _gap(
        best,
        probe,
        worth(of, int(of["samples"]), "probe_"),
        worth(ceilings, ceiling.samples, "probe_"),
    )
    evidence = f"linear probe {_percent(probe)}, of its encoder trained alone {_percent(best)}, difference {apart.text()} points"
    if not apart.differs:
        return LEVEL, evidence
    if apart.value > 0:
        return LAZY, evidence
    return BETTER, evidence


def _gap(best: float, probe: float, samples: float, others: float) -> Interval:
    """The difference of two fractions, taken as independent, which is wider than it is if they are of the same samples."""
    one, two = wilson(best, others), wilson(probe, samples)
    value = best - probe
    return Interval(  # Newcombe, "Interval estimation for the difference between independent proportions", 1998
        value,
        value - ((best - one.low) ** 2 + (two.high - probe) ** 2) ** 0.5,
        value + ((one.high - best) ** 2 + (probe - two.low) ** 2) ** 0.5,
    )


# As a figure.


def _glance(runs: Sequence[Record], ceilings: Mapping[tuple[str, str], Record]) -> Any:
    """Per modality and run: probe and logits, trained alone and in this model."""
    names = list(dict.fromkeys(name for run in runs for name in run.modalities))
    rows = [(name, run) for name in names for run in runs if name in run.modalities]
    found: dict[str, list[Interval | None]] = {
        "probe, trained alone": [],
        "probe, in this model": [],
        "logits, trained alone": [],
        "logits, in this model": [],
    }
    for name, run in rows:
        ceiling, of = ceilings.get((run.settings.data, name)), run.of(name)
        best = ceiling.of(name) if ceiling else {"samples": 0}
        for model, figures in (("trained alone", best), ("in this model", of)):
            for what, figure, its in (("probe", "probe", "probe_"), ("logits", "decoupled", "")):
                interval = _interval(figures.get(figure), worth(figures, figures["samples"], its))
                found[f"{what}, {model}"].append(interval)
    return points(
        "The imbalance at a glance",
        "The further a modality's probe in this model lies below the probe of its encoder trained alone, the more it was left "
        "behind; a gap between the logits only is the head's."
        if ceilings
        else "A modality far to the left of the others is the weak one here; whether it is lazy or has little to give, "
        "only training it alone can tell.",
        "Test accuracy with 95% Wilson intervals over test samples. Logits: the modality's own, decoupled from the others. "
        "Probe: logistic regression on the frozen features of its encoder."
        + (" Trained alone: the same encoder with no other modality." if ceilings else ""),
        [named(name, run, runs, " · ") for name, run in rows],
        [
            Series(
                name,
                [None if i is None else i.value for i in values],
                [None if i is None else i.low for i in values],
                [None if i is None else i.high for i in values],
            )
            for name, values in found.items()
            if any(values)
        ],
        axis="test accuracy",
    )


def _interval(accuracy: float | None, samples: float) -> Interval | None:
    return None if accuracy is None or not samples else wilson(accuracy, samples)


# As a table.


def _table(runs: Sequence[Record], ceilings: Mapping[tuple[str, str], Record]) -> Table:
    first, several = reference(runs), len(runs) > 1
    names = list(dict.fromkeys(name for run in runs for name in run.modalities))
    columns = [Column("run"), Column("method"), Column("fused", PERCENT)]
    if several:
        columns.append(Column(f"less {first.name}", PERCENT, "points, on the same test samples"))
    for name in names:
        if ceilings:
            columns.append(Column(f"{name} trained alone", PERCENT))
        columns += [Column(f"{name} decoupled", PERCENT), Column(f"{name} probe", PERCENT)]
    columns += [Column("ratio", "{:.2f}", "discrepancy ratio"), Column("seconds", "{:.0f}")]
    return Table(
        columns,
        [_row(run, first, names, ceilings, several) for run in runs],
        "Test accuracies. "
        + (
            "Differences in points, with 95% intervals over test samples that allow for no more than one comparison. "
            if several
            else ""
        )
        + "Ratio: how far one modality leads in training, 1 is level.",
    )


def _row(
    run: Record,
    first: Record,
    names: Sequence[str],
    ceilings: Mapping[tuple[str, str], Record],
    several: bool,
) -> list[Any]:
    test = run.results["test"]
    row: list[Any] = [run.name, _labelled(run), test["fused"]["accuracy"]]
    if several:
        row.append(_difference(None if run is first else _apart(run, first)))
    for name in names:
        of = test["modalities"].get(name, {})
        if ceilings:
            ceiling = ceilings.get((run.settings.data, name))
            row.append(ceiling and ceiling.results["test"]["fused"]["accuracy"])
        row += [of.get("decoupled"), of.get("probe")]
    ratio = run.results["train"]["discrepancy_ratio"] if len(run.modalities) > 1 else None
    return [*row, ratio, run.results.get("seconds")]


def _difference(apart: Interval | None) -> Cell:
    if apart is None:
        return Cell(None)
    value, low, high = (f"{100 * v:+.1f}" for v in (apart.value, apart.low, apart.high))
    return Cell(apart.value, f"{value} [{low}, {high}]", strong=apart.differs)


def _labelled(run: Record) -> str:
    """The method; figures whose epoch was selected on test say so."""
    return (
        f"{run.method} (selected on test)" if run.results.get("protocol") == "paper" else run.method
    )


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{fraction:.1%}"
