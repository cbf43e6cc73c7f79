"""How training went, epoch by epoch, from `metrics.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..figures import Series, lines
from ..page import Figure, Section, Side
from .front import alone, together
from .record import Record, named
from .recorded import recorded

__all__ = ["training"]

Line = Mapping[str, Any]


def training(runs: Sequence[Record]) -> Section | None:
    """Curves of accuracy, imbalance and losses; None where no run has kept its epochs."""
    shown = [run for run in together(runs) if run.history]
    if not shown:
        return None
    groups = [
        _modalities(shown, runs),
        _compared(shown),
        _losses(shown),
        _notes(shown),
        *recorded(shown),
    ]
    parts: list[Any] = [Side(group) for group in groups if group]
    return Section(
        "Training",
        parts,
        "Each point is one epoch. Curves of accuracy are without linear probes: they show how much the head relies on a "
        "modality, not how much its encoder has learned.",
    )


def _modalities(runs: Sequence[Record], everything: Sequence[Record]) -> list[Figure]:
    """Accuracy of each modality on what epochs are selected on, a figure for each run."""
    ceilings = alone(everything)
    drawn = []
    for run in runs:
        if not any(line.get("val") for line in run.history):
            continue
        series = [Series("fused", _values(run, lambda line: line["val"]["accuracy"]))]
        series += [Series(name, _values(run, _of_modality(name))) for name in run.modalities]
        for name in run.modalities:
            ceiling = ceilings.get((run.settings.data, name))
            if ceiling and ceiling.results.get(run.settings.selected_on):
                level = ceiling.results[run.settings.selected_on]["fused"]["accuracy"]
                series.append(Series(f"{name} trained alone", [level] * len(run.history)))
        drawn.append(
            lines(
                named(f"{_part(run).capitalize()} accuracy", run, runs),
                "A modality whose curve flattens early while another's still climbs has stopped learning.",
                f"Accuracy of the fused and of each modality's own logits on {_part(run)}, after each epoch."
                + (
                    " Level lines: the same encoder trained alone, its selected epoch."
                    if ceilings
                    else ""
                ),
                _epochs(run),
                series,
                x_axis="epoch",
                axis="accuracy",
                form=".1%",
            )
        )
    return drawn


def _part(run: Record) -> str:
    """What an epoch was evaluated on: under the protocol of the papers the test split, which it is selected by."""
    return "test" if run.settings.selected_on == "test" else "validation"


def _of_modality(name: str) -> Callable[[Line], float | None]:
    return lambda line: line["val"]["modalities"].get(name)


def _compared(runs: Sequence[Record]) -> list[Figure]:
    """All runs in one figure: the discrepancy ratio."""
    runs = [run for run in runs if len(run.modalities) > 1]
    if not runs:
        return []
    ratios = {
        run.name: _values(run, lambda line: line["train"]["discrepancy_ratio"]) for run in runs
    }
    return [
        lines(
            "Discrepancy ratio",
            "At 1 the modalities are level; the further from 1, the more one leads the other.",
            _ratio(runs),
            _epochs(max(runs, key=lambda run: len(run.history))),
            _padded(ratios, runs),
            x_axis="epoch",
            axis="ratio",
            form=".2f",
            level=1,
        )
    ]


def _ratio(runs: Sequence[Record]) -> str:
    if any(len(run.modalities) > 2 for run in runs):
        return (
            "Mean over the steps of an epoch of the largest confidence in the true class of any modality over the "
            "smallest; with two modalities, of the first over the second."
        )
    first, second = runs[0].modalities
    return (
        f"Mean over the steps of an epoch of the batch's summed confidence in the true class by {first}, over that by "
        f"{second}."
    )


def _losses(runs: Sequence[Record]) -> list[Figure]:
    """Every named loss, a figure for each run."""
    drawn = []
    for run in runs:
        names = list(dict.fromkeys(name for line in run.history for name in line["loss"]))
        series = [
            Series(name, _values(run, lambda line, n=name: line["loss"].get(n))) for name in names
        ]
        series.append(
            Series(f"task, {_part(run)}", _values(run, lambda line: line["val"]["cross_entropy"]))
        )
        drawn.append(
            lines(
                named("Losses", run, runs),
                f"{_part(run).capitalize()} loss that rises while the task's falls is over-fitting.",
                f"Mean over the steps of an epoch of each loss that training added up; cross-entropy on {_part(run)}, in nats.",
                _epochs(run),
                [one for one in series if any(v is not None for v in one.values)],
                x_axis="epoch",
                axis="loss",
            )
        )
    return drawn


def _notes(runs: Sequence[Record]) -> list[Figure]:
    """What the methods noted of themselves: the coefficients that they applied."""
    drawn = []
    for run in runs:
        names = list(dict.fromkeys(name for line in run.history for name in _noted(line)))
        if not names:
            continue
        drawn.append(
            lines(
                named("What the method applied", run, runs),
                "How strongly the method intervened, and whether it ever let go.",
                "Mean over the steps of an epoch of each coefficient that the method noted.",
                _epochs(run),
                [
                    Series(name, _values(run, lambda line, n=name: _noted(line).get(n)))
                    for name in names
                ],
                x_axis="epoch",
                axis="value",
            )
        )
    return drawn


def _noted(line: Mapping[str, Any]) -> Mapping[str, float | None]:
    known: Mapping[str, float | None] = line.get("train", {}).get("notes", {})
    return known


def _epochs(run: Record) -> list[float]:
    return [float(line["epoch"]) + 1 for line in run.history]


def _values(run: Record, value: Callable[..., Any]) -> list[float | None]:
    """One value per epoch; None where it was not measured or is no finite number."""
    return [_or_none(value, line) for line in run.history]


def _or_none(value: Callable[..., Any], line: Line) -> float | None:
    try:
        found = value(line)
    except (KeyError, TypeError):  # no validation, or a line of another version
        return None
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _padded(found: Mapping[str, list[float | None]], runs: Sequence[Record]) -> list[Series]:
    longest = max(len(run.history) for run in runs)
    return [Series(name, [*v, *[None] * (longest - len(v))]) for name, v in found.items()]
