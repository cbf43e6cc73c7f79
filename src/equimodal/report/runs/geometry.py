"""Where features lie, as `equimodal diagnose` has found."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from ...methods import InfoBridge
from ..figures import Series, lines, plane, points
from ..page import Figure, Section, Side
from .diagnosis import by_run, diagnosed, series_of
from .record import Record, named

__all__ = ["geometry"]

Values = Mapping[str, Any]

ALPHA = inspect.signature(InfoBridge).parameters["alpha"].default
DISTANCE = (
    "Mean squared distance under a Gaussian kernel of width 1 of features of length 1, over pairs of test samples of one class, "
    "and of different classes; at most 1.73; 95% bootstrap intervals."
)


def geometry(runs: Sequence[Record]) -> Section | None:
    """Distances, alignment, uniformity, CKA and maps; None where no run was diagnosed by a version that measures them."""
    shown = [run for run in diagnosed(runs) if _found(run)]
    if not shown:
        return None
    parts = [_distances(shown), Side(_alike(shown)), *_over_alpha(shown), Side(_maps(shown))]
    return Section(
        "Geometry",
        [part for part in parts if not isinstance(part, Side) or part.parts],
        "Where the features of each modality lie: near their class or not, near those of the other modalities or not. "
        "Features of two modalities are comparable only as far as training has made them so.",
    )


def _distances(runs: Sequence[Record]) -> Figure:
    groups = list(dict.fromkeys(group for run in runs for group in _lying(run)))
    rows = [(group, run) for group in groups for run in runs if group in _lying(run)]
    labels = [named(group, run, runs, " · ") for group, run in rows]
    found = [_lying(run)[group] for group, run in rows]
    return points(
        "Within and between classes",
        "Within left of between: the classes lie apart. In a row of two modalities the distance is from a feature of the one to "
        "a feature of the other.",
        DISTANCE,
        labels,
        [
            series_of("within classes", [values["within"] for values in found]),
            series_of("between classes", [values["between"] for values in found]),
        ],
        axis="kernel distance",
        form=".2f",
    )


def _lying(run: Record) -> dict[str, Values]:
    """By name each modality, and each pair whose distances are defined."""
    pairs = {_both(pair): pair for pair in _found(run)["pairs"] if pair["within"]}
    return {**_found(run)["clouds"], **pairs}


def _alike(runs: Sequence[Record]) -> list[Figure]:
    """How alike modalities are, and how much of the sphere each fills."""
    pairs = {_both(pair): None for run in runs for pair in _found(run)["pairs"]}
    near = [pair for pair in pairs if any(_pair(pair, "alignment", run) for run in runs)]
    names = {name: None for run in runs for name in _found(run)["clouds"]}
    found = [
        by_run(
            "CKA",
            "At 1 two modalities have arranged the samples alike, at 0 independently of each other.",
            "Linear centred kernel alignment of the two features of a test sample, unbiased; 95% bootstrap intervals.",
            runs,
            [(pair, partial(_pair, pair, "cka")) for pair in pairs],
            "CKA",
            ".2f",
            (-0.05, 1.05),
        ),
        by_run(
            "Alignment",
            "The further left, the nearer the two features of one sample; 2 is a right angle.",
            "Mean squared distance of the two features of a test sample, of length 1; 95% bootstrap intervals.",
            runs,
            [(pair, partial(_pair, pair, "alignment")) for pair in near],
            "squared distance",
            ".2f",
            (-0.1, 4.1),
        ),
        by_run(
            "Uniformity",
            "The further left, the more of the sphere the features fill; near 0 they have collapsed.",
            "Logarithm of the mean of exp(-2 · squared distance) over pairs of test samples; 95% bootstrap intervals.",
            runs,
            [(name, partial(_cloud, name)) for name in names],
            "uniformity",
            ".2f",
            (-4.1, 0.1),
        ),
    ]
    return [figure for figure in found if figure.data["category"]]


def _maps(runs: Sequence[Record]) -> list[Figure]:
    drawn = []
    for run in runs:
        for shown in _found(run)["maps"]:
            of = list(dict.fromkeys(shown["modality"]))
            title = named("Map of features", run, runs)
            drawn.append(
                plane(
                    title if len(of) > 1 else f"{title}, {of[0]}",
                    "Classes that are islands are told apart; modalities that are continents of their own share no space. Which "
                    "points are near each other means something, distances and axes do not.",
                    "t-SNE (perplexity 30) of features of length 1 of test samples drawn at random, all modalities together "
                    "where their features are equally wide.",
                    shown["x"],
                    shown["y"],
                    [run.classes[c] for c in shown["target"]],
                    shown["modality"],
                )
            )
    return drawn


# InfoBridge's figure over its α.


def _over_alpha(runs: Sequence[Record]) -> list[Any]:
    """For each data set on which runs differ in InfoBridge's α: distances between modalities over α."""
    strengths = {run.name: _alpha(run.method) for run in runs}
    drawn = []
    sets = list(dict.fromkeys(run.settings.data for run in runs))
    for data in sets:
        some: dict[float, list[Record]] = {}
        for run in runs:
            alpha = strengths[run.name]
            if alpha is not None and run.settings.data == data:
                some.setdefault(alpha, []).append(run)
        if len(some) > 1:
            ordered = dict(sorted(some.items()))
            drawn += [
                _over(pair, data if len(sets) > 1 else "", ordered) for pair in _pairs(ordered)
            ]
    return [Side(drawn)] if drawn else []


def _alpha(method: str) -> float | None:
    """The α of an expression's first InfoBridge; None where it has none. Nothing is built: a method may be anybody's."""
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(method, mode="eval")):
            match node:
                case ast.Call(func=ast.Name(id="infobridge"), args=args, keywords=options):
                    given = [*args[:1], *(o.value for o in options if o.arg == "alpha")]
                    return float(ast.literal_eval(given[0]) if given else ALPHA)
    return None


def _pairs(runs: Mapping[float, Sequence[Record]]) -> list[str]:
    every = [run for some in runs.values() for run in some]
    return list(
        dict.fromkeys(_both(p) for run in every for p in _found(run)["pairs"] if p["within"])
    )


def _over(pair: str, data: str, runs: Mapping[float, Sequence[Record]]) -> Figure:
    return lines(
        ", ".join([f"Distance of {pair} over α", *([data] if data else [])]),
        "Where InfoBridge draws features of one class together, within falls as α grows, and by more than between; its "
        "objective need not do so.",
        DISTANCE + " Where several runs have the same α: their mean, and the ends of all their intervals.",
        [f"{alpha:g}" for alpha in runs],
        [
            _mean(f"{key} classes", [[_pair(pair, key, run) for run in some] for some in runs.values()])
            for key in ("within", "between")
        ],
        x_axis="α",
        axis="kernel distance",
        form=".2f",
    )  # fmt: skip


def _mean(name: str, found: Sequence[Sequence[Values | None]]) -> Series:
    known = [[values for values in some if values] for some in found]
    return Series(
        name,
        [fmean(v["value"] for v in some) if some else None for some in known],
        [min((v["low"] for v in some), default=None) for some in known],
        [max((v["high"] for v in some), default=None) for some in known],
    )


# Values.


def _both(pair: Values) -> str:
    return f"{pair['first']} · {pair['second']}"


def _pair(name: str, key: str, run: Record) -> Values | None:
    found = {_both(pair): pair for pair in _found(run)["pairs"]}
    values: Values | None = found[name][key] if name in found else None
    return values


def _cloud(name: str, run: Record) -> Values | None:
    values: Values | None = _found(run)["clouds"].get(name, {}).get("uniformity")
    return values


def _found(run: Record) -> Values:
    return (run.diagnosis or {}).get("geometry") or {}
