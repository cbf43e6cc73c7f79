"""Data that lie in files: read when asked for, kept once decoded, prepared ahead by other processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import data
from equimodal.cli import main
from equimodal.data.filed import Filed
from equimodal.data.media.image import Image
from equimodal.data.prepare import prepare
from equimodal.errors import ConfigError, DataError
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
