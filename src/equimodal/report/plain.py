"""A page as JSON: the values of every table and the data of every figure, unrounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .page import Code, Figure, Page, Points, Prose, Section, Side, Table

__all__ = ["render"]


def render(page: Page) -> str:
    """The page as JSON; what is not finite is null."""
    tree = {
        "title": page.title,
        "subtitle": page.subtitle,
        "sections": [_section(section) for section in page.sections],
        "foot": page.foot,
    }
    return json.dumps(_finite(tree), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "text": section.text,
        "parts": [_part(part) for part in section.parts],
    }


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Prose():
            return {"prose": part.text}
        case Points():
            return {"points": [{"statement": s, "evidence": e} for s, e in part.items]}
        case Code():
            return {"code": part.text, "title": part.title}
        case Side():
            return {"side": [_part(inner) for inner in part.parts]}
        case Figure():
            told = {"figure": part.title, "see": part.see, "how": part.how}
            return {**told, "data": {name: list(values) for name, values in part.data.items()}}
    return _table(part if isinstance(part, Table) else part.table())


def _table(table: Table) -> dict[str, Any]:
    names = [column.name for column in table.columns]
    rows = [[cell.value for cell in row] for row in table.cells()]
    return {"table": table.caption, "columns": names, "rows": rows}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
