"""A page as Markdown, with the data of each figure as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .page import Code, Figure, Page, Points, Prose, Side, Table

__all__ = ["render", "table"]

MOST_ROWS = 60


def render(page: Page) -> str:
    """The page as Markdown, in the dialect of GitHub."""
    blocks = [f"# {_text(page.title)}", _text(page.subtitle)]
    for section in page.sections:
        blocks += [f"## {_text(section.title)}", _text(section.text)]
        for part in section.parts:
            blocks += _part(part)
    return "\n\n".join(block for block in [*blocks, _text(page.foot)] if block) + "\n"


def _part(part: Any) -> Iterator[str]:
    match part:
        case Prose():
            yield _text(part.text)
        case Points():
            yield "\n".join(f"- {_text(' '.join(filter(None, item)))}" for item in part.items)
        case Code():
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", part.text) or [""]))
            yield f"{_text(part.title)}\n\n{fence}\n{part.text.rstrip()}\n{fence}".lstrip()
        case Side():
            for inner in part.parts:
                yield from _part(inner)
        case Figure():
            yield f"### {_text(part.title)}"
            yield f"{_text(part.see)} {_text(part.how)}"
            yield from _data(part.table())
        case _:
            found = part if isinstance(part, Table) else part.table()
            yield _text(found.caption)
            yield table(found)


def _data(found: Table) -> Iterator[str]:
    if len(found.rows) <= MOST_ROWS:
        yield table(found)
    else:
        yield f"({len(found.rows)} rows; the HTML and JSON reports hold them.)"


def table(found: Table) -> str:
    """A table alone, without its caption."""
    rule = ["---:" if numeric else ":---" for numeric in found.numeric()]
    rows = [
        [f"**{_cell(c.text)}**" if c.strong else _cell(c.text) for c in row]
        for row in found.cells()
    ]
    lines = [[_cell(column.name) for column in found.columns], rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str | None) -> str:
    return _inline(text or "").replace("|", "\\|")


def _text(text: str) -> str:
    """A paragraph that no renderer takes for markup."""
    return re.sub(r"^(\d*)([#+.)-])(?=\s|$)", r"\1\\\2", _inline(text))


def _inline(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>~$&])", r"\\\1", " ".join(text.split()))
