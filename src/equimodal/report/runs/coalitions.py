"""What each set of modalities can tell in a trained model, from the probabilities that the run has kept.

Where the head adds, fused logits are the sum of the modalities' logits z_m, and those of a set S are the sum over S: the
decoupled logits of several modalities. The log-probabilities of a modality are its logits less a number per sample, so
that

    softmax(Σ_{m in S} z_m) = softmax(Σ_{m in S} log p_m)

follows from what the run has kept. Whether the head adds is not taken on trust: the formula must give the fused
probabilities for the set of all modalities. With `heads.Sum` this is what the model says when the others are missing;
`heads.Linear` would then give their share of the bias to those that are there. Where a sample has nobody of a set, what is
known is how frequent the classes are, as in a diagnosis, see `guess`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...diagnostics.guess import guess
from .intervals import Interval, mean
from .record import Said

__all__ = ["Coalition", "accuracy", "adds", "coalitions", "likelihood", "shapley"]

MOST = 6
"""More modalities have too many sets to go through."""

TOLERANCE = 1e-4  # logits are stored by way of float32

Coalition = tuple[str, ...]
Floats = NDArray[np.float64]


def coalitions(names: Coalition) -> Iterator[Coalition]:
    """All sets of modalities, the empty one first."""
    for size in range(len(names) + 1):
        yield from combinations(names, size)


def adds(said: Said) -> bool:
    """Whether the fused logits are the sum of the modalities', and there are few enough of them."""
    names = tuple(said.modalities)
    if not 1 < len(names) <= MOST:
        return False
    apart = np.abs(np.exp(_log_probabilities(said, names)) - said.fused)
    return bool(apart.max(initial=0.0) < TOLERANCE)


def accuracy(said: Said, group: Coalition) -> Floats:
    """[N]: 1 where the set is right; among classes that tie the chance."""
    logs = _log_probabilities(said, group)
    best = logs >= logs.max(1, keepdims=True) - 1e-12
    right = best[np.arange(len(logs)), said.target] / best.sum(1)
    often, _ = guess(said.target, said.fused.shape[1])
    found: Floats = np.where(_nobody(said, group), often[said.target], right)
    return found


def likelihood(said: Said, group: Coalition) -> Floats:
    """[N]: the log-probability that the set gives to the true class, in nats."""
    logs = _log_probabilities(said, group)[np.arange(len(said.target)), said.target]
    _, log_share = guess(said.target, said.fused.shape[1])
    found: Floats = np.where(_nobody(said, group), log_share[said.target], logs)
    return found


def _nobody(said: Said, group: Coalition) -> NDArray[np.bool_]:
    """[N]: where a sample has no modality of the set; what the model says with all stays its own answer."""
    if len(group) == len(said.modalities):
        return np.zeros(len(said.target), dtype=bool)
    missing = [np.isnan(said.modalities[name]).any(1) for name in group]
    nobody: NDArray[np.bool_] = np.all([np.ones(len(said.target), dtype=bool), *missing], axis=0)
    return nobody


def _log_probabilities(said: Said, group: Coalition) -> Floats:
    """[N, C]; a modality that a sample lacks adds nothing."""
    tiny = np.finfo(np.float64).tiny
    total = np.zeros_like(said.fused)
    for name in group:
        values = said.modalities[name]
        logs = np.log(np.maximum(values, tiny), where=~np.isnan(values), out=np.zeros_like(values))
        total += logs
    total -= total.max(1, keepdims=True)
    normal: Floats = np.subtract(total, np.log(np.exp(total).sum(1, keepdims=True)))
    return normal


def shapley(said: Said, value: Callable[[Said, Coalition], Floats]) -> dict[str, Interval]:
    """For each modality the mean over all orders of what it adds to those before it, as interval over samples.

    Args:
        said: of a head that adds.
        value: per sample, of a set of modalities; `accuracy` or `likelihood`.

    Source: Shapley, "A value for n-person games", 1953. The values add up to that of all less that of none.
    """
    names = tuple(said.modalities)
    worth: Mapping[Coalition, Any] = {group: value(said, group) for group in coalitions(names)}
    found = {}
    for name in names:
        others = tuple(other for other in names if other != name)
        total = np.zeros(len(said.target))
        for group in coalitions(others):
            weight = 1 / (len(names) * math.comb(len(others), len(group)))
            more = tuple(n for n in names if n in group or n == name)
            total += weight * (worth[more] - worth[group])
        found[name] = mean(total, said.groups)
    return found
