"""The tables of a page as LaTeX, for papers: booktabs, one table environment each, with footnotes for notes on cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .page import Cell, Page, Side, Table

__all__ = ["render", "table"]

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def render(page: Page) -> str:
    """All tables of the page; they need the package booktabs."""
    found = [(section.title, part) for section in page.sections for part in _tables(section.parts)]
    head = f"% {' '.join(page.title.split())}\n% needs \\usepackage{{booktabs}}\n"
    return "\n".join(
        [head, *(f"% {' '.join(title.split())}\n{table(one)}" for title, one in found)]
    )


def _tables(parts: Any) -> Iterator[Table]:
    for part in parts:
        if isinstance(part, Side):
            yield from _tables(part.parts)
        elif isinstance(part, Table):
            yield part


def table(found: Table) -> str:
    """A table alone; below it what is said of single cells, by letters, and of columns."""
    columns = "".join("r" if numeric else "l" for numeric in found.numeric())
    notes = list(dict.fromkeys(c.note for row in found.cells() for c in row if c.note))
    marks = {note: _letters(i) for i, note in enumerate(notes)}
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_text(found.caption)}}}"] if found.caption else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([_text(column.name) for column in found.columns]),
        r"\midrule",
        *(_row([_cell(cell, marks) for cell in row]) for row in found.cells()),
        r"\bottomrule",
        r"\end{tabular}",
        *_footnotes(found, marks),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell, marks: Mapping[str, str]) -> str:
    text = rf"\textbf{{{_text(cell.text)}}}" if cell.strong else _text(cell.text)
    return text + (rf"\textsuperscript{{{marks[cell.note]}}}" if cell.note else "")


def _footnotes(found: Table, marks: Mapping[str, str]) -> Iterator[str]:
    said = [rf"\textsuperscript{{{mark}}}\,{_text(note)}." for note, mark in marks.items()]
    columns = [f"{_text(c.name)}: {_text(c.note)}" for c in found.columns if c.note]
    said += [f"{'; '.join(columns)}."] if columns else []
    if said:
        yield r"\par\smallskip"
        yield rf"\begin{{minipage}}{{\linewidth}}\footnotesize {' '.join(said)}\end{{minipage}}"


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    rest, letter = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("a") + letter)


def _row(cells: list[str]) -> str:
    """What follows the end of a row is read as its option if it is a bracket or a star."""
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells) + r" \\"


def _text(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return re.sub(r".", lambda sign: _SIGNS.get(sign[0], sign[0]), flat)
