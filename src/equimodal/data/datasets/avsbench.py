"""AVSBench, its part with a single source (S4): 23 sounds, used to tell clips apart.

Source: J. Zhou et al., *Audio-Visual Segmentation*, ECCV 2022. Made for segmentation; its masks are not read. The published
spectrograms are pickles, which are not read either: they are computed from the sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ...errors import DataError
from ..about import About, Source
from ..arrays import choose
from ..media.files import locate
from ..media.rows import rows
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "CLASSES", "labels", "load"]

META = "s4_meta_data.csv"
HEADER = ("name", "start", "category", "split")
CLASSES = (  # in the order of the release
    *("baby_laughter", "female_singing", "male_speech", "dog_barking", "cat_meowing"),
    *("lions_roaring", "horse_clip-clop", "coyote_howling", "mynah_bird_singing"),
    *("playing_acoustic_guitar", "playing_tabla", "playing_violin", "playing_piano"),
    *("playing_ukulele", "playing_glockenspiel", "helicopter", "race_car", "driving_buses"),
    *("ambulance_siren", "typing_on_computer_keyboard", "chainsawing_trees"),
    *("cap_gun_shooting", "lawn_mowing"),
)
PARTS = ("train", "val", "test")


def labels(path: Path) -> list[tuple[str, str, str]]:
    """Name, category and part of each row, read by position as the release's code does.

    Raises:
        DataError: a row is not as published.
    """
    found = []
    for name, _, label, part in rows(path, 4, header=HEADER):
        if label not in CLASSES or part not in PARTS:
            raise DataError(
                f"{path}: {name} has the category {label!r} in {part!r}; it must be one of the 23 in train, val or test."
            )
        found.append((name, label, part))
    return found


def listing(folder: Path) -> published.Listing:
    """The clips, each with its sound (wav, or of the video) and picture (frames, or the video)."""
    data = folder / "s4_data"
    listed = labels(folder / META)
    places = [(Path(part, label), name) for name, label, part in listed]
    videos = [data / "raw_videos" / place / f"{name}.mp4" for place, name in places]
    sounds = [data / "audio_wav" / place / f"{name}.wav" for place, name in places]
    frames = [data / "visual_frames" / place / name for place, name in places]
    return published.Listing(
        [name for name, _, _ in listed],
        [label for _, label, _ in listed],
        [part for _, _, part in listed],
        {
            "audio": [_first(*both) for both in zip(sounds, videos, strict=True)],
            "video": [_first(*both) for both in zip(frames, videos, strict=True)],
        },
    )


def _first(*places: Path) -> tuple[Path] | None:
    return next(((place,) for place in places if place.exists()), None)


def _folder(root: str | Path | None) -> Path:
    return locate(root, "avsbench_data/Single-source", META)


def sources(root: Path | None) -> Iterator[Source]:
    folder = _folder(root)
    yield folder / META, partial(labels, folder / META)
    readers = published.Look().readers(published.audio_preset("ibml"))
    yield from published.default_sources(listing(folder), readers)


ABOUT = About(
    task="sound",
    classes="23",
    modalities={"audio": "(1, 257, 188)", "video": "(3, 3, 224, 224)"},
    split="3,452 / 740 / 740",
    files=f"avsbench_data/Single-source/{META}, s4_data/{{visual_frames,audio_wav,raw_videos}}",
    licence="ask the authors",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    ids: str = "first",
    audio: str = "ibml",
    frames: int = 3,
    size: int = 224,
    crop: str = "random",
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """23 sounds in clips of five seconds, with a validation part of their own.

    Args:
        root: the data folder, with ``avsbench_data/Single-source``.
        modalities: of audio, video.
        ids: the order of the classes: first (their first appearance in the list, as IBML), or release.
        audio: the input: ibml, ogm_ge, pmr, fbank, mla, infobridge or vggsound.
        frames: of the five of a clip that are seen.
        size: of a frame, pixels of a side.
        crop: in training: random (the same for all frames of a clip), frame (one for each) or none.
        incomplete: samples without all their files: refuse, drop, or keep with the modality missing.
        unreadable: files that cannot be read: refuse, or drop after trying all.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the augmentation.

    Raises:
        DataError: the list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, 0.0, cache, seed)
    choose("ids", ids, ("first", "release"))
    folder = _folder(root)
    found = listing(folder)
    look = published.Look(frames, size, crop)
    return published.clips(
        "avsbench",
        found,
        CLASSES if ids == "release" else published.first_seen(found.labels),
        audio,
        look,
        folder=folder,
        use=use,
        recipe={"ids": ids},
    )
