"""The mean features of each class, in one modality: a classifier without parameters of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ... import distributed

__all__ = ["Prototypes"]


class Prototypes(nn.Module):
    """Prototypes [C, d], and the features that are added up for their next update.

    Args:
        classes: C.
        width: d.
        like: a parameter of the model, whose precision they have.
    """

    means: Tensor  # [C, d]
    seen: Tensor  # [C] booleans
    totals: Tensor  # [C, d + 1], sums of features and numbers of samples

    def __init__(self, classes: int, width: int, like: Tensor) -> None:
        super().__init__()
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.register_buffer("means", torch.zeros(classes, width, dtype=dtype))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))
        self.register_buffer("totals", torch.zeros(classes, width + 1, dtype=dtype))

    def logits(self, features: Tensor) -> Tensor:
        """[B, C]: minus the distances of features [B, d], far below all for classes that were never seen."""
        wide = features.to(self.means.dtype)
        # Through a matrix product a small distance would be the difference of two large numbers.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(wide, self.means, compute_mode=exact).clamp(min=1e-6)
        return (-distances).masked_fill(~self.seen, torch.finfo(wide.dtype).min / 2)

    def add(self, features: Tensor, target: Tensor, there: Tensor) -> None:
        """Count the samples that are `there` [B], of all processes."""
        classes = torch.arange(len(self.means), device=target.device)
        belongs = (target == classes[:, None]) & there  # [C, B]
        counted = torch.cat([features, torch.ones_like(features[:, :1])], 1).to(self.totals.dtype)
        self.totals += distributed.sum(belongs.to(counted.dtype) @ counted)

    def move(self, kept: float) -> None:
        """Towards the means of what was added, of which none is left then.

        Args:
            kept: how much of a prototype stays; a class without new samples stays as it is.
        """
        sums, counts = self.totals[:, :-1], self.totals[:, -1:]
        old = torch.where(counts > 0, kept * self.seen[:, None].to(sums.dtype), 1)
        self.means.copy_(old * self.means + (1 - old) * sums / counts.clamp(min=1))
        self.seen |= counts[:, 0] > 0
        self.totals.zero_()
