"""Critics f(z_1, z_2, T): how much likelier two features are as a pair of one sample than as a pair of two.

Every pair of modalities has a critic of its own on projections p = P z without bias that the pairs share. No critic but
the perceptron has a bias: a free one would absorb the margin log(N1/N0).
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Bilinear", "Cosine", "Critic", "CriticName", "Critics", "Perceptron"]

CriticName = Literal["cosine", "bilinear", "mlp"]

_SHORTEST = 1e-4  # a feature that is all zero, as after a ReLU, has no direction and must not get a huge gradient


class Critic(nn.Module, abc.ABC):
    """f of listed pairs, from the projections of n samples in both modalities."""

    @abc.abstractmethod
    def forward(self, projected: Tensor, context: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """[...]: the scores of row `first` of the first modality with row `second` of the second.

        Args:
            projected: [2, n, d] of both modalities.
            context: [n], of each row; the rows of a pair have the same.
            first, second: [...] rows, 0..n-1.
        """


class Cosine(Critic):
    """f = cos(p_1 ∘ (1 + e_T), p_2 ∘ (1 + e_T)) / τ, with the gate e_T initialised at zero."""

    def __init__(self, dim: int, contexts: int, temperature: float, learnable: bool) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(contexts, dim))
        log_temperature = torch.tensor(math.log(temperature))
        self.log_temperature = nn.Parameter(log_temperature, requires_grad=learnable)

    def forward(self, projected: Tensor, context: Tensor, first: Tensor, second: Tensor) -> Tensor:
        gated = projected * (1 + self.gate).index_select(0, context)
        # |p ∘ g| at least the shortest, as in `_direction`, but with one operation less in each direction of autograd.
        lengths = gated.square().sum(-1, keepdim=True).clamp(min=_SHORTEST**2)
        left, right = (gated * lengths.rsqrt()).unbind()
        cosine = _products(left, right, first, second)
        return cosine * torch.exp(-self.log_temperature)


class Bilinear(Critic):
    """f = p_1ᵀ A_T p_2, with A_T initialised at zero."""

    def __init__(self, dim: int, contexts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(contexts, dim, dim))

    def forward(self, projected: Tensor, context: Tensor, first: Tensor, second: Tensor) -> Tensor:
        turned = projected[0].unsqueeze(1) @ self.weight[context]
        return _products(turned.squeeze(1), projected[1], first, second)


class Perceptron(Critic):
    """f = MLP([p_1, p_2, e_T]) of two hidden layers; unbounded, so that it can represent any log ratio.

    Its last bias starts at zero: with the margin's log(N1/N0), that is where the bias of the whole h starts.
    """

    def __init__(self, dim: int, contexts: int) -> None:
        super().__init__()
        width = 2 * dim
        # One layer on the concatenation, written as a sum: a sample's part is computed once for all of its pairs.
        self.first = nn.Linear(dim, width, bias=False)
        self.second = nn.Linear(dim, width, bias=False)
        self.context = nn.Embedding(contexts, width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.bias)

    def forward(self, projected: Tensor, context: Tensor, first: Tensor, second: Tensor) -> Tensor:
        mine = self.first(projected[0]) + self.context(context)
        hidden = mine[first] + self.second(projected[1])[second]
        scores: Tensor = self.out(F.relu(self.hidden(F.relu(hidden))))
        return scores.squeeze(-1)


class Critics(nn.Module):
    """One projection for each modality and one critic for each pair of modalities.

    Args:
        widths: for each modality the width of its features.
        dim: d, the width of the projections.
        make: builds a pair's critic.
    """

    def __init__(self, widths: Mapping[str, int], dim: int, make: Callable[[], Critic]) -> None:
        super().__init__()
        self.pairs = tuple(itertools.combinations(widths, 2))
        self.projections = nn.ModuleDict(
            {m: nn.Linear(width, dim, bias=False) for m, width in widths.items()}
        )
        # In the order of the pairs: names may hold any character that would join them.
        self.critics = nn.ModuleList(make() for _ in self.pairs)

    def forward(
        self,
        pair: tuple[str, str],
        features: Mapping[str, Tensor],
        context: Tensor,
        first: Tensor,
        second: Tensor,
    ) -> Tensor:
        """[...]: a pair's scores, from the features [n, width] of both modalities; see `Critic.forward`."""
        projected = torch.stack([self.projections[m](features[m]) for m in pair])
        scores: Tensor = self.critics[self.pairs.index(pair)](projected, context, first, second)
        return scores

    def similarity(self, features: Mapping[str, Tensor], pair: tuple[str, str]) -> Tensor:
        """[n]: the cosine of a pair's own projections, without its critic's gate."""
        first, second = (_direction(self.projections[m](features[m])) for m in pair)
        return (first * second).sum(-1)


def _products(left: Tensor, right: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """[...]: the inner products of listed rows of [n, d] and [n, d], by the way that holds fewer numbers."""
    size, width = right.shape
    if size * size <= first.numel() * width:
        table = (left @ right.T).flatten()
        return table.index_select(0, (first * size + second).flatten()).view(first.shape)
    return (left[first] * right[second]).sum(-1)


def _direction(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=_SHORTEST)
