"""Figures that hold for any report: series as bars or points with intervals, lines, matrices, and maps.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people see apart whatever their colour vision;
a series differs in its marker, dash or pattern as well, so that print in black and white is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .page import Data, Figure, Raw

__all__ = ["COLOURS", "Series", "bars", "lines", "matrix", "plane", "points"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_PATTERNS = ("", "/", ".", "x", "-", "\\")

Number = float | None


@dataclass(frozen=True)
class Series:
    """Values along one axis, under one name.

    Attributes:
        name: as in the legend.
        values: one per category or x; None where there is none.
        low, high: the ends of their intervals, where there are any.
    """

    name: str
    values: Sequence[Number]
    low: Sequence[Number] = field(default=())
    high: Sequence[Number] = field(default=())


def points(
    title: str,
    see: str,
    how: str,
    categories: Sequence[str],
    series: Sequence[Series],
    *,
    axis: str = "",
    form: str = ".1%",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Categories from top to bottom, a marker per series with its interval: what is compared lies on one line.

    Args:
        title, see, how: as in `Figure`.
        categories: K names.
        series: each with K values.
        axis: what the values are.
        form: of numbers, as d3 writes formats.
        limits: of the axis.
    """

    def draw() -> Any:
        import plotly.graph_objects as go

        rows = list(range(len(categories)))
        drawn = go.Figure()
        for i, one in enumerate(series):
            shift = (i - (len(series) - 1) / 2) * 0.16
            drawn.add_scatter(
                name=one.name,
                mode="markers",
                x=list(one.values),
                y=[row + shift for row in rows],
                error_x=_spread(one, _colour(i)),
                marker={"symbol": _of(_MARKERS, i), "size": 10, "color": _colour(i)},
                customdata=list(categories),
                hovertemplate="%{customdata}: %{x:" + form + "}<extra>%{fullData.name}</extra>",
            )
        drawn.update_layout(
            height=110 + max(46, 18 * len(series) + 8) * len(rows),
            xaxis={
                "title": {"text": axis},
                "tickformat": form.replace(".1%", ".0%"),
                "showgrid": True,
                "zeroline": True,
            },
            yaxis={
                "tickvals": rows,
                "ticktext": _short(categories),
                "range": [len(rows) - 0.5, -0.5],
                "showgrid": False,
                "zeroline": False,
            },
        )
        if limits:
            drawn.update_layout(xaxis_range=list(limits))
        return drawn

    return Figure(title, see, how, _columns("category", categories, series), draw)


def bars(
    title: str,
    see: str,
    how: str,
    categories: Sequence[str],
    series: Sequence[Series],
    *,
    axis: str = "",
    form: str = ".1%",
    stacked: bool = False,
) -> Figure:
    """Bars, a group per category and a colour and pattern per series; arguments as for `points`."""

    def draw() -> Any:
        import plotly.graph_objects as go

        drawn = go.Figure()
        for i, one in enumerate(series):
            drawn.add_bar(
                name=one.name,
                x=list(categories),
                y=list(one.values),
                error_y=_spread(one, None),
                marker={
                    "color": _colour(i),
                    "pattern": {"shape": _of(_PATTERNS, i), "fillmode": "overlay"},
                },
                hovertemplate="%{x}: %{y:" + form + "}<extra>%{fullData.name}</extra>",
            )
        drawn.update_layout(
            barmode="relative" if stacked else "group",
            bargap=0.35,
            showlegend=len(series) > 1,
            xaxis=_named(categories),
            yaxis={"title": {"text": axis}, "tickformat": form.replace(".1%", ".0%")},
        )
        return drawn

    return Figure(title, see, how, _columns("category", categories, series), draw)


def lines(
    title: str,
    see: str,
    how: str,
    x: Sequence[float] | Sequence[str],
    series: Sequence[Series],
    *,
    x_axis: str = "",
    axis: str = "",
    form: str = ".3f",
    level: float | None = None,
    logarithmic: bool = False,
) -> Figure:
    """Curves over a common x, each with its own dash; a band where they have intervals.

    Args:
        title, see, how: as in `Figure`.
        x: N positions, or N names, which stand at equal distances.
        series: each with N values.
        x_axis, axis: what x and the values are.
        form: of numbers, as d3 writes formats.
        level: a value that a thin line marks, such as 1 for a ratio.
        logarithmic: the scale of the values.
    """

    def draw() -> Any:
        import plotly.graph_objects as go

        drawn = go.Figure()
        for i, one in enumerate(series):
            if one.low and one.high:
                _band(drawn, x, one, _colour(i))
            drawn.add_scatter(
                name=one.name,
                mode="lines+markers" if len(x) <= 12 else "lines",
                x=list(x),
                y=list(one.values),
                line={"color": _colour(i), "dash": _of(_DASHES, i), "width": 2},
                marker={"symbol": _of(_MARKERS, i), "size": 6},
                hovertemplate="%{x}: %{y:" + form + "}<extra>%{fullData.name}</extra>",
            )
        drawn.update_layout(
            xaxis={"title": {"text": x_axis}},
            yaxis={"title": {"text": axis}, "type": "log" if logarithmic else "linear"},
            showlegend=len(series) > 1,
        )
        drawn.update_layout(xaxis=_steps(x))
        if "%" in form:
            drawn.update_layout(yaxis_tickformat=".0%")
        if level is not None:  # a curve, not a shape: what is marked must be in view
            drawn.add_scatter(
                name="level",
                mode="lines",
                x=[x[0], x[-1]],
                y=[level, level],
                line={"width": 1, "dash": "dot", "color": "#888888"},
                hovertemplate="%{y:" + form + "}<extra></extra>",
                showlegend=False,
            )
        return drawn

    return Figure(title, see, how, _columns(x_axis or "x", x, series), draw)


def matrix(
    title: str,
    see: str,
    how: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[Number]],
    *,
    form: str = ".2f",
    diverging: bool = False,
) -> Figure:
    """A matrix as colours, with its numbers where there is room.

    Args:
        title, see, how: as in `Figure`.
        rows, columns: names.
        values: [rows, columns].
        form: of numbers, as d3 writes formats.
        diverging: zero is the middle, with a colour for each sign.
    """
    data: dict[str, list[Raw]] = {
        "row": [row for row in rows for _ in columns],
        "column": [column for _ in rows for column in columns],
        "value": [value for line in values for value in line],
    }

    def draw() -> Any:
        import plotly.graph_objects as go

        heat: dict[str, Any] = {}
        if diverging:
            largest = max((abs(v) for v in data["value"] if isinstance(v, int | float)), default=1)
            heat = {"colorscale": _DIVERGING, "zmin": -largest, "zmax": largest}
        small = len(rows) * len(columns) <= 150
        drawn = go.Figure()
        drawn.add_heatmap(
            x=list(columns),
            y=list(rows),
            z=[list(line) for line in values],
            texttemplate="%{z:" + form + "}" if small else None,
            hovertemplate="%{y}, %{x}: %{z:" + form + "}<extra></extra>",
            showscale=not small,
            xgap=2,
            ygap=2,
            **heat,
        )
        drawn.update_layout(
            height=max(200, 100 + 34 * len(rows)),
            xaxis=_named(columns),
            yaxis={**_named(rows), "autorange": "reversed", "showgrid": False},
        )
        return drawn

    return Figure(title, see, how, data, draw)


def plane(
    title: str,
    see: str,
    how: str,
    x: Sequence[float],
    y: Sequence[float],
    colour: Sequence[str],
    marker: Sequence[str],
) -> Figure:
    """Points in a plane whose axes mean nothing, a colour per class and a marker per modality.

    Colours are there for `MOST_COLOURS` classes, the second half of them with hollow markers; the points of the rarer
    ones are grey.

    Args:
        title, see, how: as in `Figure`.
        x, y: N positions.
        colour, marker: [N] names of what a point's colour and its marker stand for.
    """
    data: Data = {"x": list(x), "y": list(y), "class": list(colour), "modality": list(marker)}

    def draw() -> Any:
        import plotly.graph_objects as go

        drawn = go.Figure()
        markers = {name: _of(_MARKERS, i) for i, name in enumerate(dict.fromkeys(marker))}
        for i, (name, rows) in enumerate(_coloured(colour)):
            hollow = "-open" if i >= len(COLOURS) else ""
            drawn.add_scatter(
                name=name,
                mode="markers",
                x=[x[k] for k in rows],
                y=[y[k] for k in rows],
                marker={
                    "symbol": [markers[marker[k]] + hollow for k in rows],
                    "size": 6,
                    "opacity": 0.8,
                    "color": _colour(i) if i < MOST_COLOURS else _GREY,
                },
                customdata=[f"{marker[k]}: {colour[k]}" for k in rows],
                hovertemplate="%{customdata}<extra></extra>",
            )
        for name, symbol in markers.items() if len(markers) > 1 else ():
            drawn.add_scatter(
                name=name,
                mode="markers",
                x=[None],
                y=[None],
                marker={"symbol": symbol, "size": 8, "color": _GREY},
                hoverinfo="skip",
            )
        bare = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": ""}
        drawn.update_layout(
            height=460, xaxis=bare, yaxis={**bare, "scaleanchor": "x"}, hovermode="closest"
        )
        return drawn

    return Figure(title, see, how, data, draw)


MOST_COLOURS = 2 * len(COLOURS)
_GREY = "#8a8a8a"


def _coloured(names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The rows of each name, in alphabetical order; where there are too many, of all but the most frequent together."""
    rows: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        rows.setdefault(name, []).append(k)
    frequent = sorted(rows, key=lambda name: -len(rows[name]))[:MOST_COLOURS]
    rest = [k for name, of in rows.items() if name not in frequent for k in of]
    return [*((n, rows[n]) for n in sorted(frequent)), *([("other classes", rest)] if rest else [])]


_DIVERGING = [[0, "#d55e00"], [0.5, "#f4f4f0"], [1, "#0072b2"]]


def _columns(key: str, keys: Sequence[Raw], series: Sequence[Series]) -> Data:
    """The keys under their name; a series whose name is taken, as by the keys, gets a number behind it."""
    columns: dict[str, Sequence[Raw]] = {key: list(keys)}
    for one in series:
        name = _free(one.name, columns)
        columns[name] = list(one.values)
        if one.low and one.high:
            columns[_free(f"{name}, low", columns)] = list(one.low)
            columns[_free(f"{name}, high", columns)] = list(one.high)
    return columns


def _free(name: str, taken: Mapping[str, object]) -> str:
    names = (name, *(f"{name} ({i})" for i in range(2, len(taken) + 3)))
    return next(free for free in names if free not in taken)


def _spread(one: Series, colour: str | None) -> Mapping[str, Any] | None:
    """The interval as plotly wants it: distances from the value, upward and downward."""
    if not (one.low and one.high):
        return None

    def apart(ends: Sequence[Number]) -> list[float]:
        pairs = zip(one.values, ends, strict=True)
        return [0.0 if v is None or end is None else abs(end - v) for v, end in pairs]

    spread = {"type": "data", "array": apart(one.high), "arrayminus": apart(one.low), "width": 0}
    return spread if colour is None else {**spread, "color": colour}


def _steps(x: Sequence[float] | Sequence[str]) -> dict[str, Any]:
    """Names are not numbers, and between whole numbers there is nothing to mark."""
    if any(isinstance(value, str) for value in x):
        return {"type": "category"}
    numbers = [float(value) for value in x]
    if not all(map(float.is_integer, numbers)):
        return {}
    return {"dtick": max(1, math.ceil((max(numbers) - min(numbers)) / 8))}


def _band(drawn: Any, x: Sequence[float] | Sequence[str], one: Series, colour: str) -> None:
    drawn.add_scatter(
        mode="lines",
        x=[*x, *reversed(x)],
        y=[*one.high, *reversed(one.low)],
        fill="toself",
        fillcolor=colour,
        opacity=0.15,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _named(names: Sequence[str]) -> dict[str, Any]:
    """An axis of names, also where they look like numbers."""
    return {"type": "category", "tickvals": list(names), "ticktext": _short(names)}


def _short(names: Sequence[str], most: int = 22) -> list[str]:
    """Names that leave room for the drawing; the whole name is seen when one points at it."""
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]


def _colour(i: int) -> str:
    return _of(COLOURS, i)


def _of(known: Sequence[str], i: int) -> str:
    return known[i % len(known)]
