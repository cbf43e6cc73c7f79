"""CREMA-D: six emotions, spoken and acted.

Source: H. Cao et al., *CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset*, IEEE Trans. Affective Computing 5(4),
2014. It has no split of its own; the field uses the lists of X. Peng et al. (OGM-GE, CVPR 2022), which split by clip: all
91 actors are in train and in test, so a model may know a face or a voice from training. ``split="actors"`` leaves no
person on both sides; its accuracies are lower and honest about new people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..about import About, Source
from ..arrays import choose
from ..media.files import locate
from ..media.rows import rows
from ..media.tree import Tree, index
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "clip_of", "listing", "load"]

CLIP = re.compile(
    r"(1\d{3})_(DFA|IEO|IOM|ITH|ITS|IWL|IWW|MTI|TAI|TIE|TSI|WSI)_(ANG|DIS|FEA|HAP|NEU|SAD)_(XX|X|LO|MD|HI)"
)
# The class ids of OGM-GE, PMR and AGM; sorted names (MMPareto, MMCosine, MLA); first appearance in test.csv (IBML).
ORDERS = {
    "ogm_ge": ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG"),
    "sorted": ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"),
    "ibml": ("NEU", "SAD", "DIS", "HAP", "FEA", "ANG"),
}
LISTS = {
    "ogm_ge": {"train": "train.csv", "test": "test.csv"},
    "mla": {"train": "my_train_cre.txt", "test": "my_test_cre.txt"},
}
HELD = 9  # actors of 91 in test


def clip_of(name: str) -> str | None:
    """A clip's name, if that is what it is."""
    return name if CLIP.fullmatch(name) else None


def listing(folder: Path, split: str) -> published.Listing:
    """The clips of the lists, or of the folder if the split is by actor."""
    tree = index(folder, clip_of)
    listed = _by_actor(tree) if split == "actors" else _by_list(folder, split, tree)
    if not listed:
        raise _no_clips(folder)
    names = [clip for clip, _ in listed]
    return published.Listing(
        names,
        [name.split("_")[2] for name in names],
        [part for _, part in listed],
        published.clip_items(tree, names),
        [name.split("_")[0] for name in names] if split == "actors" else (),
    )


def _clips(tree: Tree) -> set[str]:
    return {str(clip) for clip in (*tree.videos, *tree.sounds, *tree.frames)}


def _no_clips(folder: Path) -> DataError:
    return DataError(f"{folder} has no clips such as CREMA-D/VideoFlash/1001_IEO_NEU_XX.flv.")


def _by_list(folder: Path, split: str, tree: Tree) -> list[tuple[str, str]]:
    found = []
    for part, name in LISTS[split].items():
        path = _list(folder, name, tree)
        for row in rows(path, 2, delimiter="," if split == "ogm_ge" else " "):
            clip, label = row[0].removesuffix(".flv"), row[1][:3].upper()
            match = CLIP.fullmatch(clip)
            if match is None or match[3] != label:
                raise DataError(
                    f"{path}: {clip!r} with the label {row[1]!r} is no clip; one looks like 1001_IEO_NEU_XX, NEU."
                )
            found.append((clip, part))
    return found


def _list(folder: Path, name: str, tree: Tree) -> Path:
    """The list, which is not part of the release, wherever the user put it."""
    places = [folder / name, folder / "data" / name, folder.parent / name]
    for path in places:
        if path.is_file():
            return path
    if not _clips(tree):  # another folder altogether
        raise _no_clips(folder)
    raise DataError(
        f"{folder} has no {name}: CREMA-D has no split of its own; put the list of the OGM-GE (or MLA) repository there, "
        "or use split='actors', which needs none."
    )


def _by_actor(tree: Tree) -> list[tuple[str, str]]:
    names = sorted(_clips(tree))
    actors = sorted({name.split("_")[0] for name in names})
    order = np.random.default_rng(0).permutation(len(actors))
    held = {actors[i] for i in order[: max(1, round(len(actors) * HELD / 91))]}
    return [(name, "test" if name.split("_")[0] in held else "train") for name in names]


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "CREMA-D", "*")
    readers = published.Look(3).readers(published.audio_preset("ogm_ge"))
    found = listing(folder, "ogm_ge" if (folder / "train.csv").is_file() else "actors")
    yield from published.default_sources(found, readers)


ABOUT = About(
    task="emotion",
    classes="6",
    modalities={"audio": "(1, 257, 188)", "video": "(3, 3, 224, 224)"},
    split="6,698 / 744 by clip (all actors in both), or by actor",
    files="CREMA-D/{AudioWAV,VideoFlash}/*, train.csv and test.csv of OGM-GE",
    licence="ODbL 1.0 and DbCL",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("audio", "video"),
    split: str = "ogm_ge",
    ids: str = "ogm_ge",
    audio: str = "ogm_ge",
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
    """Six emotions by 91 actors, 7,442 clips of two to three seconds.

    Sound from AudioWAV (AudioMP3, or the video), pictures from VideoFlash or from folders of frames such as
    ``Image-01-FPS/<clip>/``.

    Args:
        root: the data folder, with ``CREMA-D``.
        modalities: of audio, video.
        split: ogm_ge (its lists, by clip: every actor is in train and in test), mla (the same idea, another draw, by
            my_train_cre.txt and my_test_cre.txt), or actors (nine of 91 actors in test, validation by actor too).
        ids: the order of the classes: ogm_ge, sorted or ibml.
        audio: the input: ogm_ge, pmr, fbank, mla, ibml, infobridge or vggsound.
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
    choose("split", split, (*LISTS, "actors"))
    classes = ORDERS[choose("ids", ids, tuple(ORDERS))]
    folder = locate(root, "CREMA-D", "*")
    look = published.Look(frames, size, crop, fps)
    return published.clips(
        "cremad",
        listing(folder, split),
        classes,
        audio,
        look,
        folder=folder,
        use=use,
        recipe={"split": split, "ids": ids},
    )
