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
from .negatives import Candidates, Draw, draw
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
    contexts: Tensor  # [G], of all of them
    rows: Tensor  # [B]
    uniform: Tensor  # [B, N0]
    own: Tensor  # [B] the rows of their positive keys, which from G on are those of the memory
    allowed: Tensor  # [2, B] whether their negatives may come from the batch, and from the memory


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
        fresh = len(everyone)
        uniform = torch.rand(
            fresh, self.count, dtype=torch.float64, device=rows.device, generator=generator
        )
        stored = self.memory.candidates(generator)
        own, stale = self.memory.own(everyone.index[rows])
        anchors = _Anchors(
            everyone, self.context.of(everyone), rows, uniform[rows],
            torch.where(stale, fresh + own, rows),
            torch.stack([~stale, stale | self.memory.tops_up]),
        )  # fmt: skip
        past = self.memory.describe(stored)
        # Rows of the batch, followed by those of the memory, as everywhere below.
        known = torch.cat([torch.arange(fresh, device=rows.device), fresh + stored])
        terms = {}
        for pair in self.critics.pairs:
            drawn = self._drawn(pair, anchors, past)
            keys = torch.cat([anchors.own[:, None], known[drawn.position]], 1)
            terms[pair] = self._term(pair, anchors, keys, drawn.valid)
        return terms

    def remember(self, samples: Samples) -> None:
        """Store detached samples of the global batch, and record what the next contexts are made of."""
        self.memory.write(samples)
        self.context.record(samples, self.critics)

    def _drawn(self, pair: Pair, anchors: _Anchors, past: Samples) -> Draw:
        everyone, rows = anchors.everyone, anchors.rows
        pools = [
            (everyone, anchors.contexts, everyone.both(pair)),
            (past, self.context.of(past), past.both(pair) & (past.index >= 0)),
        ]
        same = self.negatives == "same_context"
        batch, memory = (
            Candidates(contexts if same else torch.zeros_like(contexts), samples.index, there)
            for samples, contexts, there in pools
        )
        return draw(
            batch, memory, batch.context[rows], batch.index[rows], anchors.allowed, anchors.uniform
        )

    def _term(self, pair: Pair, anchors: _Anchors, keys: Tensor, valid: Tensor) -> Term:
        """From keys [B, 1 + N0], the positive first: rows of the batch, or from G on of the memory."""
        features, contexts, keys = self._rows(pair, anchors, keys)
        mine = anchors.rows[:, None].expand_as(keys)
        scores = self.critics(
            pair, features, contexts, torch.stack([mine, keys]), torch.stack([keys, mine])
        )  # [2, B, 1 + N0], both directions
        positive, negatives = scores.split([1, self.count], -1)
        positive = positive.squeeze(-1)
        return Term(
            nce.log_likelihood(positive, negatives, self.margin).mean(0),
            nce.plug_in(positive.detach(), self.count, self.margin).mean(0),
            valid & anchors.everyone.both(pair)[anchors.rows],
        )

    def _rows(
        self, pair: Pair, anchors: _Anchors, keys: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Features [n, width] and contexts [n] of the batch and of the keys that are not its rows, and the keys among them.

        A key of the memory, or one that is compared in the context of an anchor that is not its own, is a row by itself.
        """
        everyone, fresh = anchors.everyone, len(anchors.everyone)
        at = self._apart(keys, fresh)
        listed = keys.flatten()[at]
        past = self.memory.features((listed - fresh).clamp(min=0))
        stale, here = (listed >= fresh)[:, None], listed.clamp(max=fresh - 1)
        features = {}
        for m in pair:
            z = everyone.features[m]
            features[m] = torch.cat([z, torch.where(stale, past[m], z[here])])
        anchor = anchors.rows[at // keys.shape[1]]
        contexts = torch.cat([anchors.contexts, anchors.contexts[anchor]])
        own = fresh + torch.arange(len(at), device=at.device)
        return features, contexts, keys.flatten().index_copy(0, at, own).view(keys.shape)

    def _apart(self, keys: Tensor, fresh: int) -> Tensor:
        """[R]: which of the keys [B, 1 + N0], flattened, are not rows of the batch; all, rather than make a GPU wait."""
        if self.negatives == "same_context" and keys.device.type == "cpu":
            return (keys.flatten() >= fresh).nonzero().squeeze(1)
        return torch.arange(keys.numel(), device=keys.device)
