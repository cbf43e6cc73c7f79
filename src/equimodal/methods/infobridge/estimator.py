"""The estimator of conditional mutual information: critics, context and memory together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from . import nce
from .context import Context
from .critic import Critics
from .memory import Memory
from .negatives import Draw, draw
from .samples import Samples

__all__ = ["Estimator", "NegativesName", "Term"]

NegativesName = Literal["same_context", "any"]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Term:
    """What a pair of modalities contributes.

    Attributes:
        objective: [B] log h of the positive plus Σ log(1 - h) of the negatives, mean of both directions.
        information: [B] logit h + log ν of the positive, mean of both directions; its mean estimates I(z_1; z_2 | T).
        valid: [B] booleans, the anchors that count: they have both modalities and at least one negative.
    """

    objective: Tensor
    information: Tensor
    valid: Tensor


@dataclass(frozen=True)
class _Anchors:
    """The anchors of this process among the global batch, and what all pairs share."""

    everyone: Samples
    rows: Tensor  # [B]
    context: Tensor  # [B]
    uniform: Tensor  # [B, N0]
    own: Tensor  # [B] where they are stored
    stale: Tensor  # [B] whether all of their keys come from the memory
    projected: dict[str, Tensor]  # {modality: [G, d]}


class Estimator(nn.Module):
    """Noise-contrastive estimation of I(z_1; z_2 | T) for every pair of modalities.

    All pairs and both directions share the draw of negatives, which thus depends on no name and on no order.
    """

    def __init__(
        self,
        critics: Critics,
        context: Context,
        memory: Memory,
        negatives: NegativesName,
        count: int,
        margin: nce.Margin,
    ) -> None:
        super().__init__()
        self.critics, self.context, self.memory = critics, context, memory
        self.negatives, self.count, self.margin = negatives, count, margin

    def forward(
        self, everyone: Samples, rows: Tensor, generator: torch.Generator
    ) -> dict[Pair, Term]:
        """The term of each pair.

        Args:
            everyone: the global batch of G samples, features with gradient.
            rows: [B] the anchors among them.
            generator: the same in every process.
        """
        uniform = torch.rand(
            len(everyone), self.count, dtype=torch.float64, device=rows.device, generator=generator
        )
        stored = self.memory.candidates(generator)
        contexts = self.context.of(everyone)
        own, stale = self.memory.own(everyone.index[rows])
        anchors = _Anchors(
            everyone, rows, contexts[rows], uniform[rows], own, stale,
            self.critics.project(everyone.features),
        )  # fmt: skip
        past = self.memory.describe(stored)
        fresh_pool = self._pool(anchors, everyone, contexts) & ~stale[:, None]
        past_pool = self._pool(anchors, past, self.context.of(past)) & (past.index >= 0)
        if not self.memory.tops_up:
            past_pool = past_pool & stale[:, None]
        terms = {}
        for pair in self.critics.pairs:
            drawn = draw(
                fresh_pool & _both(everyone, pair),
                past_pool & _both(past, pair),
                anchors.uniform,
            )
            terms[pair] = self._term(pair, anchors, drawn, stored[drawn.stored])
        return terms

    def remember(self, samples: Samples) -> None:
        """Store detached samples of the global batch, and record what the next contexts are made of."""
        self.memory.write(samples)
        self.context.record(samples, self.critics)

    def _pool(self, anchors: _Anchors, keys: Samples, contexts: Tensor) -> Tensor:
        """[B, n] booleans: other samples, of the same context where that is asked."""
        other = anchors.everyone.index[anchors.rows][:, None] != keys.index
        if self.negatives == "any":
            return other
        return other & (anchors.context[:, None] == contexts)

    def _term(self, pair: Pair, anchors: _Anchors, drawn: Draw, stored: Tensor) -> Term:
        fresh = torch.cat([anchors.rows[:, None], drawn.fresh], 1)
        stored = torch.cat([anchors.own[:, None], stored], 1)
        stale = torch.cat([anchors.stale[:, None], drawn.stale], 1)[..., None]
        past = self.critics.project(
            {m: z for m, z in self.memory.features(stored).items() if m in pair}
        )
        keys = {m: torch.where(stale, past[m], anchors.projected[m][fresh]) for m in pair}
        mine = {m: anchors.projected[m][anchors.rows][:, None] for m in pair}
        a, b = pair
        scores = torch.stack(
            [
                self.critics(pair, mine[a], keys[b], anchors.context),
                self.critics(pair, keys[a], mine[b], anchors.context),
            ]
        )  # [2, B, 1 + N0], the positive first
        return Term(
            nce.log_likelihood(scores[..., 0], scores[..., 1:], self.margin).mean(0),
            nce.plug_in(scores[..., 0], self.count, self.margin).mean(0),
            drawn.valid & _both(anchors.everyone, pair)[anchors.rows],
        )


def _both(samples: Samples, pair: Pair) -> Tensor:
    """[n] booleans: which samples have both modalities."""
    first, second = pair
    return samples.present[first] & samples.present[second]
