"""Rows that a trained model is asked about: read by what it has learned; what they are may be unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...errors import ConfigError, nearest
from .learned import Learned, restored
from .load import PARTS, Opened, Rows, absent, fingerprint
from .recipe import Recipe
from .samples import Origin, Samples
from .streams import Files, survey
from .table import column_names

__all__ = ["load_unseen"]


def load_unseen(
    path: Path | str,
    *,
    classes: Sequence[str],
    modalities: Sequence[str],
    learned: Mapping[str, Learned],
    split: str | None = None,
    skip_unreadable: bool = False,
) -> tuple[Samples, str | None]:
    """The rows of a manifest, ready to be predicted.

    Nothing is learned from them and nothing is held out. A label may be missing, in the TOML, in the table or in a row.

    Args:
        path: of the data TOML.
        classes: of the model, in the order of their ids.
        modalities: of the model; others in the TOML are not read.
        learned: for each modality what its reader has learned; see `Splits.learned`.
        split: train, val or test, where the manifest has a split column; by default test.
        skip_unreadable: keep rows of which a file is not there, so that `readable` leaves them out.

    Returns:
        All rows, or those of a split, and its name; None: all.

    Raises:
        ConfigError: a modality is not there or is another than the model's; or there is no such split.
        DataError: the manifest, a row or a file cannot be used, or a label is none of the classes.
    """
    recipe = _recipe(Path(path), modalities)
    opened = Opened(recipe, classes)
    rows, part = _rows(opened, split)
    surveys = [survey(s, rows) for s in opened.streams.values() if isinstance(s, Files)]
    absent(opened, rows, surveys, skip_unreadable)
    streams = {
        m.name: restored(opened.streams[m.name], m, learned.get(m.name)) for m in recipe.modalities
    }
    targets = torch.from_numpy(opened.targets[rows])
    origin = Origin(fingerprint(opened, surveys), recipe.seed)
    return Samples(streams, rows, targets, opened.classes, origin, opened.names), part


def _recipe(path: Path, modalities: Sequence[str]) -> Recipe:
    """What of a data TOML matters to rows that are only predicted."""
    recipe = Recipe.read(path, labelled=False)
    there = {m.name: m for m in recipe.modalities}
    for name in modalities:
        if name not in there:
            raise ConfigError(
                f"The run's modality {name!r} is not in {path}, which has {', '.join(there)}: name all of the run's there "
                f"({', '.join(modalities)}); the cells of one that rows lack may be empty."
            )
    labelled = recipe.label in column_names(recipe.manifest)
    return replace(
        recipe,
        label=recipe.label if labelled else "",
        group="",
        modalities=tuple(there[name] for name in modalities),
    )


def _rows(opened: Opened, split: str | None) -> tuple[Rows, str | None]:
    """All rows, also those that have no modality; or those of a split, with its name."""
    if split is not None and split not in PARTS:
        raise ConfigError(f"There is no split {split!r}; {nearest(split, PARTS)}")
    recipe, prepared = opened.recipe, opened.shards
    rows = np.arange(len(opened.targets))
    if prepared is not None:  # what could not be read then cannot be predicted now
        rows = rows[~np.isin(rows, list(prepared.left_out))]
    if opened.split is None:
        if split is not None:
            raise ConfigError(
                f"{recipe.path} names no split column, so that all of its rows are predicted: leave out the split {split!r}."
            )
        return rows, None
    split = split or "test"
    chosen = rows[opened.split[rows] == split]
    if not len(chosen):
        raise ConfigError(
            f"{opened.lines.path} has no row whose {recipe.split!r} is {split}; choose another split, or leave out the line "
            f"split in {recipe.path.name}: all rows are then predicted."
        )
    return chosen, split
