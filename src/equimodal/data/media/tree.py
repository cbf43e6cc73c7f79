"""What lies in the folder of a data set: videos, sound files and folders of frames, by clip."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

from .audio import SOUND_SUFFIXES
from .video import VIDEO_SUFFIXES

__all__ = ["Tree", "index", "youtube"]

KINDS = (*VIDEO_SUFFIXES, *SOUND_SUFFIXES)
Key = Callable[[str], Hashable | None]
YOUTUBE = re.compile(r"([\w-]{11})_(\d+)(?:_\d+)?")


@dataclass(frozen=True)
class Tree:
    """For each clip where its media lie.

    Attributes:
        videos, sounds: files.
        frames: folders of images.
    """

    videos: dict[Hashable, Path] = field(default_factory=dict)
    sounds: dict[Hashable, Path] = field(default_factory=dict)
    frames: dict[Hashable, Path] = field(default_factory=dict)

    def sound(self, clip: Hashable) -> Path | None:
        """Its sound file, or the video that has the sound."""
        return self.sounds.get(clip) or self.videos.get(clip)

    def picture(self, clip: Hashable) -> Path | None:
        """Its video, or the folder of its frames."""
        return self.videos.get(clip) or self.frames.get(clip)


def index(folder: Path, key: Key) -> Tree:
    """All media below a folder. Of a clip that is there twice the better format counts (wav, not mp3), then the first.

    Args:
        folder: of the data set.
        key: the clip that a name without suffix belongs to, or None. A folder with such a name is one of frames, and
            is not looked into.
    """
    tree = Tree()
    kinds = dict.fromkeys(VIDEO_SUFFIXES, tree.videos) | dict.fromkeys(SOUND_SUFFIXES, tree.sounds)
    for place, folders, files in os.walk(folder):
        below = []
        for name in sorted(folders):
            clip = key(_stem(name))
            if clip is None and not name.startswith("."):
                below.append(name)
            elif clip is not None:
                tree.frames.setdefault(clip, Path(place, name))
        folders[:] = below
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            kind = kinds.get(suffix.lower())
            clip = None if kind is None else key(stem)
            if kind is None or clip is None:
                continue
            if clip not in kind or _rank(name) < _rank(kind[clip].name):
                kind[clip] = Path(place, name)
    return tree


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in KINDS else name


def _rank(name: str) -> int:
    return KINDS.index(os.path.splitext(name)[1].lower())


def youtube(name: str) -> Hashable | None:
    """Video and second of a clip, whether its start is padded or not, and whether its end is named or not.

    >>> youtube("--4-0ihtnBU_000058_000068"), youtube("-3Mwkq-7TV4_2"), youtube("Image-01-FPS")
    (('--4-0ihtnBU', 58), ('-3Mwkq-7TV4', 2), None)
    """
    match = YOUTUBE.fullmatch(name)
    return (match[1], int(match[2])) if match else None
