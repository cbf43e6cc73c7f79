"""The estimator of conditional mutual information: critics, context and memory together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from .._memory import Memory
from .._samples import Samples
from . import nce
from .context import Context
from .critic import Critics
from .negatives import Candidates, Draw, draw

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
    mine: slice  # of them
    rows: Tensor  # [B], the same as positions
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
        self, everyone: Samples, mine: slice, generator: torch.Generator
    ) -> dict[Pair, Term]:
        """The term of each pair.

        Args:
            everyone: the global batch of G samples, features with gradient.
            mine: the B anchors among them.
            generator: the same in every process.
        """
        index, fresh = everyone.index, len(everyone)
        uniform = torch.rand(
            fresh, self.count, dtype=torch.float64, device=index.device, generator=generator
        )
        stored = self.memory.candidates(generator)
        positions = torch.arange(fresh, device=index.device)
        own, stale = self.memory.own(index[mine])
        anchors = _Anchors(
            everyone, self.context.of(everyone), mine, positions[mine], uniform[mine],
            torch.where(stale, fresh + own, positions[mine]),
            torch.stack([~stale, stale | self.memory.tops_up]),
        )  # fmt: skip
        past = self.memory.describe(stored)
        # Rows of the batch, followed by those of the memory, as everywhere below.
        known = torch.cat([positions, fresh + stored])
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
        everyone, mine = anchors.everyone, anchors.mine
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
            batch, memory, batch.context[mine], batch.index[mine], anchors.allowed, anchors.uniform
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
            valid & anchors.everyone.both(pair)[anchors.mine],
        )

    def _rows(
        self, pair: Pair, anchors: _Anchors, keys: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Features [n, width] and contexts [n] of the batch and of the keys that are not its rows, and the keys among them.

        A key of the memory, or one that is compared in the context of an anchor that is not its own, is a row by itself.
        """
        everyone, fresh, flat = anchors.everyone, len(anchors.everyone), keys.flatten()
        at = self._apart(flat, fresh)
        features = self._features(everyone, flat[at])
        context = anchors.contexts[anchors.mine][at // keys.shape[1]]
        rows = torch.arange(fresh, fresh + len(at), device=at.device)
        keys = flat.index_copy(0, at, rows).view(keys.shape)
        features = {m: torch.cat([everyone.features[m], features[m]]) for m in pair}
        return features, torch.cat([anchors.contexts, context]), keys

    def _features(self, everyone: Samples, keys: Tensor) -> dict[str, Tensor]:
        """For each modality [R, width], of keys [R] that are rows of the batch, or from G on of the memory."""
        fresh, past = len(everyone), self.memory.features((keys - len(everyone)).clamp(min=0))
        if self._only_stale(keys):
            return past
        stale, here = (keys >= fresh)[:, None], keys.clamp(max=fresh - 1)
        return {m: torch.where(stale, past[m], everyone.features[m][here]) for m in past}

    def _apart(self, keys: Tensor, fresh: int) -> Tensor:
        """[R]: which of the keys are rows by themselves: those of the memory; or all, rather than make a GPU wait."""
        if self._only_stale(keys):
            return (keys >= fresh).nonzero().squeeze(1)
        return torch.arange(len(keys), device=keys.device)

    def _only_stale(self, keys: Tensor) -> bool:
        return self.negatives == "same_context" and keys.device.type == "cpu"
