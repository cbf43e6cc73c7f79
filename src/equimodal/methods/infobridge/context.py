"""The context T of a sample: what two modalities are compared *given*.

A context is looked up by target or by index, for the batch and for the memory alike, so that reassigning T leaves nothing
stale behind. The two that are learned start constant and change only between epochs: a T that followed each step would
reinforce itself.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Epoch
from .._clusters import far_apart, lloyd, nearest
from .._samples import Samples
from .critic import Critics

__all__ = ["Cluster", "Constant", "Context", "ContextName", "Label", "Retrieval"]

ContextName = Literal["label", "cluster", "retrieval", "constant"]


class Context(nn.Module, abc.ABC):
    """Assigns one of `count` contexts to each sample."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @abc.abstractmethod
    def of(self, samples: Samples) -> Tensor:
        """[n]: the contexts, integers in 0..count-1."""

    def record(self, samples: Samples, critics: Critics) -> None:
        """Remember what the next epoch's contexts are made of."""

    def reassign(self, epoch: Epoch) -> None:
        """Compute the contexts of the epoch that begins."""


class Label(Context):
    """T is the class; in training only, so it leaks nothing into a prediction."""

    def of(self, samples: Samples) -> Tensor:
        return samples.target


class Constant(Context):
    """One context for all: plain noise-contrastive estimation of I(z_1; z_2)."""

    def __init__(self) -> None:
        super().__init__(1)

    def of(self, samples: Samples) -> Tensor:
        return torch.zeros_like(samples.index)


class _Recorded(Context):
    """A table of T by index, made at the start of an epoch from what the last one recorded; 0 for the unseen."""

    table: Tensor
    seen: Tensor
    recorded: Tensor

    def __init__(self, count: int, samples: int, width: int) -> None:
        super().__init__(count)
        self.register_buffer("table", torch.zeros(samples, dtype=torch.long))
        self.register_buffer("seen", torch.zeros(samples, dtype=torch.bool))
        self.register_buffer("recorded", torch.zeros(samples, width))

    def of(self, samples: Samples) -> Tensor:
        return self.table[samples.index.clamp(min=0)]  # an empty place of a memory is never drawn

    def reassign(self, epoch: Epoch) -> None:
        if bool(self.seen.any()):
            self.table[self.seen] = self._assigned(self.recorded[self.seen], epoch)

    @abc.abstractmethod
    def _assigned(self, recorded: Tensor, epoch: Epoch) -> Tensor:
        """[n]: the contexts of n samples from what was recorded of them, [n, width]."""


class Cluster(_Recorded):
    """k-means on the concatenated directions of all modalities; each fit starts from the last, so that ids are stable."""

    centroids: Tensor
    fitted: Tensor

    def __init__(self, count: int, samples: int, widths: Mapping[str, int]) -> None:
        super().__init__(count, samples, sum(widths.values()))
        self.register_buffer("centroids", torch.zeros(count, sum(widths.values())))
        self.register_buffer("fitted", torch.tensor(False))

    def record(self, samples: Samples, critics: Critics) -> None:
        directions = [F.normalize(z, dim=1) for z in samples.features.values()]
        self.recorded[samples.index] = torch.cat(directions, 1).to(self.recorded)
        self.seen[samples.index] = True

    def _assigned(self, recorded: Tensor, epoch: Epoch) -> Tensor:
        if not bool(self.fitted):
            generator = epoch.generator("clusters", recorded.device)
            self.centroids.copy_(far_apart(recorded, self.count, generator))
            self.fitted.fill_(True)
        self.centroids.copy_(lloyd(recorded, self.centroids, rounds=20))
        return nearest(recorded, self.centroids)


class Retrieval(_Recorded):
    """Three levels of similarity: the mean cosine of a sample's own projected pairs, cut at the terciles."""

    thresholds: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__(3, samples, 1)
        self.register_buffer("thresholds", torch.zeros(2))

    def record(self, samples: Samples, critics: Critics) -> None:
        pairs = critics.pairs
        both = torch.stack([samples.present[a] & samples.present[b] for a, b in pairs])
        cosines = torch.stack([critics.similarity(samples.features, pair) for pair in pairs])
        mean = (cosines * both).sum(0) / both.sum(0).clamp(min=1)
        # A sample without a pair has no similarity; it keeps its place among the unseen.
        self.recorded[samples.index] = mean[:, None].to(self.recorded)
        self.seen[samples.index] = both.any(0)

    def _assigned(self, recorded: Tensor, epoch: Epoch) -> Tensor:
        scores = recorded.squeeze(1)
        cuts = torch.tensor([1 / 3, 2 / 3], dtype=scores.dtype, device=scores.device)
        self.thresholds.copy_(torch.quantile(scores, cuts))
        return torch.bucketize(scores, self.thresholds)
