"""The columns of the contrast: which keys an anchor is compared with, and which of them are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ... import distributed
from ...core import Step
from .._memory import Memory
from .._samples import Samples, gathered

__all__ = ["Columns", "FalseNegatives"]

FalseNegatives = Literal["keep", "mask", "positives"]
"""What samples of the anchor's class are: negatives, left out, or positives too."""


@dataclass(frozen=True)
class Columns:
    """The keys of B anchors: G samples of the global batch, then K of the memory.

    Attributes:
        fresh: the samples of the global batch, with the directions of each modality [G, d].
        stored: likewise [K, d] for the memory.
        own: for each modality [B, d], the anchors themselves as they are in the memory; empty where keys are fresh.
        mine: [B, G + K], the anchor's own column.
        usable: [B, G + K], the columns that it may be compared with, beside its own.
        positive: [B, G + K], the columns that count as its own.
        stale: [B], whether the anchor's own key is the one in the memory.
    """

    fresh: Samples
    stored: Samples
    own: Mapping[str, Tensor]
    mine: Tensor
    usable: Tensor
    positive: Tensor
    stale: Tensor

    @classmethod
    def of(
        cls,
        directions: Mapping[str, Tensor],
        step: Step,
        memory: Memory,
        false_negatives: FalseNegatives,
    ) -> Columns:
        """The columns of one step, of directions [B, d]; the gradient reaches the keys of the batch, also across processes."""
        fresh, part = gathered(
            directions, step.batch, memory.widths, distributed.gather_with_gradient
        )
        places = torch.arange(len(fresh), device=fresh.index.device)
        rows = places[part]
        drawn = memory.candidates(step.generator("infonce"))
        known = memory.describe(drawn)
        stored = Samples(memory.features(drawn), known.present, known.target, known.index)
        index = fresh.index[rows]
        place, stale = memory.own(index.clamp(min=0))
        stale = stale & (index >= 0)

        def columns(of_batch: Tensor, of_memory: Tensor) -> Tensor:
            shape = (len(rows), -1)
            return torch.cat([of_batch.expand(*shape), of_memory.expand(*shape)], 1)

        everywhere = torch.ones_like(fresh.index, dtype=torch.bool)
        filled = stored.index >= 0
        mine = columns(places == rows[:, None], filled & False)
        other = columns(everywhere, filled & (stored.index != index[:, None]))
        old = columns(~everywhere, filled | True)
        # Positive and negatives equally old: a stale anchor has only the memory, a fresh one only what tops up.
        usable = other & torch.where(stale[:, None], old, ~old | memory.tops_up)
        same = columns(fresh.target, stored.target) == step.target[:, None]
        if false_negatives == "mask":
            usable = usable & ~same
        positive = mine | (same & usable) if false_negatives == "positives" else mine
        own = {} if memory.tops_up else memory.features(place)
        return cls(fresh, stored, own, mine, usable, positive, stale)

    def surprise(self, anchors: Tensor, own: str, other: str) -> Tensor:
        """[B]: minus the mean log probability of the positives, from scaled anchors [B, d] of one modality to another."""
        there = self._there(own, other)
        logits = anchors @ torch.cat([self.fresh.features[other], self.stored.features[other]]).T
        if self.own:
            kept = (anchors * self.own[other]).sum(1, keepdim=True)
            logits = torch.where(self.mine & self.stale[:, None], kept, logits)
        # An anchor without the modality keeps its own column, so that nothing is infinite; it is left out of the mean.
        allowed = self.mine | (self.usable & there)
        logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min / 2)
        positive = self.positive & allowed
        log_probability = torch.where(positive, logits.log_softmax(1), 0).sum(1)
        return -log_probability / positive.sum(1)

    def keys(self, own: str, other: str) -> Tensor:
        """How many samples of the global batch have both modalities, one at least."""
        both = self.fresh.present[own] & self.fresh.present[other]
        return both.sum().clamp(min=1).to(self.fresh.features[own].dtype)

    def _there(self, own: str, other: str) -> Tensor:
        """[G + K]: which samples have both modalities."""
        parts = [s.present[own] & s.present[other] for s in (self.fresh, self.stored)]
        return torch.cat(parts)
