"""What the published sets of media share: lists and files become splits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, DataError, nearest
from .. import cache as store
from ..about import Source
from ..arrays import choose
from ..filed import Filed, Item
from ..media.audio import PRESETS, Audio
from ..media.image import Image
from ..media.reader import Reader
from ..media.text import Text, clean_tweet, vocabulary
from ..media.tree import Tree
from ..media.video import Video
from ..splits import Splits, carve_validation

__all__ = [
    "RESNETS",
    "Learn",
    "Listing",
    "Look",
    "Use",
    "Words",
    "audio_preset",
    "clip_items",
    "clips",
    "default_sources",
    "first_seen",
    "image_reader",
    "splits",
]

INCOMPLETE = ("refuse", "drop", "keep")
RESNETS = {"audio": "resnet18(channels=1)", "video": "resnet18(channels=3)"}


@dataclass(frozen=True)
class Listing:
    """The N samples of a published set.

    Attributes:
        names: [N].
        labels: [N], names of classes.
        parts: [N], each train, val or test.
        items: for each modality what its reader decodes; None where a file is missing.
        groups: [N], such as the person; validation is then carved out in whole groups.
    """

    names: Sequence[str]
    labels: Sequence[str]
    parts: Sequence[str]
    items: Mapping[str, Sequence[Item | None]]
    groups: Sequence[str] = ()

    def rows(self, keep: Sequence[int]) -> Listing:
        """Some of the samples."""
        return Listing(
            [self.names[i] for i in keep],
            [self.labels[i] for i in keep],
            [self.parts[i] for i in keep],
            {m: [values[i] for i in keep] for m, values in self.items.items()},
            [self.groups[i] for i in keep] if self.groups else (),
        )

    def only(self, modalities: Sequence[str]) -> Listing:
        """The same samples with some of the modalities."""
        for name in modalities:
            if name not in self.items:
                raise ConfigError(f"There is no modality {name!r}; {nearest(name, self.items)}")
        return replace(self, items={name: self.items[name] for name in modalities})


@dataclass(frozen=True)
class Use:
    """How a published set is used; the options that all of them have.

    Attributes:
        modalities: some of the set's.
        incomplete: what is done with samples of the lists that have not all their files: refuse, drop, or keep (with the
            modality missing).
        unreadable: what is done with files that cannot be read: refuse (when they are met), or drop (after all were tried).
        validation: fraction of train that becomes validation where the set has none.
        cache: auto, off, or a folder.
        seed: of the carving and the augmentation.
    """

    modalities: Sequence[str]
    incomplete: str = "refuse"
    unreadable: str = "refuse"
    validation: float = 0.1
    cache: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        choose("incomplete", self.incomplete, INCOMPLETE)
        choose("unreadable", self.unreadable, ("refuse", "drop"))


@dataclass(frozen=True)
class Look:
    """How the clips of a set of videos are seen; see `Video`."""

    frames: int = 3
    size: int = 224
    crop: str = "random"
    fps: float = 1.0

    def readers(self, audio: Audio) -> dict[str, Reader]:
        """Of a clip's sound and picture."""
        crop: Any = choose("crop", self.crop, ("random", "frame", "none"))
        return {"audio": audio, "video": Video(self.frames, self.size, fps=self.fps, crop=crop)}

    @property
    def recipe(self) -> dict[str, object]:
        """The options, for the record."""
        return asdict(self)


@dataclass(frozen=True)
class Words:
    """How the texts of a set are read: as word vectors, by a pretrained tokenizer, or by the words of train."""

    vectors: str = ""
    tokenizer: str = ""
    limit: int = 0
    clean: str = "none"

    def learn(self, train: Listing) -> tuple[Text, str]:
        """As `Learn`: what words there are is known from train only.

        There is no encoder for a pretrained tokenizer, which belongs to a pretrained one.
        """
        clean: Any = choose("clean", self.clean, ("none", "tweet"))
        words: tuple[str, ...] = ()
        if not self.vectors and not self.tokenizer:
            texts = [item[0] for item in train.items["text"] if item is not None]
            words = vocabulary(map(clean_tweet, texts) if self.clean == "tweet" else texts)
        text = Text(self.vectors, self.tokenizer, words, self.limit, clean)
        if self.vectors:
            return text, f"bigru(channels={text.shape[1]}, width=512)"
        # Padding and unknown words have ids too.
        tokens = len(words) + 2
        return text, f"bigru(channels=300, width=512, tokens={tokens})" if words else ""

    @property
    def recipe(self) -> dict[str, object]:
        """The options, for the record; no paths."""
        names = {"vectors": Path(self.vectors).name, "tokenizer": Path(self.tokenizer).name}
        return {**names, "limit": self.limit, "clean": self.clean}


Learn = Callable[[Listing], tuple[Reader, str]]
"""From the samples that train keeps to what reads a modality, and to the expression of its encoder, or "" for none."""


def splits(
    name: str,
    listing: Listing,
    readers: Mapping[str, Reader],
    classes: Sequence[str],
    *,
    folder: Path,
    use: Use,
    recipe: Mapping[str, object],
    encoders: Mapping[str, str],
    training: Mapping[str, float],
    left_out: Mapping[str, str] | None = None,
    learn: Mapping[str, Learn] | None = None,
) -> Splits:
    """A published set, ready to train on.

    Args:
        name: of the set.
        listing: its samples.
        readers: for each modality how it is read, but for those in `learn`.
        classes: their names, in the order of their ids.
        folder: of the set; what is decoded is kept in it.
        use: the common options.
        recipe, encoders, training: as in `Splits`; the common options are added to the recipe.
        left_out: samples that the caller left out, with the reasons.
        learn: for each modality that is read by what is learned from train, without what becomes validation.

    Raises:
        DataError: a label is no class; or files are missing and `incomplete` is refuse.
    """
    listing = listing.only(use.modalities)
    lacking = _lacking(listing, use.incomplete)
    if lacking and use.incomplete == "refuse":
        raise DataError(_refusal(name, listing, lacking))
    left_out = {**(left_out or {}), **lacking}
    listing = listing.rows([i for i, n in enumerate(listing.names) if n not in lacking])
    if not listing.names:
        raise DataError(
            f"{name}: of {len(lacking)} samples in the lists of {folder} none has its files."
        )
    known = {label: i for i, label in enumerate(classes)}
    for sample, label in zip(listing.names, listing.labels, strict=True):
        if label not in known:
            raise DataError(f"{name}: {sample} has the label {label!r}; {nearest(label, known)}")
    where = store.folder(use.cache, folder)
    learn = {m: learner for m, learner in (learn or {}).items() if m in listing.items}

    def filed(listing: Listing, readers: Mapping[str, Reader]) -> Filed:
        return Filed(
            {m: values for m, values in listing.items.items() if m in readers},
            readers,
            [known[label] for label in listing.labels],
            classes,
            listing.names,
            cache=None if where is None else where / name,
            seed=use.seed,
            groups=listing.groups or None,
        )

    every = filed(listing, {m: readers[m] for m in listing.items if m not in learn})
    if use.unreadable == "drop":
        failed = every.prepare()
        keep = [i for i, n in enumerate(listing.names) if n not in failed]
        every, listing = every.subset(keep), listing.rows(keep)
        left_out |= failed
    train, val, test = (
        [i for i, at in enumerate(listing.parts) if at == part] for part in ("train", "val", "test")
    )
    held: tuple[int, ...] = ()
    if not val:
        groups = [listing.groups[i] for i in train] if listing.groups else None
        *_, held = carve_validation(every.subset(train), use.validation, use.seed, groups)
        val = [train[i] for i in held]
        train = np.setdiff1d(train, val).tolist()
    found = {m: learner(listing.rows(train)) for m, learner in learn.items()}
    if found:
        encoders = {**encoders, **{m: encoder for m, (_, encoder) in found.items() if encoder}}
        every = filed(listing, {**every.readers, **{m: reader for m, (reader, _) in found.items()}})
    common = {"incomplete": use.incomplete, "unreadable": use.unreadable, "seed": use.seed}
    return Splits(
        name,
        every.subset(train).seen(augment=True),
        every.subset(val),
        every.subset(test),
        recipe={
            "modalities": tuple(use.modalities),
            **recipe,
            **common,
            "validation": use.validation,
        },
        encoders={m: encoders[m] for m in use.modalities if m in encoders},
        training=training,
        val_indices=held,
        left_out=left_out,
    )


def clips(
    name: str,
    listing: Listing,
    classes: Sequence[str],
    audio: str,
    look: Look,
    *,
    folder: Path,
    use: Use,
    recipe: Mapping[str, object] | None = None,
    sound: Mapping[str, Any] | None = None,
) -> Splits:
    """A published set of clips with sound, by two ResNets as the papers train them.

    Args:
        name, listing, classes, folder, use: as in `splits`.
        audio: the input by its name; `sound` says what of it is another for this set.
        look: how the pictures are seen.
        recipe: the set's own options.
        sound: changes to the input.

    Raises:
        ConfigError: there is no such input.
        DataError: as `splits`.
    """
    return splits(
        name,
        listing,
        look.readers(audio_preset(audio, **(sound or {}))),
        classes,
        folder=folder,
        use=use,
        recipe={**(recipe or {}), "audio": audio, **look.recipe},
        encoders=RESNETS,
        training={"batch_size": 64, "epochs": 100, "lr": 0.001},
    )


def _lacking(listing: Listing, incomplete: str) -> dict[str, str]:
    """The samples that are left out, or that are why the set is refused, each with the modalities that it lacks."""
    found = {}
    for i, name in enumerate(listing.names):
        lacks = [m for m, values in listing.items.items() if values[i] is None]
        if lacks and (incomplete != "keep" or len(lacks) == len(listing.items)):
            found[name] = f"no file for {' and '.join(lacks)}"
    return found


def _refusal(name: str, listing: Listing, lacking: Mapping[str, str]) -> str:
    first, reason = next(iter(lacking.items()))
    return (
        f"{name}: {len(lacking)} of {len(listing.names)} samples in the lists are incomplete, such as {first}: {reason}; "
        "get them, or say incomplete='drop' (left out and counted) or 'keep' (used with what they have)."
    )


def first_seen(labels: Sequence[str]) -> tuple[str, ...]:
    """Class names in the order of their first appearance."""
    return tuple(dict.fromkeys(labels))


def audio_preset(name: str, **changed: Any) -> Audio:
    """One of the published inputs by its name.

    Raises:
        ConfigError: there is none of this name.
    """
    return replace(PRESETS[choose("audio", name, tuple(PRESETS))], **changed)


def image_reader(size: int, crop: str, truncated: bool = False) -> Image:
    """A reader of images, whose options are checked."""
    look: Any = choose("crop", crop, ("random", "none"))
    return Image(size, crop=look, truncated=truncated)


def clip_items(
    tree: Tree, clips: Sequence[Hashable], spans: Sequence[tuple[float, float | None]] = ()
) -> dict[str, list[Item | None]]:
    """Where sound and picture of clips lie; spans in seconds cut out a part of each."""
    parts: Sequence[tuple[float | None, ...]] = spans or [()] * len(clips)

    def items(find: Callable[[Hashable], Path | None]) -> list[Item | None]:
        found = [find(clip) for clip in clips]
        return [
            None if path is None else (path, *part) for path, part in zip(found, parts, strict=True)
        ]

    return {"audio": items(tree.sound), "video": items(tree.picture)}


def default_sources(listing: Listing, readers: Mapping[str, Reader]) -> Iterator[Source]:
    """Every file of the samples, and what reads it; for `equimodal data check`."""
    for name, values in listing.items.items():
        for item in values:
            if item is not None and isinstance(item[0], Path):
                yield item[0], partial(readers[name].decode, *item)
