"""A data set as training sees it: inputs augmented, differently in each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..core.batch import Batch, Input, Padded
from ..core.expression import build
from ..errors import ConfigError, nearest
from .augmentations import BY_NAME, Augmentation
from .dataset import Dataset, Sample
from .draws import numpy_generator

__all__ = ["Augmented", "augmented"]


def augmented(data: Dataset, expressions: Mapping[str, str], seed: int = 0) -> Dataset:
    """A data set with augmentations by their expressions; itself where there are none.

    Args:
        data: what is read.
        expressions: for a modality such as ``"crop() + flip()"``; "none" or "" leaves it as it is.
        seed: of what is drawn.

    Raises:
        ConfigError: there is no such modality or augmentation, or it is not for inputs of that shape.
    """
    for name in expressions:
        if name not in data.modalities:
            raise ConfigError(
                f"The option 'augment' names the modality {name!r}; {nearest(name, data.modalities)}"
            )
    wanted = {n: text for n, text in expressions.items() if text not in ("", "none")}
    made = {n: build(text, BY_NAME, "augmentation", Augmentation) for n, text in wanted.items()}
    return Augmented(data, made, seed) if made else data


class Augmented(Dataset):
    """Samples whose inputs are changed at random, as a function of (seed, epoch, index) alone.

    Args:
        data: what is read.
        changes: for each modality that is augmented how.
        seed: of what is drawn.

    Raises:
        ConfigError: an augmentation is not for inputs of its modality's shape.
    """

    def __init__(self, data: Dataset, changes: Mapping[str, Augmentation], seed: int = 0) -> None:
        for name, change in changes.items():
            change.require(name, data.shapes[name])
        self.data, self.changes, self.seed = data, dict(changes), seed
        self.modalities, self.classes, self.targets = data.modalities, data.classes, data.targets
        self.shapes, self.present, self.time_first = data.shapes, data.present, data.time_first
        self.groups = data.groups

    def sample(self, index: int, epoch: int = 0) -> Sample:
        found = self.data.sample(index, epoch)
        changed = {
            name: self._changed(name, values, index, epoch) if name in self.changes else values
            for name, values in found.inputs.items()
        }
        return replace(found, inputs=changed)

    def fetch(self, indices: Sequence[int] | Tensor, epoch: int = 0) -> Batch:
        batch = self.data.fetch(indices, epoch)
        rows = torch.as_tensor(indices, dtype=torch.long).tolist()
        changed = {
            name: self._batch(name, batch.inputs[name], batch.mask(name), rows, epoch)
            for name in self.changes
        }
        return replace(batch, inputs={**batch.inputs, **changed})

    def _batch(
        self, name: str, inputs: Input, there: Tensor, rows: Sequence[int], epoch: int
    ) -> Input:
        values = (inputs.values if isinstance(inputs, Padded) else inputs).clone()
        for i in there.nonzero().squeeze(1).tolist():
            one = values[i, : int(inputs.lengths[i])] if isinstance(inputs, Padded) else values[i]
            one.copy_(self._changed(name, one, rows[i], epoch))
        return replace(inputs, values=values) if isinstance(inputs, Padded) else values

    def _changed(self, name: str, values: Tensor, index: int, epoch: int) -> Tensor:
        rng = numpy_generator(self.seed, "augmentation", name, epoch, index)
        if name not in self.time_first:
            return self.changes[name](values, rng)
        return self.changes[name](values.transpose(-1, -2), rng).transpose(-1, -2)

    def subset(self, rows: Sequence[int] | Tensor) -> Dataset:
        return Augmented(self.data.subset(rows), self.changes, self.seed)

    def only(self, modalities: Sequence[str]) -> Dataset:
        kept = {name: change for name, change in self.changes.items() if name in modalities}
        return Augmented(self.data.only(modalities), kept, self.seed)

    def seen(self, augment: bool) -> Dataset:
        below = self.data.seen(augment)
        return Augmented(below, self.changes, self.seed) if augment else below

    def fingerprint(self) -> str:
        return self.data.fingerprint()
