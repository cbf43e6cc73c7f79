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
def prepare(data: str, /, *, data_root: Path, workers: int = 0) -> None:
    """Decode the media of a published data set once and keep what comes out, so that training reads it at the disk's speed.

    What was decoded before stays; a command that was stopped goes on where it was. Without this, training itself keeps
    what it decodes in its first epoch.

    Args:
        data: data set by its expression, with the options that training will have, such as "cremad(size=112)"
        data_root: folder that holds the data sets
        workers: processes that decode; 0 decodes in this one
    """
    from ..data.prepare import prepare as decode
    from ..report.text import CountBar, print_text
    from ..training.run import load_data
    from ..training.settings import Settings

    splits = load_data(Settings(data=data, data_root=str(data_root)))
    try:
        with CountBar(splits.name) as bar:
            done = decode(splits, workers, bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from there.") from None
    for name, reason in {**splits.left_out, **done.unreadable}.items():
        print_text(f"left out: {name}: {reason}" if name in splits.left_out else reason)
    print_text(f"{done.samples} samples are decoded in {done.folder}")
    if done.unreadable:
        raise DataError(
            f"{splits.name}: {len(done.unreadable)} of {done.samples + len(done.unreadable)} samples cannot be read; "
            "get them again, or train with unreadable='drop'."
        )


@app.command
def export(data: str, /, *, data_root: Path, out: Path) -> None:
    """Write frames as JPEG and spectrograms as NumPy files, in the layout that the field's repositories read.

    Frames of a sample lie in OUT/<modality>/<sample>/00001.jpg and so on, arrays in OUT/<modality>/<sample>.npy. What is
    there stays; a command that was stopped goes on where it was.

    Args:
        data: data set by its expression, such as "cremad(audio='pmr')"
        data_root: folder that holds the data sets
        out: folder to write to; made if it is not there
    """
    from ..data.export import export as write
    from ..report.text import CountBar, print_text
    from ..training.run import load_data
    from ..training.settings import Settings

    splits = load_data(Settings(data=data, data_root=str(data_root)))
    try:
        with CountBar(splits.name) as bar:
            failed = write(splits, out, bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from there.") from None
    for reason in failed.values():
        print_text(reason)
    if failed:
        raise DataError(f"{splits.name}: {len(failed)} samples cannot be read; get them again.")
    print_text(f"Wrote {out}")


@app.command
def unpack(archive: Path, /, *, data_root: Path) -> None:
    """Unpack a zip or tar archive of a data set; one whose members lead out of the folder is refused.

    Args:
        archive: such as AVE_Dataset.zip
        data_root: folder that holds the data sets; made if it is not there
    """
    from ..data.media.archive import unpack as write
    from ..report.text import CountBar, print_text

    with CountBar(archive.name) as bar:
        count = write(archive, data_root, bar)
    print_text(f"{count} files of {archive} are in {data_root}")


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
