"""Which samples are an anchor's negatives: uniform draws among those that may be, without loops and without waiting.

A table of who may be whose negative would have B rows of all candidates. Sorted by context, then by index, the
candidates of an anchor are one run of the list, and the anchor's own copies in it one gap: four positions per anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Candidates", "Draw", "draw"]

_SPAN = 1 << 40  # of the indices in one context; those of samples without one are negative
_LAST = torch.iinfo(torch.long).max


@dataclass(frozen=True)
class Candidates:
    """n samples.

    Attributes:
        context: [n] integers ≥ 0; a negative has that of its anchor.
        index: [n]; a negative has another than its anchor.
        there: [n] booleans, which may be negatives at all.
    """

    context: Tensor
    index: Tensor
    there: Tensor

    def keys(self, source: int) -> Tensor:
        """[n]: what they are sorted by; those that may not be negatives come last."""
        keys = (2 * self.context + source) * _SPAN + self.index
        return torch.where(self.there, keys, _LAST)


@dataclass(frozen=True)
class Draw:
    """The negatives of B anchors.

    Attributes:
        position: [B, N0] among the samples of the batch, followed by those of the memory.
        valid: [B] booleans: which anchors have any negative at all.
    """

    position: Tensor
    valid: Tensor


def draw(
    batch: Candidates,
    memory: Candidates,
    context: Tensor,
    index: Tensor,
    allowed: Tensor,
    uniform: Tensor,
) -> Draw:
    """Draw N0 negatives per anchor: from the batch if it has N0 of them, else all it has, topped up from the memory.

    A pool of N0 or more is drawn from with replacement. A smaller one in the batch is used up, one sample each, before
    the memory is asked; where the memory has none either, the batch's are repeated. Pools are in the order of their
    samples' indices, and in that of the memory where these are equal.

    Args:
        batch, memory: of which they are drawn.
        context, index: [B] each, of the anchors.
        allowed: [2, B] booleans, which anchors may have negatives of the batch, and of the memory.
        uniform: [B, N0] random numbers in [0, 1).
    """
    keys, order = torch.cat([batch.keys(0), memory.keys(1)]).sort(stable=True)
    runs = _runs(keys, context, index, allowed)[..., None]
    here, there = runs[0]
    slot = torch.arange(uniform.shape[1], device=uniform.device)
    listed = slot < here
    stale = ~listed & (there > 0)
    _, start, own, gap = sizes = torch.where(stale, runs[:, 1], runs[:, 0])
    used_up = listed & (here < len(slot))
    place = start + torch.where(used_up, slot, _scaled(uniform, sizes[0]))
    place += gap * (place >= own)
    valid = (here + there > 0).squeeze(1)
    # An anchor without any points at the first sample; it is masked.
    return Draw(order[torch.where(valid[:, None], place, 0)], valid)


def _runs(keys: Tensor, context: Tensor, index: Tensor, allowed: Tensor) -> Tensor:
    """[4, 2, B]: in the sorted keys of batch and memory, the sizes of the anchors' pools, where the runs that hold them
    start, and where in these the anchors' own copies are and how many."""
    source = torch.arange(2, device=keys.device)[:, None]
    middle = (2 * context + source) * _SPAN  # every run reaches half a span to both sides
    own = middle + index
    bounds = torch.stack([middle - _SPAN // 2, own, own + 1, middle + _SPAN // 2])
    start, own, after, end = torch.searchsorted(keys, bounds).unbind()
    gap = after - own
    return torch.stack([(end - start - gap) * allowed, start, own, gap])


def _scaled(uniform: Tensor, count: Tensor) -> Tensor:
    """[B, N0]: integers in 0..count-1; the product may round up to the count itself."""
    return torch.minimum((uniform * count).long(), (count - 1).clamp(min=0))
