"""What is left of accuracy when inputs are missing, noisy or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import lines
from ..page import Figure, Section, Side
from .diagnosis import diagnosed, series_of
from .record import Record, named

__all__ = ["robustness"]

Curves = Mapping[str, Mapping[str, Any] | None]


def robustness(runs: Sequence[Record]) -> Section | None:
    """Curves of each run; None where no run was diagnosed by a version that draws them."""
    shown = [run for run in diagnosed(runs) if _found(run)]
    groups = [_missing(shown), _noise(shown), _wrong(shown)]
    parts = [Side(group) for group in groups if group]
    if not parts:
        return None
    return Section(
        "Robustness",
        parts,
        "What is left of accuracy when inputs are not as they should be.",
    )


def _missing(runs: Sequence[Record]) -> list[Figure]:
    return [
        _curves(
            named("Missing modalities", run, runs),
            {**_found(run)["missing"], "each of them": _found(run)["missing_any"]},
            "A steep line is a modality that the model cannot do without; where the others carry it, the line is flat.",
            "Expected test accuracy when a modality is missing at this rate, one or each of them independently; of the "
            "modalities of a sample one always stays. From the answers with every subset, so nothing is drawn at random"
            + ("" if _found(run)["exact"] else ", but for the subsets of many modalities")
            + "; 95% Wilson intervals.",
            "missing rate, %",
            100,
        )
        for run in runs
    ]


def _noise(runs: Sequence[Record]) -> list[Figure]:
    return [
        _curves(
            named("Noise", run, runs),
            _found(run)["noise"],
            "The modality whose line falls first is the one that the model trusts, or the one whose encoder is brittle.",
            "Test accuracy with Gaussian noise on one input, in standard deviations of that input over the data, on "
            f"{_found(run)['samples']:,} samples; 95% Wilson intervals.{_without_noise(run)}",
            "standard deviations of noise",
            1,
        )
        for run in runs
        if any(_found(run)["noise"].values())
    ]


def _without_noise(run: Record) -> str:
    none = [name for name, curve in _found(run)["noise"].items() if curve is None]
    return f" No noise is added to {', '.join(none)}: the input is ids or other integers." * bool(
        none
    )


def _wrong(runs: Sequence[Record]) -> list[Figure]:
    return [
        _curves(
            named("Wrong inputs", run, runs),
            _found(run)["wrong"],
            "Where this is steeper than missing, an input that contradicts the others does more harm than none.",
            "Expected test accuracy when the input of one modality is that of another sample at this rate, on "
            f"{_found(run)['samples']:,} samples; 95% Wilson intervals.",
            "rate of wrong inputs, %",
            100,
        )
        for run in runs
        if _found(run)["wrong"]
    ]


def _curves(title: str, curves: Curves, see: str, how: str, x_axis: str, unit: float) -> Figure:
    """A line per modality over the strengths, which all have in common."""
    known = {name: curve for name, curve in curves.items() if curve is not None}
    at = next(iter(known.values()))["at"]
    return lines(
        title,
        see,
        how,
        [f"{unit * a:g}" for a in at],
        [series_of(name, curve["accuracy"]) for name, curve in known.items()],
        x_axis=x_axis,
        axis="test accuracy",
        form=".1%",
    )


def _found(run: Record) -> Mapping[str, Any]:
    return (run.diagnosis or {}).get("robustness") or {}
