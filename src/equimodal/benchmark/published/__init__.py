"""The papers' tables as data, with their contradictions marked: to be seen beside one's own, not to be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ...errors import ConfigError, nearest
from ...report.page import Cell, Column, Raw, Table

__all__ = ["Published", "names", "published"]


@dataclass(frozen=True)
class Published:
    """A table of a paper.

    Attributes:
        name: such as "ibml-table2"; a recipe of the same name makes one's own.
        title: with the paper.
        protocol: how it was measured, as far as the paper says.
        data: its columns.
        doubts: where it contradicts itself.
        rows: of each: method, ours, of, values, doubtful.
    """

    name: str
    title: str
    measure: str
    protocol: str
    data: Sequence[str]
    doubts: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def table(self) -> Table:
        """Mean ± standard deviation where it is given; (!) marks what is doubtful."""
        of = [Column("of")] if any("of" in row for row in self.rows) else []
        columns = [Column("method"), Column("here"), *of, *map(Column, self.data)]
        return Table(columns, [self._row(row, bool(of)) for row in self.rows], self.title)

    def _row(self, row: Mapping[str, Any], of: bool) -> list[Raw | Cell]:
        doubtful = row.get("doubtful", ())
        values = [
            Cell(v[0], " ± ".join(f"{x:.2f}" for x in v) + (" (!)" if name in doubtful else ""))
            for name, v in zip(self.data, row["values"], strict=True)
        ]
        return [row["method"], row.get("ours") or None, *([row["of"]] if of else []), *values]


@cache
def _all() -> dict[str, Published]:
    files = [f for f in resources.files(__package__).iterdir() if f.name.endswith(".toml")]
    found = [Published(**t) for f in files for t in tomllib.loads(f.read_text("utf-8"))["tables"]]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def names() -> tuple[str, ...]:
    """Of all tables."""
    return tuple(_all())


def published(name: str) -> Published:
    """One table.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in _all():
        raise ConfigError(f"There is no published table {name!r}: {nearest(name, names())}")
    return _all()[name]
