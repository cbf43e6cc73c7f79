"""A store, row by row: what every table and figure is made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cell import Cell, Kind
from .statistics import Floats
from .store import Record, Store

__all__ = ["Line", "Results", "Summary"]

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One row of the table on one data set and model.

    Attributes:
        cells: of all seeds.
        records: what is known of them, in the same order; None where they are not finished.
    """

    cells: tuple[Cell, ...]
    records: tuple[Record | None, ...]

    @property
    def kind(self) -> Kind:
        return self.cells[0].kind

    @property
    def label(self) -> str:
        return self.cells[0].row

    @property
    def place(self) -> tuple[str, str]:
        """Labels of data set and model: rows are compared within one."""
        return self.cells[0].data, self.cells[0].model

    @cached_property
    def runs(self) -> tuple[str, ...]:
        """Their keys: two rows with the same ones are the same runs under two names."""
        return tuple(cell.key for cell in self.cells)

    @cached_property
    def done(self) -> dict[int, Results]:
        """Results by seed."""
        pairs = zip(self.cells, self.records, strict=True)
        return {c.seed: r.results for c, r in pairs if r is not None and r.results is not None}

    @property
    def failed(self) -> list[tuple[Cell, str]]:
        pairs = zip(self.cells, self.records, strict=True)
        return [(c, r.reason) for c, r in pairs if r is not None and not r.done]

    @property
    def walls(self) -> list[float]:
        return [record.wall for record in self.records if record is not None and record.wall]

    @property
    def paper(self) -> bool:
        """Whether it was selected on the test split."""
        return bool(self.cells[0].settings["protocol"] == "paper")

    def values(self, read: Callable[[Results], float | None]) -> Floats:
        """A figure of every finished run; those without it are left out."""
        found = [read(results) for results in self.done.values()]
        return np.array([value for value in found if value is not None], dtype=float)

    @property
    def accuracy(self) -> Floats:
        """[S], on the test split, without fitted fusion."""
        return self.values(lambda r: r["test"]["fused"]["accuracy"])

    def shared(self, other: Line) -> list[int]:
        """The seeds that both have."""
        return [seed for seed in self.done if seed in other.done]

    def of(self, seeds: list[int]) -> Floats:
        """Accuracies of these seeds."""
        return np.array([self.done[seed]["test"]["fused"]["accuracy"] for seed in seeds])

    def right(self, seeds: list[int]) -> NDArray[np.bool_]:
        """[S, N], whether the run of a seed is right on a test sample."""
        rows = []
        for cell, record in zip(self.cells, self.records, strict=True):
            if record is not None and record.results is not None and cell.seed in seeds:
                packed = np.frombuffer(bytes.fromhex(record.right), dtype=np.uint8)
                rows.append((cell.seed, np.unpackbits(packed, count=_samples(record)).astype(bool)))
        by_seed = dict(rows)
        return np.stack([by_seed[seed] for seed in seeds])

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """[N], what the test samples are of, where several may be of one; the same in every run."""
        packed = next((r.groups for r in self.records if r is not None and r.groups), "")
        if not packed:
            return None
        return np.frombuffer(zlib.decompress(bytes.fromhex(packed)), "<i4").astype(np.int64)


def _samples(record: Record) -> int:
    assert record.results is not None
    return int(record.results["test"]["samples"])


@dataclass(frozen=True)
class Summary:
    """The newest grid of a store with all that is there of it."""

    store: Store
    lines: tuple[Line, ...]
    about: Mapping[str, Any]

    @classmethod
    def read(cls, store: Store) -> Summary:
        """Read plan and results; the bench may be running.

        Raises:
            ConfigError: there is no plan yet.
        """
        cells, about = store.plan()
        records = store.records({cell.key for cell in cells})
        rows: dict[tuple[str, ...], list[Cell]] = {}
        for cell in cells:
            rows.setdefault((cell.data, cell.model, cell.kind, cell.row), []).append(cell)
        lines = [
            Line(tuple(found), tuple(records.get(cell.key) for cell in found))
            for found in rows.values()
        ]
        return cls(store, tuple(lines), about)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Data sets and models, in the order of the grid; those that `--only` left out are in no table."""
        ended = [line for line in self.lines if any(line.records)]
        return list(dict.fromkeys(line.place for line in ended or self.lines))

    def at(self, place: tuple[str, str]) -> list[Line]:
        """The rows on one data set and model."""
        return [line for line in self.lines if line.place == place]

    def reference(self, place: tuple[str, str]) -> Line | None:
        """The row that the others are compared with."""
        wanted = self.about["reference"]
        found = [x for x in self.at(place) if x.label in (wanted, f"{wanted} tuned")]
        return found[0] if found else None

    def split_of(self, place: tuple[str, str]) -> tuple[int, int] | None:
        """Samples in test and elsewhere, where every seed has a split of its own; else None."""
        sizes = self.about.get("resplits", {}).get(place[0])
        return None if sizes is None else (sizes[1], sizes[0])

    @property
    def finished(self) -> int:
        return sum(len(line.done) for line in self.lines)

    @property
    def total(self) -> int:
        return sum(len(line.cells) for line in self.lines)
