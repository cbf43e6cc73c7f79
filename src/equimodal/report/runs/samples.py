"""The test samples on which the modalities disagree most, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import EquimodalError
from ..page import Column, Prose, Raw, Section, Table
from .front import reference, together
from .record import FUSED, Record, Said

__all__ = ["Belief", "Card", "Samples", "disagreement", "samples"]

TOP = 3


@dataclass(frozen=True)
class Belief:
    """What the fused prediction or a modality says of a sample: its likeliest classes.

    Attributes:
        name: of the modality, or ``"fused"``.
        classes: name, probability and whether it is the right one; empty where the sample lacks the modality.
    """

    name: str
    classes: Sequence[tuple[str, float, bool]]


@dataclass(frozen=True)
class Card:
    """A sample.

    Attributes:
        name: what the data call it, or "sample" and its position in the test split.
        label: the name of its class.
        beliefs: fused first.
        views: for each modality what can be shown of it; see `views`.
        others: what other runs say.
    """

    name: str
    label: str
    beliefs: Sequence[Belief]
    views: Mapping[str, Any] = field(default_factory=dict)
    others: str = ""


@dataclass(frozen=True)
class Samples:
    """A part of a page: samples beside each other."""

    cards: Sequence[Card]

    def table(self) -> Table:
        """What is said of each, for where nothing can be shown."""
        names = [belief.name for belief in self.cards[0].beliefs]
        rows: list[list[Raw]] = []
        for card in self.cards:
            said = [belief.classes[0] if belief.classes else None for belief in card.beliefs]
            texts = [None if top is None else f"{top[0]} ({top[1]:.0%})" for top in said]
            rows.append([card.name, card.label, *texts])
        return Table([Column("sample"), Column("class"), *map(Column, names)], rows)


def samples(runs: Sequence[Record], count: int) -> Section | None:
    """The section; None where no run of several modalities has kept its predictions."""
    shown = [run for run in together(runs) if run.said is not None and len(run.modalities) > 1]
    if not shown:
        return None
    run = reference(shown)
    if run.said is None:
        return None
    apart = disagreement(run.said)
    chosen = [int(row) for row in np.argsort(-apart, kind="stable")[:count] if apart[row] > 0]
    if not chosen:
        return None
    views, why = _views(run, [int(run.said.index[row]) for row in chosen])
    others = [other for other in shown if other is not run]
    cards = [
        Card(
            run.said.names[row] if run.said.names else f"sample {run.said.index[row]}",
            run.classes[int(run.said.target[row])],
            _beliefs(run, run.said, row),
            views.get(int(run.said.index[row]), {}),
            _others(others, int(run.said.index[row])),
        )
        for row in chosen
    ]
    where = f" of {run.name}" if len(shown) > 1 else ""
    return Section(
        "Samples",
        [Samples(cards), *([Prose(why, "quiet")] if why else [])],
        f"The {len(cards)} test samples on which the modalities{where} disagree most (Jensen–Shannon divergence of their "
        "own probabilities), as their encoders see them. A check marks the right class.",
    )


def disagreement(said: Said) -> NDArray[np.float64]:
    """[N]: the Jensen–Shannon divergence, in nats, of the modalities that a sample has; 0 where it has fewer than two.

    Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 1991.
    """
    values = np.stack(list(said.modalities.values()))  # [M, N, C]
    there = np.logical_not(np.isnan(values).any(axis=2))
    count = there.sum(0)
    kept = np.where(there[..., None], values, 0.0)
    mean = kept.sum(0) / np.maximum(count, 1)[:, None]
    inner = _entropy(kept).sum(0) / np.maximum(count, 1)
    divergence: NDArray[np.float64] = np.maximum(_entropy(mean) - inner, 0.0) * (count > 1)
    return divergence


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    entropy: NDArray[np.float64] = -(p * logs).sum(-1)
    return entropy


def _beliefs(run: Record, said: Said, row: int) -> list[Belief]:
    found = []
    for name, values in {FUSED: said.fused, **said.modalities}.items():
        p = values[row]
        top = [] if np.isnan(p).any() else [int(i) for i in np.argsort(-p, kind="stable")[:TOP]]
        found.append(
            Belief(name, [(run.classes[i], float(p[i]), i == said.target[row]) for i in top])
        )
    return found


def _others(runs: Sequence[Record], index: int) -> str:
    texts = []
    for run in runs[:4]:
        if run.said is None:
            continue
        rows = np.flatnonzero(run.said.index == index)
        if len(rows):
            texts.append(f"{run.name}: {run.classes[int(run.said.fused[rows[0]].argmax())]}")
    return ", ".join(texts)


def _views(run: Record, indices: Sequence[int]) -> tuple[dict[int, dict[str, Any]], str]:
    """What can be shown of samples of the test split, and why nothing can if so."""
    from ...training.run import data_of
    from .views import view

    try:
        test = data_of(run.folder, run.settings).test
    except (EquimodalError, OSError) as error:
        return {}, f"The samples themselves cannot be shown: {error}"
    if len(test) <= max(indices):
        return (
            {},
            "The samples themselves cannot be shown: the data are not those that the run was tested on.",
        )
    found: dict[int, dict[str, Any]] = {}
    for index in indices:
        inputs = test.sample(index).inputs
        found[index] = {
            name: view(
                name, value, run.settings.encoders.get(name, ""), test.text(name, index) or ""
            )
            for name, value in inputs.items()
        }
    return found, ""
