"""Files that are whole: what is written lies beside its place until it is done, so that a kill at any moment leaves the old
or the new, never a part of it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import WriteError

__all__ = ["append", "publish", "whole", "write"]

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


def write(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write a file; arguments and refusals are those of `whole`."""
    with whole(path, durable=durable) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A place to write a file or a folder to, which becomes `path` when the block ends and is removed when it fails.

    Several processes may write one path at a time: it is always the whole of one of them.

    Args:
        path: what is to be written; its folder is made if it is not there.
        durable: whether it is flushed to the disk first. False is faster for many small files that can be made again, of
            which the last may be lost when the power is.

    Raises:
        WriteError: the disk is full, or it cannot be written.
    """
    # Not from the process's id, which another machine may have too; names may be as long as the system allows.
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        with suppress(FileExistsError):  # where it is a file, opening what is in it says so
            part.parent.mkdir(parents=True)
        yield part
        publish(part, path, durable=durable)
    except OSError as error:
        if not _is_about(error, part):
            raise
        raise WriteError(_refusal(path, error)) from error
    finally:
        _remove(part)


def publish(part: Path, path: Path, *, durable: bool = True) -> None:
    """Give a file or a folder that is done its name.

    Raises:
        OSError: it cannot be flushed or renamed.
    """
    if durable:
        _flush(part)
    os.replace(part, path)
    if durable:
        _flush(path.parent)


def append(path: Path, line: str) -> None:
    """Add to a file, on the disk when this returns; a kill may leave a part of the line, at the file's end.

    Raises:
        WriteError: as `whole`.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(_refusal(path, error)) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):  # it is there no longer, or never was
        part.unlink()


def _is_about(error: OSError, part: Path) -> bool:
    """Whether writing failed, and not the reading of what is written, which names another file or is no error of the system."""
    if error.filename is None:
        # Of another one, as of a disk that fails, it is not known which of the files it is about.
        return error.errno in _FULL
    named = Path(str(error.filename))
    return named.is_relative_to(part) or part.is_relative_to(named)


def _refusal(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return (
            f"There is no room to write {path} ({error.strerror}): free some space, then resume or give the command again; "
            "what was written before is whole."
        )
    return f"{path} cannot be written: {error.strerror}."
