"""One modality of all rows of a manifest: cells that name files, cells that are the text, or columns of a table."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.batch import Input
from ...errors import DataError
from ..dataset import fits, stack
from ..media.reader import Reader
from ..media.table import Table as Vectors
from .table import Lines, filled

__all__ = ["Columns", "Files", "Generator", "Stored", "Stream", "Survey", "Texts", "survey"]

Generator = Callable[[int], np.random.Generator | None]
"""For a position in a batch the generator of its augmentation; None: as validation and test see it."""

OUTSIDE = r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Stream(ABC):
    """One modality of all N rows.

    Attributes:
        name: of the modality.
    """

    name: str

    @property
    def time_first(self) -> bool:
        """Whether it is spectrograms [C, T, F], and not [C, F, T]."""
        return False

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """[N] booleans: which rows have it."""
        return self.known()

    @abstractmethod
    def known(self) -> NDArray[np.bool_]:
        """What `present` keeps."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one sample; -1 in the first place marks sequences of different lengths."""

    @abstractmethod
    def values(self, rows: NDArray[np.int64], generator: Generator) -> Input:
        """What encoders see of some rows; zeros where it is missing.

        Raises:
            DataError: a file cannot be read; the sentence names it and the row of the manifest.
        """

    @abstractmethod
    def value(self, row: int, rng: np.random.Generator | None) -> Tensor:
        """What encoders see of one row that has it."""

    def text(self, row: int) -> str | None:
        """What a row that has it says, where it is text."""
        return None


class Stored(Stream):
    """A modality that is decoded sample by sample, and finished by a reader."""

    reader: Reader
    lines: Lines
    cells: pa.Array

    @property
    def time_first(self) -> bool:
        return self.reader.time_first

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reader.shape

    @abstractmethod
    def stored(self, row: int) -> Tensor:
        """What decoding gives."""

    def decoded(self, row: int) -> Tensor:
        """The same; a refusal names the row."""
        try:
            return self.stored(row)
        except DataError as error:
            raise DataError(
                f"{self.lines.where(row)}, {self.name}: {str(error).removesuffix('.')}; --skip-unreadable (of train, "
                "predict and data prepare) leaves such rows out."
            ) from None

    def value(self, row: int, rng: np.random.Generator | None) -> Tensor:
        made = self.reader.finish(self.decoded(row), rng)
        if not bool(torch.isfinite(made).all()):
            raise DataError(f"{self.lines.where(row)}, {self.name}: a value is not finite.")
        if not fits(made, self.shape):
            raise DataError(
                f"{self.lines.where(row)}, {self.name}: its shape is {tuple(made.shape)}; it must be {self.shape}."
            )
        return made

    def values(self, rows: NDArray[np.int64], generator: Generator) -> Input:
        here = np.flatnonzero(self.present[rows]).tolist()
        found = {i: self.value(int(rows[i]), generator(i)) for i in here}
        return stack(found, len(rows), self.shape)


@dataclass(frozen=True)
class Files(Stored):
    """Cells that name files, relative to a folder.

    Attributes:
        name: of the modality.
        lines: of the manifest.
        cells: [N] paths as they stand there, null where there is none.
        reader: of the files.
        folder: that paths are relative to.
        outside: whether they may leave it.
        root: folder under it where they begin, or "".
        suffix: what is added to cells to make them paths, or "".
        spans: [N] seconds each, where a part of the file is read; NaN for its start or its end.
    """

    name: str
    lines: Lines
    cells: pa.Array
    reader: Reader
    folder: Path
    outside: bool = False
    root: str = ""
    suffix: str = ""
    spans: tuple[NDArray[np.float64], ...] = ()

    def known(self) -> NDArray[np.bool_]:
        return filled(self.cells)

    def refuse_outside(self) -> None:
        """Refuse paths that say that they leave the folder; links are followed when a file is read."""
        if self.outside:
            return
        leaves = pc.fill_null(pc.match_substring_regex(self.cells, OUTSIDE), False)
        rows = np.flatnonzero(leaves.to_numpy(zero_copy_only=False))
        if len(rows):
            row = int(rows[0])
            raise DataError(
                f"{self.lines.where(row)}: {_leaving(self.cells[row].as_py(), self.folder)}"
            )

    @property
    def below(self) -> pa.Array:
        """[N] the paths that the cells name, relative to the folder, null where there is none."""
        root = f"{self.root}/" if self.root else ""
        return pc.binary_join_element_wise(root, self.cells, self.suffix, "")

    def path(self, row: int) -> Path:
        """Of a row's file.

        Raises:
            DataError: the cell holds no path, or the file lies outside the folder.
        """
        return self.located(self.cells[row].as_py())

    def located(self, cell: str) -> Path:
        """Of the file that a cell names."""
        text = cell + self.suffix
        if ADDRESS.match(text):
            raise DataError(
                f"{text!r} is an address, not a path: download the file and name where it lies."
            )
        if "\0" in text:
            raise DataError(f"{text!r} is no path: put it right.")
        path = os.path.join(self.folder, self.root, text)
        if "\\" in text and not os.path.exists(path):  # written on Windows
            path = os.path.join(self.folder, self.root, text.replace("\\", "/"))
        if not self.outside and not self._inside(path):
            raise DataError(_leaving(text, self.folder))
        return Path(path)

    def _inside(self, path: str) -> bool:
        """Whether a file is in the folder, links followed; where folders lead is found out once for each."""
        folder = os.path.dirname(path)
        if folder not in self._folders:
            self._folders[folder] = _within(folder, self.folder)
        return self._folders[folder] and (not os.path.islink(path) or _within(path, self.folder))

    @cached_property
    def _folders(self) -> dict[str, bool]:
        return {}

    def span(self, row: int) -> tuple[float | None, ...]:
        """The seconds between which its file is read, where that is said."""
        if not self.spans:
            return ()
        start, stop = (float(column[row]) for column in self.spans)
        return (0.0 if np.isnan(start) else start, None if np.isnan(stop) else stop)

    def stored(self, row: int) -> Tensor:
        return self.reader.decode(self.path(row), *self.span(row))

    def text(self, row: int) -> str | None:
        return self.reader.text(self.path(row))


def _within(path: str, folder: Path) -> bool:
    base = os.path.realpath(folder)
    return os.path.commonpath([base, os.path.realpath(path)]) == base


def _leaving(text: str, folder: Path) -> str:
    if os.path.isabs(text) and _within(text, folder):
        return (
            f"the file {text!r} is an absolute path, which is right on one machine only; write "
            f"{os.path.relpath(text, os.path.realpath(folder))!r}, or say allow_outside = true in the data TOML."
        )
    return (
        f"the file {text!r} lies outside the manifest's folder {folder}; move it there, or say allow_outside = true in the "
        "data TOML."
    )


@dataclass(frozen=True)
class Texts(Stored):
    """Cells that are the text."""

    name: str
    lines: Lines
    cells: pa.Array
    reader: Reader

    def known(self) -> NDArray[np.bool_]:
        return filled(self.cells)

    def stored(self, row: int) -> Tensor:
        decode: Any = self.reader.decode  # of a string: the text itself
        made: Tensor = decode(self.cells[row].as_py())
        return made

    def text(self, row: int) -> str | None:
        return self.reader.text(self.cells[row].as_py())


@dataclass(frozen=True)
class Columns(Stream):
    """Columns of numbers (NaN: a gap) and of codes (-1: a gap) of words; missing where all are gaps."""

    name: str
    columns: tuple[NDArray[Any], ...]
    words: tuple[pa.Array | None, ...]
    reader: Vectors

    def known(self) -> NDArray[np.bool_]:
        known = [c >= 0 if c.dtype == np.int32 else ~np.isnan(c) for c in self.columns]
        return np.asarray(np.logical_or.reduce(known))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reader.shape

    def values(self, rows: NDArray[np.int64], generator: Generator) -> Input:
        return self.reader.encode([column[rows] for column in self.columns])

    def value(self, row: int, rng: np.random.Generator | None) -> Tensor:
        return self.reader.encode([column[[row]] for column in self.columns])[0]


@dataclass(frozen=True)
class Survey:
    """What a look at files finds, without opening them.

    Attributes:
        absent: the rows whose files are not there or not allowed, each with the reason.
        digest: SHA-256 of all files' names and sizes.
    """

    absent: Mapping[int, str]
    digest: bytes


def survey(stream: Files, rows: NDArray[np.int64], times: bool = False) -> Survey:
    """Look for the files of some rows, for each once; `times` has their times in the digest as well."""
    every = len(rows) == len(stream.cells)
    cells = pc.dictionary_encode(stream.cells if every else stream.cells.take(pa.array(rows)))
    different = cells.dictionary
    bad: dict[int, str] = {}
    digest = hashlib.sha256()
    for start in range(0, len(different), 10_000):
        for code, text in enumerate(different[start : start + 10_000].to_pylist(), start):
            reason, size, time = _look(stream, text)
            digest.update(f"{text}\t{size}\t{time if times else 0}\n".encode())
            if reason:
                bad[code] = reason
    if not bad:
        return Survey({}, digest.digest())
    codes = pc.fill_null(cells.indices, -1).to_numpy()
    at = np.flatnonzero(np.isin(codes, list(bad)))
    absent = {int(rows[i]): bad[int(codes[i])] for i in at}
    return Survey(absent, digest.digest())


def _look(stream: Files, text: str) -> tuple[str, int, int]:
    """Why the file that a cell names cannot be used, or "", its size, and its time in nanoseconds; of a folder the sums."""
    try:
        path = stream.located(text)
        status = path.stat()
        if stat.S_ISDIR(
            status.st_mode
        ):  # its own size and time stay when a frame in it is rewritten
            with os.scandir(path) as entries:
                inside = [entry.stat() for entry in entries]
            return "", sum(s.st_size for s in inside), sum(s.st_mtime_ns for s in inside)
    except DataError as error:
        return str(error), -1, 0
    except OSError:
        return f"{path} does not exist; put it there.", -1, 0
    if stat.S_ISREG(status.st_mode) and not status.st_size:
        return f"{path} is empty; get it again.", 0, 0
    return "", status.st_size, status.st_mtime_ns
