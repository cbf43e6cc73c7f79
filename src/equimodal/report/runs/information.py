"""How many nats the predictions are known to carry about the class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..figures import Series, points
from ..page import Section, Side
from .diagnosis import decomposition
from .front import alone, together
from .intervals import Interval, mean
from .nats import conditional, spreads
from .record import FUSED, Record, Said

__all__ = ["bound", "entropy", "information"]


def information(runs: Sequence[Record]) -> Section | None:
    """Lower bounds of information; None where no predictions were kept."""
    shown, ceilings = [run for run in together(runs) if run.said is not None], alone(runs)
    if not shown:
        return None
    names = list(dict.fromkeys(name for run in shown for name in run.modalities))
    names = [FUSED, *names] if len(names) > 1 else [FUSED]
    rows = [
        (name, run) for name in names for run in shown if name == FUSED or name in run.modalities
    ]
    here = [bound(run.said, name) for name, run in rows if run.said is not None]
    best = [_alone(ceilings.get((run.settings.data, name))) for name, run in rows]
    entropies = {run.name: entropy(run.said) for run in shown if run.said is not None}
    known = ", ".join(dict.fromkeys(f"{value:.2f}" for value in entropies.values()))
    figure = points(
        "What is known of the class",
        "A modality far below its own bound when trained alone holds information that this model does not read off it. "
        "A bound below zero says nothing."
        if ceilings
        else "The further right, the more of the class is known to be in the prediction; a bound below zero says nothing.",
        f"Entropy of the test labels ({known} nats) less the cross-entropy of the prediction: a lower bound of the mutual "
        "information between the modality, or all of them, and the class; with 95% normal intervals over test samples. "
        "Decoupled logits are not calibrated for use alone, which loosens their bounds.",
        [f"{name} · {run.name}" if len(shown) > 1 else name for name, run in rows],
        [_series("in this model", here), *([_series("trained alone", best)] if any(best) else [])],
        axis="nats",
        form=".2f",
    )
    return Section(
        "Information",
        [
            figure,
            *(Side(group) for group in spreads(runs) if group),
            *decomposition(runs),
            *conditional(runs),
        ],
        "Lower bounds: there is at least as much information as they say.",
    )


def _series(name: str, found: Sequence[Interval | None]) -> Series:
    return Series(
        name,
        [None if i is None else i.value for i in found],
        [None if i is None else i.low for i in found],
        [None if i is None else i.high for i in found],
    )


def _alone(ceiling: Record | None) -> Interval | None:
    return bound(ceiling.said, FUSED) if ceiling is not None and ceiling.said is not None else None


def entropy(said: Said) -> float:
    """Of the labels, in nats."""
    share = np.bincount(said.target) / len(said.target)
    kept = share[share > 0]
    return float(-(kept * np.log(kept)).sum())


def bound(said: Said, name: str) -> Interval | None:
    """H(Y) less the cross-entropy, over the samples that have the modality; None where none has it.

    Source: Barber and Agakov, "The IM algorithm", NeurIPS 2003: I(X; Y) ≥ H(Y) + E log q(y | x) for any q.
    """
    values = said.fused if name == FUSED else said.modalities[name]
    rows = np.flatnonzero(np.logical_not(np.isnan(values).any(axis=1)))
    if not len(rows):
        return None
    share = np.bincount(said.target[rows], minlength=values.shape[1]) / len(rows)
    given = values[rows, said.target[rows]]
    tiny = np.finfo(np.float64).tiny
    # Per sample the log of the ratio: its mean is the bound, and its spread is that of both terms.
    gained = np.log(np.maximum(given, tiny)) - np.log(share[said.target[rows]])
    return mean(gained, None if said.groups is None else said.groups[rows])
