"""The samples of a manifest: rows of its table, read when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...core.batch import Batch
from ..dataset import Dataset, Sample, known_modalities, known_target
from ..draws import numpy_generator
from .names import Names
from .streams import Stream

__all__ = ["Origin", "Samples"]


@dataclass(frozen=True)
class Origin:
    """Where samples come from.

    Attributes:
        fingerprint: SHA-256 of the manifest's columns and of how they are read.
        seed: of augmentation.
    """

    fingerprint: str
    seed: int = 0


class Samples(Dataset):
    """Some rows of a manifest. Beside the table, which all parts share, it holds two numbers for each row.

    Args:
        streams: the modalities.
        rows: [N] of the manifest.
        targets: [N] class ids, or `UNKNOWN`.
        classes: the names of the classes.
        origin: of the rows.
        names: of the rows.
        augment: whether samples are seen as in training: differently in each epoch, as a function of (seed, epoch, index).
        groups: [N] codes of what must not be on both sides of a split, if the manifest names it.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        rows: NDArray[np.int64],
        targets: Tensor,
        classes: Sequence[str],
        origin: Origin,
        names: Names,
        *,
        augment: bool = False,
        groups: Tensor | None = None,
    ) -> None:
        self.streams = dict(streams)
        self.rows = rows
        self.targets = targets
        self.classes = tuple(classes)
        self.origin = origin
        self.names = names
        self.augment = augment
        self.groups = groups
        self.modalities = tuple(self.streams)
        self.shapes = {name: stream.shape for name, stream in self.streams.items()}
        self.time_first = tuple(name for name, s in self.streams.items() if s.time_first)
        masks = {name: torch.from_numpy(s.present[rows]) for name, s in self.streams.items()}
        self.present = {name: mask for name, mask in masks.items() if not bool(mask.all())}

    def sample(self, index: int, epoch: int = 0) -> Sample:
        if not 0 <= index < len(self):  # so that iterating ends
            raise IndexError(index)
        row = int(self.rows[index])
        here = [n for n in self.modalities if n not in self.present or self.present[n][index]]
        at = torch.tensor([index])
        inputs = {n: self.streams[n].value(row, self._generator(n, at, epoch)) for n in here}
        return Sample(inputs, int(self.targets[index]), index)

    def fetch(self, indices: Sequence[int] | Tensor, epoch: int = 0) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        rows = self.rows[chosen.numpy()]
        inputs = {
            name: stream.values(rows, partial(self._generator, name, chosen, epoch))
            for name, stream in self.streams.items()
        }
        present = {name: mask[chosen] for name, mask in self.present.items()}
        return Batch(inputs, known_target(self.targets[chosen]), chosen, present)

    def name(self, index: int) -> str:
        return self.names.of(int(self.rows[index]))

    def text(self, name: str, index: int) -> str | None:
        stream, row = self.streams[name], int(self.rows[index])
        return stream.text(row) if stream.present[row] else None

    def _generator(
        self, name: str, indices: Tensor, epoch: int, position: int = 0
    ) -> np.random.Generator | None:
        if not self.augment:
            return None
        return numpy_generator(self.origin.seed, "augment", name, epoch, int(indices[position]))

    def subset(self, rows: Sequence[int] | Tensor) -> Samples:
        keep = torch.as_tensor(rows, dtype=torch.long)
        groups = None if self.groups is None else self.groups[keep]
        kept = self.rows[keep.numpy()]
        return self._like(self.streams, kept, self.targets[keep], groups, self.augment)

    def only(self, modalities: Sequence[str]) -> Samples:
        chosen = known_modalities(modalities, self.modalities, "The data")
        streams = {name: self.streams[name] for name in chosen}
        return self._like(streams, self.rows, self.targets, self.groups, self.augment)

    def seen(self, augment: bool) -> Samples:
        return self._like(self.streams, self.rows, self.targets, self.groups, augment)

    def _like(
        self,
        streams: Mapping[str, Stream],
        rows: NDArray[np.int64],
        targets: Tensor,
        groups: Tensor | None,
        augment: bool,
    ) -> Samples:
        known = (self.classes, self.origin, self.names)
        return Samples(streams, rows, targets, *known, augment=augment, groups=groups)

    def fingerprint(self) -> str:
        """SHA-256 of the manifest, of how it is read and of the sizes of its files, not of their contents; and of the rows."""
        digest = hashlib.sha256(repr((self.origin, self.modalities, self.classes)).encode())
        digest.update(self.rows.tobytes())
        digest.update(self.targets.numpy().tobytes())
        return digest.hexdigest()
