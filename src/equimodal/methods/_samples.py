"""The samples of a global batch or a memory: features, who has what, target and index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import distributed
from ..core import Batch

__all__ = ["Samples", "gathered", "gathered_scaled"]


@dataclass(frozen=True)
class Samples:
    """n samples.

    Attributes:
        features: for each modality [n, d]; empty where only the rest is asked.
        present: for each modality [n] booleans.
        target: [n] class ids.
        index: [n] positions in the data set. A sample without one has a negative number that no other in its batch has;
            such samples are told apart within a batch and are never drawn from a memory.
    """

    features: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    target: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def both(self, pair: tuple[str, str]) -> Tensor:
        """[n] booleans: which samples have both modalities."""
        first, second = pair
        return self.present[first] & self.present[second]


def gathered(
    features: Mapping[str, Tensor],
    batch: Batch,
    widths: Mapping[str, int],
    gather: Callable[[Tensor], Tensor] = distributed.gather,
) -> tuple[Samples, slice]:
    """The samples of all processes in the order of the processes, and which rows among them are of this one.

    Args:
        features: for each modality that ran [B, d].
        batch: the samples of this process.
        widths: the modalities to gather and their d; one that did not run counts as missing.
        gather: `distributed.gather`, or one with gradient.
    """
    size, like = len(batch), next(iter(features.values()))
    known = [features[m] if m in features else like.new_zeros(size, d) for m, d in widths.items()]
    packed = gather(torch.cat(known, 1)).split(list(widths.values()), 1)
    masks = [batch.mask(m) if m in features else batch.mask(m) & False for m in widths]
    index = -1 - torch.arange(size, device=batch.device) if batch.index is None else batch.index
    assert batch.target is not None
    ids, mine = [index, batch.target, *masks], slice(0, size)
    if distributed.processes() > 1:
        ids, mine = _all_ids(ids, numbered=batch.index is not None)
    present = dict(zip(widths, ids[2:], strict=True))
    samples = Samples(dict(zip(widths, packed, strict=True)), present, target=ids[1], index=ids[0])
    return samples, mine


def _all_ids(ids: Sequence[Tensor], numbered: bool) -> tuple[list[Tensor], slice]:
    """The columns of all processes, and the rows of this one among them."""
    rank = torch.full_like(ids[0], distributed.rank())
    # One message whatever the number of modalities; as in `distributed.gather`, sizes are waited for.
    ranks, index, target, *masks = distributed.gather(torch.stack([rank, *ids], 1)).unbind(1)
    start = int((ranks < distributed.rank()).sum())
    if not numbered:
        index = -1 - torch.arange(len(index), device=index.device)
    return [index, target, *(mask.bool() for mask in masks)], slice(start, start + len(rank))


def gathered_scaled(features: Tensor, weight: float) -> Tensor:
    """The rows of all processes, α z + (1 - α) sg(z): the same values, with α times the gradient."""
    return distributed.gather_with_gradient(torch.lerp(features.detach(), features, weight))
