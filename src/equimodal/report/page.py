"""What a report is made of, whatever it is written as: sections of text, tables and figures.

The parts hold values, not markup: `html`, `markdown`, `latex` and `plain` write the same page each in its way, and each
escapes every text itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Cell",
    "Code",
    "Column",
    "Data",
    "Figure",
    "Page",
    "Part",
    "Points",
    "Prose",
    "Raw",
    "Section",
    "Side",
    "Table",
    "shown",
]

NONE = "–"
Raw = str | int | float | bool | None
Data = Mapping[str, Sequence[Raw]]
"""Columns by name, all of the same length: what a figure shows, for the reader to take away."""


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: plain.
        tone: ``""``, ``"lead"`` for what the page says first, ``"quiet"`` for what stands in the margin.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Points:
    """Statements, each with the evidence for it or an empty text."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        format: of its numbers, such as ``"{:.1%}"``; texts are shown as they are.
        note: what the heading means, in a few words.
    """

    name: str
    format: str = "{}"
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A value that is shown otherwise than its column says.

    Attributes:
        value: what the table is sorted by.
        text: what is shown; by default the value in the format of the column.
        strong: whether it stands out, such as the best of its column.
        note: a few words about it.
    """

    value: Raw
    text: str | None = None
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; on screen it can be sorted by any column.

    Raises:
        ValueError: a row has not one value per column.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Raw | Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(self.columns)} columns and a row of {len(row)}: {row!r}")

    def cells(self) -> list[list[Cell]]:
        """All values with the text that is shown."""
        return [
            [_cell(value, column) for value, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers and nothing else."""
        columns = [[cell.value for cell in column] for column in zip(*self.cells(), strict=True)]
        return [
            all(v is None or isinstance(v, int | float) for v in values)
            and any(v is not None for v in values)
            for values in columns
        ] or [False] * len(self.columns)


@dataclass(frozen=True)
class Figure:
    """A drawing, what to see in it, how it was computed, and its data.

    Attributes:
        title: a few words.
        see: a sentence: what to look for.
        how: a sentence: how it was computed.
        data: the columns that the reader can take away.
        draw: makes the plotly figure; called only where figures are drawn. Texts in it are plain: they are escaped when
            the page is written, except in ``hovertemplate`` and ``texttemplate``, which must hold no text from data.
    """

    title: str
    see: str
    how: str
    data: Data
    draw: Callable[[], Any] = field(repr=False)

    def table(self) -> Table:
        """The data as a table, for where nothing can be drawn."""
        rows = list(zip(*self.data.values(), strict=True))
        return Table([Column(name, "{:.4g}") for name in self.data], rows)


@dataclass(frozen=True)
class Side:
    """Parts that stand side by side where there is room for it."""

    parts: Sequence[Any]

    def shared(self) -> Figure | None:
        """The first of several figures if all say the same of what to see and how: it is said once."""
        figures = [part for part in self.parts if isinstance(part, Figure)]
        if len(figures) < 2 or len(figures) < len(self.parts):
            return None
        alike = {(figure.see, figure.how) for figure in figures}
        return figures[0] if len(alike) == 1 else None


Part = Prose | Points | Code | Table | Figure | Side
"""What stands in a section. A part of another kind needs `table()`, and a macro of its name in `templates/parts.html`."""


@dataclass(frozen=True)
class Section:
    """Parts under a heading.

    Attributes:
        title: of the heading, and of the tab on screen.
        parts: in order.
        text: says in a sentence or two what is in it.
    """

    title: str
    parts: Sequence[Any]
    text: str = ""


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of what.
        sections: the first is the front page.
        subtitle: one line below the title.
        foot: one line at the end, such as the version that wrote it.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    foot: str = ""


def shown(value: Raw, form: str = "{}") -> str:
    """A value as text.

    >>> shown(0.8167, "{:.1%}"), shown(None), shown("a", "{:.1%}")
    ('81.7%', '–', 'a')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else form.format(value)


def _cell(value: Raw | Cell, column: Column) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    text = shown(cell.value, column.format) if cell.text is None else cell.text
    return Cell(cell.value, text, cell.strong, cell.note)
