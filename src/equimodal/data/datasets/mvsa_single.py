"""MVSA-Single: the sentiment of tweets, by picture and text.

Source: T. Niu et al., *Sentiment Analysis on Multi-View Social Data*, MMM 2016. One rater labelled text and picture apart;
two rules make one label of them, and the literature uses the stricter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from ...errors import ConfigError, DataError
from ..about import About, Source
from ..arrays import choose
from ..media.files import inside, locate
from ..media.image import Image
from ..media.rows import json_lines, rows
from ..splits import Splits, stratified
from . import _published as published

__all__ = ["ABOUT", "CLASSES", "joint_label", "labels", "load"]

LABELS = "labelResultAll.txt"
HEADER = ("ID", "text,image")
CLASSES = ("positive", "negative", "neutral")
QMF = {"train": "train.jsonl", "val": "dev.jsonl", "test": "test.jsonl"}
Entry = tuple[str, str, Path, str | Path]  # name, label, picture, text or where it lies


def joint_label(text: str, image: str, rule: str) -> str | None:
    """The label of a tweet whose text and picture are labelled apart; None: it is left out.

    Args:
        text, image: the two labels.
        rule: equal keeps only tweets with equal labels; joint also those with one neutral label, which take the other.

    >>> joint_label("neutral", "positive", "joint"), joint_label("neutral", "positive", "equal")
    ('positive', None)
    """
    if text == image:
        return text
    if rule == "equal" or "neutral" not in (text, image):
        return None
    return image if text == "neutral" else text


def labels(path: Path, rule: str) -> dict[str, str]:
    """For each tweet that stays its label, by its number.

    Raises:
        DataError: a row is not as published.
    """
    found = {}
    for number, (name, both) in enumerate(rows(path, 2, delimiter="\t", header=HEADER), start=1):
        text, _, image = both.partition(",")
        if text not in CLASSES or image not in CLASSES:
            raise DataError(
                f"{path} row {number}: {both!r} must be two of {', '.join(CLASSES)} with a comma between."
            )
        label = joint_label(text, image, rule)
        if label is not None:
            found[name] = label
    return found


def _own(folder: Path, rule: str) -> dict[str, list[Entry]]:
    """Six, two and two tenths of each class, drawn once and for all."""
    known = labels(folder / LABELS, rule)
    entries = [
        (name, label, folder / "data" / f"{name}.jpg", folder / "data" / f"{name}.txt")
        for name, label in known.items()
    ]
    train, rest = stratified([entry[1] for entry in entries], 0.6)
    val, test = stratified([entries[i][1] for i in rest], 0.5)
    parts = {"train": train, "val": rest[val], "test": rest[test]}
    return {part: [entries[i] for i in chosen] for part, chosen in parts.items()}


def _qmf(folder: Path) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for part, name in QMF.items():
        path = folder / name
        if not path.is_file():
            raise DataError(
                f"{folder} has no {name}: put the lists of QMF there, or use split='own', which draws one."
            )
        found[part] = [
            (str(e["id"]), str(e["label"]), inside(folder, str(e["img"]), path), str(e["text"]))
            for e in json_lines(path, ("id", "label", "text", "img"))
        ]
    return found


def listing(folder: Path, rule: str, split: str) -> published.Listing:
    """The tweets of the three parts."""
    parts = _qmf(folder) if split == "qmf" else _own(folder, rule)
    every = [entry for entries in parts.values() for entry in entries]
    return published.Listing(
        [name for name, *_ in every],
        [label for _, label, *_ in every],
        [part for part, entries in parts.items() for _ in entries],
        {
            "image": [(path,) if path.is_file() else None for *_, path, _ in every],
            "text": [_text(text) for *_, text in every],
        },
    )


def _text(text: str | Path) -> tuple[str] | None:
    """The tweets are not clean UTF-8: remnants of other encodings become replacement characters."""
    if isinstance(text, str):
        return (text,)
    return (text.read_text(encoding="utf-8", errors="replace"),) if text.is_file() else None


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "MVSA_Single", "data")
    split = "qmf" if (folder / QMF["train"]).is_file() else "own"
    found = listing(folder, "equal", split).only(("image",))
    if (folder / LABELS).is_file():
        yield folder / LABELS, partial(labels, folder / LABELS, "equal")
    yield from published.default_sources(found, {"image": Image()})


ABOUT = About(
    task="sentiment",
    classes="3",
    modalities={"image": "(3, 224, 224)", "text": "(L,) or (L, 300)"},
    split="1,555 / 518 / 519 (QMF); 4,511 tweets by the wider rule",
    files="MVSA_Single/labelResultAll.txt, data/<ID>.{jpg,txt}, {train,dev,test}.jsonl of QMF",
    licence="research",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "text"),
    rule: str = "equal",
    split: str = "qmf",
    vectors: str = "",
    tokenizer: str = "",
    limit: int = 0,
    clean: str = "none",
    size: int = 224,
    crop: str = "random",
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """Tweets that are positive, negative or neutral.

    Args:
        root: the data folder, with ``MVSA_Single``.
        modalities: of image, text.
        rule: equal: tweets whose two labels agree, 2,592; joint: also those with one neutral label, 4,511.
        split: qmf (its lists, for rule equal), or own (6 : 2 : 2, stratified, fixed).
        vectors: a file of word vectors such as glove.840B.300d.txt: text becomes [L, 300].
        tokenizer: a pretrained tokenizer's folder: text becomes ids. Without either, ids of the words of train.
        limit: tokens of a text; 0: all.
        clean: tweet (without RT, # and links) or none.
        size: of an image, pixels of a side.
        crop: in training: random or none.
        incomplete: samples without all their files: refuse, drop, or keep with the modality missing.
        unreadable: images that cannot be read: refuse, or drop after trying all.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the augmentation.

    Raises:
        DataError: a list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, 0.0, cache, seed)
    choose("rule", rule, ("equal", "joint"))
    if choose("split", split, ("qmf", "own")) == "qmf" and rule == "joint":
        raise ConfigError(
            "The lists of QMF are of rule='equal'; with rule='joint' say split='own'."
        )
    folder = locate(root, "MVSA_Single", "data")
    found = listing(folder, rule, split)
    words = published.Words(vectors, tokenizer, limit, clean)
    look = published.image_reader(size, crop)
    recipe: Mapping[str, object] = {"rule": rule, "split": split, "size": size, "crop": crop}
    return published.splits(
        "mvsa_single",
        found,
        {"image": look},
        CLASSES,
        folder=folder,
        use=use,
        recipe={**recipe, **words.recipe},
        encoders={"image": "resnet18(channels=3)"},
        training={"batch_size": 64, "epochs": 100, "lr": 0.001},
        learn={"text": words.learn},
    )
