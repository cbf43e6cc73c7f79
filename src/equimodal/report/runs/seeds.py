"""Runs that differ in nothing but the seed: the spread of their figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..page import Cell, Column, Table
from .record import Record

__all__ = ["over_seeds"]

Figures = Mapping[str, Callable[[Record], float | None]]


def over_seeds(runs: Sequence[Record], label: Callable[[Record], str]) -> list[Table]:
    """Mean and standard deviation of the main figures, and of the diagnoses where all of them are diagnosed.

    Args:
        runs: in any order; those that have no twin are left out.
        label: what a run is called in its row.
    """
    groups: dict[str, list[Record]] = {}
    for run in runs:
        groups.setdefault(repr(run.settings.changed(seed=0)), []).append(run)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return []
    names = list(dict.fromkeys(name for group in several for name in group[0].modalities))
    tables = [_table(several, _results(names), label, _SPREAD)]
    diagnosed = [group for group in several if all(run.diagnosis for run in group)]
    if diagnosed and len(names) > 1:
        figures = _diagnoses(names, diagnosed)
        tables.append(_table(diagnosed, figures, label, f"{_SPREAD} Of the diagnoses: {_MEANING}"))
    return tables


_SPREAD = "Mean and standard deviation over runs that differ in the seed alone, %."
_MEANING = (
    "share of each modality (Shapley value of accuracy), gap to the probe of its encoder trained alone (under-training), and "
    "accuracy of the model that sees some modalities only."
)


def _table(
    groups: Sequence[Sequence[Record]],
    figures: Figures,
    label: Callable[[Record], str],
    caption: str,
) -> Table:
    known = {
        name: of
        for name, of in figures.items()
        if any(of(run) is not None for g in groups for run in g)
    }
    rows: list[list[Any]] = [
        [
            label(group[0]),
            len(group),
            *(_spread([of(run) for run in group]) for of in known.values()),
        ]
        for group in groups
    ]
    return Table([Column("method"), Column("seeds"), *map(Column, known)], rows, caption)


def _results(names: Sequence[str]) -> Figures:
    def of(name: str, what: str) -> Callable[[Record], float | None]:
        return lambda run: run.results["test"]["modalities"].get(name, {}).get(what)

    found: dict[str, Callable[[Record], float | None]] = {
        "fused": lambda run: run.results["test"]["fused"]["accuracy"]
    }
    return found | {
        f"{name} {what}": of(name, what) for name in names for what in ("decoupled", "probe")
    }


def _diagnoses(names: Sequence[str], groups: Sequence[Sequence[Record]]) -> Figures:
    def at(*path: str) -> Callable[[Record], float | None]:
        def value(run: Record) -> float | None:
            found: Any = run.diagnosis
            for key in path:
                found = (found or {}).get(key)
            return None if found is None else float(found["value"])

        return value

    found = {f"{m} share": at("use", m, "shapley_accuracy") for m in names}
    found |= {f"{m} gap": at("potential", m, "gap") for m in names}
    subsets = dict.fromkeys(
        tuple(s["modalities"]) for g in groups for s in (g[0].diagnosis or {}).get("subsets", ())
    )
    some = [group for group in subsets if 0 < len(group) < len(names)]
    return found | {f"only {' + '.join(group)}": _of_subset(group) for group in some[:MOST_SUBSETS]}


MOST_SUBSETS = 6


def _of_subset(group: Sequence[str]) -> Callable[[Record], float | None]:
    def value(run: Record) -> float | None:
        found = (run.diagnosis or {}).get("subsets", ())
        return next(
            (s["accuracy"]["value"] for s in found if tuple(s["modalities"]) == group), None
        )

    return value


def _spread(values: Sequence[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Cell(None)
    mean = statistics.fmean(known)
    return Cell(mean, f"{100 * mean:.1f} ± {100 * statistics.stdev(known):.1f}")
