from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

from equimodal import data
from equimodal.data.datasets import avsbench
from equimodal.errors import DataError
from fixtures.runs import one_epoch
from fixtures.trees import BENCH, write_avsbench, write_lines


def test_an_epoch_from_the_command_line(tmp_path: Path) -> None:
    write_avsbench(tmp_path)
    done = one_epoch("avsbench(size=32)", tmp_path, tmp_path, audio=1, video=3)
    assert done["samples"] == {"train": 4, "val": 2, "test": 2}
    assert done["classes"] == list(BENCH)


def test_frames_are_those_of_the_clip_and_not_its_masks(tmp_path: Path) -> None:
    write_avsbench(tmp_path)
    splits = data.load("avsbench", tmp_path, size=28, frames=5)
    frames = splits.test.sample(0).inputs["video"][:, 0, 0, 0] * 0.229 + 0.485
    assert (frames * 255 / 40).round().tolist() == [0, 1, 2, 3, 4]
    assert splits.val.items["video"][0][0].suffix == ".mp4"  # type: ignore[attr-defined]


def test_there_are_23_categories(tmp_path: Path) -> None:
    assert len(set(avsbench.CLASSES)) == 23
    path = write_lines(tmp_path / avsbench.META, ["name,start,category,split", "a,0,dogs,train"])
    with pytest.raises(DataError, match="a has the category 'dogs' in 'train'"):
        avsbench.labels(path)
