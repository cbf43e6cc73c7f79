"""A manifest for a folder of media without a table: samples by file name, classes and splits by folder."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError, counted
from ...files import write
from .guess import OPENED, OPTIONS, Draft, Found, hear, kind_in, kind_of
from .load import PARTS, SPELLINGS

__all__ = ["draft_folder"]

MANIFEST = "samples.csv"


@dataclass(frozen=True)
class Medium:
    """A file: its path relative to the folder, and its folders without the one that names a split."""

    path: Path
    split: str
    folders: tuple[str, ...]
    kind: str


def draft_folder(folder: Path) -> tuple[Draft, list[dict[str, str]]]:
    """What a folder of media holds, and the rows of a manifest of it.

    ``cat/1.jpg``, ``train/cat/1.jpg``, ``photos/cat/1.jpg`` beside ``sounds/cat/1.wav``, and ``cat/1.jpg`` beside
    ``cat/1.wav`` are understood.

    Raises:
        DataError: there are no media, or no folders that could be classes.
    """
    media = _media(folder)
    if not media:
        raise DataError(
            f"{folder} has neither a table (csv, parquet) nor media files; name a folder that has."
        )
    kinds = _modality_folder(media)
    names = _names([medium.folders[0] if kinds else medium.kind for medium in media])
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    labels = set()
    spare = []  # of a sample that has such a file already
    for medium in media:
        modality = medium.folders[0] if kinds else medium.kind
        inner = medium.folders[1:] if kinds else medium.folders
        if not inner:
            raise DataError(
                f"{folder}: {medium.path} lies in no folder that could be its class; sort the files into a folder for each "
                "class, or write a table with a column for the path and one for the label."
            )
        key = (medium.split, *inner, medium.path.stem)
        row = rows.setdefault(key, {"label": inner[0], "split": medium.split})
        if row.setdefault(names[modality], medium.path.as_posix()) != medium.path.as_posix():
            spare.append(medium)
        labels.add(inner[0])
    if len(labels) < 2:
        raise DataError(
            f"{folder} has files in one folder only, {', '.join(labels)}; two classes are the least."
        )
    there = {column for row in rows.values() for column in row} - {"label", "split"}
    if len(there) > 1 and all(len(row) <= 3 for row in rows.values()):  # label, split and one more
        raise DataError(
            f"{folder} has {' and '.join(sorted(there))}, but no file of one has the name of a file of another, so that every "
            "sample would have a single modality; name the files of a sample alike, or write a table."
        )
    without = set(spare)
    found: dict[str, list[Medium]] = {}
    for medium in media:
        if medium not in without:
            name = names[medium.folders[0] if kinds else medium.kind]
            found.setdefault(name, []).append(medium)
    draft = _draft(folder, found, rows)
    if spare:
        said = f"{len(spare)} left out: another of the same kind and name lies beside each"
        draft.notes.append((spare[0].path.as_posix(), said))
    return draft, list(rows.values())


def _media(folder: Path) -> list[Medium]:
    paths = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        paths += [Path(place, name).relative_to(folder) for name in sorted(files) if name[0] != "."]
    paths = [path for path in paths if kind_of(path.name)]
    return list(_sorted_out(paths, _depth_of_splits(paths)))


def _depth_of_splits(paths: Sequence[Path]) -> int | None:
    """How deep the folders lie that are all named as splits; a class may be called test, beside others that are not."""
    depths = range(min((len(path.parts) - 1 for path in paths), default=0))
    return next((i for i in depths if all(_is_split(path.parts[i]) for path in paths)), None)


def _is_split(name: str) -> bool:
    return name.lower() in (*PARTS, *SPELLINGS)


def _sorted_out(paths: Sequence[Path], depth: int | None) -> Iterator[Medium]:
    for path in paths:
        folders = list(path.parts[:-1])
        split = "" if depth is None else folders.pop(depth).lower()
        yield Medium(path, SPELLINGS.get(split, split), tuple(folders), kind_of(path.name))


def _modality_folder(media: Sequence[Medium]) -> bool:
    """Whether the first folders are modalities: the same samples lie in each of them."""
    if any(len(medium.folders) < 2 for medium in media):
        return False
    inside: dict[str, set[tuple[str, ...]]] = {}
    for medium in media:
        inside.setdefault(medium.folders[0], set()).add((*medium.folders[1:], medium.path.stem))
    first, *others = inside.values()
    return bool(others) and all(len(first & other) * 2 > len(first) for other in others)


def _names(modalities: Sequence[str]) -> dict[str, str]:
    """For each modality a name of letters, digits and _ that no other has, nor another column of the manifest."""
    names: dict[str, str] = {}
    for modality in dict.fromkeys(modalities):
        taken = {"label", "split", *names.values()}
        plain = _plain(modality)
        made = (plain, *(f"{plain}_{i}" for i in range(2, len(names) + 4)))
        names[modality] = next(name for name in made if name not in taken)
    return names


def _plain(name: str) -> str:
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    return plain if plain and plain[0].isalpha() else f"m_{plain}"


def _draft(
    folder: Path,
    found: Mapping[str, Sequence[Medium]],
    rows: Mapping[tuple[str, ...], Mapping[str, str]],
) -> Draft:
    draft = Draft(MANIFEST, "label")
    labels = {row["label"] for row in rows.values()}
    draft.notes.append(
        (folder.name, f"{counted(len(rows), 'sample')}; files of one name are one sample")
    )
    draft.notes.append(
        ("label", f"the folder that a file lies in: {counted(len(labels), 'class')}")
    )
    splits = {row["split"] for row in rows.values()} - {""}
    if splits:
        draft.split = "split"
        draft.notes.append(("split", f"by folder: {', '.join(sorted(splits))}"))
    elif partly := sorted({row["label"] for row in rows.values() if _is_split(row["label"])}):
        said = f"none: not all folders beside {' and '.join(partly)} are named as splits, so that all are classes"
        draft.notes.append(("split", said))
    for name, files in found.items():
        first = [folder / medium.path for medium in files[:OPENED]]
        kind = kind_in(first)
        options = OPTIONS[kind](first)
        draft.modalities.append(Found(name, kind, {"column": (name, ""), **options}))
        draft.notes.append((name, counted(len(files), f"{kind} file")))
    silent = all(modality.kind != "audio" for modality in draft.modalities)
    for film in [m for m in draft.modalities if m.kind == "video" and silent]:
        videos = [folder / medium.path for medium in found[film.name][:OPENED]]
        hear(draft, film.name, {"column": (film.name, "")}, videos)
    return draft


def write_rows(path: Path, draft: Draft, rows: Sequence[Mapping[str, str]]) -> None:
    """The manifest."""
    names = [found.lines["column"][0] for found in draft.modalities]
    columns = [*dict.fromkeys(names), "label", *(["split"] if draft.split else [])]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue())
