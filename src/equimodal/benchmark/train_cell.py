"""Train one cell: what a local worker, a Ray task and a Slurm job all do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, DataError, EquimodalError
from .cell import Cell
from .store import Record, Store

if TYPE_CHECKING:
    from ..data.splits import Splits
    from ..training.progress import Progress

__all__ = ["Shelf", "record_of", "shared_shelf", "train_cell"]


class Shelf:
    """Data sets that were read lately, so that a worker reads each one once."""

    def __init__(self, size: int = 6) -> None:
        self._size, self._held = size, dict[tuple[Any, ...], "Splits"]()

    def get(self, settings: Any) -> Splits:
        """The data that the settings of a run name."""
        from ..training.run import load_data

        key = (settings.data, settings.data_root, settings.modalities, settings.val_fraction)
        if key not in self._held:
            while len(self._held) >= self._size:
                del self._held[next(iter(self._held))]
            self._held[key] = load_data(settings)
        return self._held[key]


@cache
def shared_shelf() -> Shelf:
    """The shelf of this process, for executors that keep a process for several cells."""
    return Shelf()


def train_cell(store: Store, cell: Cell, shelf: Shelf, progress: Progress | None = None) -> Record:
    """Train a cell from its last checkpoint, or read it where it is finished; a refusal becomes its record.

    Raises:
        KeyboardInterrupt: Ctrl-C; a checkpoint was written.
    """
    began = time.monotonic()
    with store.training(cell.key):
        try:
            if not store.folder(cell.key).results.exists():
                _train(store, cell, shelf, progress)
            return record_of(store, cell.key, time.monotonic() - began)
        except (EquimodalError, MemoryError, RuntimeError, ValueError, OSError) as error:
            reason = " ".join((str(error) or type(error).__name__).split())
            return Record(cell.key, "failed", reason, wall=time.monotonic() - began)


def _train(store: Store, cell: Cell, shelf: Shelf, progress: Progress | None) -> None:
    from ..training.run import train
    from ..training.settings import Settings

    settings = Settings(**cell.settings)
    data = shelf.get(settings)
    if data.fingerprint != cell.fingerprint:
        raise DataError(f"{cell.data} has changed since the grid was made: start the bench again.")
    folder = store.folder(cell.key)
    if folder.path.exists() and not folder.is_run():  # killed before its first file
        shutil.rmtree(folder.path)
    try:
        train(settings, folder.path, resume=folder.is_run(), progress=progress, data=data)
    except CheckpointError:  # damaged by the disk: the cell is worth less than the grid
        shutil.rmtree(folder.path)
        train(settings, folder.path, progress=progress, data=data)


def record_of(store: Store, key: str, wall: float = 0.0) -> Record:
    """The record of a run that is finished."""
    folder = store.folder(key)
    results = folder.read_json(folder.results)
    return Record(
        key, "done", results=results, right=_right(folder.predictions, results), wall=wall
    )


def _right(path: Path, results: Mapping[str, Any]) -> str:
    """Of every test sample, whether the most probable class is its own; without fitted fusion."""
    import numpy as np
    import pyarrow.parquet as pq

    classes = results["classes"]
    names = [f"p_fused_{label}" for label in classes]
    table = pq.read_table(path, columns=["target", *names])
    best = np.stack([table[name].to_numpy() for name in names]).argmax(0)
    right = np.asarray(classes)[best] == np.asarray(table["target"].to_pylist())
    return np.packbits(right).tobytes().hex()
