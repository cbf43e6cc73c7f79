"""Prepared arrays kept on disk, under a name that is the hash of all that made them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DataError, WriteError
from ..files import whole
from .media import npz
from .media.npz import Array

__all__ = ["cached", "folder", "state"]

NAME = ".equimodal-cache"


def folder(option: str, root: Path) -> Path | None:
    """Where to keep prepared arrays: ``"auto"`` under the data folder if that is writable, ``"off"``, or a folder.

    Raises:
        ConfigError: the folder named cannot be made.
    """
    if option == "off":
        return None
    if option == "auto":
        # Root may write anywhere; a folder marked read-only is respected all the same.
        writable = os.access(root, os.W_OK) and bool(root.stat().st_mode & stat.S_IWUSR)
        return root / NAME if writable else None
    try:
        Path(option).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The cache folder {option} cannot be made: {error.strerror}.") from error
    return Path(option)


def state(paths: Iterable[Path]) -> str:
    """SHA-256 of names, sizes and times of files: it changes when one of them does."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        digest.update(f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def cached(
    where: Path | None, name: str, key: Mapping[str, object], build: Callable[[], dict[str, Array]]
) -> dict[str, Array]:
    """The arrays that `build` makes, from disk if they are there; a damaged file is made anew."""
    if where is None:
        return build()
    digest = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:24]
    path = where / f"{name}-{digest}.npz"
    if path.exists():
        with contextlib.suppress(DataError):
            return npz.read(path)
    arrays = build()
    # A full or read-only disk costs time, not the run.
    with contextlib.suppress(WriteError), whole(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return arrays
