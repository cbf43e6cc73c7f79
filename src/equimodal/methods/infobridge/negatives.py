"""Which samples are an anchor's negatives: uniform draws among those that may be, without loops and without waiting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Draw", "draw"]


@dataclass(frozen=True)
class Draw:
    """The negatives of B anchors.

    Attributes:
        fresh: [B, N0] positions in the batch, where `stale` is False.
        stored: [B, N0] positions in the memory, where `stale` is True.
        stale: [B, N0] booleans.
        valid: [B] booleans: which anchors have any negative at all.
    """

    fresh: Tensor
    stored: Tensor
    stale: Tensor
    valid: Tensor


def draw(batch: Tensor, memory: Tensor, uniform: Tensor) -> Draw:
    """Draw N0 negatives per anchor: from the batch if it has N0 of them, else all it has, topped up from the memory.

    A pool of N0 or more is drawn from with replacement. A smaller one in the batch is used up, one sample each, before
    the memory is asked; where the memory has none either, the batch's are repeated.

    Args:
        batch: [B, G] booleans, which samples of the batch may be a negative of which anchor.
        memory: [B, K] booleans, likewise for the memory; K ≥ 1.
        uniform: [B, N0] random numbers in [0, 1).
    """
    batch_ranks, memory_ranks = (m.cumsum(1, dtype=torch.int32) for m in (batch, memory))
    here, there = batch_ranks[:, -1:], memory_ranks[:, -1:]
    count = uniform.shape[1]
    slot = torch.arange(count, device=batch.device).expand_as(uniform)
    short = here < count
    listed = short & (slot < here)
    stale = short & ~listed & (there > 0)
    return Draw(
        _nth(batch_ranks, torch.where(listed, slot, _scaled(uniform, here))),
        _nth(memory_ranks, _scaled(uniform, there)),
        stale,
        ((here > 0) | (there > 0)).squeeze(1),
    )


def _scaled(uniform: Tensor, count: Tensor) -> Tensor:
    """[B, N0]: integers in 0..count-1; the product may round up to the count itself."""
    return torch.minimum((uniform * count).long(), (count - 1).clamp(min=0))


def _nth(ranks: Tensor, n: Tensor) -> Tensor:
    """[B, N0]: the position of each row's n-th True (from 0), given the running counts of the row."""
    found = torch.searchsorted(ranks, (n + 1).int())
    return found.clamp(max=ranks.shape[1] - 1)  # a row without any has no position; it is masked
