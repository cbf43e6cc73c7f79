"""UPMC Food-101: dishes by picture and by the title of the page that shows it.

Source: X. Wang et al., *Recipe Recognition with Large Multimodal Food Dataset*, ICME Workshops 2015.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import DataError
from ..about import About, Source
from ..arrays import choose
from ..media.files import inside, locate
from ..media.image import Image
from ..media.rows import json_lines, rows
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "load", "titles"]

QMF = {"train": "train.jsonl", "val": "dev.jsonl", "test": "test.jsonl"}
Entry = tuple[str, str, str, Path]  # name, label, title, picture


def titles(folder: Path, part: str) -> list[Entry]:
    """The rows of a part's list of titles: image, title, class, without a header; titles contain commas and quotes.

    Raises:
        DataError: a row is not as published, or names a file outside the folder.
    """
    path = folder / "texts" / f"{part}_titles.csv"
    found = []
    for name, title, label in rows(path, 3):
        picture = inside(folder, f"images/{part}/{label}/{name}", path)
        found.append((picture.stem, label, title, picture))
    return found


def _qmf(folder: Path) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for part, name in QMF.items():
        path = folder / name
        if not path.is_file():
            raise DataError(
                f"{folder} has no {name}: put the lists of QMF there, or use split='titles', which needs none."
            )
        found[part] = [
            (str(e["id"]), str(e["label"]), str(e["text"]), inside(folder, str(e["img"]), path))
            for e in json_lines(path, ("id", "label", "text", "img"))
        ]
    return found


def listing(folder: Path, split: str) -> published.Listing:
    """The dishes of all parts."""
    if split == "qmf":
        parts = _qmf(folder)
    else:
        parts = {part: titles(folder, part) for part in ("train", "test")}
    every = [entry for entries in parts.values() for entry in entries]
    return published.Listing(
        [name for name, *_ in every],
        [label for _, label, *_ in every],
        [part for part, entries in parts.items() for _ in entries],
        {
            "image": [(path,) if path.is_file() else None for *_, path in every],
            "text": [(title,) for *_, title, _ in every],
        },
    )


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "food101", "images")
    split = "qmf" if (folder / QMF["train"]).is_file() else "titles"
    found = listing(folder, split).only(("image",))
    yield from published.default_sources(found, {"image": Image()})


ABOUT = About(
    task="dish",
    classes="101",
    modalities={"image": "(3, 224, 224)", "text": "(L,) or (L, 300)"},
    split="62,971 / 5,000 / 22,715 (QMF), or 67,971 / 22,715",
    files="food101/images/{train,test}/<class>/*.jpg, texts/{train,test}_titles.csv, {train,dev,test}.jsonl of QMF",
    licence="research",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "text"),
    split: str = "qmf",
    ids: str = "sorted",
    vectors: str = "",
    tokenizer: str = "",
    limit: int = 0,
    size: int = 224,
    crop: str = "random",
    truncated: bool = False,
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    validation: float = 0.1,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """101 dishes.

    Args:
        root: the data folder, with ``food101``.
        modalities: of image, text.
        split: qmf (its lists, with 5,000 for validation), or titles (the release's own, without).
        ids: the order of the classes: sorted, or first (their first appearance in train, as IBML).
        vectors: a file of word vectors such as glove.840B.300d.txt: text becomes [L, 300].
        tokenizer: a pretrained tokenizer's folder: text becomes ids. Without either, ids of the words of train.
        limit: tokens of a title; 0: all.
        size: of an image, pixels of a side.
        crop: in training: random or none.
        truncated: accept images that are cut off; what is missing is grey.
        incomplete: samples without an image: refuse, drop, or keep with the modality missing.
        unreadable: images that cannot be read: refuse, or drop after trying all.
        validation: with split=titles the fraction of train that becomes validation.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the carving and the augmentation.

    Raises:
        DataError: a list or a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, validation, cache, seed)
    choose("split", split, ("qmf", "titles"))
    choose("ids", ids, ("sorted", "first"))
    folder = locate(root, "food101", "images")
    found = listing(folder, split)
    names = published.first_seen(
        [label for label, part in zip(found.labels, found.parts, strict=True) if part == "train"]
    )
    words = published.Words(vectors, tokenizer, limit)
    recipe = {"split": split, "ids": ids, "size": size, "crop": crop, "truncated": truncated}
    return published.splits(
        "food101",
        found,
        {"image": published.image_reader(size, crop, truncated)},
        tuple(sorted(names)) if ids == "sorted" else names,
        folder=folder,
        use=use,
        recipe={**recipe, **words.recipe},
        encoders={"image": "resnet18(channels=3)"},
        training={"batch_size": 64, "epochs": 100, "lr": 0.001},
        learn={"text": words.learn},
    )
