"""The tables of a page as LaTeX, for papers: booktabs, one table environment each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .page import Page, Side, Table

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
    """A table alone."""
    columns = "".join("r" if numeric else "l" for numeric in found.numeric())
    rows = [
        [rf"\textbf{{{_text(c.text)}}}" if c.strong else _text(c.text) for c in row]
        for row in found.cells()
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{_text(found.caption)}}}"] if found.caption else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row([_text(column.name) for column in found.columns]),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _text(text: str | None) -> str:
    flat = " ".join((text or "").split())
    return re.sub(r".", lambda sign: _SIGNS.get(sign[0], sign[0]), flat)
