"""VGGSound: 309 sounds of which one sees what makes them.

Source: H. Chen et al., *VGGSound: A Large-Scale Audio-Visual Dataset*, ICASSP 2020. The labels are published, the videos
are YouTube's; many are gone, so that every copy of the set differs: ``incomplete="drop"`` uses what is there and counts
what is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ...errors import DataError
from ..about import About, Source
from ..media.files import locate
from ..media.rows import rows
from ..media.tree import index, youtube
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "clip", "labels", "load", "splits_of"]

Clip = tuple[str, int]  # video and the second at which it begins


def clip(path: Path, name: str) -> Clip:
    """Video and second of a clip's name, padded or not.

    Raises:
        DataError: it is no such name.
    """
    found = youtube(name.removesuffix(".mp4"))
    if not isinstance(found, tuple):
        raise DataError(f"{path}: {name!r} is no clip; one looks like glLQrEijrKg_000300.mp4.")
    return found[0], found[1]


def labels(folder: Path) -> list[tuple[Clip, str, str]]:
    """Clip, label and part of each row of ``vggsound.csv``, or of ``train.csv`` and ``test.csv``."""
    whole = folder / "vggsound.csv"
    if whole.is_file():
        return [_row(whole, row) for row in rows(whole, 4)]
    found: list[tuple[Clip, str, str]] = []
    for part in ("train", "test"):
        path = folder / f"{part}.csv"
        found += [(clip(path, name), label, part) for name, label in rows(path, 2)]
    return found


def _row(path: Path, row: Sequence[str]) -> tuple[Clip, str, str]:
    video, start, label, part = row
    if part not in ("train", "test") or not start.isdigit():
        raise DataError(
            f"{path}: {','.join(row)!r} is no row; one looks like ---g-f_I2yQ,1,people marching,test."
        )
    return (video, int(start)), label, part


def splits_of(
    name: str,
    folder: Path,
    listed: Sequence[tuple[Clip, str, str]],
    use: published.Use,
    look: published.Look,
    audio: str,
) -> Splits:
    """The splits of listed clips whose class ids follow their first appearance in train."""
    classes = published.first_seen([label for _, label, part in listed if part == "train"])
    return published.clips(
        name,
        listing(folder, listed),
        classes,
        audio,
        look,
        folder=folder,
        use=use,
    )


def listing(folder: Path, listed: Sequence[tuple[Clip, str, str]]) -> published.Listing:
    """The clips of the lists, each with its sound and picture."""
    tree = index(folder, youtube)
    return published.Listing(
        [f"{video}_{start:06d}" for (video, start), _, _ in listed],
        [label for _, label, _ in listed],
        [part for _, _, part in listed],
        published.clip_items(tree, [found for found, _, _ in listed]),
    )


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "VGGSound", "*.csv")
    for path in sorted(folder.glob("*.csv")):
        yield path, partial(rows, path, (2, 4))
    readers = published.Look().readers(published.audio_preset("vggsound"))
    yield from published.default_sources(listing(folder, labels(folder)), readers)


ABOUT = About(
    task="sound",
    classes="309",
    modalities={"audio": "(1, 129, 626)", "video": "(3, 3, 224, 224)"},
    split="183,971 / 15,496 in the labels; fewer are still to be had",
    files="VGGSound/vggsound.csv, <id>_<start>.mp4 (or .wav and folders of frames) anywhere below",
    licence="labels CC BY 4.0; the videos are YouTube's",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    audio: str = "vggsound",
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
    """309 sounds in clips of ten seconds; class ids by first appearance in train.

    Clips are found anywhere below the folder, by video and second, padded or not: ``<id>_<start>.mp4``, or
    ``<id>_<start>.wav`` beside a folder of frames of that name, such as ``Image-01-FPS/<id>_<start>.mp4/``.

    Args:
        root: the data folder, with ``VGGSound``.
        modalities: of audio, video.
        audio: the input: vggsound (five seconds, in training at random), ogm_ge, pmr, fbank, mla, ibml or infobridge.
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
    folder = locate(root, "VGGSound", "*.csv")
    look = published.Look(frames, size, crop, fps)
    return splits_of("vggsound", folder, labels(folder), use, look, audio)
