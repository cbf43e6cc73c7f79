"""Reports as files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from .. import files
from ..errors import ConfigError
from . import html, latex, markdown, plain
from .page import Page
from .runs import of_runs, read_all

__all__ = ["FORMATS", "Format", "default_file", "format_of", "write"]

Format = Literal["html", "markdown", "json", "latex"]
LONGEST = 100  # bytes of the runs' names in that of a file

FORMATS: dict[Format, tuple[str, Callable[[Page], str]]] = {
    "html": (".html", html.render),
    "markdown": (".md", markdown.render),
    "json": (".json", plain.render),
    "latex": (".tex", latex.render),
}
"""For each the ending of its files, and what makes the text."""


def format_of(out: Path | str | None) -> Format:
    """The format that a file's ending says; html if it says none."""
    ending = "" if out is None else Path(out).suffix.lower()
    return next((form for form, (own, _) in FORMATS.items() if own == ending), "html")


def default_file(runs: Sequence[Path], form: Format = "html") -> Path:
    """``report.html`` in the folder of the run; of several runs ``report-A+B.html`` in the folder that holds the first.

    Reports on other runs lie beside each other: where names would be long, a digest of all stands for them.
    """
    ending = FORMATS[form][0]
    if len(runs) == 1:
        return runs[0] / f"report{ending}"
    place = runs[0].resolve().parent
    name = "+".join(_from(run.resolve(), place) for run in runs)
    if len(name.encode()) > LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: LONGEST // 2]}-{len(runs)}-runs-{digest}"
    return place / f"report-{name}{ending}"


def _from(run: Path, place: Path) -> str:
    """The way to a run from where the two paths part, as part of a file's name."""
    own = run.relative_to(os.path.commonpath([run, place]))
    return re.sub(r"[^\w.=-]+", "_", "-".join(own.parts))


def write(
    runs: Sequence[Path | str],
    out: Path | str | None = None,
    *,
    form: Format | None = None,
    samples: int = 8,
) -> Path:
    """Write the report on one or several runs.

    Args:
        runs: their folders.
        out: the file; by default `default_file`.
        form: html is one file that opens offline; markdown and latex hold the tables, json every value unrounded. By default
            what the file's ending says.
        samples: how many test samples are shown; 0: none, and the data are not read.

    Returns:
        The file.

    Raises:
        ConfigError: there is no run, one is not finished, or the packages of the extra `report` are not installed.
        WriteError: the file cannot be written.
    """
    folders = [Path(run) for run in runs]
    if not folders:
        raise ConfigError(
            "Name the folder of at least one run, as in 'equimodal report runs/demo/ibml'."
        )
    form = form or format_of(out)
    if form == "html" and not html.available():
        raise ConfigError(html.MISSING)
    page = of_runs(read_all(folders), show=samples)
    path = Path(out) if out is not None else default_file(folders, form)
    files.write(path, FORMATS[form][1](page))
    return path
