"""The result store: a folder that grows by whole cells and can be read at any time.

``store.json`` says which version wrote it, ``plan.json`` holds the newest grid, ``results.jsonl`` a line per cell that
finished or failed (the newest line of a cell counts), ``cells/KEY/`` its run folder. One bench writes at a time: it
holds ``lock``. Whoever trains a cell holds ``locks/KEY``, so that what is left of a killed bench cannot meet the next.
Locks are released by the system when their process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from .. import __version__, files
from ..errors import ConfigError
from ..locks import alone
from ..training.folder import RunFolder
from .cell import Cell

__all__ = ["FORMAT", "Record", "Store"]

FORMAT = 1
"""The version of the store's layout; one of another version is refused."""


@dataclass(frozen=True)
class Record:
    """What became of a cell.

    Attributes:
        key: of the cell.
        status: done or failed.
        reason: why it failed.
        results: as in `results.json`.
        right: the test samples in their order, a bit each, 1 where the fused prediction is right; hexadecimal.
        groups: what each test sample is of, where several may be of one: int32 numbers from 0, little-endian, zlib's, hexadecimal.
        wall: seconds that the last sitting took, from reading the settings to the results.
    """

    key: str
    status: Literal["done", "failed"]
    reason: str = ""
    results: Mapping[str, Any] | None = None
    right: str = ""
    groups: str = ""
    wall: float = 0.0

    @property
    def done(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True)
class Store:
    """The folder of a bench."""

    path: Path

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def results_file(self) -> Path:
        return self.path / "results.jsonl"

    @property
    def tuning_file(self) -> Path:
        return self.path / "tuning.db"

    def folder(self, key: str) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.path / "cells" / key)

    @classmethod
    def check(cls, path: Path | str) -> Store:
        """A store that could be written into; nothing is made yet.

        Raises:
            ConfigError: the folder holds something else, or a store of another version, or another bench writes into it.
        """
        store = cls(Path(path))
        if store.is_store():
            with cls.at(path).writing():  # of this version
                return store
        if store.path.exists() and (not store.path.is_dir() or any(store.path.iterdir())):
            raise ConfigError(f"{path} holds something that is not a bench: choose another folder.")
        return store

    @classmethod
    def create(cls, path: Path | str) -> Store:
        """A store to write into, made where there is none; raises as `check`."""
        store = cls.check(path)
        if not store.is_store():
            # First of all, so that what a kill leaves behind is a bench.
            store.path.mkdir(parents=True, exist_ok=True)
            about = {"format": FORMAT, "equimodal": __version__}
            files.write(store._mark, json.dumps(about) + "\n")
        for part in ("cells", "locks", "logs"):
            (store.path / part).mkdir(exist_ok=True)
        return store

    @classmethod
    def at(cls, path: Path | str) -> Store:
        """A store that is there.

        Raises:
            ConfigError: there is none, or it is of another version.
        """
        store = cls(Path(path))
        if not store.is_store():
            raise ConfigError(f"{path} is not the folder of a bench: it has no store.json.")
        mark = _json(store._mark)
        if mark.get("format") != FORMAT:
            raise ConfigError(
                f"{path} has format {mark.get('format')}, written by equimodal {mark.get('equimodal')}; this is "
                f"equimodal {__version__}, which reads format {FORMAT}: use that version, or another folder."
            )
        return store

    @property
    def _mark(self) -> Path:
        return self.path / "store.json"

    def is_store(self) -> bool:
        """Whether a bench was ever begun here."""
        return self._mark.is_file()

    # Locks.

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one bench that writes.

        Raises:
            ConfigError: another one does.
        """
        with alone(self.path / "lock", self._busy):
            self._cut()
            yield

    def _busy(self, process: str) -> str:
        return (
            f"Another bench (process {process}) is writing into {self.path}: wait for it, or choose another folder by "
            "--out."
        )

    @contextmanager
    def training(self, key: str) -> Iterator[None]:
        """Be the one process that trains a cell; waits while another does."""
        (self.path / "locks").mkdir(exist_ok=True)
        with (self.path / "locks" / key).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # The plan.

    def write_plan(self, cells: Sequence[Cell], about: Mapping[str, Any]) -> None:
        """Replace the grid; `about` is what tables need to know of it, such as the reference."""
        plan = {"about": dict(about), "cells": [asdict(cell) for cell in cells]}
        files.write(self.plan_file, json.dumps(plan))

    def plan(self) -> tuple[list[Cell], dict[str, Any]]:
        """The newest grid.

        Raises:
            ConfigError: none was written yet, or it is damaged.
        """
        if not self.plan_file.exists():
            raise ConfigError(
                f"The bench in {self.path} has no grid yet: it is still being planned, or was refused; run it again."
            )
        plan = _json(self.plan_file)
        return [Cell(**values) for values in plan["cells"]], plan["about"]

    # Results.

    def add(self, record: Record) -> None:
        """One line more, on the disk when this returns."""
        files.append(self.results_file, json.dumps(asdict(record)) + "\n")

    def records(self, keys: Iterable[str] | None = None) -> dict[str, Record]:
        """The newest line of each cell, of those asked for; a line that is being written is not there yet."""
        wanted = None if keys is None else set(keys)
        found: dict[str, Record] = {}
        path = self.results_file
        if not path.exists():
            return found
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                record = _record(line, number, path)
                if wanted is None or record.key in wanted:
                    found[record.key] = record
        return found

    def _cut(self) -> None:
        """Remove what a killed bench left of a line."""
        if not self.results_file.exists():
            return
        with self.results_file.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.truncate(_end_of_last_line(file, size))


def _end_of_last_line(file: IO[bytes], size: int, block: int = 1 << 16) -> int:
    while size:
        start = max(0, size - block)
        file.seek(start)
        found = file.read(size - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0


def _record(line: bytes, number: int, path: Path) -> Record:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError):
        raise ConfigError(
            f"Line {number} of {path} is damaged: delete it; its cell is not lost."
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    return values
