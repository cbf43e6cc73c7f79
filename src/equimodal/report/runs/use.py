"""Who is right where: what each modality's own logits say of the test samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ..figures import Series, bars, matrix
from ..page import Section, Side
from .front import together
from .record import FUSED, Record

__all__ = ["agreement", "use"]

MOST_CLASSES = 40


def use(runs: Sequence[Record]) -> Section | None:
    """Agreement of modalities and accuracy by class; None where no predictions were kept."""
    shown = [run for run in together(runs) if run.said is not None]
    if not shown:
        return None
    parts: list[Any] = []
    if groups := [run for run in shown if len(run.modalities) > 1]:
        parts.append(_agreement(groups))
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
        "Fraction of the test samples of a class (column) that the fused logits, or a modality's own, tell (row).",
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
