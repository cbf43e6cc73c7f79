"""Being the one process that works in a folder. The system releases a lock when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import ConfigError

__all__ = ["alone", "alone_in"]


@contextlib.contextmanager
def alone(path: Path, busy: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock.

    Args:
        path: of the lock's file. It stays, as a process that is about to lock a file that was deleted would not see the next.
        busy: the refusal, given the id of the process that holds it.

    Raises:
        ConfigError: another process holds it, or it cannot be held here.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(busy(os.pread(file, 20, 0).decode() or "unknown")) from None
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be locked ({error.strerror}): choose a folder on a file system that has locks."
            ) from None
        with contextlib.suppress(OSError):  # it only says who; the disk may be full
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    with _released(file):
        yield file


@contextlib.contextmanager
def alone_in(folder: Path, busy: str) -> Iterator[None]:
    """Hold a folder by itself, so that it holds no file of a lock; not guarded where the file system has no such locks.

    Args:
        folder: that is there.
        busy: the refusal.

    Raises:
        ConfigError: another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    with _released(handle):
        with contextlib.suppress(OSError):  # of some networks; to train there is better than not to
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(busy) from None
        yield


@contextlib.contextmanager
def _released(handle: int) -> Iterator[None]:
    """Within, a lock may be taken; after it none is held, which closing alone does not do while a forked child has it open."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
