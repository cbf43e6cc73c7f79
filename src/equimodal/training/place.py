"""Where tensors are: batches on their way from the loader to a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Batch, Input, Padded
from ..data.loader import Loader

__all__ = ["Feed", "place"]


def place(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The batch on a device, its floating inputs in the model's type."""
    moved = batch.to(device, non_blocking=True)
    return moved.with_inputs({name: _cast(value, dtype) for name, value in moved.inputs.items()})


def _cast(value: Input, dtype: torch.dtype) -> Input:
    if isinstance(value, Padded):
        return Padded(_cast_tensor(value.values, dtype), value.lengths)
    return _cast_tensor(value, dtype)


def _cast_tensor(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


@dataclass(frozen=True)
class Feed:
    """A loader's batches on the device; iterating reads the epoch that the loader is set to."""

    loader: Loader
    device: torch.device
    dtype: torch.dtype
    micro_batches: int = 1

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            yield place(batch, self.device, self.dtype)

    def updates(self, epoch: int, start: int) -> Iterator[tuple[int, list[Batch]]]:
        """The batches of an epoch from number `start` on, each with its number, as micro-batches."""
        for number, batch in enumerate(self.loader.iterate(epoch, start), start):
            yield (
                number,
                [place(part, self.device, self.dtype) for part in self._split(batch, number)],
            )

    def _split(self, batch: Batch, number: int) -> list[Batch]:
        parts = min(self.micro_batches, max(self._smallest(number), 1))
        if parts == 1:
            return [batch]
        chunks = torch.arange(len(batch)).tensor_split(parts)
        return [batch.select(chunk.tolist()) for chunk in chunks]

    def _smallest(self, number: int) -> int:
        """Samples of this batch on the process that has fewest: all processes must split into as many parts."""
        loader = self.loader
        size = loader.batch_size
        if number == len(loader) - 1:
            size = loader.samples - size * number
        return size // loader.world
