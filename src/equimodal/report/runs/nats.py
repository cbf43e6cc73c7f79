"""Information beyond its bounds, of runs that were diagnosed: its spread over samples, and what features share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import Series, lines, points
from ..page import Figure
from .diagnosis import diagnosed, series_of
from .record import FUSED, Record, named

__all__ = ["conditional", "shares", "spreads"]

Values = Mapping[str, Any]


def spreads(runs: Sequence[Record]) -> list[list[Figure]]:
    """Groups of figures, each with one for each run whose diagnosis knows the information of each sample."""
    several = diagnosed(runs)
    shown = [run for run in several if _information(run).get("pointwise")]
    return [[own(run, several) for run in shown] for own in (_pointwise, _retained)]


def shares(runs: Sequence[Record]) -> list[Figure]:
    """For each diagnosed run how much of each sample's log-likelihood is each modality's."""
    several = diagnosed(runs)
    found = {run.name: _shares(run) for run in several}
    return [
        _spread(
            named("Share of each modality in each sample", run, several),
            "Left of 0: samples on which the modality misleads. A modality whose hump stands at 0 is not used for most samples.",
            "Shapley value of the log-likelihood of each test sample's true class; its mean over samples is the value above. "
            "Shares in bins; the outer bins hold what lies beyond.",
            found[run.name],
        )
        for run in several
        if found[run.name]
    ]


def _shares(run: Record) -> Values:
    use = (run.diagnosis or {}).get("use") or {}
    return {m: one["by_sample"] for m, one in use.items() if one.get("by_sample")}


def conditional(runs: Sequence[Record]) -> list[Figure]:
    """What pairs of modalities' features share beyond the class, where that was asked for."""
    several = diagnosed(runs)
    rows = [
        (named(f"{pair['first']} · {pair['second']}", run, several, " · "), pair)
        for run in several
        for pair in _information(run).get("conditional", ())
    ]
    if not rows:
        return []
    caps = sorted({f"{pair['cap']:.2f}" for _, pair in rows})
    return [
        points(
            "What features share beyond the class",
            "At 0 the modalities tell nothing of each other once the class is known, so that each adds what it knows; far "
            "above 0 they repeat each other.",
            "Conditional mutual information of the frozen features given the class, by a critic that learned on training "
            "features and was read on test features (InfoBridge). Estimate: its plug-in, which may err on either side. Lower "
            f"bound: holds for any critic, and cannot exceed {' or '.join(caps)} nats. 95% bootstrap intervals over test "
            "samples, without the spread of learning the critic.",
            [label for label, _ in rows],
            [series_of(name, [pair[key] for _, pair in rows]) for key, name in _READINGS],
            axis="nats",
            form=".3f",
        )
    ]


_READINGS = (("estimate", "estimate"), ("bound", "lower bound"))


def _pointwise(run: Record, runs: Sequence[Record]) -> Figure:
    found = dict(_information(run)["pointwise"])
    if fused := _information(run).get("pointwise_fused"):
        found = {FUSED: fused, **found}
    return _spread(
        named("Information of each sample", run, runs),
        "A hump at the right end: samples that are known; a tail to the left of 0: samples on which the prediction misleads.",
        "log p(class | modality) - log p(class) of each test sample's true class, by the modality's own logits; the mean is "
        "the bound above. Shares in bins; the outer bins hold what lies beyond.",
        found,
    )


def _retained(run: Record, runs: Sequence[Record]) -> Figure:
    return _spread(
        named("What each modality and the fused prediction both know", run, runs),
        "The further right, the more of a modality's information the fused prediction has kept; a modality far to the left of "
        "the others is lazy or has little to keep.",
        "Bound of I(X; Z; Y), term by term: what the modality knows of a sample's class, and what the fused prediction knows, "
        "less all that there is to know (IBML, eq. 8). Shares in bins; the outer bins hold what lies beyond.",
        _information(run)["retained"],
    )


def _spread(title: str, see: str, how: str, found: Mapping[str, Values]) -> Figure:
    first = next(iter(found.values()))
    width = (first["high"] - first["low"]) / len(first["counts"])
    middles = [first["low"] + (i + 0.5) * width for i in range(len(first["counts"]))]
    series = [
        Series(name, [count / (sum(of["counts"]) or 1) for count in of["counts"]])
        for name, of in found.items()
    ]
    return lines(
        title, see, how, middles, series, x_axis="nats", axis="share of test samples", form=".1%"
    )


def _information(run: Record) -> Values:
    return (run.diagnosis or {}).get("information") or {}
