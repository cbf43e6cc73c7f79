"""Who is right where: what each modality's own logits say of the test samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..figures import Series, bars, matrix, points
from ..page import Section, Side
from .coalitions import Coalition, accuracy, adds, coalitions, likelihood, shapley
from .diagnosis import use_figures
from .front import together
from .intervals import Interval, rate
from .nats import shares
from .record import FUSED, Record

__all__ = ["agreement", "use"]

MOST_CLASSES = 40


def use(runs: Sequence[Record]) -> Section | None:
    """Agreement of modalities and accuracy by class; None where no predictions were kept."""
    shown = [run for run in together(runs) if run.said is not None]
    if not shown:
        return None
    parts: list[Any] = []
    groups = [run for run in shown if len(run.modalities) > 1]
    if groups:
        parts.append(_agreement(groups))
    parts += use_figures(runs)
    parts.append(Side(shares(runs)))
    undiagnosed = [run for run in groups if run.diagnosis is None]
    if summing := [run for run in undiagnosed if run.said is not None and adds(run.said)]:
        parts += [_subsets(summing), Side([_shapley(summing, *which) for which in _SHAPLEY])]
    parts.append(Side([_by_class(run, len(shown) > 1) for run in shown if _fits(run)]))
    parts.append(Side([_confusion(run, len(shown) > 1) for run in shown if _fits(run)]))
    return Section(
        "Use",
        [part for part in parts if not isinstance(part, Side) or part.parts],
        "Where the modalities' own logits are right, and where only one of them is: what they can give each other.",
    )


def agreement(run: Record) -> dict[str, float]:
    """For each set of modalities the fraction of test samples on which exactly these are right.

    Raises:
        ValueError: the run has kept no predictions.
    """
    if run.said is None:
        raise ValueError(f"{run.name} has no predictions")
    right = np.stack([run.said.right(name) for name in run.modalities], axis=1)
    counts = Counter(map(tuple, right.tolist()))
    sets = [
        group
        for size in range(len(run.modalities), -1, -1)
        for group in combinations(run.modalities, size)
    ]
    return {
        _named(group, run): counts[tuple(name in group for name in run.modalities)] / len(right)
        for group in sets
    }


def _named(group: Sequence[str], run: Record) -> str:
    if not group:
        return "none"
    if len(group) == len(run.modalities):
        return "both" if len(group) == 2 else "all"
    return f"only {' and '.join(group)}"


def _agreement(runs: Sequence[Record]) -> Any:
    found = {run.name: agreement(run) for run in runs}
    groups = list(dict.fromkeys(group for of in found.values() for group in of))
    totals = {group: max(of.get(group, 0.0) for of in found.values()) for group in groups}
    kept = [group for group in groups if len(groups) <= 8 or totals[group] >= 0.02]
    return bars(
        "Which modalities are right",
        "A high bar for “only” one modality means that the modalities complete each other; a low one for the weak modality "
        "means that it adds little to the other.",
        "Fraction of test samples on which exactly these modalities' own logits are right; a missing modality counts as "
        "not right."
        + (" Groups below 2% everywhere are left out." if len(kept) < len(groups) else ""),
        kept,
        [Series(name, [of.get(group) for group in kept]) for name, of in found.items()],
        axis="share of test samples",
    )


def _subsets(runs: Sequence[Record]) -> Any:
    """Accuracy of every set of modalities."""
    names = tuple(dict.fromkeys(name for run in runs for name in run.modalities))
    groups = list(coalitions(names))[1:]
    series = []
    for run in runs:
        found = [_accuracy(run, group) for group in groups]
        ends = [
            [None if i is None else getattr(i, end) for i in found]
            for end in ("value", "low", "high")
        ]
        series.append(Series(run.name, *ends))
    return points(
        "Every subset of modalities",
        "What a modality adds is the step from a set without it to the set with it.",
        "Test accuracy of the sum of these modalities' own logits, the others' left out, with 95% Wilson intervals. All of "
        "them are the fused prediction exactly, because the head adds.",
        [" + ".join(group) for group in groups],
        series,
        axis="test accuracy",
    )


def _accuracy(run: Record, group: Coalition) -> Interval | None:
    if run.said is None or not set(group) <= set(run.modalities):
        return None
    return rate(accuracy(run.said, group), run.said.groups)


_SHAPLEY = (
    ("accuracy", accuracy, "accuracy", ".1%"),
    ("log-likelihood", likelihood, "nats", ".2f"),
)


def _shapley(runs: Sequence[Record], what: str, value: Any, axis: str, form: str) -> Any:
    names = list(dict.fromkeys(name for run in runs for name in run.modalities))
    series = []
    for run in runs:
        values = {} if run.said is None else shapley(run.said, value)
        found = [values.get(name) for name in names]
        ends = [
            [None if i is None else getattr(i, end) for i in found]
            for end in ("value", "low", "high")
        ]
        series.append(Series(run.name, *ends))
    return points(
        f"Shapley values of {what}",
        "How the model's success over knowing nothing is divided among its modalities; about zero: this one gains it nothing.",
        f"Mean over all orders of what a modality adds to the {what} of those before it, from knowing only how frequent the "
        "classes are to all modalities, with the logits of absent ones left out; 95% normal intervals over test samples.",
        names,
        series,
        axis=axis,
        form=form,
    )


def _fits(run: Record) -> bool:
    return len(run.classes) <= MOST_CLASSES


def _by_class(run: Record, several: bool) -> Any:
    said = run.said
    if said is None:
        raise ValueError(f"{run.name} has no predictions")
    rows = [FUSED, *run.modalities] if len(run.modalities) > 1 else [FUSED]
    values = []
    for row in rows:
        right = said.right(row)
        of_class = [right[said.target == i] for i in range(len(run.classes))]
        values.append([float(r.mean()) if len(r) else None for r in of_class])
    return matrix(
        f"Accuracy by class, {run.name}" if several else "Accuracy by class",
        "A class that one modality tells and another does not is where the second can learn from the first.",
        "Fraction of the test samples of a class (column) that the fused logits, or a modality's own, tell (row). "
        f"Mean over the classes, fused: {np.mean([v for v in values[0] if v is not None]):.1%}.",
        rows,
        run.classes,
        values,
        form=".0%",
    )


def _confusion(run: Record, several: bool) -> Any:
    counts = run.results["test"]["confusion"]
    totals = [sum(row) for row in counts]
    values = [
        [count / total if total else None for count in row]
        for row, total in zip(counts, totals, strict=True)
    ]
    return matrix(
        f"Confusion, {run.name}" if several else "Confusion",
        "Off the diagonal stand the mistakes of the fused prediction.",
        "Fraction of the test samples of a class (row) that are taken for another (column).",
        run.classes,
        run.classes,
        values,
        form=".0%",
    )
