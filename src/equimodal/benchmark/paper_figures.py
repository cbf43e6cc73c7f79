"""Figures of the papers over the data of a bench: what `figures` in a bench file may name.

Sources: Y. Qin et al., "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026, Figures 2 and 5 (``modalities``,
``ratio``); C. Li et al., "InfoBridge: Balanced Multimodal Integration through Conditional Dependency Modeling", ICCV
2025, Figures 1 and 3 (``complementarity``, ``kernel-distance``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import EquimodalError
from ..report import figures
from ..report.figures import Series
from ..report.page import Figure, Part, Prose, Side
from ..training.folder import RunFolder
from ..training.predictions import right
from .cell_geometry import SAMPLES, Distances, kernel_distances
from .curves import Read, around, band, evaluated_on, histories, leading, over_epochs, padded
from .space import options
from .statistics import Floats, spread
from .summary import Line, Results, Summary
from .train_cell import Shelf

__all__ = ["drawn"]

Place = tuple[str, str]


def drawn(summary: Summary, place: Place) -> list[Part]:
    """The figures that the bench asks for, on one data set and model; those without a finished run are left out."""
    return [
        part for name in summary.about.get("figures", ()) for part in _DRAW[name](summary, place)
    ]


# Over training.


def _modalities(summary: Summary, place: Place) -> list[Part]:
    """A figure for each modality."""
    lines = leading(summary, place)
    names = dict.fromkeys(n for line in lines for r in line.done.values() for n in r["modalities"])
    parts = [f for name in names for f in _modality(summary, place, lines, name)]
    return [Side(parts)] if parts else []


def _modality(summary: Summary, place: Place, lines: Sequence[Line], name: str) -> list[Figure]:
    def read(epoch: Mapping[str, Any]) -> float | None:
        return epoch["val"]["modalities"].get(name) if epoch.get("val") else None

    curves = [over_epochs(x.label, histories(summary.store, x), read) for x in lines]
    epochs, series = padded(curves)
    if not series:
        return []
    level = _ceiling(summary, place, name)
    part = evaluated_on(lines)
    return [
        figures.lines(
            f"{name} over training",
            "A curve below the dotted line: trained with the others, the modality is not what it can be by itself.",
            f"{part} accuracy of the modality's own logits. Dotted: the same encoder trained alone, its selected "
            f"epoch. {band(series)}",
            epochs,
            series,
            x_axis="epoch",
            axis=f"{part.lower()} accuracy",
            form=".1%",
            level=level,
        )
    ]


def _ceiling(summary: Summary, place: Place, name: str) -> float | None:
    """What a modality alone comes to on what epochs are selected on; None where it was not trained alone."""
    for line in summary.at(place):
        if line.kind == "alone" and list(line.cells[0].settings["modalities"]) == [name]:
            found = line.values(_judged)
            return float(found.mean()) if len(found) else None
    return None


def _judged(results: Results) -> float | None:
    """Fused accuracy on what epochs were selected on."""
    part = results[results["selected_on"]]
    return float(part["fused"]["accuracy"]) if part else None


def _ratio(summary: Summary, place: Place) -> list[Part]:
    read: Read = lambda epoch: epoch["train"]["discrepancy_ratio"]
    curves = [
        over_epochs(x.label, histories(summary.store, x), read) for x in leading(summary, place)
    ]
    epochs, series = padded(curves)
    if not series:
        return []
    return [
        figures.lines(
            "Discrepancy ratio over training",
            "At 1 the modalities are level; the further from 1, the more one leads the other.",
            "Confidence in the true class of the first modality over that of the second, mean over the steps of an epoch; "
            f"of more than two, the largest over the smallest. {band(series)}",
            epochs,
            series,
            x_axis="epoch",
            axis="ratio",
            form=".2f",
            level=1,
        )
    ]


# Against an option.


def _along(summary: Summary, place: Place) -> list[tuple[Any, Line]]:
    """The rows that have the option which is drawn against, by its value."""
    against = summary.about["against"]
    lines = [line for line in summary.at(place) if line.kind == "method" and line.done]
    found = [(options(line.cells[0].settings["method"]), line) for line in lines]
    known = [(said[against], line) for said, line in found if against in said]
    return sorted(known, key=lambda one: _order(one[0]))


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, then words."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, str(value)


def _against(
    summary: Summary,
    place: Place,
    names: Sequence[str],
    read: Callable[[RunFolder], Sequence[float]],
) -> tuple[list[str], list[Series]]:
    """A curve for each name over the values of the option.

    Args:
        summary, place: where.
        names: of the figures that are read of each run.
        read: them, from the folder of a run.
    """
    rows = _along(summary, place)
    found: list[Floats] = [
        np.array([read(summary.store.folder(c.key)) for c in line.cells if c.seed in line.done])
        for _, line in rows
    ]
    series = [around(n, [spread(runs[:, i]) for runs in found]) for i, n in enumerate(names)]
    return [f"{value}" for value, _ in rows], series


def _complementarity(summary: Summary, place: Place) -> list[Part]:
    names = ("fused", "some modality right")
    x, series = _against(summary, place, names, complementarity)
    if not x:
        return []
    option = summary.about["against"]
    return [
        figures.lines(
            f"Complementarity against {option}",
            "The upper curve is what the modalities have together and the best of them has not; the other is how much of "
            "it the fused prediction makes use of.",
            "Test accuracy of the fused prediction, and share of test samples on which at least one modality's own logits "
            f"are right, each less the accuracy of the most accurate modality. {band(series)}",
            x,
            series,
            x_axis=option,
            axis="above the best modality",
            form=".1%",
            level=0,
        )
    ]


def complementarity(folder: RunFolder) -> tuple[float, float]:
    """How far the fused prediction, and the right answers of any modality, lie above the best modality's accuracy.

    Args:
        folder: of a run. A modality that a sample lacks is not right on it.
    """
    path = folder.predictions
    each = np.stack([right(path, name) for name in folder.read_json(folder.results)["modalities"]])
    best = each.mean(1).max()
    return float(right(path).mean() - best), float(each.any(0).mean() - best)


def _kernel_distance(summary: Summary, place: Place) -> list[Part]:
    """A figure for each pair of modalities."""
    rows = _along(summary, place)
    shelf = Shelf()
    folders = [
        [summary.store.folder(c.key) for c in line.cells if c.seed in line.done] for _, line in rows
    ]
    try:
        found = [[kernel_distances(folder, shelf) for folder in runs] for runs in folders]
    except EquimodalError as error:
        return [Prose(f"Kernel distances could not be computed: {error}", "quiet")]
    pairs = list(dict.fromkeys(pair for runs in found for run in runs for pair in run))
    x = [f"{value}" for value, _ in rows]
    parts = [_pair(summary.about["against"], x, found, pair) for pair in pairs]
    drawn = [part for part in parts if isinstance(part, Figure)]
    return [*([Side(drawn)] if drawn else []), *(p for p in parts if isinstance(p, Prose))]


def _pair(
    option: str, x: Sequence[str], found: Sequence[Sequence[Distances]], pair: str
) -> Figure | Prose:
    values = [[run[pair] for run in runs] for runs in found]
    known = [[ends for ends in runs if ends is not None] for runs in values]
    if not all(known):
        return Prose(f"{pair}: features of different widths have no distance.", "quiet")
    names = ("between classes", "within a class")
    series = [
        around(name, [spread([ends[1 - i] for ends in runs]) for runs in known])
        for i, name in enumerate(names)
    ]
    return figures.lines(
        f"Kernel distance of {pair}",
        "Curves that part show classes that are told apart across modalities; where both fall, modalities merely come nearer.",
        "Mean squared distance under a Gaussian kernel of a feature of the one and a feature of the other modality, of two "
        f"test samples of one class, and of different classes; features of length 1, at most {SAMPLES} samples. {band(series)}",
        x,
        series,
        x_axis=option,
        axis="kernel distance",
        form=".3f",
    )


_DRAW: Mapping[str, Callable[[Summary, Place], list[Part]]] = {
    "modalities": _modalities,
    "ratio": _ratio,
    "complementarity": _complementarity,
    "kernel-distance": _kernel_distance,
}
