"""AVE: events that are heard and seen, in 28 classes.

Source: Y. Tian et al., *Audio-Visual Event Localization in Unconstrained Videos*, ECCV 2018. Made for localisation; used
here, as in the literature on balanced learning, to tell clips apart. Of its 4,097 videos 45 are listed more than once,
each time with another class, and 8 are in train and in test, 10 in train and in validation: that is how it was published.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import DataError, nearest
from ..about import About, Source
from ..arrays import choose
from ..media.audio import PRESETS
from ..media.files import locate
from ..media.rows import rows
from ..media.tree import index
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "CLASSES", "Event", "events", "load", "once"]

HEADER = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
LISTS = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}
CLASSES = (  # in the order of their first appearance in testSet.txt
    *("Church bell", "Male speech, man speaking", "Bark", "Fixed-wing aircraft, airplane"),
    *("Race car, auto racing", "Female speech, woman speaking", "Helicopter", "Violin, fiddle"),
    *("Flute", "Ukulele", "Frying (food)", "Truck", "Shofar", "Motorcycle", "Acoustic guitar"),
    *("Train horn", "Clock", "Banjo", "Goat", "Baby cry, infant cry", "Bus", "Chainsaw", "Cat"),
    *("Horse", "Toilet flush", "Rodents, rats, mice", "Accordion", "Mandolin"),
)
LENGTH = 10.0  # seconds of a clip
# Where the papers hear another input here than elsewhere; IBML's is PMR's.
AUDIO: dict[str, dict[str, Any]] = {
    "pmr": {"seconds": LENGTH},
    "ibml": {**vars(PRESETS["pmr"]), "seconds": LENGTH},
    "infobridge": {"seconds": LENGTH, "size": (128, 128)},
}


@dataclass(frozen=True)
class Event:
    """A row of the lists: what is heard and seen in a part of a video, in seconds."""

    label: str
    video: str
    start: float
    stop: float


def events(path: Path) -> list[Event]:
    """The rows of a list; its header is there in the archive and not in the repository.

    Raises:
        DataError: a row is not as published.
    """
    found = []
    for number, row in enumerate(
        rows(path, 5, delimiter="&", header=HEADER, quoted=False), start=1
    ):
        label, video, _, start, stop = row
        if label not in CLASSES:
            raise DataError(
                f"{path} row {number}: {label!r} is no class; {nearest(label, CLASSES)}"
            )
        try:
            found.append(Event(label, video, float(start), float(stop)))
        except ValueError:
            raise DataError(
                f"{path} row {number}: start and end are {start!r} and {stop!r}; they must be seconds."
            ) from None
    return found


def once(listed: Sequence[Event], unique: str) -> list[Event]:
    """Each video once, with its first row or the label of its last; or every row as a sample of its own."""
    if unique == "segments":
        return list(listed)
    first = {event.video: event for event in reversed(listed)}
    kept = [event for event in listed if first[event.video] is event]
    if unique == "first":
        return kept
    last = {event.video: event.label for event in listed}
    return [replace(event, label=last[event.video]) for event in kept]


def listing(folder: Path, unique: str, cut: bool) -> published.Listing:
    """The events of the three lists, each with its video's sound and picture."""
    parts = {part: once(events(folder / name), unique) for part, name in LISTS.items()}
    found = [event for every in parts.values() for event in every]
    videos = {event.video for event in found}
    tree = index(folder, lambda name: name if name in videos else None)
    # One row has no duration; its whole clip is taken.
    spans = [(e.start, e.stop if e.stop > e.start else None) for e in found]
    return published.Listing(
        [f"{e.video}:{e.start:g}-{e.stop:g}" for e in found],
        [event.label for event in found],
        [part for part, every in parts.items() for _ in every],
        published.clip_items(tree, [event.video for event in found], spans if cut else ()),
    )


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "AVE_Dataset", "*Set.txt")
    for name in LISTS.values():
        yield folder / name, partial(events, folder / name)
    readers = published.Look(4).readers(published.audio_preset("pmr"))
    yield from published.default_sources(listing(folder, "first", True), readers)


ABOUT = About(
    task="audio-visual event",
    classes="28",
    modalities={"audio": "(1, 257, 1004)", "video": "(4, 3, 224, 224)"},
    split="3,312 / 401 / 402 videos, or 3,339 / 402 / 402 events",
    files="AVE_Dataset/AVE/*.mp4, AVE_Dataset/{train,val,test}Set.txt",
    licence="research; the videos are YouTube's",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    unique: str = "first",
    cut: bool = True,
    audio: str = "pmr",
    frames: int = 4,
    size: int = 224,
    crop: str = "random",
    fps: float = 1.0,
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """28 events in clips of ten seconds, with a validation part of their own.

    Args:
        root: the data folder, with ``AVE_Dataset``.
        modalities: of audio, video.
        unique: of a video that is listed more than once: first (its first row, as PMR and IBML), last (the label of its
            last, as OGM-GE), or segments (all rows, each a sample).
        cut: to the annotated seconds, as PMR does; IBML trains on whole clips. Frames of whole clips must lie below a folder
            that says how many make a second, such as ``Image-01-FPS``.
        audio: the input: pmr, ibml (as pmr), ogm_ge, fbank, mla, infobridge (128 x 128) or vggsound; of the first two and of
            infobridge ten seconds.
        frames: of a clip that are seen.
        size: of a frame, pixels of a side.
        crop: in training: random (the same for all frames of a clip), frame (one for each) or none.
        fps: frames per second that are kept.
        incomplete: samples without all their files: refuse, drop, or keep with the modality missing.
        unreadable: files that cannot be read: refuse, or drop after trying all.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the augmentation.

    Raises:
        DataError: a list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, 0.0, cache, seed)
    choose("unique", unique, ("first", "last", "segments"))
    folder = locate(root, "AVE_Dataset", "*Set.txt")
    look = published.Look(frames, size, crop, fps)
    return published.clips(
        "ave",
        listing(folder, unique, cut),
        CLASSES,
        audio,
        look,
        folder=folder,
        use=use,
        sound=AUDIO.get(audio, {}),
        recipe={"unique": unique, "cut": cut},
    )
