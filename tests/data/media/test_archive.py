from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from equimodal.cli import main
from equimodal.data.media.archive import unpack
from equimodal.errors import DataError, WriteError
from fixtures.disk import file_limit

GOOD = {"AVE_Dataset/testSet.txt": b"Bark&a&good&0&10\n", "AVE_Dataset/AVE/a.mp4": b"film" * 5000}


def write_archive(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("AVE_Dataset/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        packed.addfile(link)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_files_are_unpacked_and_stay(tmp_path: Path, name: str) -> None:
    archive, folder = write_archive(tmp_path / name, GOOD), tmp_path / "out"
    assert main(["data", "unpack", str(archive), "--data-root", str(folder)]) == 0
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {n: p.read_bytes() for n, p in there.items()} == GOOD
    cut = there["AVE_Dataset/AVE/a.mp4"]
    cut.write_bytes(b"half")
    before = there["AVE_Dataset/testSet.txt"].stat().st_mtime_ns
    assert unpack(archive, folder) == 2
    assert cut.read_bytes() == GOOD["AVE_Dataset/AVE/a.mp4"]
    assert there["AVE_Dataset/testSet.txt"].stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(
    "member", ["../secret.txt", "/tmp/secret.txt", "a/../../secret", "C:/a", "..\\b"]
)
def test_a_member_that_escapes_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, member: str
) -> None:
    archive = write_archive(tmp_path / name, {**GOOD, member: b"x"})
    with pytest.raises(DataError, match="leads out of .*; nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_links_that_are_there_are_not_written_through(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", GOOD)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "AVE_Dataset").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="through a link out of"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_damaged_archives_are_named(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / name, GOOD)
    archive.write_bytes(archive.read_bytes()[:90])
    with pytest.raises(DataError, match=f"{name} is cut off, damaged or no zip or tar archive"):
        unpack(archive, tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        unpack(tmp_path / "none.zip", tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_full_disk_is_told_and_leaves_no_part_of_a_file(tmp_path: Path, name: str) -> None:
    archive = write_archive(tmp_path / name, {"in/1": b"1", "in/2": b"2" * 5000})
    with pytest.raises(WriteError, match=r"no room to write .*in/2"), file_limit(1000):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["in", "1"]
