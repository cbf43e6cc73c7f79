"""Finding the folder of a data set."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from ...errors import DataError

__all__ = ["inside", "locate", "sha256_of"]


def locate(root: str | Path | None, folder: str, holds: str) -> Path:
    """The folder of a data set: `folder` under the root, or the root itself if that is it.

    Args:
        root: what the user named.
        folder: where the data lie under the root, such as ``"mnist"``.
        holds: a pattern of which the folder must have at least one file, such as ``"*-ubyte*"``.

    Raises:
        DataError: no root was named, it does not exist, or the files are in neither place.
    """
    if root is None:
        raise DataError(
            f"This data set needs a data folder with {folder}/{holds}; name it with --data-root."
        )
    base = Path(root)
    if not base.is_dir():
        raise DataError(
            f"The data folder {base} does not exist; name one that has {folder}/{holds}."
        )
    for candidate in (base / folder, base):
        if next(candidate.glob(holds), None) is not None:
            return candidate
    raise DataError(
        f"The data folder {base} has no {folder}/{holds}; name the folder above {folder}."
    )


def inside(folder: Path, name: str, source: Path) -> Path:
    """A file that a list names, which must lie in the folder of the list's data set.

    Raises:
        DataError: it lies elsewhere.
    """
    plain = PurePosixPath(name.replace("\\", "/"))
    if not plain.parts or plain.is_absolute() or ".." in plain.parts or ":" in plain.parts[0]:
        raise DataError(f"{source} names {name!r}, which is not inside {folder}; name files in it.")
    return folder / plain


def sha256_of(lines: list[str]) -> str:
    """SHA-256 (hexadecimal) of lines, each ended by a newline."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
