"""`equimodal data`: which data sets there are, whether files are sound, getting them, and describing one's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ..errors import ConfigError, DataError, counted

if TYPE_CHECKING:
    from ..data import About

__all__ = ["app"]

app = App(
    name="data",
    help="List the data sets, check their files, download them; describe data of your own.",
)


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
        f"train (/ validation) / test: {about.split}\nfiles: {about.files or 'none needed'}\n"
    )


@app.command
def init(
    *files: Path,
    label: Annotated[str, Parameter(show_default="guessed")] = "",
    out: Annotated[Path | None, Parameter(show_default="beside the table")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Describe data of your own: write a first data TOML, guessing what each column is and saying so.

    Args:
        files: a table (csv, parquet), a folder that holds one, a folder with a subfolder of files for each class, or a
            table and the folders of its files
        label: the column of the class
        out: the data TOML to write
        overwrite: replace files that are there
    """
    from ..data.manifest.start import start
    from ..report.text import print_table, print_text

    if not files:
        raise ConfigError("Name a table or a folder, as in 'equimodal data init photos/'.")
    done = start(files, label, out, overwrite)
    print_table(("column or file", "guessed to be"), done.notes, words=("guessed to be",))
    for path in done.written:
        print_text(f"Wrote {path}")
    print_text(f"Put right what is wrong in it, then: equimodal data check {done.path}")


@app.command
def check(data: str, /, *, data_root: Path | None = None, workers: int = 0) -> None:
    """Read every file of a data set, or of data of your own: counts, shapes, classes per split, what is missing, what
    cannot be read; in your own also sizes and lengths, files that are in several splits, groups that cross splits.

    Args:
        data: data set by its expression, such as "cremad(split='actors')", or a data TOML
        data_root: folder that holds the data sets; digits3d and synthetic need none
        workers: processes that read the files of a data TOML; 0: one
    """
    if data.endswith(".toml"):  # data of one's own
        return _check_own(Path(data_root or "", data), workers)
    from ..core.expression import build
    from ..data import names
    from ..data.check import CheckReport
    from ..data.check import check as examine
    from ..report.text import print_table, print_text

    known = {name: partial(examine, name, data_root) for name in names()}
    report = build(data, known, "data set", CheckReport)
    print_table((data, ""), report.summary(), words=("",))
    if report.classes:
        print_table(("class", *report.classes), report.rows())
    for reason in report.unreadable.values():
        print_text(f"unreadable: {reason}")
    if not report.ok:
        count = len(report.unreadable)
        raise DataError(report.problem or f"{data} has {count} unreadable of {report.files} files.")
    return None


def _check_own(path: Path, workers: int) -> None:
    from ..data.manifest.examine import examine
    from ..report.text import CountBar, print_table, print_text

    with CountBar("reading files") as bar:
        report = examine(path, workers, bar)
    print_table((path.name, ""), report.summary, words=("",))
    print_table(("class", "train", "val", "test"), report.rows())
    for sentence in (*report.remarks, *report.problems):
        print_text(sentence)
    if report.problems:
        raise DataError(
            f"{path} has {counted(len(report.problems), 'problem')}, listed above; files that cannot be read are left out by "
            "'equimodal train --skip-unreadable'."
        )
    print_text(f"All files can be read. Next: equimodal train {path}")


@app.command
def prepare(
    data: str,
    /,
    *,
    data_root: Path | None = None,
    out: Annotated[Path | None, Parameter(show_default="none")] = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
    workers: int = 0,
) -> None:
    """Decode media once and keep what comes out, so that training reads it at the disk's speed.

    What was decoded before stays; a command that was stopped goes on where it was. Without this, training on a published
    set keeps what it decodes in its first epoch, and training on data of your own decodes in each.

    Args:
        data: data set by its expression, with the options that training will have, such as "cremad(size=112)"; or a data
            TOML
        data_root: folder that holds the data sets
        out: of a data TOML: the folder for the shards and for a data TOML that reads them
        skip_unreadable: of a data TOML: leave out rows with files that cannot be read
        workers: processes that decode; 0 decodes in this one
    """
    if data.endswith(".toml"):
        return _prepare_own(Path(data_root or "", data), out, skip_unreadable, workers)
    if out is not None or skip_unreadable:
        raise ConfigError(
            "--out and --skip-unreadable are for a data TOML; a published set has the options cache and unreadable."
        )
    from ..data.prepare import prepare as decode
    from ..report.text import CountBar, print_text
    from ..training.run import load_data
    from ..training.settings import Settings

    root = None if data_root is None else str(data_root)
    splits = load_data(Settings(data=data, data_root=root))
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
    return None


def _prepare_own(path: Path, out: Path | None, skip_unreadable: bool, workers: int) -> None:
    from ..data.manifest.prepare import prepare as decode
    from ..report.text import CountBar, print_text

    if out is None:
        raise ConfigError("Say where the shards go, by --out FOLDER.")
    try:
        with CountBar("shards") as bar:
            done = decode(path, out, skip_unreadable=skip_unreadable, workers=workers, progress=bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from there.") from None
    for place, reason in done.left_out.items():
        print_text(f"left out: {place}: {reason}")
    count, before = done.shards
    print_text(
        f"{counted(done.samples, 'sample')} in {counted(count, 'shard')}, of which {before} were there already. "
        f"Next: equimodal train {done.toml}"
    )


@app.command
def export(data: str, /, *, data_root: Path, out: Path) -> None:
    """Write frames as JPEG and spectrograms as NumPy files, in the layout that the field's repositories read.

    Frames of a sample lie in OUT/MODALITY/SAMPLE/00001.jpg and so on, arrays in OUT/MODALITY/SAMPLE.npy. What is
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
        raise DataError(
            f"{splits.name}: {counted(len(failed), 'sample')} cannot be read; get them again."
        )
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
    print_text(f"Wrote {counted(count, 'file')} of {archive} to {data_root}")


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
