from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

from equimodal import data
from equimodal.data.datasets import _published as published
from equimodal.data.datasets import ave
from equimodal.errors import DataError
from fixtures.media import write_wav
from fixtures.runs import one_epoch
from fixtures.trees import write_ave, write_frames, write_lines


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ave")
    write_ave(root, ave.CLASSES)
    return root


def test_an_epoch_from_the_command_line(tree: Path, tmp_path: Path) -> None:
    done = one_epoch("ave(size=32)", tree, tmp_path, audio=1, video=3)
    assert done["samples"] == {"train": 29, "val": 5, "test": 5}
    assert done["classes"] == list(ave.CLASSES)


def test_clips_are_cut_to_their_events(tree: Path) -> None:
    splits = data.load("ave", tree, size=32, cache="off")
    assert dict(splits.test.shapes) == {"audio": (1, 257, 1004), "video": (4, 3, 32, 32)}
    whole = data.load("ave", tree, size=32, cut=False, cache="off")
    cut, full = (s.test.stored("video", 1) for s in (splits, whole))  # type: ignore[attr-defined]
    assert len(cut) == len(full) == 4
    assert (
        cut.float().mean((1, 2, 3))[0] > full.float().mean((1, 2, 3))[0] + 8
    )  # it begins a second later
    seconds = [len(s.test.stored("audio", 1)) / 16000 for s in (splits, whole)]  # type: ignore[attr-defined]
    assert seconds == [pytest.approx(2, abs=0.01), pytest.approx(3.1, abs=0.1)]
    assert len(splits.test.stored("audio", 0)) > 2.9 * 16000  # type: ignore[attr-defined]  # no duration: all of it


@pytest.mark.parametrize(
    ("audio", "shape"),
    [  # PMR, IBML and InfoBridge say so of AVE; OGM-GE's input is of three seconds wherever it is used
        ("pmr", (1, 257, 1004)),
        ("ibml", (1, 257, 1004)),
        ("infobridge", (1, 128, 128)),
        ("ogm_ge", (1, 257, 188)),
    ],
)
def test_inputs_of_the_papers(tree: Path, audio: str, shape: tuple[int, ...]) -> None:
    splits = data.load("ave", tree, size=32, audio=audio, cache="off")
    assert splits.test.shapes["audio"] == shape
    heard = splits.test.readers["audio"]  # type: ignore[attr-defined]
    assert heard.seconds == (3 if audio == "ogm_ge" else 10)
    assert (heard.rate, heard.form) == ((16000, "density") if shape[2] == 1004 else (22050, "stft"))


def test_frames_of_whole_clips_are_cut_as_their_sound_is(tmp_path: Path) -> None:
    folder = tmp_path / "AVE_Dataset"
    for part in ("train", "val", "test"):
        video = f"-{part}_events"
        write_lines(folder / f"{part}Set.txt", [f"{ave.CLASSES[0]}&{video}&good&2&4"])
        write_frames(folder / "Image-01-FPS" / f"{video}.mp4", 6)
        write_wav(folder / "audio" / f"{video}.wav", 6.0)
    readers = published.Look(frames=1, size=32).readers(published.audio_preset("pmr"))
    parts = [ave.listing(folder, "first", cut).items for cut in (True, False)]
    cut, whole = (readers["video"].decode(*items["video"][0]) for items in parts)  # type: ignore[misc]
    assert len(whole) == 6 and torch.equal(cut, whole[2:4])
    cut, whole = (readers["audio"].decode(*items["audio"][0]) for items in parts)  # type: ignore[misc]
    assert len(whole) == 6 * 16000 and torch.equal(cut, whole[32000:64000])


def test_videos_that_are_listed_twice(tree: Path) -> None:
    first = data.load("ave", tree, size=32)
    last = data.load("ave", tree, size=32, unique="last")
    every = data.load("ave", tree, size=32, unique="segments")
    assert [len(s.train) for s in (first, last, every)] == [29, 29, 30]
    assert [s.train.targets[2].item() for s in (first, last)] == [2, 3]
    assert every.train.targets[2:4].tolist() == [2, 3]
    assert torch.equal(every.val.targets, every.test.targets)


def test_rows_that_are_wrong(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "testSet.txt", ["Bark&abc&good&0&10", "Barks&abc&good&0&10"])
    with pytest.raises(
        DataError, match=r"testSet.txt row 2: 'Barks' is no class; did you mean 'Bark'"
    ):
        ave.events(path)
    write_lines(path, ["Bark&abc&good&0&ten"])
    with pytest.raises(DataError, match="row 1: start and end are '0' and 'ten'"):
        ave.events(path)
    write_lines(path, ["Bark,abc,good,0,10"])
    with pytest.raises(DataError, match="line 1 has 1 value between '&'; it must have 5"):
        ave.events(path)


def test_the_real_lists(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "ave"
    parts = {part: ave.events(folder / name) for part, name in ave.LISTS.items()}
    every = ave.events(folder / "Annotations.txt")
    assert [len(p) for p in parts.values()] == [3339, 402, 402] and len(every) == 4143
    assert len({e.video for e in every}) == 4097
    videos = {part: {e.video for e in p} for part, p in parts.items()}
    assert [len(ave.once(p, "first")) for p in parts.values()] == [3312, 401, 402]
    assert [len(videos["train"] & videos[part]) for part in ("test", "val")] == [
        8,
        10,
    ]  # as published
    assert tuple(dict.fromkeys(e.label for e in parts["test"])) == ave.CLASSES
    whole = [e for e in every if e.stop <= e.start]
    assert [(e.label, e.video) for e in whole] == [("Church bell", "VWi2ENBuTbw")]
    assert sum(e.stop - e.start == 10 for e in every) == 2750
