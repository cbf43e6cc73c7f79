"""Getting data from where their owners publish them: resumed, verified, never half a file under the final name."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import ConfigError, DataError, nearest
from ..files import publish
from .media.files import sha256_of

__all__ = ["SOURCES", "Archive", "Download", "Progress", "get"]

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a file, the bytes that are there, and all its bytes if the server says so."""

CHUNK = 1 << 16
SECONDS = 60
MNIST_HASHES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
)
FSDD_HASH = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"
FSDD_URL = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
)


class _AlteredError(Exception):
    """What was downloaded is not what was published."""


class _BrokenError(Exception):
    """A server cannot be reached, refuses, or the connection broke off."""


@dataclass(frozen=True)
class Download:
    """One gzip file.

    Attributes:
        urls: where it is published; the next is tried when one cannot be reached, or serves something else.
        path: where it goes, under the data folder.
        sha256: of the decompressed bytes, since mirrors compress differently.
    """

    urls: tuple[str, ...]
    path: str
    sha256: str

    def there(self, root: Path) -> bool:
        """Whether the file is there and right."""
        path = root / self.path
        return path.exists() and _decompressed(path) == self.sha256

    def install(self, part: Path, root: Path) -> None:
        """Verifies what was downloaded and gives it its final name."""
        found = _decompressed(part)
        if found != self.sha256:
            raise _AlteredError(
                f"SHA-256 of its contents is {found[:12]}... and must be {self.sha256[:12]}..."
            )
        publish(part, root / self.path)


@dataclass(frozen=True)
class Archive:
    """A tar archive of which one folder is kept.

    Attributes:
        urls: where it is published; the next is tried when one cannot be reached, or serves something else.
        path: the folder that its files go to, under the data folder.
        member: the folder in the archive, below its top.
        suffix: of the files that are kept.
        sha256: of the lines "<sha256>  <name>" of the files, in byte order of their names.
    """

    urls: tuple[str, ...]
    path: str
    member: str
    suffix: str
    sha256: str

    def there(self, root: Path) -> bool:
        """Whether the folder is there and right."""
        folder = root / self.path
        return folder.is_dir() and _listed(folder) == self.sha256

    def install(self, part: Path, root: Path) -> None:
        """Unpacks into a folder beside the final one, verifies, and gives it its final name."""
        folder = root / self.path
        # Under one name, as the download itself: what a killed command left is found again, and replaced.
        fresh = folder.with_name(folder.name + ".part")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            self._unpack(part, fresh)
            if _listed(fresh) != self.sha256:
                raise _AlteredError(f"its {self.member} are not those that were published")
            if folder.exists():
                raise DataError(
                    f"{folder} is there already with other contents; remove it, or name another data folder."
                )
            publish(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        part.unlink()

    def _unpack(self, part: Path, to: Path) -> None:
        try:
            with tarfile.open(part) as archive:
                for entry in archive:
                    self._keep(archive, entry, to)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _AlteredError(f"it is not a whole tar archive: {error}") from error

    def _keep(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, to: Path) -> None:
        path = PurePosixPath(entry.name)
        if path.is_absolute() or ".." in path.parts:
            raise _AlteredError(f"its member {entry.name!r} leads out of the folder")
        wanted = path.parts[1:-1] == PurePosixPath(self.member).parts and path.suffix == self.suffix
        if not wanted or not entry.isfile():  # links are not followed
            return
        content = archive.extractfile(entry)
        assert content is not None
        with (to / path.name).open("wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())


MNIST = tuple(
    Download(tuple(f"{mirror}/{name}.gz" for mirror in MNIST_MIRRORS), f"mnist/{name}.gz", digest)
    for name, digest in MNIST_HASHES.items()
)
FSDD = Archive((FSDD_URL,), "fsdd/recordings", "recordings", ".wav", FSDD_HASH)
SOURCES: Mapping[str, Sequence[Download | Archive]] = {"avmnist": (*MNIST, FSDD), "mnist3d": MNIST}


def get(
    name: str,
    root: str | Path,
    *,
    sources: Mapping[str, Sequence[Download | Archive]] = SOURCES,
    progress: Progress = lambda name, done, total: None,
    attempts: int = 3,
) -> list[Path]:
    """Downloads a data set; what is there and right already stays as it is.

    A download that breaks off is taken up where it stopped, now or by the next call.

    Args:
        name: of the data set.
        root: the data folder; made if it is not there.
        sources: what to get for which data set.
        progress: called as bytes arrive.
        attempts: how often each address is tried.

    Returns:
        The files and folders of the data set.

    Raises:
        ConfigError: the data set cannot be downloaded.
        DataError: nothing can be reached, the download keeps breaking off, what came is not what was published, or it
            cannot be stored.
    """
    if name not in sources:
        raise ConfigError(f"{name!r} cannot be downloaded; {nearest(name, sources)}")
    folder = Path(root)
    for source in sources[name]:
        try:
            if not source.there(folder):
                _get_one(source, folder, progress, attempts)
        except OSError as error:  # a full disk, a folder without permission
            raise DataError(
                f"{folder / source.path} cannot be stored: {error.strerror or error}."
            ) from error
    return [folder / source.path for source in sources[name]]


def _get_one(source: Download | Archive, root: Path, progress: Progress, attempts: int) -> None:
    """From the first address that serves all of it as it was published."""
    final = root / source.path
    final.parent.mkdir(parents=True, exist_ok=True)
    parts = {url: _part(final, url) for url in source.urls}
    reasons = []
    for url, part in parts.items():
        try:
            _fetch(url, part, final.name, progress, attempts)
            source.install(part, root)
        except _BrokenError as error:
            reasons.append(f"{url}: {error}")
        except _AlteredError as error:
            part.unlink()
            reasons.append(f"{url} has been altered or damaged ({error})")
        else:
            for other in parts.values():
                other.unlink(missing_ok=True)
            return
    have = sum(part.stat().st_size for part in parts.values() if part.exists())
    kept = f"{have} bytes are kept, and the same command goes on from there"
    raise DataError(
        f"{'; '.join(reasons)}; {kept if have else 'nothing was kept: try again or report it'}."
    )


def _part(final: Path, url: str) -> Path:
    """Where a download is kept until it is whole: mirrors compress differently, so that one cannot go on from another."""
    return final.with_name(f"{final.name}.{sha256_of([url])[:8]}.download.part")


def _fetch(url: str, part: Path, name: str, progress: Progress, attempts: int) -> None:
    """Downloads all that an address serves."""
    for attempt in range(1, attempts + 1):
        try:
            return _transfer(url, part, name, progress)
        except _BrokenError:
            if attempt == attempts:
                raise


def _transfer(url: str, part: Path, name: str, progress: Progress) -> None:
    """Appends what is lacking, or starts anew where the server does not serve a part of a file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            whole = error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}"
        if whole:
            return
        if error.code == 416:
            part.unlink()
            raise _BrokenError("the server has another file than before") from error
        raise _BrokenError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(getattr(error, "reason", None) or error)) from error
    with response:
        goes_on = response.status == 206 and _starts_at(response.headers.get("Content-Range"), have)
        with part.open("ab" if goes_on else "wb") as file:
            _copy(response, file, name, progress)


def _starts_at(content_range: str | None, position: int) -> bool:
    match = re.match(r"bytes (\d+)-", content_range or "")
    return match is not None and int(match[1]) == position


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, name: str, progress: Progress
) -> None:
    length = response.headers.get("Content-Length")
    done = file.tell()
    total = None if length is None else done + int(length)
    try:
        while chunk := _read(response):
            file.write(chunk)
            done += len(chunk)
            progress(name, done, total)
    finally:
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise _BrokenError(f"the connection broke off after {done} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:  # such as an ssl.SSLError
        raise _BrokenError(f"the connection broke off ({error})") from error


def _decompressed(path: Path) -> str:
    """SHA-256 of the decompressed bytes; of nothing where they cannot be decompressed."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return hashlib.sha256().hexdigest()
    return digest.hexdigest()


def _listed(folder: Path) -> str:
    """The hash of a folder's files, by name."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return sha256_of([f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in files])
