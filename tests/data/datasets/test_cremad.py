from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

from equimodal import data
from equimodal.data.check import check
from equimodal.data.datasets import cremad
from equimodal.errors import ConfigError, DataError
from fixtures.runs import one_epoch
from fixtures.trees import write_cremad, write_lines


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cremad")
    write_cremad(root)
    return root


def test_an_epoch_from_the_command_line(tree: Path, tmp_path: Path) -> None:
    done = one_epoch("cremad(size=32, frames=2, validation=0.5)", tree, tmp_path, audio=1, video=3)
    assert done["samples"] == {"train": 6, "val": 6, "test": 6}
    assert done["classes"] == ["NEU", "HAP", "SAD", "FEA", "DIS", "ANG"]


def test_shapes_labels_and_augmentation(tree: Path) -> None:
    splits = data.load("cremad", tree, size=32, validation=0)
    assert dict(splits.train.shapes) == {"audio": (1, 257, 188), "video": (3, 3, 32, 32)}
    assert splits.train.targets.tolist() == [*range(6), *range(6)]
    first, again, later = (splits.train.sample(0, epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.inputs["video"], again.inputs["video"])
    assert not torch.equal(first.inputs["video"], later.inputs["video"])
    assert torch.equal(first.inputs["audio"], later.inputs["audio"])
    still = [splits.test.sample(0, epoch).inputs["video"] for epoch in (0, 1)]
    assert torch.equal(*still)


def test_what_was_asked_for_is_recorded(tree: Path) -> None:
    asked = {"ids": "sorted", "audio": "pmr", "frames": 2, "size": 32, "crop": "none", "fps": 2.0}
    asked |= {"incomplete": "drop", "validation": 0.5, "seed": 3}
    recipe = data.load("cremad", tree, **asked).recipe
    assert {name: recipe[name] for name in asked} == asked
    assert recipe["split"] == "ogm_ge" and recipe["modalities"] == ("audio", "video")


def test_the_lists_of_mla_are_another_draw(tree: Path) -> None:
    splits = data.load("cremad", tree, split="mla", size=32, validation=0, cache="off")
    assert [len(splits.train), len(splits.test)] == [12, 6]
    assert {name.split("_")[0] for name in splits.test.names} == {"1001"}  # type: ignore[attr-defined]
    assert splits.test.targets.tolist() == [*range(6)]


def test_what_was_decoded_is_kept_and_gives_the_same(tree: Path) -> None:
    plain = data.load("cremad", tree, size=32, validation=0, cache="off")
    kept = data.load("cremad", tree, size=32, validation=0)
    assert kept.train.prepare() == {}  # type: ignore[attr-defined]
    files = list((tree / "CREMA-D" / ".equimodal-cache" / "cremad").rglob("*.npy"))
    assert len(files) >= 2 * 12
    for row in (0, 7):
        for name in ("audio", "video"):
            expected = plain.train.sample(row, 3).inputs[name]
            assert torch.equal(kept.train.sample(row, 3).inputs[name], expected)


def test_no_actor_is_on_both_sides_of_the_split_by_actor(tree: Path) -> None:
    splits = data.load("cremad", tree, split="actors", size=32, validation=0.5)
    actors = [{n.split("_")[0] for n in part.names} for part in splits.parts.values()]  # type: ignore[attr-defined]
    assert [len(a) for a in actors] == [1, 1, 1]
    assert len(set.union(*actors)) == 3


def test_incomplete_and_damaged_clips(tmp_path: Path) -> None:
    folder = write_cremad(tmp_path)
    lost = folder / "VideoFlash" / "1001_IEO_HAP_XX.flv"
    lost.unlink()
    with pytest.raises(
        DataError,
        match="1 of 18 samples in the lists are incomplete, such as 1001_IEO_HAP_XX: no file for video",
    ):
        data.load("cremad", tmp_path, validation=0)
    splits = data.load("cremad", tmp_path, validation=0, incomplete="drop")
    assert len(splits.train) == 11 and splits.left_out == {"1001_IEO_HAP_XX": "no file for video"}
    splits = data.load("cremad", tmp_path, validation=0, incomplete="keep")
    assert splits.train.missing == {"audio": 0, "video": pytest.approx(1 / 12)}
    broken = folder / "VideoFlash" / "1002_IEO_HAP_XX.flv"
    broken.write_bytes(broken.read_bytes()[:100])
    options = {"validation": 0, "size": 32, "incomplete": "keep"}
    with pytest.raises(DataError, match=r"1002_IEO_HAP_XX.flv"):
        data.load("cremad", tmp_path, **options).train.fetch(range(12))
    splits = data.load("cremad", tmp_path, **options, unreadable="drop")
    assert set(splits.left_out) == {"1002_IEO_HAP_XX"} and len(splits.train) == 11
    report = check("cremad", tmp_path)
    assert list(report.unreadable) == [broken]


def test_lists_that_are_wrong(tmp_path: Path) -> None:
    folder = write_cremad(tmp_path, actors=(1001, 1002))
    with pytest.raises(ConfigError, match="split has no value 'clips'"):
        data.load("cremad", tmp_path, split="clips")
    write_lines(folder / "test.csv", ["1002_IEO_NEU_XX,HAP"])
    with pytest.raises(
        DataError, match=r"test.csv: '1002_IEO_NEU_XX' with the label 'HAP' is no clip"
    ):
        data.load("cremad", tmp_path)
    (folder / "test.csv").unlink()
    with pytest.raises(DataError, match=r"has no test.csv: CREMA-D has no split of its own"):
        data.load("cremad", tmp_path)


def test_a_folder_without_clips_is_said_to_have_none(tmp_path: Path) -> None:
    """And not to lack a list, which would be the next thing to miss."""
    write_lines(tmp_path / "CREMA-D/readme.txt", ["nothing yet"])
    for split in ("ogm_ge", "actors"):
        with pytest.raises(DataError, match=r"has no clips such as CREMA-D/VideoFlash/1001_IEO"):
            data.load("cremad", tmp_path, split=split)


def test_the_real_lists(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "cremad"
    listed = cremad.listing(folder, "ogm_ge")
    counts = {part: Counter() for part in ("train", "test")}
    for label, part in zip(listed.labels, listed.parts, strict=True):
        counts[part][label] += 1
    assert counts["train"] == {
        "ANG": 1166,
        "HAP": 1148,
        "DIS": 1142,
        "FEA": 1138,
        "SAD": 1131,
        "NEU": 973,
    }
    assert counts["test"] == {
        "SAD": 140,
        "FEA": 133,
        "DIS": 129,
        "HAP": 123,
        "NEU": 114,
        "ANG": 105,
    }
    assert len(set(listed.names)) == 7442
    parts = {
        part: {
            n.split("_")[0] for n, p in zip(listed.names, listed.parts, strict=True) if p == part
        }
        for part in counts
    }
    assert len(parts["train"]) == len(parts["test"]) == 91  # the leak that the docs name
    assert cremad.ORDERS["ibml"] == tuple(
        dict.fromkeys(
            n.split("_")[2] for n, p in zip(listed.names, listed.parts, strict=True) if p == "test"
        )
    )
