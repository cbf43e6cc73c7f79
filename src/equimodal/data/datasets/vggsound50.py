"""VGGSound50: fifty of VGGSound's classes, as the authors of IBML chose them.

Source: Y. Qin et al., *Deep Information-Balanced Multimodal Learning* (IBML), IEEE TPAMI 2026; the clips are those of
`vggsound`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..about import About, Source
from ..media.files import locate
from ..media.rows import rows
from ..splits import Splits
from . import _published as published
from .vggsound import Clip, clip, listing, splits_of

__all__ = ["ABOUT", "labels", "load"]


def labels(folder: Path) -> list[tuple[Clip, str, str]]:
    """Clip, label and part of each row of ``train.txt`` and ``test.txt``; labels with commas stand in quotes."""
    found: list[tuple[Clip, str, str]] = []
    for part in ("train", "test"):
        path = folder / f"{part}.txt"
        found += [(clip(path, name), label, part) for name, label in rows(path, 2)]
    return found


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "VGGSound50", "*.txt")
    for name in ("train.txt", "test.txt"):
        yield folder / name, partial(rows, folder / name, 2)
    readers = published.Look().readers(published.audio_preset("ibml"))
    yield from published.default_sources(listing(folder, labels(folder)), readers)


ABOUT = About(
    task="sound",
    classes="50",
    modalities={"audio": "(1, 257, 188)", "video": "(3, 3, 224, 224)"},
    split="25,954 in train by the paper",
    files="VGGSound50/{train,test}.txt, audios/<clip>.wav, Image-01-FPS/<clip>/*.jpg",
    licence="labels CC BY 4.0; the videos are YouTube's",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    audio: str = "ibml",
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
    """Fifty sounds in clips of ten seconds, of which the published input hears the first three.

    Args:
        root: the data folder, with ``VGGSound50``.
        modalities: of audio, video.
        audio: the input: ibml, ogm_ge, pmr, fbank, mla, infobridge or vggsound.
        frames: of a clip that are seen.
        size: of a frame, pixels of a side.
        crop: in training: random (the same for all frames of a clip), frame (one for each) or none.
        fps: frames per second that are kept of a video; folders of frames are taken as they are.
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
    folder = locate(root, "VGGSound50", "*.txt")
    look = published.Look(frames, size, crop, fps)
    return splits_of("vggsound50", folder, labels(folder), use, look, audio)
