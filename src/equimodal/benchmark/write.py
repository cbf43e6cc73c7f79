"""The report of a bench as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .. import files
from ..errors import ConfigError
from ..report import html
from ..report.write import FORMATS, format_of
from .page import of_bench
from .store import Store
from .summary import Summary
from .tables import csv_text

__all__ = ["Form", "write"]

Form = Literal["html", "markdown", "json", "latex", "csv"]


def write(store: Store, out: Path | str | None = None, *, form: Form | None = None) -> Path:
    """Write the report on what of the newest grid is there.

    Args:
        store: of a bench, which may be running.
        out: the file; ``report.html`` in the store by default.
        form: csv is a line per run, unrounded. By default what the file's ending says.

    Returns:
        The file.

    Raises:
        ConfigError: there is no grid yet, or the packages of the extra `report` are not installed.
        WriteError: the file cannot be written.
    """
    if form is None:
        form = "csv" if out is not None and Path(out).suffix.lower() == ".csv" else format_of(out)
    if form == "html" and not html.available():
        raise ConfigError(html.MISSING)
    summary = Summary.read(store)
    if form == "csv":
        path, text = Path(out or store.path / "report.csv"), csv_text(summary)
    else:
        ending, render = FORMATS[form]
        path, text = Path(out or store.path / f"report{ending}"), render(of_bench(summary))
    files.write(path, text)
    return path
