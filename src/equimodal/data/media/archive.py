"""Unpacking zip and tar archives: only files, only into their folder, never half a file under the final name."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO

from ...errors import DataError
from ...files import whole

__all__ = ["unpack"]

Member = tuple[str, int, Callable[[], AbstractContextManager[IO[bytes]]]]
"""Name, size in bytes, and what opens it."""
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
DAMAGED_TOO = (gzip.BadGzipFile, NotImplementedError, RuntimeError)


def unpack(archive: Path, folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write the files of an archive below a folder. Those that are there in the right size stay, so that it can be repeated.

    Every name is checked before the first file is written. Links and devices are left out.

    Args:
        archive: .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz.
        folder: made if it is not there.
        progress: called with how many files are done, and of how many.

    Returns:
        How many files there are.

    Raises:
        DataError: the archive is missing or damaged, or a member leads out of the folder.
        WriteError: a file cannot be written.
    """
    if not archive.is_file():
        raise DataError(f"{archive} does not exist.")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(archive, folder, list(_of_zip(opened)), progress)
        with tarfile.open(archive) as packed:
            return _write(archive, folder, list(_of_tar(packed)), progress)
    except (*DAMAGED, *DAMAGED_TOO) as error:
        raise DataError(
            f"{archive} is cut off, damaged or no zip or tar archive ({error})."
        ) from error


def _of_zip(opened: zipfile.ZipFile) -> Iterator[Member]:
    for entry in opened.infolist():
        linked = (entry.external_attr >> 16) & 0o170000 == 0o120000
        if not entry.is_dir() and not linked:
            yield entry.filename, entry.file_size, lambda entry=entry: opened.open(entry)  # type: ignore[misc]


def _of_tar(packed: tarfile.TarFile) -> Iterator[Member]:
    for entry in packed:
        if entry.isfile():
            yield entry.name, entry.size, lambda entry=entry: packed.extractfile(entry)  # type: ignore[misc]


def _write(
    archive: Path,
    folder: Path,
    members: list[Member],
    progress: Callable[[int, int], None] | None,
) -> int:
    places = [folder / _checked(archive, name, folder) for name, _, _ in members]
    for done, (place, (name, size, opened)) in enumerate(
        zip(places, members, strict=True), start=1
    ):
        if not place.is_file() or place.stat().st_size != size:
            if not place.parent.resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"{archive}: {name!r} would be written through a link out of {folder}."
                )
            # An archive may hold a hundred thousand files, and can be unpacked again.
            with (
                whole(place, durable=False) as part,
                opened() as content,
                part.open("wb") as file,
            ):
                shutil.copyfileobj(content, file)
        if progress is not None:
            progress(done, len(members))
    return len(members)


def _checked(archive: Path, name: str, folder: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        raise DataError(
            f"{archive} has the member {name!r}, which leads out of {folder}; nothing was unpacked: do not trust this file."
        )
    return path
