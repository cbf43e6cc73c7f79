"""The forms of a diagnosis: plain values, text, HTML."""

from __future__ import annotations

import functools
import html as markup
import io
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataError
from .findings import Curve, Diagnosis
from .intervals import Interval

__all__ = ["from_dict", "html", "tables", "text", "to_dict"]

Rows = list[tuple[str, ...]]


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Diagnosis)


def to_dict(found: Diagnosis) -> dict[str, Any]:
    """Values that JSON can hold."""
    values: dict[str, Any] = _adapter().dump_python(found, mode="json")
    return values


def from_dict(values: Mapping[str, Any]) -> Diagnosis:
    """The diagnosis of such values.

    Raises:
        DataError: they are none.
    """
    from pydantic import ValidationError

    try:
        found: Diagnosis = _adapter().validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"This is not a diagnosis: {where}: {first['msg']}.") from None
    return found


def tables(found: Diagnosis) -> list[tuple[tuple[str, ...], Rows]]:
    """Headers and rows: use and potential of each modality, the coalitions, then what else is known."""
    use = (
        "modality", "Shapley,\npoints", "change\nwithout it", "decoupled", "probe", "trained\nalone",
        "probe,\ntrained alone", "adds",
    )  # fmt: skip
    rows: Rows = [("all", "", "", _percent(found.accuracy), "", "", "", "")]
    for m in found.modalities:
        u, p = found.use[m], found.potential[m]
        rows.append(
            (m, _percent(u.shapley_accuracy), _percent(_minus(u.leave_one_out)), _percent(u.decoupled),
             _percent(p.probe), _percent(p.alone), _percent(p.alone_probe), _percent(p.alone_adds or p.adds))
        )  # fmt: skip
    subsets: Rows = [
        (" + ".join(s.modalities) or "nothing", _percent(s.accuracy), _plain(s.log_likelihood))
        for s in found.subsets
    ]
    seen = ("the model sees", "accuracy, %", "log-likelihood, nats")
    return [
        (use, rows),
        (seen, subsets),
        *_conditional(found),
        *_robustness(found),
        *_geometry(found),
    ]


def _conditional(found: Diagnosis) -> list[tuple[tuple[str, ...], Rows]]:
    """A row per pair of modalities, where it was asked for."""
    if found.information is None or not found.information.conditional:
        return []
    rows: Rows = [
        (f"{c.first} · {c.second}", _plain(c.estimate), _plain(c.bound), f"{c.cap:.2f}")
        for c in found.information.conditional
    ]
    return [(("shared beyond the class, nats", "estimate", "lower bound", "at most"), rows)]


def _robustness(found: Diagnosis) -> list[tuple[tuple[str, ...], Rows]]:
    """A row per curve; the last column is how far an interval in it reaches at most."""
    if found.robustness is None:
        return []
    shown = found.robustness
    missed = {**shown.missing, "each of them": shown.missing_any}
    made = [_curves("accuracy, % · missing in", missed, "{:.0%}")]
    if shown.noise:
        made.append(_curves("accuracy, % · noise of", shown.noise, "{:g} σ"))
        made.append(_curves("accuracy, % · wrong in", shown.wrong, "{:.0%}"))
    return made


def _curves(
    title: str, curves: Mapping[str, Curve | None], form: str
) -> tuple[tuple[str, ...], Rows]:
    at = next((curve.at for curve in curves.values() if curve is not None), ())
    rows: Rows = []
    for name, curve in curves.items():
        if curve is None:
            rows.append((name, *("–" for _ in at), "–"))
            continue
        widest = max(i.reach for i in curve.accuracy)
        shown = [f"{100 * i.value:.1f}" for i in curve.accuracy]
        rows.append((name, *shown, f"± {100 * widest:.1f}"))
    return (title, *(form.format(a) for a in at), ""), rows


def _geometry(found: Diagnosis) -> list[tuple[tuple[str, ...], Rows]]:
    """How features lie: those of one modality by uniformity, those of two by alignment and CKA."""
    if found.geometry is None:
        return []
    headers = ("features of", "within a class", "between", "uniformity", "alignment", "CKA")
    rows: Rows = [
        (m, _plain(c.within), _plain(c.between), _plain(c.uniformity), "", "")
        for m, c in found.geometry.clouds.items()
    ]
    rows += [
        (f"{p.first} · {p.second}", _plain(p.within), _plain(p.between), "", _plain(p.alignment), _plain(p.cka))
        for p in found.geometry.pairs
    ]  # fmt: skip
    return [(headers, rows)]


def text(found: Diagnosis) -> str:
    """Tables, then the verdict."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, highlight=False, markup=False, width=10_000)
    for headers, rows in tables(found):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for i, header in enumerate(headers):
            table.add_column(header, justify="left" if i == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    lines = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    said = "\n".join(f"- {sentence.text}" for sentence in found.verdict)
    return f"{lines}\n{_how(found)}\n\n{said}\n"


def html(found: Diagnosis) -> str:
    """The same for a notebook; names come from data, so everything is escaped."""
    parts = [_html_table(headers, rows) for headers, rows in tables(found)]
    said = "".join(f"<li>{markup.escape(sentence.text)}</li>" for sentence in found.verdict)
    return f"<ul>{said}</ul>{''.join(parts)}<p>{markup.escape(_how(found))}</p>"


def _html_table(headers: Sequence[str], rows: Rows) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{markup.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(headers, 'th')}</thead><tbody>{body}</tbody></table>"


def _how(found: Diagnosis) -> str:
    grouped = "" if found.groups is None else f" of {found.groups} groups"
    said = (
        f"{found.samples} samples{grouped}; ± is how far the {found.level:.0%} interval over them reaches; "
        f"modalities are taken away by '{found.absence}'."
    )
    if found.balanced is not None:
        balanced = _percent(found.balanced)
        said += f" Balanced accuracy, the mean over the classes: {balanced}."
    return " ".join([said + _tried(found), *found.remarks])


def _tried(found: Diagnosis) -> str:
    if found.robustness is None:
        return ""
    said = " Of the modalities of a sample at least one is never missing."
    if found.robustness.samples:
        said += f" Noise and wrong inputs were tried on {found.robustness.samples} samples."
    if still := [m for m, curve in found.robustness.noise.items() if curve is None]:
        said += f" No noise is added to ids, texts and other integers, as of {', '.join(still)}."
    return said


def _percent(figure: Interval | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} ± {100 * figure.reach:.1f}"


def _plain(figure: Interval | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:.3f} ± {figure.reach:.3f}"


def _minus(figure: Interval) -> Interval:
    return Interval(-figure.value, -figure.high, -figure.low)
