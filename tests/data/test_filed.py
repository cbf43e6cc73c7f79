"""Data that lie in files: read when asked for, kept once decoded, prepared ahead by other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import data
from equimodal.cli import main
from equimodal.data.filed import Filed
from equimodal.data.media.image import Image
from equimodal.data.media.video import Video
from equimodal.data.prepare import prepare
from equimodal.errors import ConfigError, DataError
from fixtures.disk import file_limit
from fixtures.media import write_image
from fixtures.published import write_mfeat
from fixtures.trees import write_food101


def pictures(folder: Path, count: int = 6, **options: object) -> Filed:
    paths = [write_image(folder / f"{i}.png", colour=(40 * i, 0, 0)) for i in range(count)]
    items = {"image": [(path,) for path in paths]}
    names = [path.stem for path in paths]
    return Filed(items, {"image": Image(8)}, [i % 2 for i in range(count)], "ab", names, **options)  # type: ignore[arg-type]


def reds(part: data.Dataset) -> list[int]:
    values = part.fetch(range(len(part))).inputs["image"][:, 0, 0, 0]  # type: ignore[index]
    return (255 * (values * 0.229 + 0.485)).round().int().tolist()


def test_a_subset_keeps_its_samples_and_augments_by_its_own_positions(tmp_path: Path) -> None:
    every = pictures(tmp_path, seed=3)
    part = every.subset([4, 1])
    assert reds(part) == [160, 40] and part.targets.tolist() == [0, 1]
    assert part.names == ["4", "1"]
    moving = part.seen(augment=True)
    assert torch.equal(moving.sample(1, 2).inputs["image"], moving.sample(1, 2).inputs["image"])
    with pytest.raises(IndexError):
        part.sample(2)


def test_what_is_kept_is_made_anew_when_its_file_changes_or_is_damaged(tmp_path: Path) -> None:
    every = pictures(tmp_path / "in", cache=tmp_path / "kept")
    assert reds(every) == [0, 40, 80, 120, 160, 200]
    kept = list((tmp_path / "kept").rglob("*.npy"))
    assert len(kept) == 6
    for path in kept[:3]:
        path.write_bytes(b"damaged")
    write_image(tmp_path / "in" / "5.png", (50, 40), (10, 0, 0))
    assert reds(every) == [0, 40, 80, 120, 160, 10]
    assert not list((tmp_path / "kept").rglob("*.part"))


def test_a_full_disk_costs_time_and_not_the_run(tmp_path: Path) -> None:
    every = pictures(tmp_path / "in", cache=tmp_path / "kept")
    with file_limit(100):
        assert reds(every) == [0, 40, 80, 120, 160, 200]
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]


@pytest.mark.processes
def test_two_commands_may_decode_into_one_folder(tmp_path: Path) -> None:
    """As processes that train do: each file is the whole of what one of them made."""
    write_food101(tmp_path)
    command = [sys.executable, "-m", "equimodal", "data", "prepare", "food101(size=8)"]
    running = [
        subprocess.Popen([*command, f"--data-root={tmp_path}"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert said[0] == said[1] and "samples are decoded in" in said[0]
    assert not list(tmp_path.rglob("*.part"))


def test_files_of_one_name_size_and_time_are_kept_apart(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / part / "dog" / "1.bmp", colour=(red, 0, 0))
        for part, red in (("train", 10), ("test", 90))
    ]
    for path in paths:
        os.utime(path, (0, 0))
    assert len({path.stat().st_size for path in paths}) == 1
    items = {"image": [(path,) for path in paths]}
    every = Filed(items, {"image": Image(8)}, [0, 1], "ab", "xy", cache=tmp_path / "kept")
    assert reds(every) == [10, 90]


def test_frames_that_change_in_their_folder_are_read_anew(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    for i in range(3):
        write_image(clip / f"{i}.bmp", (8, 8), (10, 10, 10))
    reader = Video(frames=3, size=8)
    every = Filed({"v": [(clip,)]}, {"v": reader}, [0], "a", "x", cache=tmp_path / "kept")
    assert every.stored("v", 0)[:, 0, 0, 0].tolist() == [10, 10, 10]
    before = clip.stat().st_mtime_ns
    write_image(clip / "1.bmp", (8, 8), (70, 70, 70))
    os.utime(clip / "1.bmp", (9, 9))  # a clock may be coarse
    assert clip.stat().st_mtime_ns == before
    assert every.stored("v", 0)[:, 0, 0, 0].tolist() == [10, 70, 10]


def test_what_is_kept_moves_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "old", cache=tmp_path / "old" / "kept").prepare()
    (tmp_path / "old").rename(tmp_path / "new")
    paths = [tmp_path / "new" / f"{i}.png" for i in range(6)]
    items, cache = {"image": [(path,) for path in paths]}, tmp_path / "new" / "kept"
    Filed(items, {"image": Image(8)}, [0] * 6, "a", "012345", cache=cache).prepare()
    monkeypatch.chdir(tmp_path)
    items = {"image": [(path.relative_to(tmp_path),) for path in paths]}
    Filed(items, {"image": Image(8)}, [0] * 6, "a", "012345", cache=Path("new/kept")).prepare()
    assert len(list(cache.rglob("*.npy"))) == 6


def test_preparing_keeps_everything_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    every = pictures(tmp_path / "in", cache=tmp_path / "kept")
    (tmp_path / "in" / "2.png").write_bytes(b"no image")
    said: list[tuple[int, int]] = []
    failed = every.prepare(workers=1, progress=lambda done, of: said.append((done, of)))
    assert list(failed) == ["2"] and "2.png is not an image" in failed["2"]
    assert said == [(i, 6) for i in range(1, 7)]
    assert len(list((tmp_path / "kept").rglob("*.npy"))) == 5
    with pytest.raises(DataError, match=r"2.png is not an image"):
        every.sample(2)


def test_a_file_that_disappears_is_named(tmp_path: Path) -> None:
    every = pictures(tmp_path)
    (tmp_path / "3.png").unlink()
    with pytest.raises(DataError, match=r"3.png does not exist"):
        every.fetch(range(6))


def test_workers_read_the_same(tmp_path: Path) -> None:
    every = pictures(tmp_path, cache=tmp_path / "kept", augment=True)
    here, there = (list(data.Loader(every, 3, workers=n).iterate(1)) for n in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.inputs["image"], other.inputs["image"])  # type: ignore[arg-type]


def test_the_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    every = pictures(tmp_path)
    assert every.fingerprint() == pictures(tmp_path).fingerprint()
    assert every.fingerprint() != every.subset([1, 0]).fingerprint()
    write_image(tmp_path / "0.png", (90, 90))
    assert every.fingerprint() != pictures(tmp_path, 5).fingerprint()


def test_the_fingerprint_sees_into_folders_of_frames(tmp_path: Path) -> None:
    frames = tmp_path / "clip"
    for i in range(3):
        write_image(frames / f"{i}.png", (20, 20), (10, 0, 0))

    def fingerprint() -> str:
        items = {"image": [(frames,)]}
        return Filed(items, {"image": Image(8)}, [0], ("x",), ("clip",)).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    write_image(frames / "1.png", (40, 40), (10, 90, 0))
    after = fingerprint()
    assert after != before
    (frames / "2.png").unlink()
    assert fingerprint() not in (before, after)


def test_prepare_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_food101(tmp_path)
    command = ["data", "prepare", "food101(size=16)", "--data-root", str(tmp_path)]
    assert main(command) == 0
    assert "18 samples are decoded in" in capsys.readouterr().out
    kept = folder / ".equimodal-cache" / "food101"
    assert len(list(kept.rglob("*.npy"))) == 18
    (folder / "images" / "test" / "sushi" / "sushi_1.jpg").write_bytes(b"no image")
    assert main(command) == 2
    assert "1 of 18 samples cannot be read" in capsys.readouterr().err
    write_mfeat(tmp_path)
    with pytest.raises(ConfigError, match="nothing to prepare"):
        prepare(data.load("mfeat", tmp_path, validation=0))
    with pytest.raises(ConfigError, match="keeps nothing"):
        prepare(data.load("food101", tmp_path, cache="off"))
