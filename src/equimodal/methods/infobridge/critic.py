"""Critics f(z_1, z_2, T): how much likelier two features are as a pair of one sample than as a pair of two.

Every pair of modalities has a critic of its own on projections p = P z without bias that the pairs share. No critic but
the perceptron has a bias: a free one would absorb the margin log(N1/N0).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Bilinear", "Cosine", "CriticName", "Critics", "Perceptron"]

CriticName = Literal["cosine", "bilinear", "mlp"]

_SHORTEST = 1e-4  # a feature that is all zero, as after a ReLU, has no direction and must not get a huge gradient


class Cosine(nn.Module):
    """f = cos(p_1 ∘ (1 + e_T), p_2 ∘ (1 + e_T)) / τ, with the gate e_T initialised at zero."""

    def __init__(self, dim: int, contexts: int, temperature: float, learnable: bool) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(contexts, dim))
        log_temperature = torch.tensor(math.log(temperature))
        self.log_temperature = nn.Parameter(log_temperature, requires_grad=learnable)

    def forward(self, first: Tensor, second: Tensor, context: Tensor) -> Tensor:
        """[B, n]: scores of [B, n or 1, d] with [B, n or 1, d] in the contexts [B]."""
        gate = (1 + self.gate[context]).square()[:, None]
        # Products of matrices, which leave no gated copy of every key: |p ∘ g|² = p² · g².
        lengths = _length(first, gate) * _length(second, gate).mT
        cosine = (first * gate) @ second.mT / lengths  # [B, n, 1] or [B, 1, n]
        return cosine.flatten(1) * torch.exp(-self.log_temperature)


class Bilinear(nn.Module):
    """f = p_1ᵀ A_T p_2, with A_T initialised at zero."""

    def __init__(self, dim: int, contexts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(contexts, dim, dim))

    def forward(self, first: Tensor, second: Tensor, context: Tensor) -> Tensor:
        """As `Cosine.forward`."""
        return (first @ self.weight[context] * second).sum(-1)


class Perceptron(nn.Module):
    """f = MLP([p_1, p_2, e_T]) of two hidden layers; unbounded, so that it can represent any log ratio.

    Its last bias starts at zero: with the margin's log(N1/N0), that is where the bias of the whole h starts.
    """

    def __init__(self, dim: int, contexts: int) -> None:
        super().__init__()
        width = 2 * dim
        # One layer on the concatenation, written as a sum: an anchor's part is computed once for all of its keys.
        self.first = nn.Linear(dim, width, bias=False)
        self.second = nn.Linear(dim, width, bias=False)
        self.context = nn.Embedding(contexts, width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.bias)

    def forward(self, first: Tensor, second: Tensor, context: Tensor) -> Tensor:
        """As `Cosine.forward`."""
        hidden = self.first(first) + self.second(second) + self.context(context)[:, None]
        scores: Tensor = self.out(F.relu(self.hidden(F.relu(hidden))))
        return scores.squeeze(-1)


class Critics(nn.Module):
    """One projection for each modality and one critic for each pair of modalities.

    Args:
        widths: for each modality the width of its features.
        dim: d, the width of the projections.
        make: builds a pair's critic.
    """

    def __init__(self, widths: Mapping[str, int], dim: int, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.pairs = tuple(itertools.combinations(widths, 2))
        self.projections = nn.ModuleDict(
            {m: nn.Linear(width, dim, bias=False) for m, width in widths.items()}
        )
        self.critics = nn.ModuleDict({"-".join(pair): make() for pair in self.pairs})

    def project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each modality [..., d], from its features [..., width]."""
        return {m: self.projections[m](z) for m, z in features.items()}

    def forward(
        self, pair: tuple[str, str], first: Tensor, second: Tensor, context: Tensor
    ) -> Tensor:
        """[B, n]: a pair's scores of projections [B, n or 1, d] each, in the contexts [B]."""
        scores: Tensor = self.critics["-".join(pair)](first, second, context)
        return scores

    def similarity(self, features: Mapping[str, Tensor], pair: tuple[str, str]) -> Tensor:
        """[n]: the cosine of a pair's own projections, without its critic's gate."""
        first, second = (_direction(self.projections[m](features[m])) for m in pair)
        return (first * second).sum(-1)


def _length(vectors: Tensor, gate: Tensor) -> Tensor:
    """[B, n, 1]: the length of [B, n, d] with squared gates [B, 1, d]."""
    return (vectors.square() @ gate.mT).clamp(min=_SHORTEST**2).sqrt()


def _direction(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=_SHORTEST)
