"""What lies in a data folder: counts, shapes, classes, what is missing, what cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError, counted
from . import registry

__all__ = ["CheckReport", "check"]


@dataclass(frozen=True)
class CheckReport:
    """The state of a data set.

    Attributes:
        name: of the data set.
        files: how many files were read.
        unreadable: for each file that cannot be read the reason.
        problem: why the set cannot be loaded, or "".
        shapes: for each modality the shape of one sample.
        counts: for each split the number of samples.
        classes: for each split and class the number of samples.
        missing: for each split and modality the fraction of samples that lack it.
        fingerprint: SHA-256 of the contents, or "".
    """

    name: str
    files: int
    unreadable: Mapping[Path, str]
    problem: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def ok(self) -> bool:
        """Whether every file can be read and the set can be loaded."""
        return not self.unreadable and not self.problem

    def summary(self) -> list[tuple[str, str]]:
        """Rows of what and how much, for a table."""
        rows = [("files read", str(self.files)), ("files unreadable", str(len(self.unreadable)))]
        rows += [(f"modality {name}", str(shape)) for name, shape in self.shapes.items()]
        for part, count in self.counts.items():
            lacking = {name: rate for name, rate in self.missing[part].items() if rate}
            note = "".join(f", {rate:.1%} without {name}" for name, rate in lacking.items())
            rows.append((f"split {part}", f"{counted(count, 'sample')}{note}"))
        return rows

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each class: its name and how many samples each split has."""
        if not self.classes:
            return []
        first = next(iter(self.classes.values()))
        return [(name, *(str(c[name]) for c in self.classes.values())) for name in first]

    def table(self) -> str:
        """All of it as text."""
        lines = [f"{what:24} {value}" for what, value in self.summary()]
        if self.classes:
            wide = max(map(len, next(iter(self.classes.values()))))
            lines += ["", f"{'class':{wide}} " + " ".join(f"{part:>7}" for part in self.classes)]
            lines += [
                f"{n:{wide}} " + " ".join(f"{c:>7}" for c in counts) for n, *counts in self.rows()
            ]
        lines += [f"unreadable: {reason}" for reason in self.unreadable.values()]
        return "\n".join([*lines, *([self.problem] if self.problem else [])])


def check(name: str, root: str | Path | None = None, **settings: Any) -> CheckReport:
    """Reads every file of a data set, then loads it.

    Args:
        name: of the data set.
        root: the data folder.
        settings: as for `load`.

    Raises:
        ConfigError: no such set, option or value.
        DataError: the data folder is not there or has none of the files.
    """
    folder = None if root is None else Path(root)
    files, unreadable = 0, {}
    for path, read in registry.describe(name).sources(folder):
        files += 1
        try:
            read()
        except DataError as error:
            unreadable[path] = str(error)
    if unreadable:
        return CheckReport(name, files, unreadable)
    try:
        splits = registry.load(name, root, **settings)
    except DataError as error:
        return CheckReport(name, files, unreadable, str(error))
    return CheckReport(
        name,
        files,
        unreadable,
        shapes=dict(splits.train.shapes),
        counts={part: len(data) for part, data in splits.parts.items()},
        classes={part: data.class_counts for part, data in splits.parts.items()},
        missing={part: data.missing for part, data in splits.parts.items()},
        fingerprint=splits.fingerprint,
    )
