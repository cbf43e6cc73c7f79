"""`equimodal data`: which data sets there are, whether their files are sound, and getting them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from ..errors import DataError

if TYPE_CHECKING:
    from ..data import About

__all__ = ["app"]

app = App(name="data", help="List the data sets, check their files, download them.")


@app.command(name="list")
def list_() -> None:
    """List the data sets: what is told apart, modalities with the shape of a sample, sizes, files, licence."""
    from ..data import describe, names
    from ..report.text import print_table, print_text

    print_table(
        ("data", "what it is"),
        [(name, _said(describe(name))) for name in names()],
        words=("what it is",),
        wrap=("what it is",),
    )
    print_text("Are my files sound? equimodal data check NAME --data-root DIR")


def _said(about: About) -> str:
    inputs = ", ".join(f"{name} {shape}" for name, shape in about.modalities.items())
    return (
        f"{about.task}; {about.classes} classes; {about.licence}\n{inputs}\n"
        f"train / test: {about.split}\nfiles: {about.files or 'none needed'}\n"
    )


@app.command
def check(name: str, /, *, data_root: Path | None = None) -> None:
    """Read every file of a data set: counts, shapes, classes per split, missing modalities, unreadable files.

    Args:
        name: of the data set
        data_root: folder that holds the data sets; digits3d and synthetic need none
    """
    from ..data.check import check as examine
    from ..report.text import print_table, print_text

    report = examine(name, data_root)
    print_table((name, ""), report.summary(), words=("",))
    if report.classes:
        print_table(("class", *report.classes), report.rows())
    for reason in report.unreadable.values():
        print_text(f"unreadable: {reason}")
    if not report.ok:
        count = len(report.unreadable)
        raise DataError(report.problem or f"{name} has {count} unreadable of {report.files} files.")


@app.command
def get(name: str, /, *, data_root: Path) -> None:
    """Download a data set from where its owners publish it, and verify it.

    What is there and right stays; a download that broke off is taken up where it stopped.

    Args:
        name: of the data set, such as avmnist
        data_root: folder that holds the data sets; made if it is not there
    """
    from ..data import get as download
    from ..report.text import DownloadBar, print_text

    try:
        with DownloadBar() as bar:
            there = download(name, data_root, progress=bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from there.") from None
    for path in there:
        print_text(f"There and verified: {path}")
