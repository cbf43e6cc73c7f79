"""A data set that lies in files: read when asked for, decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import DataError, WriteError, counted
from ..files import write
from .dataset import Dataset, Sample, group_codes, known_modalities
from .draws import numpy_generator
from .media.npz import npy
from .media.reader import Reader
from .pool import Progress, mapped

__all__ = ["Filed", "Item"]

Item = tuple[Any, ...]
"""What a reader decodes: the arguments of its `decode`, such as ``(path,)`` or ``(path, 2.0, 7.0)``."""


class Filed(Dataset):
    """Samples that are read from files when they are asked for.

    What a reader decodes is kept in a folder, a file for each sample and modality, and read from there from then on; it is
    made anew when the file, or one in the folder of frames, changes. Memory does not grow with the number of samples beyond their names.

    Args:
        items: for each modality what its reader decodes for each of the N samples; None where a sample lacks it.
        readers: for each modality how it is read.
        targets: [N] class ids.
        classes: the names of the classes.
        names: [N], for messages and the fingerprint.
        cache: the folder where decoded files are kept; None decodes them each time.
        augment: whether samples are seen as in training: differently in each epoch, as a function of (seed, epoch, index).
        seed: of the augmentation.
        groups: [N] what samples are of, such as the patient: names, or numbers.

    Raises:
        DataError: a modality has another number of items than there are targets.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[Item | None]],
        readers: Mapping[str, Reader],
        targets: ArrayLike | Tensor,
        classes: Sequence[str],
        names: Sequence[str],
        *,
        cache: Path | None = None,
        augment: bool = False,
        seed: int = 0,
        groups: Sequence[Hashable] | Tensor | None = None,
    ) -> None:
        self.items = dict(items)
        self.readers = {name: readers[name] for name in items}
        self.targets = torch.as_tensor(targets, dtype=torch.long)
        self.classes = tuple(classes)
        self.names = list(names)
        self.groups = group_codes(groups, len(self.targets))
        self.cache = cache
        self.augment = augment
        self.seed = seed
        self.modalities = tuple(self.items)
        for name, values in {**self.items, "names": self.names}.items():
            if len(values) != len(self.targets):
                raise DataError(
                    f"{name} has {counted(len(values), 'item')} and the targets have {len(self.targets)}; they must be as many."
                )
        self.shapes = {name: reader.shape for name, reader in self.readers.items()}
        self.time_first = tuple(n for n, reader in self.readers.items() if reader.time_first)
        masks = {
            name: torch.tensor([item is not None for item in values], dtype=torch.bool)
            for name, values in self.items.items()
        }
        self.present = {name: mask for name, mask in masks.items() if not bool(mask.all())}

    def sample(self, index: int, epoch: int = 0) -> Sample:
        if not 0 <= index < len(self):  # so that iterating ends
            raise IndexError(index)
        here = [name for name in self.modalities if self.items[name][index] is not None]
        inputs = {name: self._value(name, index, epoch) for name in here}
        return Sample(inputs, int(self.targets[index]), index)

    def _value(self, name: str, index: int, epoch: int) -> Tensor:
        stored = self.stored(name, index)
        key = (self.seed, "augment", name, epoch, index)
        return self.readers[name].finish(stored, numpy_generator(*key) if self.augment else None)

    def name(self, index: int) -> str:
        return self.names[index]

    def text(self, name: str, index: int) -> str | None:
        item = self.items[name][index]
        return None if item is None else self.readers[name].text(item[0])

    def stored(self, name: str, index: int) -> Tensor:
        """What is kept of one sample's modality: decoded now, or before."""
        item = self.items[name][index]
        assert item is not None
        reader = self.readers[name]
        if self.cache is None or not reader.costly:
            return reader.decode(*item)
        path = self._place(self.cache, name, item)
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or damaged
            return torch.from_numpy(np.load(path, allow_pickle=False))
        made = reader.decode(*item)
        with contextlib.suppress(WriteError):  # a full or read-only disk costs time, not the run
            write(path, npy(made.numpy()), durable=False)
        return made

    def _place(self, cache: Path, name: str, item: Item) -> Path:
        how = hashlib.sha256(repr(self.readers[name].decoding).encode()).hexdigest()[:12]
        what = hashlib.sha256(repr([_state(part, cache) for part in item]).encode()).hexdigest()[
            :32
        ]
        return cache / f"{name}-{how}" / what[:2] / f"{what}.npy"

    def prepare(self, workers: int = 0, progress: Progress | None = None) -> dict[str, str]:
        """Decode every file that was not decoded before, and keep the results; goes on where it was stopped.

        Args:
            workers: processes that decode; 0: this one.
            progress: called as it goes on.

        Returns:
            For each sample that cannot be read, by its name, the reason.
        """
        failed = {}
        chunk = max(1, min(32, len(self) // (4 * max(1, workers))))
        reasons = mapped(self.attempt, range(len(self)), workers, chunk)
        for index, reason in enumerate(reasons):
            if reason:
                failed[self.names[index]] = reason
            if progress is not None:
                progress(index + 1, len(self))
        return failed

    def attempt(self, index: int) -> str:
        """Why a sample cannot be read, or ""."""
        try:
            for name in self.modalities:
                if self.items[name][index] is not None and self.readers[name].costly:
                    self.stored(name, index)
        except DataError as error:
            return str(error)
        return ""

    def subset(self, rows: Sequence[int] | Tensor) -> Filed:
        keep = torch.as_tensor(rows, dtype=torch.long).tolist()
        items = {name: [values[i] for i in keep] for name, values in self.items.items()}
        groups = None if self.groups is None else self.groups[keep]
        names = [self.names[i] for i in keep]
        return self._like(items, self.targets[keep], names, groups, self.augment)

    def only(self, modalities: Sequence[str]) -> Filed:
        chosen = known_modalities(modalities, self.modalities, "The data")
        items = {name: self.items[name] for name in chosen}
        return self._like(items, self.targets, self.names, self.groups, self.augment)

    def seen(self, augment: bool) -> Filed:
        return self._like(self.items, self.targets, self.names, self.groups, augment)

    def _like(
        self,
        items: Mapping[str, Sequence[Item | None]],
        targets: Tensor,
        names: Sequence[str],
        groups: Tensor | None,
        augment: bool,
    ) -> Filed:
        return Filed(
            items,
            self.readers,
            targets,
            self.classes,
            names,
            cache=self.cache,
            augment=augment,
            seed=self.seed,
            groups=groups,
        )

    def fingerprint(self) -> str:
        """SHA-256 of the samples' names, labels and readers, and of their files' names and sizes (of folders of frames how many
        and how large they are), not of their contents.
        """
        known = (self.modalities, self.classes, self.seed, self.augment)
        digest = hashlib.sha256(repr((known, self.readers)).encode())
        digest.update(self.targets.numpy().tobytes())
        for i, name in enumerate(self.names):
            parts = [self.items[m][i] for m in self.modalities]
            digest.update(f"{name}\t{[_size(part) for part in parts]}\n".encode())
        return digest.hexdigest()


def _state(part: object, cache: Path) -> object:
    """What tells a file, or a folder with what lies in it, from another one, or from itself before a change."""
    if not isinstance(part, Path):
        return part
    # As seen from the cache, so that both can move together.
    where = os.path.relpath(part, cache)
    try:
        if not part.is_dir():
            status = part.stat()
            return (where, status.st_size, status.st_mtime_ns)
        with os.scandir(part) as entries:
            inside = [(e.name, (s := e.stat()).st_size, s.st_mtime_ns) for e in entries]
    except OSError:
        return where
    return (where, *sorted(inside))


def _size(item: Item | None) -> object:
    if item is None:
        return None
    return [(p.name, *_sizes(p)) if isinstance(p, Path) else p for p in item]


def _sizes(path: Path) -> tuple[int, ...]:
    """The size of a file; of a folder, such as one of frames, how many files it holds and how large they are together."""
    if not path.is_dir():
        return (path.stat().st_size if path.is_file() else -1,)
    with os.scandir(path) as entries:
        sizes = [entry.stat().st_size for entry in entries if entry.is_file()]
    return len(sizes), sum(sizes)
