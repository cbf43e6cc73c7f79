"""Train one cell: what a local worker and a Slurm job both do."""

from __future__ import annotations

import shutil
import time
import zlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CheckpointError, DataError, EquimodalError
from .cell import Cell
from .store import Record, Store

if TYPE_CHECKING:
    from ..data.splits import Splits
    from ..training.progress import Progress
    from ..training.settings import Settings

__all__ = ["Shelf", "is_finished", "record_of", "shared_shelf", "train_cell"]


class _Source(NamedTuple):
    """What of a run's settings says which data it reads."""

    data: str
    data_root: str | None
    val_fraction: float | None
    split_seed: int | None
    modalities: tuple[str, ...] | None
    skip_unreadable: bool


class Shelf:
    """Data sets that were read lately, so that a worker reads each one once, and not again for one of its modalities.

    Args:
        size: how many are kept, counting each choice of modalities.
    """

    def __init__(self, size: int = 12) -> None:
        self._size = size
        self._held: dict[_Source, Splits] = {}

    def get(self, settings: Settings) -> Splits:
        """The data that the settings of a run name.

        Raises:
            EquimodalError: they cannot be read.
        """
        wanted = _Source(
            settings.data,
            settings.data_root,
            settings.val_fraction,
            settings.split_seed,
            settings.modalities,
            settings.skip_unreadable,
        )
        if wanted not in self._held:
            self._keep(wanted, self._taken_from_another(wanted) or self._read(wanted))
        return self._held[wanted]

    def _taken_from_another(self, wanted: _Source) -> Splits | None:
        """Of a data set that is here, or that is read with all that it has by default."""
        if wanted.modalities is None:
            return None
        for other, splits in self._held.items():
            if other == wanted._replace(modalities=other.modalities) and _covers(splits, wanted):
                return splits.only(wanted.modalities)
        whole = wanted._replace(modalities=None)
        if whole not in self._held:
            self._keep(whole, self._read(whole))
        splits = self._held[whole]
        return splits.only(wanted.modalities) if _covers(splits, wanted) else None

    def _read(self, wanted: _Source) -> Splits:
        from ..training.run import load_data
        from ..training.settings import Settings

        return load_data(Settings(**wanted._asdict()))

    def _keep(self, source: _Source, splits: Splits) -> None:
        while len(self._held) >= self._size:
            del self._held[next(iter(self._held))]
        self._held[source] = splits


def _covers(splits: Splits, wanted: _Source) -> bool:
    return set(wanted.modalities or ()) <= set(splits.modalities)


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
            if not is_finished(store, cell.key):
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


def is_finished(store: Store, key: str) -> bool:
    """Whether a run has all that its record is made of; one that lost a file goes on from its last checkpoint."""
    folder = store.folder(key)
    return folder.results.exists() and folder.predictions.exists()


def record_of(store: Store, key: str, wall: float = 0.0) -> Record:
    """The record of a run that is finished."""
    import numpy as np

    from ..training.predictions import groups, right

    folder = store.folder(key)
    packed = np.packbits(right(folder.predictions)).tobytes().hex()
    results, of = folder.read_json(folder.results), ""
    if (known := groups(folder.predictions)) is not None:
        codes = np.unique(known, return_inverse=True)[1].astype("<i4")
        of = zlib.compress(codes.tobytes()).hex()
    return Record(key, "done", results=results, right=packed, groups=of, wall=wall)
