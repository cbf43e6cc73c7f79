from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("PIL", reason="needs the extra media")

from equimodal.data.media.audio import waveform
from equimodal.data.media.video import Video, choose, frame_times, frames_at, natural
from equimodal.errors import ConfigError, DataError
from fixtures.media import brightness, write_image, write_video

SUFFIXES = ("flv", "mp4")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {s: write_video(folder / f"film.{s}", 5.0) for s in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_are_those_shown_at_the_times(films: dict[str, Path], suffix: str) -> None:
    times = [
        0.0,
        0.09,
        0.1,
        1.25,
        2.3,
        2.4,
        4.99,
        4.99,
    ]  # within, at the start of, and across groups of 12
    shown = frames_at(films[suffix], times)
    found = shown.float().mean((1, 2, 3))
    expected = torch.tensor([float(brightness(int(10 * t + 1e-9))) for t in times])
    assert (found - expected).abs().max() < 1.5  # a step is 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_frame_per_second_is_kept(films: dict[str, Path], suffix: str) -> None:
    stored = Video(frames=3, size=28).decode(films[suffix])
    assert stored.shape == (5, 3, 32, 43) and stored.dtype == torch.uint8
    found = stored.float().mean((1, 2, 3))
    assert (found - torch.tensor([float(brightness(10 * i)) for i in range(5)])).abs().max() < 1.5
    part = Video(frames=3, size=28).decode(films[suffix], 2.0, 4.0)  # two seconds: three, evenly
    found = part.float().mean((1, 2, 3))
    at = [20 + int(10 * (i + 0.5) * 2 / 3) for i in range(3)]
    assert (found - torch.tensor([float(brightness(i)) for i in at])).abs().max() < 1.5


def test_every_third_of_a_clip_gives_one_frame() -> None:
    assert choose(9, 3, None) == [1, 4, 7]
    assert choose(3, 3, None) == [0, 1, 2]
    assert choose(2, 3, None) == [0, 1, 1]
    rng = np.random.default_rng(0)
    drawn = np.array([choose(9, 3, rng) for _ in range(200)])
    assert [set(column) for column in drawn.T] == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]


def test_short_clips_get_the_least_number_of_frames() -> None:
    assert frame_times(10.0, 1.0, 3) == [float(i) for i in range(10)]
    assert frame_times(2.03, 1.0, 4) == pytest.approx([0.25375, 0.76125, 1.26875, 1.77625])


def test_training_crops_all_frames_alike_and_test_squeezes_the_whole(
    films: dict[str, Path],
) -> None:
    reader = Video(frames=2, size=16, keep=-1)
    stored = torch.arange(4 * 3 * 48 * 64).reshape(4, 3, 48, 64).remainder(251).to(torch.uint8)
    stored[1:] = stored[0]
    seen = reader.finish(stored, np.random.default_rng(1))
    assert torch.equal(seen[0], seen[1])
    each = Video(frames=2, size=16, keep=-1, crop="frame")
    seen = each.finish(stored, np.random.default_rng(1))
    assert not torch.equal(seen[0], seen[1])
    again = [reader.finish(stored, np.random.default_rng(5)) for _ in range(2)]
    assert torch.equal(*again)
    white = torch.full((1, 3, 40, 40), 255, dtype=torch.uint8)
    scaled = reader.finish(white)[0, :, 0, 0]
    assert scaled == pytest.approx(torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_a_folder_of_frames_is_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        write_image(tmp_path / f"frame_{number}.png", colour=(number, number, number))
    (tmp_path / "notes.txt").write_text("not a frame")
    stored = Video(frames=3, size=28).decode(tmp_path)
    assert stored[:, 0, 0, 0].tolist() == [1, 2, 10]
    names = [Path(n) for n in ("a_10.png", "a_9.png")]
    assert [p.name for p in sorted(names, key=natural)][-2:] == ["a_9.png", "a_10.png"]


@pytest.mark.parametrize(
    ("above", "start", "stop", "expected"),
    [
        ("Image-01-FPS", 6.0, 9.0, [6, 7, 8]),
        ("Image-01-FPS", 0.0, 10.0, list(range(10))),
        ("Image-01-FPS", 7.5, None, [7, 8, 9]),
        ("Image-01-FPS", 8.0, 99.0, [8, 9]),
        ("frames_2fps", 1.5, 3.0, [3, 4, 5]),
        ("fps", 0.0, None, list(range(10))),
    ],
)
def test_a_part_of_a_folder_of_frames_is_cut_by_their_rate(
    tmp_path: Path, above: str, start: float, stop: float | None, expected: list[int]
) -> None:
    for i in range(10):
        write_image(tmp_path / above / "clip.mp4" / f"{i}.png", (8, 8), (i, i, i))
    stored = Video(frames=3, size=28).decode(tmp_path / above / "clip.mp4", start, stop)
    assert stored[:, 0, 0, 0].tolist() == expected


def test_a_part_that_a_folder_of_frames_has_not_is_refused(tmp_path: Path) -> None:
    clip, known = tmp_path / "clip", tmp_path / "Image-04-FPS" / "clip"
    for folder in (clip, known):
        for i in range(10):
            write_image(folder / f"{i}.png", (8, 8))
    with pytest.raises(DataError, match="clip is a folder of frames, and how many make a second"):
        Video().decode(clip, 0.0, 2.0)
    with pytest.raises(DataError, match="no picture after 3 s: 10 frames, 4 in a second, are 2.5"):
        Video().decode(known, 3.0, 4.0)


def test_what_is_damaged_is_refused_by_name(tmp_path: Path, films: dict[str, Path]) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(films["mp4"].read_bytes()[:4000])  # its index, at the end, is gone
    noise = tmp_path / "noise.flv"
    noise.write_bytes(bytes(range(256)) * 20)
    silent = write_video(tmp_path / "silent.mp4", 0.5, sound=False)
    blind = write_video(tmp_path / "blind.mp4", 0.5, picture=False)
    pointer = tmp_path / "pointer.flv"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    reader = Video()
    for path, reason in (
        (cut, "cut.mp4 is cut off, damaged or no video"),
        (noise, "noise.flv is cut off, damaged or no video"),
        (blind, "blind.mp4 has no picture: it has sound only"),
        (pointer, "pointer.flv is a git-LFS pointer"),
        (tmp_path / "empty.mp4", "empty.mp4 is empty"),
        (tmp_path / "none.mp4", "none.mp4 does not exist"),
        (tmp_path / "folder", "folder has no images"),
    ):
        with pytest.raises(DataError, match=reason):
            reader.decode(path)
    with pytest.raises(DataError, match=r"silent.mp4 has no sound"):
        waveform(silent)
    with pytest.raises(DataError, match=r"cut.mp4 is cut off"):
        waveform(cut)
    with pytest.raises(DataError, match="has no picture after 9 s: it is 5.0 s long"):
        reader.decode(films["mp4"], 9.0, 10.0)


def test_a_film_whose_end_is_missing_is_refused(tmp_path: Path, films: dict[str, Path]) -> None:
    import av

    whole = tmp_path / "front.mp4"  # with its index at the front, as sites publish them
    with (
        av.open(str(films["mp4"])) as old,
        av.open(str(whole), "w", options={"movflags": "faststart"}) as new,
    ):
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    assert len(Video().decode(whole)) == 5
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"front.mp4 is cut off: 2.\d of 5.0 s are there"):
        Video().decode(whole)
    with pytest.raises(DataError, match=r"front.mp4 is cut off"):
        waveform(whole)
    flash = tmp_path / "half.flv"
    content = films["flv"].read_bytes()
    flash.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"half.flv is cut off"):
        Video().decode(flash)


def test_options_that_cannot_be() -> None:
    for options in ({"frames": 0}, {"fps": 0}, {"rule": "all"}, {"crop": "centre"}, {"size": 0}):
        with pytest.raises(ConfigError):
            Video(**options)  # type: ignore[arg-type]
