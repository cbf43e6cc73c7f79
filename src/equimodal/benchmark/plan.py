"""From a grid to its cells: data are read, models built and methods prepared before the first cell is trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.splits import Splits
from ..errors import ConfigError, EquimodalError
from ..training.run import ready
from ..training.settings import Settings
from .cell import Cell, Kind, key_of
from .grid import Grid, Part
from .train_cell import Shelf

__all__ = ["Plan", "Row", "cells_of", "refusals"]


@dataclass(frozen=True)
class Row:
    """All runs of one row of a table but for their seed.

    Attributes:
        kind, label, data, model, settings: as those of its cells.
        fingerprint: of the data.
        resplit: where every seed has a split of its own, the fingerprint of each seed's data.
    """

    kind: Kind
    label: str
    data: str
    model: str
    settings: Settings
    fingerprint: str
    resplit: Mapping[int, str] = field(default_factory=dict)

    def cell(self, seed: int) -> Cell:
        """The run of one seed."""
        changes = {"seed": seed, **({"split_seed": seed} if self.resplit else {})}
        values: dict[str, Any] = json.loads(self.settings.changed(**changes).model_dump_json())
        data = self.resplit.get(seed, self.fingerprint)
        key = key_of(values, data)
        return Cell(key, self.kind, self.label, self.data, self.model, seed, values, data)


@dataclass
class Plan:
    """Makes rows, reading each data set once.

    Args:
        grid: what is compared.
    """

    grid: Grid
    shelf: Shelf = field(default_factory=lambda: Shelf(64))

    def alone(self, data: Part, model: Part) -> Iterator[Row]:
        """Each modality by itself."""
        for name in self.splits(data).modalities:
            part = Part(f"{name} alone", {"method": "joint()", "modalities": (name,)})
            yield self.row("alone", part, data, model)

    def row(self, kind: Kind, method: Part, data: Part, model: Part) -> Row:
        """One row, its model and method built and prepared.

        Raises:
            ConfigError: it cannot be trained.
        """
        try:
            settings = self._settings(method, data, model)
            splits = self.shelf.get(settings)
            # The task as it was said: what it takes from the training samples, each split has of its own.
            resolved = ready(settings, splits).changed(task=settings.task)
        except EquimodalError as error:
            on = f" on {model.label}" if model.label else ""
            raise ConfigError(f"{method.label}{on}, {data.label}: {error}") from None
        return Row(
            kind,
            method.label,
            data.label,
            model.label,
            resolved,
            splits.fingerprint,
            self._resplit(settings),
        )

    def _resplit(self, settings: Settings) -> dict[int, str]:
        seeds = self.grid.seeds if self.grid.resplits else ()
        return {
            seed: self.shelf.get(settings.changed(split_seed=seed)).fingerprint for seed in seeds
        }

    def sizes(self, data: Part) -> tuple[int, int]:
        """Samples that are not test samples, and those that are."""
        splits = self.splits(data)
        return len(splits.train) + len(splits.val), len(splits.test)

    def splits(self, data: Part) -> Splits:
        """A data set with all its modalities."""
        try:
            return self.shelf.get(self._settings(Part(""), data, Part("")))
        except EquimodalError as error:
            raise ConfigError(f"{data.label}: {error}") from None

    def _settings(self, method: Part, data: Part, model: Part) -> Settings:
        found: dict[str, Any] = {"threads": 1}
        if self.grid.resplits:
            found["split_seed"] = self.grid.seeds[0]
        for part in (self.grid.settings, data.settings, model.settings, method.settings):
            merged = {t: {**found.get(t, {}), **part.get(t, {})} for t in ("encoders", "augment")}
            found = {**found, **part, **{table: held for table, held in merged.items() if held}}
        chosen = found.get("modalities")
        for table in ("encoders", "augment"):
            if chosen and table in found:
                found[table] = {m: text for m, text in found[table].items() if m in chosen}
        return Settings(**found)


def refusals(plan: Plan) -> tuple[list[Row], list[str]]:
    """All rows that can be trained, and a sentence for each that cannot; one unreadable data set is one sentence."""
    rows: list[Row] = []
    wrong: list[str] = []
    for data in plan.grid.data:
        try:
            plan.splits(data)
        except EquimodalError as error:
            wrong.append(str(error))
            continue
        for model in plan.grid.models:
            if plan.grid.alone:
                rows += plan.alone(data, model)
            for method in plan.grid.methods:
                try:
                    rows.append(plan.row("method", method, data, model))
                except EquimodalError as error:
                    wrong.append(str(error))
    return rows, wrong


def cells_of(rows: Sequence[Row], seeds: Sequence[int]) -> list[Cell]:
    """Seed after seed within a data set, so that what is there early can be compared."""
    order: Mapping[str, int] = {row.data: i for i, row in reversed(list(enumerate(rows)))}
    found = [(order[row.data], i, row.cell(seed)) for i, seed in enumerate(seeds) for row in rows]
    return [cell for *_, cell in sorted(found, key=lambda one: one[:2])]
