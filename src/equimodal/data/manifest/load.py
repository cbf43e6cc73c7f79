"""From a data TOML to splits: rows are checked, held out by group, and what is learned from train is learned."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, nearest
from ..dataset import UNKNOWN
from ..media.table import Table as Vectors
from ..media.text import Text
from ..splits import Splits
from .attempt import unreadable
from .divide import divide
from .learned import described, fit
from .names import Names
from .recipe import Modality, Recipe
from .samples import Origin, Samples
from .shards import Shards
from .streams import Columns, Files, Stored, Stream, Survey, Texts, survey
from .table import NOTHING, Table, column_hash, filled, read

__all__ = ["PARTS", "AbsentError", "Opened", "fingerprint", "load", "open_manifest"]

PARTS = ("train", "val", "test")
SPELLINGS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
Rows = NDArray[np.int64]


class AbsentError(DataError):
    """A file that a row names is not there.

    Attributes:
        what: the row and its file, without what can be done.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)  # both, so that another process can send it
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return f"{self.what}, {self.advice}"


class Opened:
    """A manifest that was read and checked, before anything is learned from it.

    Args:
        recipe: that it is read by.
        classes: of a trained model, where rows are only to be predicted: their labels are among these, or unknown.

    Attributes:
        recipe: that it was read by.
        lines: how messages name its rows.
        names: what its rows are called.
        digest: SHA-256 of the columns that the recipe names.
        classes: their names.
        targets: [N] class ids; `UNKNOWN` where a row that is only to be predicted has no label.
        groups: [N] codes of the groups, or None.
        split: [N] each train, val or test, or None.

    Raises:
        DataError: a column is missing, an id stands twice, a label is no class, a split is none of the three.
    """

    def __init__(self, recipe: Recipe, classes: Sequence[str] | None = None) -> None:
        self.recipe = recipe
        table = read(recipe.manifest, recipe.columns)  # not kept: a stream has its own columns
        self.lines = table.lines
        self._refuse_twice(table)
        hashes = {name: column_hash(table.column(name)) for name in recipe.columns}
        self.digest = b"".join(hashes.values())
        self.names = Names(table.lines, recipe.id, hashes.get(recipe.id, b""))
        pa.default_memory_pool().release_unused()
        self.shards = Shards.read(recipe) if recipe.shards else None
        self.targets, self.classes = (
            self._labels(table)
            if classes is None
            else (self._known_labels(table, classes), tuple(classes))
        )
        self.groups = self._groups(table)
        self.split = self._split(table)
        self.streams = {m.name: self._stream(m, table) for m in recipe.modalities}

    def _refuse_twice(self, table: Table) -> None:
        if not self.recipe.id:
            return
        values = table.texts(self.recipe.id)
        if values.null_count:
            row = int(np.flatnonzero(~filled(values))[0])
            raise DataError(f"{table.where(row)} has no {self.recipe.id}.")
        in_order = values.take(
            pc.sort_indices(values)
        )  # a table of hashes would be five times as large
        again = pc.any(pc.equal(in_order[1:], in_order[:-1])).as_py()
        del in_order
        pa.default_memory_pool().release_unused()
        if not again:
            return
        codes, names = table.codes(self.recipe.id)
        order = np.argsort(codes, kind="stable")
        again = order[1:][codes[order][1:] == codes[order][:-1]].min()
        first = int(np.flatnonzero(codes == codes[again])[0])
        raise DataError(
            f"{table.where(int(again))}: the {self.recipe.id} {names[codes[again]].as_py()!r} is that of "
            f"{self.lines.row(first)} already; each must be there once."
        )

    def _labels(self, table: Table) -> tuple[Rows, tuple[str, ...]]:
        codes, held = table.codes(self.recipe.label)
        names = held.to_pylist()
        if len(empty := np.flatnonzero(codes < 0)):
            raise DataError(
                f"{table.where(int(empty[0]))} has no label in column {self.recipe.label!r} ({len(empty)} of "
                f"{len(codes)} rows have none); give it one, or leave the row out."
            )
        classes = self.recipe.classes or tuple(sorted(names, key=_natural))
        for code, name in enumerate(names):
            if name in ("nan", "NaN") and not self.recipe.classes:
                row = int(np.flatnonzero(codes == code)[0])
                raise DataError(
                    f"{table.where(row)}: the label {name!r} in column {self.recipe.label!r} is how programs write that there "
                    "is none; give the row one, leave it out, or list the names of all classes under classes."
                )
            if name not in classes:
                row = int(np.flatnonzero(codes == code)[0])
                raise DataError(
                    f"{table.where(row)}: the label {name!r} is none of the classes in {self.recipe.path.name}; "
                    f"{nearest(name, classes)}"
                )
        if len(classes) < 2:
            raise DataError(
                f"{self.lines.path}: all labels in column {self.recipe.label!r} are {classes[0]!r}; two classes are the least."
            )
        place = np.array([classes.index(name) for name in names], dtype=np.int64)
        return place[codes], classes

    def _known_labels(self, table: Table, classes: Sequence[str]) -> Rows:
        """[N]: what is known of the classes of rows to be predicted."""
        if not self.recipe.label:
            return np.full(len(table), UNKNOWN, dtype=np.int64)
        codes, names = table.codes(self.recipe.label)
        place = {name: i for i, name in enumerate(classes)}
        ids = []
        for code, name in enumerate(names.to_pylist()):
            if name not in place and not re.match(NOTHING, name):
                row = int(np.flatnonzero(codes == code)[0])
                raise DataError(
                    f"{table.where(row)}: the label {name!r} in column {self.recipe.label!r} is none of the run's classes; "
                    f"where it is not known the cell must be empty; {nearest(name, classes)}"
                )
            ids.append(place.get(name, UNKNOWN))
        return np.array([*ids, UNKNOWN], dtype=np.int64)[codes]  # an empty cell's code is -1

    def _groups(self, table: Table) -> NDArray[np.int32] | None:
        if not self.recipe.group:
            return None
        codes, names = table.codes(self.recipe.group)
        alone = np.flatnonzero(codes < 0)  # a row without a group is a group of its own
        groups = codes
        groups[alone] = len(names) + np.arange(len(alone))
        return groups

    def _split(self, table: Table) -> NDArray[np.str_] | None:
        if not self.recipe.split:
            return None
        codes, held = table.codes(self.recipe.split)
        names = held.to_pylist()
        known = [SPELLINGS.get(name.lower(), name.lower()) for name in names]
        for code, (name, part) in enumerate(zip(names, known, strict=True)):
            if part not in PARTS:
                row = int(np.flatnonzero(codes == code)[0])
                raise DataError(
                    f"{table.where(row)}: the split {name!r} must be one of {', '.join(PARTS)}."
                )
        return np.array([*known, ""])[codes]  # an empty cell is in no part

    def _stream(self, modality: Modality, table: Table) -> Stream:
        if modality.kind == "table":
            columns, words = zip(*self._values(modality, table), strict=True)
            return Columns(modality.name, columns, words, Vectors(**dict(modality.options)))
        cells = table.texts(modality.columns[0])
        words = modality.kind == "text" and not {"vectors", "tokenizer"} & set(
            dict(modality.options)
        )
        reader = modality.reader(**({"words": ("",)} if words else {}))
        if not modality.in_files or (modality.kind == "text" and self.shards is not None):
            return Texts(modality.name, table.lines, cells, reader)
        if self.shards is not None:
            return self.shards.stream(modality, table.lines, cells, reader)
        spans = [
            table.numbers(c) if c else np.full(len(table), np.nan)
            for c in (modality.start, modality.stop)
        ]
        made = Files(
            modality.name,
            table.lines,
            cells,
            reader,
            self.recipe.folder,
            self.recipe.allow_outside,
            modality.root,
            modality.suffix,
            tuple(spans) if modality.start or modality.stop else (),
        )
        made.refuse_outside()
        return made

    def _values(
        self, modality: Modality, table: Table
    ) -> Iterable[tuple[NDArray[np.generic], pa.Array | None]]:
        for column in modality.columns:
            if column in modality.categories:
                yield table.codes(column)
            else:
                yield table.numbers(column), None

    def rows(self) -> Rows:
        """The rows that are usable.

        Raises:
            DataError: there is none.
        """
        rows = np.flatnonzero(self.usable)
        if not len(rows):
            raise DataError(f"{self.lines.path} has no row that has both a modality and a split.")
        return rows

    @property
    def usable(self) -> NDArray[np.bool_]:
        """[N]: whether a row has at least one modality, and a place in a split."""
        masks = [stream.present for stream in self.streams.values()]
        some: NDArray[np.bool_] = np.logical_or.reduce(masks)
        return some if self.split is None else some & (self.split != "")

    def parts(self, rows: Rows, validation: float | None, seed: int) -> dict[str, Rows]:
        """Train, val and test of some rows, as the manifest says or held out by group."""
        fraction = self.recipe.validation if validation is None else validation
        said = None if self.split is None else self.split[rows]
        groups = None if self.groups is None else self.groups[rows]
        found = divide(self.targets[rows], said, groups, self.recipe.test, fraction, seed)
        return {part: rows[at] for part, at in found.items()}


def _natural(name: str) -> tuple[int, float, str]:
    """10 comes after 9; words come after numbers."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def open_manifest(path: Path | str) -> Opened:
    """A data TOML and its manifest, checked."""
    opened = Opened(Recipe.read(Path(path)))
    pa.default_memory_pool().release_unused()  # columns that were only checked
    return opened


def load(
    path: Path | str,
    *,
    validation: float | None = None,
    split_seed: int | None = None,
    skip_unreadable: bool = False,
    workers: int = 0,
) -> Splits:
    """The samples of a manifest, ready to train on.

    Args:
        path: of the data TOML.
        validation: fraction of train that becomes validation where the manifest has none; else as the TOML says.
        split_seed: of what is held out as test and validation; else the TOML's seed.
        skip_unreadable: try every file first, and leave out the rows of those that cannot be read.
        workers: processes that try files.

    Raises:
        ConfigError: the TOML has an option that cannot be.
        DataError: the manifest, a row or a file cannot be used; the sentence names it.
    """
    opened = open_manifest(path)
    recipe = opened.recipe
    if validation is not None and opened.split is not None and (opened.split == "val").any():
        raise ConfigError(
            f"{recipe.name} has a validation part of its own: leave out val_fraction={validation}."
        )
    if split_seed is not None and opened.split is not None and (opened.split == "test").any():
        raise ConfigError(
            f"{recipe.name} has a test part of its own: leave out split_seed, or 'resplits' in a bench."
        )
    split_seed = recipe.seed if split_seed is None else split_seed
    rows = opened.rows()
    surveys = [survey(s, rows) for s in opened.streams.values() if isinstance(s, Files)]
    left_out = _left_out(opened, rows, surveys, skip_unreadable, workers)
    if left_out:
        rows = rows[~np.isin(rows, list(left_out))]
    parts = opened.parts(rows, validation, split_seed)
    _refuse_divided_groups(opened, parts)
    streams = {m.name: fit(opened.streams[m.name], m, parts["train"]) for m in recipe.modalities}
    origin = Origin(fingerprint(opened, surveys), recipe.seed)
    made = {
        part: Samples(
            streams,
            at,
            torch.from_numpy(opened.targets[at]),
            opened.classes,
            origin,
            opened.names,
            groups=None if opened.groups is None else torch.from_numpy(opened.groups[at]),
        )
        for part, at in parts.items()
    }
    return Splits(
        recipe.name,
        made["train"].seen(augment=True),
        made["val"],
        made["test"],
        recipe={"test": recipe.test, "validation": recipe.validation, "seed": split_seed},
        encoders={
            m.name: m.encoder or default_encoder(m, streams[m.name]) for m in recipe.modalities
        },
        augment={m.name: m.augment for m in recipe.modalities if m.augment},
        training=_training(recipe, len(parts["train"])),
        left_out={opened.lines.where(row): reason for row, reason in left_out.items()},
        advice=_advice(recipe, streams),
        learned={n: found for n, s in streams.items() if (found := described(s)) is not None},
    )


def _refuse_divided_groups(opened: Opened, parts: Mapping[str, Rows]) -> None:
    """A split that the manifest gives may cross its groups."""
    if opened.groups is None or opened.split is None:
        return
    for a, b in itertools.combinations(parts, 2):
        both = np.intersect1d(opened.groups[parts[a]], opened.groups[parts[b]])
        if len(both):
            first, other = (
                opened.lines.row(int(parts[p][opened.groups[parts[p]] == both[0]][0]))
                for p in (a, b)
            )
            raise DataError(
                f"{opened.lines.path}: {first} ({a}) and {other} ({b}) are of one {opened.recipe.group}, which must not be "
                f"on both sides; put the column {opened.recipe.split!r} right, or leave out group ({len(both)} such)."
            )


def _advice(recipe: Recipe, streams: Mapping[str, Stream]) -> str:
    """That media are decoded in every epoch, and how they are decoded once."""
    costly = [
        m.name
        for m in recipe.modalities
        if m.kind in ("image", "audio", "video") and isinstance(streams[m.name], Files)
    ]
    if not costly:
        return ""
    return (
        f"{' and '.join(costly)} will be decoded in every epoch; to decode once: equimodal data prepare "
        f"{recipe.path} --out FOLDER"
    )


def _training(recipe: Recipe, samples: int) -> dict[str, float]:
    """A batch no larger than a quarter of train, so that a small set has more than one."""
    size = max(2, min(64, samples // 4))
    return {"batch_size": min(size, samples), **recipe.training}


def absent(opened: Opened, rows: Rows, surveys: Iterable[Survey], skip: bool) -> dict[int, str]:
    """The rows of which a file is named and not there, with the reasons.

    Raises:
        AbsentError: there is one, and none is to be skipped.
    """
    found = {row: reason for seen in surveys for row, reason in seen.absent.items()}
    if found and not skip:
        row = min(found)
        raise AbsentError(
            f"{opened.lines.where(row)}: {found[row].removesuffix('.')}",
            "empty the cell if the modality is missing, or say --skip-unreadable "
            f"({len(found)} of {len(rows)} rows name such files).",
        )
    return found


def _left_out(
    opened: Opened, rows: Rows, surveys: Iterable[Survey], skip: bool, workers: int
) -> dict[int, str]:
    found = absent(opened, rows, surveys, skip)
    if opened.shards is not None:
        found |= opened.shards.left_out
    if skip:
        rest = rows[~np.isin(rows, list(found))]
        found |= unreadable(opened.streams, rest, workers)
    return dict(sorted(found.items()))


def default_encoder(modality: Modality, stream: Stream) -> str:
    """The expression of the encoder of a modality whose TOML names none."""
    shape = stream.shape
    match modality.kind:
        case "image":
            return f"resnet18(channels={shape[0]})"
        case "video":
            return "resnet18(channels=3)"
        case "audio" if len(shape) == 3:
            return "resnet18(channels=1)"
        case "points":
            return "pointnet()"
        case "sequence":
            return f"gru(channels={shape[-1]})"
        case "vector":
            return f"mlp(inputs={shape[0]})"
        case "text" if len(shape) == 2:
            return f"bigru(channels={shape[-1]}, width=128)"
    if isinstance(stream, Columns):
        return stream.reader.encoder
    if isinstance(stream, Stored) and isinstance(stream.reader, Text) and stream.reader.words:
        return f"bigru(channels=64, width=64, tokens={len(stream.reader.words) + 2})"
    return ""


def fingerprint(opened: Opened, surveys: Iterable[Survey]) -> str:
    """SHA-256 of the columns, of how they are read, and of the sizes of files."""
    recipe = opened.recipe
    how = (recipe.modalities, opened.classes, recipe.seed, recipe.test, recipe.validation)
    digest = hashlib.sha256(repr(how).encode())
    digest.update(opened.digest)
    for seen in surveys:
        digest.update(seen.digest)
    if opened.shards is not None:
        digest.update(opened.shards.digest.encode())
    return digest.hexdigest()
