"""What the rows of a manifest are called where people read of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from ...errors import DataError
from .table import Lines, column_hash, read

__all__ = ["Names"]


@dataclass(frozen=True)
class Names:
    """The ids of rows, read again when they are asked for: training needs none, and a million of them fill memory.

    Attributes:
        lines: of the manifest.
        column: of the ids, or "".
        digest: of that column, as it was when the samples were read.
    """

    lines: Lines
    column: str
    digest: bytes

    def of(self, row: int) -> str:
        """The id of a row; its number where there is none, or where the manifest has changed meanwhile."""
        return self.lines.row(row) if self._ids is None else str(self._ids[row])

    @cached_property
    def _ids(self) -> pa.Array | None:
        if not self.column:
            return None
        try:
            table = read(self.lines.path, (self.column,))
        except DataError:
            return None
        same = column_hash(table.column(self.column)) == self.digest
        return table.texts(self.column) if same else None
