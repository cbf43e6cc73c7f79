"""Which coalitions of modalities are asked, and how a Shapley value is a weighted sum over them.

Every figure of use is linear in the values v(S) of coalitions S, hence a mean over samples of a weighted sum of each
sample's own v(S); so one matrix of weights serves accuracy and log-likelihood, each sample and each class.

Source: Shapley, "A value for n-person games", 1953; sampled by permutations: Castro et al., "Polynomial calculation of the
Shapley value based on sampling", Computers & Operations Research 2009.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "Coalition", "Plan", "plan"]

Array = NDArray[np.float64]
Coalition = tuple[str, ...]

EXACT = 6
"""The most modalities whose coalitions are all asked."""
PERMUTATIONS = 64


@dataclass(frozen=True)
class Plan:
    """Coalitions [S] in the order of size, and weights over them.

    Attributes:
        modalities: M names.
        coalitions: S of them, the empty one first and the full one last.
        shares: [P, M, S], the marginal contributions of each modality in each of P orders of equal weight; their mean
            over P gives the Shapley values. All coalitions asked: P = 1, exact.
    """

    modalities: tuple[str, ...]
    coalitions: tuple[Coalition, ...]
    shares: Array

    @property
    def exact(self) -> bool:
        return len(self.shares) == 1

    @property
    def shapley(self) -> Array:
        """[M, S]: Shapley values are this times v."""
        weights: Array = self.shares.mean(0)
        return weights

    def sampling_error(self, values: Array) -> Array:
        """[M]: standard error of the sampled Shapley values of a game v [S], from the spread over orders."""
        if self.exact:
            return np.zeros(len(self.modalities))
        # Orders come in pairs, each with its reverse, which are not independent.
        pairs = (self.shares @ values).reshape(-1, 2, len(self.modalities)).mean(1)
        spread: Array = pairs.std(0, ddof=1) / math.sqrt(len(pairs))
        return spread

    def position(self, members: Sequence[str]) -> int:
        """Where a coalition stands."""
        return self.coalitions.index(tuple(m for m in self.modalities if m in members))

    def one(self, members: Sequence[str]) -> Array:
        """[S]: the weights that pick v of one coalition."""
        found: Array = np.eye(len(self.coalitions))[self.position(members)]
        return found

    def leave_one_out(self, modality: str) -> Array:
        """[S]: v(all) - v(all but this one)."""
        return self.one(self.modalities) - self.one([m for m in self.modalities if m != modality])

    def add_one_in(self, modality: str) -> Array:
        """[S]: v(this one) - v(nobody)."""
        return self.one([modality]) - self.one([])

    def interaction(self, first: str, second: str) -> Array:
        """[S]: v(both) - v(first) - v(second) + v(nobody); below zero where they say the same."""
        return self.one([first, second]) - self.one([first]) - self.one([second]) + self.one([])


def plan(modalities: Sequence[str], seed: int = 0, permutations: int = PERMUTATIONS) -> Plan:
    """All coalitions of up to 6 modalities; of more, those that random orders pass, singles, pairs and all but one."""
    names = tuple(modalities)
    if len(names) <= EXACT:
        return _exact(names)
    rng = np.random.default_rng(seed)
    half = [rng.permutation(len(names)) for _ in range(max(permutations // 2, 2))]
    orders = [order for drawn in half for order in (drawn, drawn[::-1])]
    asked = {
        *((m,) for m in range(len(names))),
        *itertools.combinations(range(len(names)), 2),
        *itertools.combinations(range(len(names)), len(names) - 1),
        *(tuple(sorted(order[:k].tolist())) for order in orders for k in range(len(names) + 1)),
    }
    members = sorted(asked, key=lambda s: (len(s), s))
    where = {coalition: i for i, coalition in enumerate(members)}
    shares = np.zeros((len(orders), len(names), len(members)))
    for p, order in enumerate(orders):
        for k, m in enumerate(order.tolist()):
            shares[p, m, where[tuple(sorted(order[: k + 1].tolist()))]] += 1
            shares[p, m, where[tuple(sorted(order[:k].tolist()))]] -= 1
    return Plan(names, _named(names, members), shares)


def _exact(names: tuple[str, ...]) -> Plan:
    count = len(names)
    members = [s for size in range(count + 1) for s in itertools.combinations(range(count), size)]
    weights = np.zeros((count, len(members)))
    for i, coalition in enumerate(members):
        for m in range(count):
            before = len(coalition) - (m in coalition)  # how many stand before m
            weight = 1 / (count * math.comb(count - 1, before))
            weights[m, i] = weight if m in coalition else -weight
    return Plan(names, _named(names, members), weights[None])


def _named(names: Sequence[str], members: Sequence[Sequence[int]]) -> tuple[Coalition, ...]:
    return tuple(tuple(names[m] for m in coalition) for coalition in members)
