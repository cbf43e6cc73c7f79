"""Published lists: rows of text, with the oddities that they have."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError, counted

__all__ = ["json_lines", "rows"]


class _Plain(csv.excel):
    """Quotes are characters like any other."""

    quoting = csv.QUOTE_NONE


def rows(
    path: Path,
    columns: int | tuple[int, int],
    *,
    delimiter: str = ",",
    header: Sequence[str] = (),
    quoted: bool = True,
) -> list[list[str]]:
    """The rows of a list, without spaces at the ends of their values.

    A byte-order mark, either kind of line end and a missing last one are as good as none; empty lines are left out. The
    first line is left out only if it is the known header.

    Args:
        path: the file.
        columns: how many each row has, or the least and the most.
        delimiter: between values.
        header: what the first line may say.
        quoted: whether values that contain the delimiter stand in quotes.

    Raises:
        DataError: the file is missing, has no rows, or one with another number of values.
    """
    least, most = (columns, columns) if isinstance(columns, int) else columns
    found: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            dialect: type[csv.Dialect] = csv.excel if quoted else _Plain
            reader = csv.reader(file, dialect, delimiter=delimiter)
            for values in reader:
                row = [value.strip() for value in values]
                if not any(row) or (not found and row == list(header)):
                    continue
                if not least <= len(row) <= most:
                    raise DataError(
                        f"{path} line {reader.line_num} has {counted(len(row), 'value')} between {delimiter!r}; it must have "
                        f"{least if least == most else f'{least} to {most}'}."
                    )
                found.append(row)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a readable list ({error}).") from None
    if not found:
        raise DataError(f"{path} has no rows.")
    return found


def json_lines(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a file that has one on each line, each with the given keys.

    Raises:
        DataError: the file is missing or empty, or a line is no such object.
    """
    found = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {number} is not JSON ({error}).") from None
        if not isinstance(entry, dict) or not set(keys) <= set(entry):
            raise DataError(f"{path} line {number} must be an object with {', '.join(keys)}.")
        found.append(entry)
    if not found:
        raise DataError(f"{path} has no rows.")
    return found
