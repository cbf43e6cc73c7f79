"""A manifest as an Arrow table: CSV of any dialect, or Parquet; only the columns that are needed are kept."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from ...errors import DataError, counted, nearest

__all__ = ["NOTHING", "Lines", "Table", "column_hash", "column_names", "filled", "header", "read"]

DELIMITERS = (",", ";", "\t", "|")
BLOCK = 4 << 20  # bytes of CSV read at a time; fewer, larger pieces leave fewer holes in memory
NOTHING = r"^(NA|N/A|NaN|nan|null|None)$"  # what is no number, and no mistake either


@dataclass(frozen=True)
class Lines:
    """How messages name the rows of a manifest.

    Attributes:
        path: of the file.
        first: the number that messages give to the first row: 2 in CSV, where the header is row 1, as spreadsheets count.
        delimiter: of CSV, or "".
    """

    path: Path
    first: int = 2
    delimiter: str = ""

    def row(self, row: int) -> str:
        """A row by its number; the empty lines of a CSV count, as they do where one looks it up."""
        empty = np.searchsorted(self._empty, row, side="right")
        return f"row {row + self.first + int(empty)}"

    def where(self, row: int) -> str:
        """A row by its file and number."""
        return f"{self.path} {self.row(row)}"

    @cached_property
    def _empty(self) -> list[int]:
        """For each empty line the number of rows before it; looked for when the first row is named, not before."""
        if not self.delimiter:
            return []
        found, rows = [], -1  # the header is none
        with (
            contextlib.suppress(OSError, ValueError, csv.Error),
            self.path.open(encoding="utf-8-sig", newline="") as file,
        ):
            for cells in csv.reader(file, delimiter=self.delimiter):
                rows += bool(cells)
                found += [] if cells else [rows]
        return found


@dataclass(frozen=True)
class Table:
    """The rows of a manifest.

    Attributes:
        lines: the file, and how its rows are named.
        columns: strings, null where a cell is empty; the columns of Parquet keep their types.
        decimal: the sign before decimals.
    """

    lines: Lines
    columns: pa.Table
    decimal: str = "."

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def where(self, row: int) -> str:
        """How messages name a row."""
        return self.lines.where(row)

    def column(self, name: str) -> pa.Array:
        """One column, as one array."""
        return self.columns.column(name).chunk(0)

    def texts(self, name: str) -> pa.Array:
        """A column as strings, null where the cell is empty or only spaces; copied only if that changes one."""
        array = self.column(name)
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        try:
            array = array.cast(pa.string())
        except pa.ArrowException:
            raise DataError(
                f"{self.lines.path}: the column {name!r} holds values of type {array.type}; write them as texts or numbers."
            ) from None
        if pc.any(pc.match_substring_regex(array, r"^\s|\s$|^$")).as_py():
            array = pc.utf8_trim_whitespace(array)
            array = pc.if_else(pc.equal(array, ""), None, array)
        return array

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where the cell is empty.

        Raises:
            DataError: a cell holds something else, or an infinite number.
        """
        kind = self.column(name).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            values = self.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        else:
            values = self._parsed(name)
        wild = np.flatnonzero(np.isinf(values))
        if len(wild):
            raise DataError(
                f"{self.where(int(wild[0]))}: {name!r} is infinite; put it right, or empty the cell."
            )
        return np.asarray(values, dtype=np.float64)

    def _parsed(self, name: str) -> Any:
        texts = self.texts(name)
        texts = pc.if_else(pc.match_substring_regex(texts, NOTHING), None, texts)
        if self.decimal != ".":
            texts = pc.replace_substring(texts, self.decimal, ".")
        try:
            return texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            row = next(i for i in range(len(texts)) if not _is_number(texts[i]))
            said = self.texts(name)[row].as_py()
            raise DataError(
                f"{self.where(row)}: {said[:40]!r} in column {name!r} is not a number; {self._advice(said)}"
            ) from None

    def _advice(self, said: str) -> str:
        if "\n" in said:
            return "a quote that opens there is not closed."
        if re.fullmatch(r"[+-]?\d[\d.,]*", said):
            point = "point" if self.decimal == "." else "comma"
            return f"decimals must have a {point} (a comma where semicolons separate the columns, else a point), thousands no sign."
        return "put it right, empty the cell, or name the column under categories."

    def codes(self, name: str) -> tuple[NDArray[np.int32], pa.Array]:
        """A column as positions in its sorted different values, -1 where the cell is empty; and those values."""
        found = pc.dictionary_encode(self.texts(name))
        order = pc.sort_indices(found.dictionary)
        place = np.full(len(order) + 1, -1, dtype=np.int32)
        place[order.to_numpy()] = np.arange(len(order))
        held = pc.fill_null(found.indices, len(order)).to_numpy()
        values = found.dictionary.take(order)
        del found
        pa.default_memory_pool().release_unused()  # which else keeps what it freed
        return place[held], values


def _is_number(cell: pa.Scalar) -> bool:
    """As Arrow reads it; Python takes more for a number, such as 1_000."""
    try:
        cell.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def read(path: Path, columns: Sequence[str] | None = None) -> Table:
    """A manifest.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` with a header, separated by commas, semicolons, tabs or bars, in UTF-8 with
            or without a byte-order mark; or ``.parquet``.
        columns: that are needed; None for all.

    Raises:
        DataError: the file is missing, empty or damaged, or lacks a column.
    """
    _refuse_absent(path)
    table = _parquet(path, columns) if path.suffix.lower() == ".parquet" else _csv(path, columns)
    if not len(table):
        raise DataError(f"{path} has no rows.")
    return table


def column_names(path: Path) -> list[str]:
    """The names of the columns of a manifest.

    Raises:
        DataError: the file is missing, empty or damaged.
    """
    _refuse_absent(path)
    if path.suffix.lower() != ".parquet":
        return header(path)[0]
    try:
        return list(pa.parquet.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, error) from None


def _refuse_absent(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} does not exist; the data TOML names it as its manifest.")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or no Parquet ({_brief(error)}); get it again.")


def _whole(pieces: dict[str, pa.ChunkedArray]) -> pa.Table:
    """One array for each column; the pieces of one are freed before the next is put together."""
    made = {}
    for name in list(pieces):
        made[name] = pieces.pop(name).combine_chunks()
        pa.default_memory_pool().release_unused()  # which else keeps what it freed
    return pa.table(made)


def _refuse_lacking(path: Path, columns: Sequence[str], there: Sequence[str]) -> None:
    for name in columns:
        if name not in there:
            raise DataError(f"{path} has no column {name!r}; {nearest(name, there)}")


def _parquet(path: Path, columns: Sequence[str] | None) -> Table:
    try:
        file = pa.parquet.ParquetFile(path)
        there = file.schema_arrow.names
        _refuse_lacking(path, columns or (), there)
        names = list(columns or there)
        return Table(Lines(path, first=1), _whole({n: file.read([n]).column(0) for n in names}))
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, error) from None


def header(path: Path) -> tuple[list[str], str]:
    """The names of the columns of a CSV file, and what separates them.

    Raises:
        DataError: it is empty, is not UTF-8, or names a column twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as 'CSV UTF-8'.") from None
    line = first.strip("\r\n")
    if not line.strip():
        what = f"The first line of {path}" if first else f"{path}"
        raise DataError(f"{what} is empty; its first row must name the columns.")
    if re.fullmatch("sep=.", line):
        raise DataError(f"{path} begins with {line!r}, which only spreadsheets know; delete it.")
    split = {d: next(csv.reader([line], delimiter=d)) for d in DELIMITERS}
    delimiter = max(split, key=lambda d: len(split[d]))  # the first on a tie: a comma
    names = [name.strip() for name in split[delimiter]]
    twice = [name for name in names if names.count(name) > 1]
    if "" in twice:
        raise DataError(
            f"{path} has {twice.count('')} columns without a name; delete them, or name them in the first row."
        )
    if twice:
        raise DataError(f"{path} names the column {twice[0]!r} twice.")
    return names, delimiter


def _csv(path: Path, columns: Sequence[str] | None) -> Table:
    names, delimiter = header(path)
    if len(names) == 1 and names != columns:
        raise DataError(
            f"{path} has one column by its first row, {names[0]!r}; columns are separated by commas, semicolons, tabs or bars."
        )
    _refuse_lacking(path, columns or (), names)
    wanted = list(names if columns is None else columns)
    try:
        pieces = _parse(path, names, delimiter, wanted)
    except pa.ArrowInvalid as error:
        raise DataError(_csv_refusal(path, str(error), delimiter)) from None
    lines = Lines(path, delimiter=delimiter)
    return Table(lines, _whole(pieces), decimal="," if delimiter == ";" else ".")


def _parse(
    path: Path, names: Sequence[str], delimiter: str, wanted: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """The columns in pieces; by one thread, which knows the number of a row that is wrong, and needs the least memory."""
    strings = dict.fromkeys(wanted, pa.string())
    table = pa.csv.read_csv(
        path,
        pa.csv.ReadOptions(
            use_threads=False, block_size=BLOCK, column_names=list(names), skip_rows=1
        ),
        pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        pa.csv.ConvertOptions(
            column_types=strings,
            include_columns=list(wanted),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return dict(zip(table.column_names, table.columns, strict=True))


def _csv_refusal(path: Path, said: str, delimiter: str) -> str:
    found = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said)
    if found:
        few = int(found[3]) < int(found[2])
        how = (
            "empty cells need their separators too"
            if few
            else "a value that holds the separator must stand in quotes"
        )
        return (
            f"{Lines(path, delimiter=delimiter).where(int(found[1]) - 2)} has "
            f"{counted(int(found[3]), 'value')} separated by {delimiter!r}, the header {found[2]}; {how}."
        )
    if "UTF8" in said:
        return f"{path} is not UTF-8 ({_brief(said)}); save it as 'CSV UTF-8'."
    return f"{path} cannot be read as CSV ({_brief(said)})."


def _brief(error: object) -> str:
    return str(error).splitlines()[0].rstrip(".")[:200]


def filled(cells: pa.Array) -> NDArray[np.bool_]:
    """[N] booleans: which cells are not empty."""
    found: NDArray[np.bool_] = pc.is_valid(cells).to_numpy(zero_copy_only=False)
    return found


def column_hash(array: pa.Array) -> bytes:
    """SHA-256 of a column's values."""
    digest = hashlib.sha256(repr((array.type, len(array), array.null_count)).encode())
    digest.update(np.packbits(filled(array)).tobytes())
    if pa.types.is_nested(array.type):
        array = pa.array(map(repr, array.to_pylist()))
    if not pa.types.is_string(array.type):  # what lies below a null is anything
        array = pc.cast(array, pa.string()).fill_null("")
    for buffer in array.buffers()[1:]:
        digest.update(buffer)
    return digest.digest()
