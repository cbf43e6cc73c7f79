"""VGGSound, its fifty classes, and Kinetics-Sounds: lists with the media of YouTube."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

from equimodal import data
from equimodal.data.datasets import kinetics_sounds, vggsound
from equimodal.data.media.rows import rows
from equimodal.errors import DataError
from fixtures.runs import one_epoch
from fixtures.trees import (
    SOUNDS,
    write_kinetics_sounds,
    write_lines,
    write_vggsound,
    write_vggsound50,
)


def test_an_epoch_of_vggsound(tmp_path: Path) -> None:
    write_vggsound(tmp_path)
    done = one_epoch("vggsound(size=32, validation=0.5)", tmp_path, tmp_path, audio=1, video=3)
    assert done["samples"] == {"train": 3, "val": 3, "test": 3}
    assert done["classes"] == list(SOUNDS)  # the comma is part of a name


def test_clips_are_found_padded_or_not_as_videos_or_as_wav_and_frames(tmp_path: Path) -> None:
    folder = write_vggsound(tmp_path)
    splits = data.load("vggsound", tmp_path, size=32, validation=0)
    kinds = [item[0].is_dir() for item in splits.train.items["video"]]  # type: ignore[attr-defined]
    assert kinds == [False, True] * 3
    assert [part.missing for part in (splits.train, splits.test)] == [{"audio": 0, "video": 0}] * 2
    (folder / "test" / "-_000000002_000002.mp4").unlink()
    with pytest.raises(
        DataError, match="1 of 9 samples in the lists are incomplete, such as -_000000002_000002"
    ):
        data.load("vggsound", tmp_path, validation=0)
    assert len(data.load("vggsound", tmp_path, validation=0, incomplete="drop").test) == 2


def test_an_epoch_of_vggsound50(tmp_path: Path) -> None:
    write_vggsound50(tmp_path)
    expression = "vggsound50(size=32, validation=0.5)"
    done = one_epoch(expression, tmp_path, tmp_path, audio=1, video=3)
    assert done["samples"] == {"train": 3, "val": 3, "test": 3}
    assert done["classes"] == list(SOUNDS)


def test_an_epoch_of_kinetics_sounds(tmp_path: Path) -> None:
    write_kinetics_sounds(tmp_path)
    expression = "kinetics_sounds(size=32, validation=0)"
    done = one_epoch(expression, tmp_path, tmp_path, "--select", "last", audio=1, video=3)
    assert done["samples"] == {"train": 31, "val": 0, "test": 2}


def test_rows_that_are_wrong(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "my_test.txt", ["-3Mwkq-7TV4_2,10,31"])
    for row, reason in (
        ("-3Mwkq-7TV4_2,10,31", "has the class '31'; it must be 0 to 30"),
        ("-3Mwkq-7TV4_2,9,3", "has '9' seconds"),
        ("-3Mwkq-7TV_2,10,3", "'-3Mwkq-7TV_2' is no clip"),
    ):
        write_lines(path, [row])
        with pytest.raises(DataError, match=reason):
            kinetics_sounds.labels(path)
    write_lines(tmp_path / "vggsound.csv", ["---g-f_I2yQ,1,people marching,val"])
    with pytest.raises(DataError, match="is no row; one looks like"):
        vggsound.labels(tmp_path)


def test_the_real_lists_of_vggsound(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "vggsound"
    listed = rows(folder / "test.csv", 2)
    assert len(listed) == 15446
    counts = Counter(label for _, label in listed)
    assert len(counts) == 309 and set(counts.values()) == {49, 50}
    assert sum("," in label for _, label in listed) == 1150
    assert len({vggsound.clip(folder, name) for name, _ in listed}) == 15446
    classes = rows(folder / "stat.csv", 3)
    assert {label for label, _, _ in classes} == set(counts) and len(classes) == 309
    assert sum(int(count) for _, count, _ in classes) == 199176
    assert len({group for *_, group in classes}) == 9


def test_the_real_lists_of_kinetics_sounds(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "kinetics_sounds"
    train, test = (kinetics_sounds.labels(folder / n) for n in kinetics_sounds.LISTS.values())
    assert [len(train), len(test)] == [14799, 2597]
    for listed, least, most in ((train, 197, 690), (test, 63, 92)):
        counts = Counter(label for _, label in listed)
        assert set(counts) == set(kinetics_sounds.CLASSES)
        assert (min(counts.values()), max(counts.values())) == (least, most)
    assert not {clip for clip, _ in train} & {clip for clip, _ in test}


def test_a_list_is_read_as_csv_and_not_split_at_commas(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["name", "label"], ["a", 'say "x", y'], [" b ", "z"]])
    assert rows(path, 2, header=("name", "label")) == [["a", 'say "x", y'], ["b", "z"]]
    assert rows(path, 2)[0] == ["name", "label"]
