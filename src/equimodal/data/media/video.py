"""Frames of videos, by time stamp: PyAV decodes what is needed for them and skips the rest."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigError, DataError
from .container import opened, refuse_cut
from .image import IMAGE_SUFFIXES, Crop, check_look, kept, look, open_image
from .reader import Reader, check_span

__all__ = ["VIDEO_SUFFIXES", "Video", "choose", "frame_times", "frames_at", "natural"]

VIDEO_SUFFIXES = (".mp4", ".flv", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg")
RATE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)[-_ ]?fps\b", re.IGNORECASE)


@dataclass(frozen=True)
class Video(Reader):
    """Frames of a video, or of a folder of images, as [frames, 3, size, size], normalised as images are.

    One frame per second is kept, by time stamp. Of those, `frames` are seen: one from each of as many equal stretches of
    the clip, at random inside it in training, its middle in validation and test. All images of a folder are kept; a part of
    it can be cut out where a folder above it, such as ``Image-01-FPS``, says how many make a second.

    Args:
        frames: how many are seen.
        size: pixels of a side.
        rule: fps: keep the frames at 0, 1/fps, 2/fps, ... seconds; even: keep only the middle frame of each stretch.
        fps: frames per second that are kept.
        minimum: a clip too short for so many gets so many, evenly spaced; 0: as many as are seen.
        crop: in training random (one crop for all frames), frame (one for each), or none (the whole frame, as in test).
        flip: whether clips are mirrored in training, half of the time.
        keep: larger frames are kept with a shorter side of so many pixels; 0: size · 8 / 7; -1: as they are.

    Raises:
        ConfigError: an option that cannot be.
    """

    images: ClassVar[bool] = True

    frames: int = 3
    size: int = 224
    rule: Literal["fps", "even"] = "fps"
    fps: float = 1.0
    minimum: int = 0
    crop: Crop = "random"
    flip: bool = True
    keep: int = 0

    def __post_init__(self) -> None:
        check_look(self.size, self.crop, self.keep)
        if self.frames < 1 or self.fps <= 0 or self.minimum < 0:
            raise ConfigError(
                f"frames must be at least 1, fps above 0, minimum at least 0; here {self.frames}, {self.fps}, {self.minimum}."
            )
        if self.rule not in ("fps", "even"):
            raise ConfigError(f"rule must be fps or even; here {self.rule!r}.")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, 3, self.size, self.size)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("video", self.rule, self.fps, self._least, kept(self.size, self.keep))

    @property
    def _least(self) -> int:
        return self.minimum or self.frames

    def decode(self, path: Path, start: float = 0.0, stop: float | None = None) -> Tensor:
        """[kept frames, 3, H, W], bytes; `start` and `stop` in seconds cut out a part.

        Raises:
            DataError: the file cannot be read, or is shorter; the start is below 0 or not before the stop; or a part is asked
                for of a folder that is under none whose name says the frames per second.
        """
        check_span(path, start, stop)
        side = kept(self.size, self.keep)
        if path.is_dir():
            return _folder(path, start, stop, side)
        fps = self.fps if self.rule == "fps" else None
        return _decode(path, fps, self._least, start, stop, side)

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        chosen = stored[choose(len(stored), self.frames, rng)]
        return look(chosen, self.size, self.crop, self.flip, rng)


def choose(count: int, frames: int, rng: np.random.Generator | None) -> list[int]:
    """Positions, in order, of one of `count` frames from each of `frames` equal stretches: at random, or the middle one."""
    inside = np.full(frames, 0.5) if rng is None else rng.random(frames)
    at = (np.arange(frames) + inside) * count / frames
    return [min(int(position), count - 1) for position in at]


def frame_times(length: float, fps: float | None, least: int) -> list[float]:
    """Seconds at which frames are kept of a clip: 0, 1/fps, ..., or the middles of `least` stretches if that is more.

    >>> frame_times(2.5, 1.0, 3), frame_times(1.0, 1.0, 2), frame_times(9.0, None, 3)
    ([0.0, 1.0, 2.0], [0.25, 0.75], [1.5, 4.5, 7.5])
    """
    count = 0 if fps is None else int(np.ceil(length * fps - 1e-6))
    if fps is None or count < least:
        return [(i + 0.5) * length / least for i in range(least)]
    return [i / fps for i in range(count)]


def natural(path: Path) -> tuple[object, ...]:
    """A key by which frame 10 comes after frame 9, however they are numbered."""
    return tuple((int(t), "") if t.isdigit() else (-1, t) for t in re.split(r"(\d+)", path.name))


def _folder(path: Path, start: float, stop: float | None, side: int | None) -> Tensor:
    files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise DataError(f"{path} has no images; it should hold the frames of a clip.")
    files.sort(key=natural)
    if start or stop is not None:
        files = _part(path, files, start, stop)
    frames = [open_image(file, 3, side) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise DataError(f"{file} has another size than the first frame of its clip.")
    return torch.stack(frames)


def _part(path: Path, files: list[Path], start: float, stop: float | None) -> list[Path]:
    """The frames that are shown between two times."""
    fps = _rate(path)
    if fps is None:
        raise DataError(
            f"{path} is a folder of frames, and how many make a second is not known, so that no part of it can be cut out: "
            "say it in the name of a folder above it, such as Image-01-FPS, or use whole clips."
        )
    first = math.floor(start * fps + 1e-6)  # that is still shown at the start
    part = files[first : None if stop is None else math.ceil(stop * fps - 1e-6)]
    if not part:
        raise DataError(
            f"{path} has no picture after {start:g} s: {len(files)} frames, {fps:g} in a second, are "
            f"{len(files) / fps:.1f} s long."
        )
    return part


def _rate(path: Path) -> float | None:
    """Frames per second, by the name of the nearest folder that says it."""
    for folder in (path, *path.parents):
        match = RATE.search(folder.name)
        if match and float(match[1]):
            return float(match[1])
    return None


def frames_at(path: Path, times: Sequence[float], side: int | None = None) -> Tensor:
    """The frames [len(times), 3, H, W] that a video shows at the given seconds, bytes.

    Args:
        path: the video.
        times: seconds, in order.
        side: larger frames are reduced to this shorter side.

    Raises:
        DataError: the file is missing, cut off or damaged, or has no picture.
        ConfigError: PyAV is not installed.
    """
    with opened(path) as container:
        film = _Film(path, container)
        return film.frames([film.first + time for time in times], side)


def _decode(
    path: Path, fps: float | None, least: int, start: float, stop: float | None, side: int | None
) -> Tensor:
    with opened(path) as container:
        film = _Film(path, container)
        length = film.length if stop is None else min(stop, film.length)
        if length <= start:
            raise DataError(
                f"{path} has no picture after {start:g} s: it is {film.length:.1f} s long."
            )
        times = frame_times(length - start, fps, least)
        return film.frames([film.first + start + time for time in times], side)


@dataclass(frozen=True)
class _Packet:
    """Where a coded frame is, without its data."""

    stream: int
    pts: int
    key: bool
    shown: bool


class _Film:
    """An open video, and when each of its frames is shown.

    The packets are listed first, without decoding: that gives every time stamp and which packets can be decoded by
    themselves, also where the container has no index (flv) or tells a wrong length.
    """

    def __init__(self, path: Path, container: Any) -> None:
        if not container.streams.video:
            raise DataError(f"{path} has no picture: it has sound only.")
        self.path, self.container = path, container
        self.stream: Any = container.streams.video[0]
        self.stream.thread_type = (
            "SLICE"  # threads by frame delay what is shown, and decode what is then skipped
        )
        packets = [
            _Packet(p.stream_index, p.pts, p.is_keyframe, not p.is_discard)
            for p in container.demux()
            if p.pts is not None
        ]
        latest: dict[int, int] = {}
        for packet in packets:
            latest[packet.stream] = max(packet.pts, latest.get(packet.stream, packet.pts))
        refuse_cut(path, container, latest)
        shown = [p for p in packets if p.shown and p.stream == self.stream.index]
        if not shown:
            raise DataError(f"{path} has no frames: it is cut off or empty; get it again.")
        self.base = float(self.stream.time_base)
        self.stamps = sorted(packet.pts for packet in shown)
        self.keys = sorted(packet.pts for packet in shown if packet.key) or self.stamps[:1]
        self.first = self.stamps[0] * self.base
        step = (self.stamps[-1] - self.stamps[0]) / max(len(self.stamps) - 1, 1)
        self.length = (self.stamps[-1] - self.stamps[0] + step) * self.base

    def frames(self, times: Sequence[float], side: int | None) -> Tensor:
        """[len(times), 3, H, W]: for each time the last frame that is shown before or at it."""
        last = [bisect.bisect_right(self.stamps, t / self.base + 0.5) - 1 for t in times]
        wanted = sorted({self.stamps[max(i, 0)] for i in last})
        found = dict(self._found(wanted, side))
        try:
            return torch.stack([found[self.stamps[max(i, 0)]] for i in last])
        except KeyError as error:
            at = error.args[0] * self.base - self.first
            raise DataError(
                f"{self.path} is cut off or damaged: the frame at {at:.1f} s of {self.length:.1f} s cannot be decoded; "
                "get it again."
            ) from None

    def _found(self, wanted: Sequence[int], side: int | None) -> Iterator[tuple[int, Tensor]]:
        """The frames with the time stamps wanted, group by group of what follows one key frame."""
        groups: dict[int, list[int]] = {}
        for stamp in wanted:
            groups.setdefault(max(bisect.bisect_right(self.keys, stamp) - 1, 0), []).append(stamp)
        for number, stamps in groups.items():
            yield from self._group(self.keys[number], set(stamps), side)

    def _group(self, key: int, wanted: set[int], side: int | None) -> Iterator[tuple[int, Tensor]]:
        self.container.seek(key, stream=self.stream, backward=True)
        end = max(wanted)
        for frame in self.container.decode(self.stream):
            if frame.pts in wanted:
                yield frame.pts, self._pixels(frame, side)
                wanted.discard(frame.pts)
            if not wanted or (frame.pts is not None and frame.pts > end):
                return

    def _pixels(self, frame: Any, side: int | None) -> Tensor:
        width, height = frame.width, frame.height
        if side is not None and min(width, height) > side:
            factor = side / min(width, height)
            width, height = round(width * factor), round(height * factor)
        made = frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()
        return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1)))
