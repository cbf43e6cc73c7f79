"""Kinetics-Sounds: 31 actions of Kinetics that can be both seen and heard.

Sources: R. Arandjelović, A. Zisserman, *Look, Listen and Learn*, ICCV 2017; W. Kay et al., *The Kinetics Human Action Video
Dataset*, 2017; the lists are those of X. Peng et al. (OGM-GE, CVPR 2022), which name classes by number only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ...errors import DataError
from ..about import About, Source
from ..media.files import locate
from ..media.rows import rows
from ..splits import Splits
from . import _published as published
from .vggsound import Clip, clip, listing

__all__ = ["ABOUT", "CLASSES", "labels", "load"]

LISTS = {"train": "my_train.txt", "test": "my_test.txt"}
CLASSES = tuple(str(number) for number in range(31))


def labels(path: Path) -> list[tuple[Clip, str]]:
    """Clip and class of each row of a list; train names start and end of a clip, test its start.

    Raises:
        DataError: a row is not as published.
    """
    found = []
    for name, seconds, label in rows(path, 3):
        if label not in CLASSES:
            raise DataError(f"{path}: {name} has the class {label!r}; it must be 0 to 30.")
        if seconds != "10":
            raise DataError(f"{path}: {name} has {seconds!r} seconds; every clip has 10.")
        found.append((clip(path, name), label))
    return found


def _listed(folder: Path) -> list[tuple[Clip, str, str]]:
    return [
        (found, label, part)
        for part, name in LISTS.items()
        for found, label in labels(folder / name)
    ]


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "kinetics_sounds", "my_*.txt")
    for name in LISTS.values():
        yield folder / name, partial(labels, folder / name)
    readers = published.Look().readers(published.audio_preset("fbank"))
    yield from published.default_sources(listing(folder, _listed(folder)), readers)


ABOUT = About(
    task="action",
    classes="31",
    modalities={"audio": "(1, 1024, 128)", "video": "(3, 3, 224, 224)"},
    split="14,799 / 2,597 in the lists; fewer are still to be had",
    files="kinetics_sounds/my_{train,test}.txt, <id>_<start>[_<end>].mp4 (or .wav and folders of frames) anywhere below",
    licence="terms of Kinetics; the videos are YouTube's",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    audio: str = "fbank",
    frames: int = 3,
    size: int = 224,
    crop: str = "random",
    fps: float = 1.0,
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    validation: float = 0.1,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """31 actions, named by number, in clips of ten seconds.

    Clips are found anywhere below the folder, by video and second: ``<id>_<start>.mp4``, ``<id>_<start>_<end>.mp4``,
    padded or not, or a sound file beside a folder of frames of such a name.

    Args:
        root: the data folder, with ``kinetics_sounds``.
        modalities: of audio, video.
        audio: the input: fbank, mla, vggsound, ogm_ge, pmr, ibml or infobridge.
        frames: of a clip that are seen.
        size: of a frame, pixels of a side.
        crop: in training: random (the same for all frames of a clip), frame (one for each) or none.
        fps: frames per second that are kept.
        incomplete: samples without all their files: refuse, drop, or keep with the modality missing.
        unreadable: files that cannot be read: refuse, or drop after trying all.
        validation: the fraction of train that becomes validation.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the carving and the augmentation.

    Raises:
        DataError: a list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, validation, cache, seed)
    folder = locate(root, "kinetics_sounds", "my_*.txt")
    look = published.Look(frames, size, crop, fps)
    return published.clips(
        "kinetics_sounds",
        listing(folder, _listed(folder)),
        CLASSES,
        audio,
        look,
        folder=folder,
        use=use,
    )
