"""Files are whole: on a full disk, after a failure, after a kill at any moment, and written by two processes at a time."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from equimodal import files
from equimodal.errors import WriteError
from fixtures.disk import file_limit


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "state"
    files.write(path, "old")
    return path


def only_old(path: Path) -> bool:
    return path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("content", ["größer", "größer".encode()])
def test_a_file_is_replaced(old: Path, content: str | bytes, durable: bool) -> None:
    files.write(old, content, durable=durable)
    assert old.read_text("utf-8") == "größer"
    assert list(old.parent.iterdir()) == [old]


def test_a_file_may_be_read_by_whom_the_user_lets(old: Path) -> None:
    mask = os.umask(0o027)
    try:
        files.write(old, "new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


@pytest.mark.parametrize("letter", ["n", "深"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, letter: str) -> None:
    path = tmp_path / (letter * (255 // len(letter.encode())))
    files.write(path, "x")
    assert path.read_text() == "x"


def test_a_full_disk_leaves_the_old_file(old: Path) -> None:
    full = pytest.raises(WriteError, match=r"no room to write .*state.*free some space")
    with full, file_limit(1000):
        files.write(old, b"n" * 5000)
    assert only_old(old)


def test_a_folder_that_cannot_be_made_is_named(old: Path) -> None:
    with pytest.raises(WriteError, match=r"state/new cannot be written: Not a directory"):
        files.write(old / "new", b"x")
    with pytest.raises(WriteError, match=r"folder cannot be written: .*(Is a|not empty)"):
        files.write(old.parent, b"x")
    assert only_old(old) and list(old.parent.parent.iterdir()) == [old.parent]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of what is written"),
        KeyboardInterrupt(),
        gzip.BadGzipFile("cut off"),
        OSError(errno.EIO, "of what is read, perhaps"),
    ],
)
def test_what_fails_meanwhile_leaves_the_old_file(old: Path, error: BaseException) -> None:
    def work() -> None:
        with files.whole(old) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)) as raised:
        work()
    assert raised.value is error
    assert only_old(old)


def test_a_file_that_is_read_meanwhile_is_not_taken_for_the_one_that_is_written(old: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), files.whole(old) as part:
        part.write_bytes((old.parent / "source").read_bytes())
    assert only_old(old)


def test_a_folder_is_whole_too(tmp_path: Path) -> None:
    def work(*names: str) -> list[str]:
        with files.whole(tmp_path / "frames") as part:
            part.mkdir()
            for name in names:
                (part / name).write_text("x")
        return [path.name for path in tmp_path.rglob("*")]

    with pytest.raises(WriteError, match="frames cannot be written: No such file"):
        work("1", "2/3")
    assert list(tmp_path.iterdir()) == []
    assert work("1") == ["frames", "1"]


def killed(work: Callable[[], None]) -> bool:
    """Run it in a process that it kills."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_kill_leaves_the_old_file(old: Path) -> None:
    def work() -> None:
        with files.whole(old) as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed(work)
    assert old.read_bytes() == b"old"
    (left,) = set(old.parent.iterdir()) - {old}
    assert left.match(".state.*.part")  # what run folders and shards clear away


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    """As two reports of one run do: the file is always the whole of one of them."""
    file = tmp_path / "report.html"

    def write(what: bytes) -> None:
        for _ in range(30):
            files.write(file, what * 30_000)

    child = os.fork()
    if child == 0:
        try:
            write(b"theirs")
            os._exit(0)
        finally:
            os._exit(1)
    write(b"ours  ")
    assert os.waitpid(child, 0)[1] == 0
    assert file.read_bytes() in (b"theirs" * 30_000, b"ours  " * 30_000)
    assert list(tmp_path.iterdir()) == [file]


def test_two_may_write_one_file_in_one_process(old: Path) -> None:
    with files.whole(old) as first, files.whole(old) as second:
        first.write_text("first")
        second.write_text("second")
    assert old.read_text() == "first"


def test_lines_are_added_or_refused(old: Path) -> None:
    files.append(old, " and new\n")
    assert old.read_text() == "old and new\n"
    with pytest.raises(WriteError, match=r"no room to write .*state"), file_limit(1000):
        files.append(old, "n" * 5000)
    with pytest.raises(WriteError, match=r"gone/state cannot be written: No such file"):
        files.append(old.parent / "gone" / "state", "x")
