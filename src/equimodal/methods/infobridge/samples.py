"""The samples of a global batch or a memory: features, who has what, target and index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ... import distributed
from ...core import Batch

__all__ = ["Samples", "gathered", "scaled"]


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
) -> tuple[Samples, Tensor]:
    """The samples of all processes in the order of the processes, and [B] the rows of this process among them.

    Args:
        features: for each modality that ran [B, d].
        batch: the samples of this process.
        widths: the modalities to gather and their d; one that did not run counts as missing.
        gather: `distributed.gather`, or one with gradient.
    """
    size, device = len(batch), batch.device
    like = next(iter(features.values()))
    known = [features[m] if m in features else like.new_zeros(size, d) for m, d in widths.items()]
    masks = [batch.mask(m) & (m in features) for m in widths]
    rank = torch.full((size,), distributed.rank(), device=device)
    index = rank if batch.index is None else batch.index
    assert batch.target is not None
    # Two messages whatever the number of modalities; their order is the same in every process, backwards too.
    packed = gather(torch.cat(known, 1)).split(list(widths.values()), 1)
    ids = distributed.gather(torch.stack([rank, index, batch.target, *masks], 1)).unbind(1)
    samples = Samples(
        dict(zip(widths, packed, strict=True)),
        {m: mask.bool() for m, mask in zip(widths, ids[3:], strict=True)},
        target=ids[2],
        index=-1 - torch.arange(len(ids[1]), device=device) if batch.index is None else ids[1],
    )
    return samples, (ids[0] < distributed.rank()).sum() + torch.arange(size, device=device)


def scaled(features: Tensor, weight: float) -> Tensor:
    """The same values, α z + (1 - α) sg(z), with α times the gradient."""
    return torch.lerp(features.detach(), features, weight)
