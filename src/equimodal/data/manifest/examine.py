"""What is in a manifest and its files: counts, sizes, what is missing or unreadable, and what leaks between splits."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...errors import DataError, counted
from ..pool import Progress, mapped
from .learned import fit
from .load import Opened, Rows, open_manifest
from .measure import measures
from .prepare import verify
from .recipe import Modality
from .streams import Columns, Files, Stored
from .table import read

__all__ = ["Examined", "examine"]

LENGTHS = {
    "text": "tokens",
    "points": "points",
    "sequence": "steps",
    "video": "frames",
    "vector": "values",
}
SHOWN = 20  # problems or remarks of one kind that are listed


@dataclass(frozen=True)
class Examined:
    """The state of a manifest.

    Attributes:
        path: of the data TOML.
        summary: what and how much, row by row.
        classes: for each class and split the number of samples.
        problems: sentences; empty where all is well.
        remarks: sentences about what may be right, and deserves a look.
    """

    path: Path
    summary: list[tuple[str, str]]
    classes: Mapping[str, Mapping[str, int]]
    problems: list[str]
    remarks: list[str] = field(default_factory=list)

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each class: its name and how many samples each split has."""
        return [(name, *map(str, c.values())) for name, c in self.classes.items()]


@dataclass(frozen=True)
class Seen:
    """A file that was read: what was measured, its contents' hash, or why it cannot be read."""

    row: int
    measured: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    reason: str = ""


def look(stream: Stored, kind: str, row: int) -> Seen:
    """Read one row's file."""
    try:
        made = stream.stored(row)
        if not isinstance(stream, Files):
            return Seen(row, {LENGTHS[kind]: float(len(made))} if kind in LENGTHS else {})
        path = stream.path(row)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest() if path.is_file() else ""
        return Seen(row, measures(kind, path, made), digest)
    except DataError as error:
        return Seen(row, reason=str(error))
    except IsADirectoryError:  # a folder of frames
        return Seen(row, measures(kind, path, made))


def examine(path: Path | str, workers: int = 0, progress: Progress | None = None) -> Examined:
    """Read a data TOML, its manifest and every file that it names.

    Args:
        path: of the data TOML.
        workers: processes that read files; 0: this one.
        progress: called as it goes on.

    Raises:
        ConfigError, DataError: the TOML or the manifest itself cannot be used.
    """
    opened = open_manifest(path)
    rows = opened.rows()
    seen = _seen(opened, rows, workers, progress)
    reasons = {(one.row, m): one.reason for m, found in seen.items() for one in found if one.reason}
    good = rows[~np.isin(rows, [row for row, _ in reasons])]
    parts = _parts(opened, good, reasons)
    shapes, unfit = _shapes(opened, parts["train"])
    summary = [("rows", f"{len(opened.targets)} in {opened.lines.path.name}")]
    if unused := len(opened.targets) - len(rows):
        summary.append(("rows not used", f"{unused}: without any modality, or without a split"))
    summary += [(f"split {part}", _part_line(opened, at)) for part, at in parts.items()]
    for modality in opened.recipe.modalities:
        summary += _modality_lines(modality, opened, seen, shapes.get(modality.name, ""))
    classes = {
        name: {p: int((opened.targets[at] == i).sum()) for p, at in parts.items()}
        for i, name in enumerate(opened.classes)
    }
    problems = [
        *([] if opened.shards is None else verify(opened.shards.folder)),
        *_shortened(
            [f"unreadable: {opened.lines.where(r)}, {m}: {why}" for (r, m), why in reasons.items()],
            "unreadable file",
        ),
        *unfit,
        *_leaks(opened, parts, seen),
        *_crossing(opened, parts),
        *(
            f"class {name!r} has no sample in train"
            for name, c in classes.items()
            if not c["train"]
        ),
    ]
    remarks = [*_shortened(_rare(classes), "class"), *_read_twice(opened)]
    return Examined(Path(path), summary, classes, problems, remarks)


def _seen(
    opened: Opened, rows: Rows, workers: int, progress: Progress | None
) -> dict[str, list[Seen]]:
    """For each modality in files or texts what was seen of each row that has it."""
    kinds = {m.name: m.kind for m in opened.recipe.modalities}
    stored = {n: s for n, s in opened.streams.items() if isinstance(s, Stored)}
    total = sum(int(stream.present[rows].sum()) for stream in stored.values())
    found: dict[str, list[Seen]] = {name: [] for name in stored}
    for name, stream in stored.items():
        here = rows[stream.present[rows]].tolist()
        for one in mapped(partial(look, stream, kinds[name]), here, workers):
            found[name].append(one)
            if progress is not None:
                progress(sum(map(len, found.values())), total)
        if kinds[name] == "vector":
            found[name] = _of_one_width(stream, found[name])
    return found


def _of_one_width(stream: Stored, seen: list[Seen]) -> list[Seen]:
    """Vectors of another width than most are as good as unreadable."""
    widths = Counter(one.measured["values"] for one in seen if not one.reason)
    if len(widths) < 2:
        return seen
    (most, _), *_ = widths.most_common(1)
    said = f"most have {most:g}: say width = {most:g} in the data TOML"
    return [
        one
        if one.reason or one.measured["values"] == most
        else Seen(
            one.row,
            reason=f"{stream.cells[one.row]} has {one.measured['values']:g} values, where {said}",
        )
        for one in seen
    ]


def _parts(opened: Opened, good: Rows, reasons: Mapping[tuple[int, str], str]) -> dict[str, Rows]:
    """Train, val and test; where too few rows can be read for that, the refusal says why the first cannot."""
    try:
        return opened.parts(good, None, opened.recipe.seed)
    except DataError as error:
        if not reasons:
            raise
        (row, name), why = next(iter(reasons.items()))
        lost = len({row for row, _ in reasons})
        raise DataError(
            f"{opened.lines.where(row)}, {name}: {why.removesuffix('.')} ({lost} of {lost + len(good)} rows cannot be read, "
            f"and without them: {error})"
        ) from None


def _rare(classes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The classes of which a split has no sample, and those that may be another, misspelled."""
    spelled: dict[str, list[str]] = {}
    for name in classes:
        spelled.setdefault(" ".join(name.casefold().split()), []).append(name)
    used = {part for counts in classes.values() for part, count in counts.items() if count}
    found = []
    for alike in spelled.values():
        for name in alike:
            here = classes[name]
            count = sum(here.values())
            without = [part for part in ("val", "test") if part in used and not here[part]]
            others = " or ".join(repr(other) for other in alike if other != name)
            said = f"class {name!r} has {counted(count, 'sample')}"
            said += f", none in {' and '.join(without)}" if count and without else ""
            said += f"; but for case or spaces it is {others}: one class, or two?" if others else ""
            if without or others:
                found.append(said)
    return found


def _read_twice(opened: Opened) -> list[str]:
    """Modalities that read the same file in a row in the same way."""
    files = {n: s for n, s in opened.streams.items() if isinstance(s, Files)}
    how = {m.name: (m.kind, m.options, m.start, m.stop) for m in opened.recipe.modalities}
    found = []
    for a, b in itertools.combinations(files, 2):
        if how[a] != how[b]:  # such as picture and sound of a video
            continue
        same = pc.sum(pc.equal(files[a].below, files[b].below)).as_py()
        if same:
            found.append(
                f"modalities {a} and {b} read the same file in {counted(same, 'row')}; leave one out if it is a copy"
            )
    return found


def _shapes(opened: Opened, train: Rows) -> tuple[dict[str, str], list[str]]:
    """For each modality the shape of a sample; and why those that training would refuse have none."""
    shapes, unfit = {}, []
    for modality in opened.recipe.modalities:
        try:
            shapes[modality.name] = str(fit(opened.streams[modality.name], modality, train).shape)
        except DataError as error:
            unfit.append(f"modality {modality.name}: {error}")
    return shapes, unfit


def _part_line(opened: Opened, rows: Rows) -> str:
    rates = {n: 1 - float(s.present[rows].mean()) for n, s in opened.streams.items() if len(rows)}
    lacking = "".join(f", {rate:.1%} without {name}" for name, rate in rates.items() if rate)
    groups = (
        ""
        if opened.groups is None
        else f" of {counted(len(np.unique(opened.groups[rows])), 'group')}"
    )
    return f"{counted(len(rows), 'sample')}{groups}{lacking}"


def _modality_lines(
    modality: Modality, opened: Opened, seen: Mapping[str, list[Seen]], shape: str
) -> list[tuple[str, str]]:
    name, stream = modality.name, opened.streams[modality.name]
    lines = [(f"modality {name}", f"{modality.kind}, as {shape}" if shape else modality.kind)]
    if isinstance(stream, Columns):
        gaps = [np.mean(c < 0 if c.dtype == np.int32 else np.isnan(c)) for c in stream.columns]
        named = zip(modality.columns, gaps, strict=True)
        lacking = [f"{column} {float(gap):.1%}" for column, gap in named if gap]
        return lines + ([("  gaps", ", ".join(lacking))] if lacking else [])
    good = [one for one in seen[name] if not one.reason]
    for what in dict.fromkeys(key for one in good for key in one.measured):
        values = np.array([one.measured[what] for one in good if what in one.measured])
        lines.append((f"  {what}", _range(values)))
    if unreadable := len(seen[name]) - len(good):
        lines.append(("  unreadable", str(unreadable)))
    return lines


def _range(values: NDArray[np.float64]) -> str:
    if len(np.unique(values)) <= 3:  # such as rates
        counts = sorted(Counter(values.tolist()).items())
        if len(counts) == 1:
            return f"{counts[0][0]:g}, all"
        return ", ".join(f"{value:g} ({counted(count, 'file')})" for value, count in counts)
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:.4g} to {high:.4g}, half of them below {middle:.4g}"


def _shortened(sentences: list[str], what: str) -> list[str]:
    rest = len(sentences) - SHOWN
    return sentences[:SHOWN] + ([f"... and {counted(rest, f'more {what}')}"] if rest > 0 else [])


def _leaks(opened: Opened, parts: Mapping[str, Rows], seen: Mapping[str, list[Seen]]) -> list[str]:
    """Files with the same contents in more than one split."""
    part_of = {int(row): part for part, rows in parts.items() for row in rows}
    found = []
    for name, files in seen.items():
        holders: dict[str, list[int]] = {}
        for one in files:
            if one.digest and one.row in part_of:
                holders.setdefault(one.digest, []).append(one.row)
        shared = [rows for rows in holders.values() if len({part_of[r] for r in rows}) > 1]
        if shared:
            pairs = [_pair(opened, rows, part_of) for rows in shared[:3]]
            found.append(
                f"leak: {counted(len(shared), f'{name} file')} with the same contents in more than one split, such as {'; '.join(pairs)}; "
                "remove one, or put them into one split (by a group column)"
            )
    return found


def _pair(opened: Opened, rows: list[int], part_of: Mapping[int, str]) -> str:
    first = rows[0]
    other = next(row for row in rows if part_of[row] != part_of[first])
    return " = ".join(f"{opened.lines.row(r)} ({part_of[r]})" for r in (first, other))


def _crossing(opened: Opened, parts: Mapping[str, Rows]) -> list[str]:
    """Groups that are in more than one split."""
    if opened.groups is None:
        return []
    names = read(opened.recipe.manifest, [opened.recipe.group]).texts(opened.recipe.group)
    inside = {part: set(opened.groups[rows].tolist()) for part, rows in parts.items()}
    found = []
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(inside[a] & inside[b])
        if both:
            some = [names[int(np.flatnonzero(opened.groups == g)[0])].as_py() for g in both[:3]]
            found.append(
                f"groups cross: {len(both)} of column {opened.recipe.group!r} in {a} and in {b}, such as "
                f"{', '.join(map(str, some))}"
            )
    return found
