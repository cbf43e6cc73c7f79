"""Locks: one process at a time, by name; gone with their process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

from equimodal.errors import ConfigError
from equimodal.locks import alone, alone_in


def busy(process: str) -> str:
    return f"Process {process} is at work."


def test_one_process_at_a_time_which_is_named(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "lock", busy),
        pytest.raises(ConfigError, match=f"^Process {os.getpid()} is at work.$"),
        alone(tmp_path / "lock", busy),
    ):
        raise AssertionError("two are at work")
    with alone(tmp_path / "lock", busy), alone(tmp_path / "other", busy):
        pass


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with alone(tmp_path / "lock", busy):
            os.write(tell, b".")
            signal.pause()
    os.read(ready, 1)
    with (
        pytest.raises(ConfigError, match=f"Process {child} is"),
        alone(tmp_path / "lock", busy),
    ):
        raise AssertionError("two are at work")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with alone(tmp_path / "lock", busy):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_folder_is_held_without_a_file_in_it(tmp_path: Path) -> None:
    with alone_in(tmp_path, "It is taken."):
        assert not list(tmp_path.iterdir())
        with pytest.raises(ConfigError, match="^It is taken.$"), alone_in(tmp_path, "It is taken."):
            raise AssertionError("two are at work")
    with alone_in(tmp_path, "It is taken."):
        pass


def test_a_lock_is_free_although_a_forked_child_lives_on(tmp_path: Path) -> None:
    with alone_in(tmp_path, "It is taken."), alone(tmp_path / "lock", busy):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with alone_in(tmp_path, "It is taken."), alone(tmp_path / "lock", busy):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_system_without_locks_is_not_guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_in(tmp_path, "It is taken."), alone_in(tmp_path, "It is taken."):
        pass


def test_a_place_without_locks_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"gone/lock cannot be written: No such file"),
        alone(tmp_path / "gone" / "lock", busy),
    ):
        raise AssertionError("there is no lock")
