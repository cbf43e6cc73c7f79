"""Memories of past features, for contrastive methods: where negatives come from when a batch has too few.

A plain queue has a trap that InfoBridge's text does not see: a fresh positive key beside stale negative keys lets the
critic tell them apart by how far the encoders have moved, and this wrecks the features. Hence a queue only tops up, and
the bank makes positive and negative keys equally stale. Everything stored is detached.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ._samples import Samples

__all__ = ["Bank", "Memory", "Nothing", "Queue"]


class Memory(nn.Module, abc.ABC):
    """Features, index, target and presence of `size` samples, in two buffers.

    Args:
        widths: for each modality the width d of its features.
        size: how many samples are kept, at least one.
    """

    tops_up: ClassVar[bool]  # whether its samples may be negatives beside a fresh positive

    values: Tensor  # [size, sum of widths]
    known: Tensor  # [size, 2 + modalities]: index, -1 where empty; target; who is there

    def __init__(self, widths: Mapping[str, int], size: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.register_buffer("values", torch.zeros(size, sum(widths.values())))
        known = [torch.full((size,), -1), *torch.zeros(1 + len(widths), size, dtype=torch.long)]
        self.register_buffer("known", torch.stack(known, 1))

    @property
    def index(self) -> Tensor:
        """[size]: -1 where a place is empty."""
        return self.known[:, 0]

    def features(self, rows: Tensor) -> dict[str, Tensor]:
        """For each modality [n, d]: what is stored at these rows [n]."""
        parts = self.values.index_select(0, rows).split(list(self.widths.values()), 1)
        return dict(zip(self.widths, parts, strict=True))

    def describe(self, rows: Tensor) -> Samples:
        """The samples at these rows [K], without their features."""
        index, target, *masks = self.known.index_select(0, rows).unbind(1)
        present = {m: mask.bool() for m, mask in zip(self.widths, masks, strict=True)}
        return Samples({}, present, target, index)

    def write(self, samples: Samples) -> None:
        """Store samples, of the global batch, so that the memory is the same in every process."""
        self._put(self._places(samples), samples)

    def _put(self, rows: Tensor, samples: Samples) -> None:
        last = len(rows)  # a batch larger than a queue leaves its end
        values = torch.cat(list(samples.features.values()), 1)[-last:]
        known = torch.stack([samples.index, samples.target, *samples.present.values()], 1)[-last:]
        self.values.index_copy_(0, rows, values.to(self.values))
        self.known.index_copy_(0, rows, known)

    @abc.abstractmethod
    def candidates(self, generator: torch.Generator) -> Tensor:
        """[K]: the rows that negatives may be drawn from in this step."""

    @abc.abstractmethod
    def own(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """[B] the rows where the anchors with these indices are stored, and [B] whether their keys must be stale too."""

    @abc.abstractmethod
    def _places(self, samples: Samples) -> Tensor:
        """The rows that the last so many samples go to."""


class Queue(Memory):
    """The last `size` samples, first in, first out; positives stay fresh, so it may only top up."""

    tops_up = True

    pointer: Tensor

    def __init__(self, widths: Mapping[str, int], size: int) -> None:
        super().__init__(widths, size)
        self.register_buffer("pointer", torch.tensor(0))

    def candidates(self, generator: torch.Generator) -> Tensor:
        return torch.arange(len(self.index), device=self.index.device)

    def own(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(index), torch.zeros_like(index, dtype=torch.bool)

    def _places(self, samples: Samples) -> Tensor:
        count, size = min(len(samples), len(self.index)), len(self.index)
        rows = (self.pointer + torch.arange(count, device=self.pointer.device)) % size
        self.pointer.add_(count).remainder_(size)
        return rows


class Nothing(Queue):
    """A queue that stays empty, so that there is no second path without a memory."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__(widths, 1)

    def write(self, samples: Samples) -> None:
        """Forget them."""


class Bank(Memory):
    """Every training sample as it was when last seen; an anchor that is in it has stale positive and negative keys.

    Args:
        size: N, the number of training samples.
        drawn: how many of them, chosen anew in each step, may be negatives, so that a step does not grow with N.
    """

    tops_up = False

    def __init__(self, widths: Mapping[str, int], size: int, drawn: int) -> None:
        super().__init__(widths, size)
        self.drawn = drawn

    def candidates(self, generator: torch.Generator) -> Tensor:
        size, device = len(self.index), self.index.device
        if size <= self.drawn:
            return torch.arange(size, device=device)
        return torch.randint(size, (self.drawn,), generator=generator, device=device)

    def own(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return index, self.index[index] >= 0

    def _places(self, samples: Samples) -> Tensor:
        return samples.index
