"""Modality dropout: in training each modality of a sample is hidden with some probability, never all of them.

Source: N. Neverova et al., *ModDrop: adaptive multi-modal gesture recognition*, IEEE TPAMI 38(8), 2016. There all modalities
of a sample may be hidden at once; here the one that is closest to staying stays, since a sample without any says nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.batch import Batch
from .dataset import Dataset, Sample

__all__ = ["ModalityDropout", "uniform"]


class ModalityDropout(Dataset):
    """A data set whose samples lose modalities, differently in each epoch, as a function of (seed, epoch, index).

    Args:
        data: what is read.
        probability: with which each modality is hidden, in [0, 1).
        seed: of what is hidden.
    """

    def __init__(self, data: Dataset, probability: float, seed: int = 0) -> None:
        self.data, self.probability, self.seed = data, probability, seed
        self.modalities, self.classes, self.targets = data.modalities, data.classes, data.targets
        self.shapes, self.present, self.time_first = data.shapes, data.present, data.time_first
        self.groups = data.groups

    def fetch(self, indices: Sequence[int] | Tensor, epoch: int = 0) -> Batch:
        batch = self.data.fetch(indices, epoch)
        rows = torch.as_tensor(indices, dtype=torch.long).numpy()
        there = torch.stack([batch.mask(name) for name in self.modalities], 1)
        kept = there & torch.from_numpy(self._kept(rows, epoch, there.numpy()))
        present = dict(zip(self.modalities, kept.unbind(1), strict=True))
        return replace(batch, present=present, rows=None)

    def _kept(
        self, rows: NDArray[np.int64], epoch: int, there: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """[B, M]: what stays; in each row at least one that is there."""
        draws = [uniform((self.seed, "dropout", name, epoch), rows) for name in self.modalities]
        drawn = np.where(there, np.stack(draws, 1), -1.0)
        kept = drawn >= self.probability
        kept[np.arange(len(rows)), drawn.argmax(1)] = True
        return kept

    def sample(self, index: int, epoch: int = 0) -> Sample:
        found = self.data.sample(index, epoch)
        there = np.array([[name in found.inputs for name in self.modalities]])
        kept = self._kept(np.array([index]), epoch, there)[0]
        names = [n for n, k in zip(self.modalities, kept, strict=True) if k and n in found.inputs]
        return replace(found, inputs={name: found.inputs[name] for name in names})

    def subset(self, rows: Sequence[int] | Tensor) -> Dataset:
        return ModalityDropout(self.data.subset(rows), self.probability, self.seed)

    def only(self, modalities: Sequence[str]) -> Dataset:
        return ModalityDropout(self.data.only(modalities), self.probability, self.seed)

    def seen(self, augment: bool) -> Dataset:
        below = self.data.seen(augment)
        return ModalityDropout(below, self.probability, self.seed) if augment else below

    def fingerprint(self) -> str:
        return self.data.fingerprint()


def uniform(key: tuple[int | str, ...], index: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each index, all at once: SplitMix64 of the index, begun at the hash of a key.

    Source: G. L. Steele, D. Lea, C. H. Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
    """
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    start = np.uint64(int.from_bytes(digest[:8], "little"))
    with np.errstate(over="ignore"):
        z = start + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53
