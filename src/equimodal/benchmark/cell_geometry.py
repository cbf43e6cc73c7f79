"""Kernel distances between the modalities of a finished cell, computed once and kept in its folder."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from .. import files
from ..training.folder import RunFolder
from .train_cell import Shelf

if TYPE_CHECKING:
    from ..core import Balanced
    from ..data.dataset import Dataset

__all__ = ["Distances", "kernel_distances"]

SAMPLES = 1000
"""The most test samples whose features are compared; the figure is quadratic in them."""

Distances = dict[str, tuple[float, float] | None]
"""For each pair of modalities the kernel distance within and between classes; None where their features differ in width."""


def kernel_distances(folder: RunFolder, shelf: Shelf) -> Distances:
    """Of a finished run, on its test data; from `kernel-distance.json` in its folder where that is there.

    Args:
        folder: of the run.
        shelf: that its data are read from.

    Raises:
        EquimodalError: the model or the data cannot be read.
    """
    from ..training.run import load

    path = folder.path / "kernel-distance.json"
    if not path.exists():
        run = load(folder.path)
        found = _compared(run.learner, shelf.get(run.settings).test)
        files.write(path, json.dumps(found) + "\n")
    return {
        pair: None if ends is None else (ends[0], ends[1])
        for pair, ends in folder.read_json(path).items()
    }


def _compared(learner: Balanced, test: Dataset) -> Distances:
    names = learner.model.modalities
    return {f"{a} × {b}": _pair(learner, test, a, b) for a, b in itertools.combinations(names, 2)}


def _pair(learner: Balanced, test: Dataset, a: str, b: str) -> tuple[float, float] | None:
    """Of the samples that have both; None also where they are too few to say."""
    import numpy as np
    import torch
    from torch.nn.functional import normalize

    from ..diagnostics.geometry import kernel_distances as measured
    from ..training.evaluate import batches, extract

    both = torch.ones(len(test)).bool()
    for name in (a, b):
        both &= test.present.get(name, both)
    rows = np.random.default_rng(0).permutation(both.nonzero().squeeze(1).numpy())[:SAMPLES]
    if not len(rows):
        return None
    features = extract(learner, batches(test.subset(torch.from_numpy(np.sort(rows))), 256))
    x, y = (normalize(features[name].values.double()).numpy() for name in (a, b))
    if x.shape[1] != y.shape[1]:
        return None
    (within, _), (between, _) = measured(x, y, features[a].target.numpy())
    return (within, between) if np.isfinite([within, between]).all() else None
