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
_LAST = 1 << 62


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

    def keys(self) -> Tensor:
        """[n]: what they are sorted by; those that may not be negatives come last."""
        return _key(self.context, self.index).masked_fill(~self.there, _LAST)


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
    keys, order = torch.cat([batch.keys(), memory.keys() + _SPAN]).sort(stable=True)
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
    return Draw(order[place * valid[:, None]], valid)


def _runs(keys: Tensor, context: Tensor, index: Tensor, allowed: Tensor) -> Tensor:
    """[4, 2, B]: of each anchor in batch and memory: size of its pool, start of the run, its own copies' start and number."""
    source = torch.arange(0, 2 * _SPAN, _SPAN, device=keys.device)[:, None]
    own = _key(context, index) + source
    middle = own - index  # every run reaches half a span to both sides
    bounds = torch.stack([middle - _SPAN // 2, own, own + 1, middle + _SPAN // 2])
    start, own, after, end = torch.searchsorted(keys, bounds).unbind()
    gap = after - own
    return torch.stack([(end - start - gap) * allowed, start, own, gap])


def _key(context: Tensor, index: Tensor) -> Tensor:
    """[n]: ordered by context, by index within one; each context leaves room for two sources."""
    return torch.add(index, context, alpha=2 * _SPAN)


def _scaled(uniform: Tensor, count: Tensor) -> Tensor:
    """[B, N0]: integers in 0..count-1; the product may round up to the count itself."""
    return torch.minimum((uniform * count).long(), count - 1)
