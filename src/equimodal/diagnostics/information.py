r"""What modalities know of the label, in nats: lower bounds, and how two predictions share their information.

- Lower bounds: :math:`I(X_m; Y) \ge H(Y) - \mathrm{CE}(g_m)` and the same for the fused prediction, with the empirical
  H(Y). Source: Qin et al., "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026, eqs. 10 and 11.
- Its terms of each sample, :math:`\log p(y \mid x_m) - \log p(y)`, whose mean it is; and those of the bound of what a
  modality and the fused prediction both say of the label, :math:`I(X_m; Z; Y) \ge I(Z; Y) + I(X_m; Y) - H(Y)` (eq. 8).
- Partial information decomposition of the label over two modalities' predicted classes, with the redundancy I_min:
  redundant + unique_1 + unique_2 + synergistic = I(both; Y). Source: Williams and Beer, "Nonnegative decomposition of
  multivariate information", arXiv 1004.2515. I_min is chosen because it has a closed form, so that it can be resampled;
  it counts as redundant what both say an equal amount about, also where they say different things, so that it is an
  upper end of what is shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Bootstrap
from .intervals import Interval

__all__ = [
    "Decomposition",
    "Distribution",
    "decompose",
    "decomposition",
    "distribution",
    "entropy",
    "lower_bound",
    "most_to_know",
    "pointwise",
]

Array = NDArray[np.float64]

ROUNDING = 1e-12
BINS = 24
PER_CELL = 20
"""The fewest samples per cell of the table of two predictions and the label, below which its informations are noise."""


@dataclass(frozen=True)
class Decomposition:
    """Of I(both predicted classes; Y), in nats.

    Attributes:
        first, second: the modalities.
        redundant: what either says.
        unique_first, unique_second: what only one says.
        synergistic: what only both together say.
        total: their sum.
    """

    first: str
    second: str
    redundant: Interval
    unique_first: Interval
    unique_second: Interval
    synergistic: Interval
    total: Interval


@dataclass(frozen=True)
class Distribution:
    """How a figure is spread over samples.

    Attributes:
        low, high: ends of the bins, all of which are equally wide.
        counts: samples in each; the outer bins also hold what lies beyond.
        quantiles: at 5, 25, 50, 75 and 95%.
        below: the share of samples below zero.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    quantiles: tuple[float, float, float, float, float]
    below: float


def distribution(values: Array, low: float, high: float) -> Distribution:
    """Of values [N], in bins from low to high."""
    counts, _ = np.histogram(values.clip(low, high), BINS, (low, high))
    at = (float(q) for q in np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)))
    quantiles = (next(at), next(at), next(at), next(at), next(at))
    return Distribution(low, high, tuple(counts.tolist()), quantiles, float((values < 0).mean()))


def most_to_know(target: NDArray[np.int64]) -> float:
    """-log p(y) of the rarest class that there is, in nats."""
    counts = np.bincount(target)
    return float(-np.log(counts[counts > 0].min() / len(target)))


def pointwise(log_likelihood: Array, target: NDArray[np.int64]) -> Array:
    """[N]: log p(y | x) - log p(y) of the true classes, with their shares among these samples."""
    shares = np.bincount(target) / len(target)
    found: Array = log_likelihood - np.log(shares[target])
    return found


def entropy(p: Array) -> Array:
    """H in nats over the last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p), 0.0)
    found: Array = -terms.sum(-1)
    return found


def lower_bound(
    log_likelihood: Array, target: NDArray[np.int64], classes: int, bootstrap: Bootstrap
) -> Interval:
    """H(Y) - CE, where the entropy is resampled along with the cross-entropy.

    Args:
        log_likelihood: [N] of the true class.
        target: [N].
        classes: C.
        bootstrap: over the N samples.
    """
    onehot = np.eye(classes)[target]
    both = np.concatenate([onehot, log_likelihood[:, None]], 1)
    sums = np.concatenate([block @ both / block.sum(1)[:, None] for block in bootstrap.counts()])
    value = entropy(onehot.mean(0)) + log_likelihood.mean()
    return bootstrap.normal(float(value), entropy(sums[:, :-1]) + sums[:, -1])


def decompose(joint: Array) -> Array:
    """[..., 4]: redundant, unique of the first, unique of the second, synergistic, of tables [..., A, B, C] that sum to 1."""
    first, second = joint.sum(-2), joint.sum(-3)
    redundant = _minimum(first, second)
    i_first, i_second = _information(first), _information(second)
    i_both = _information(joint.reshape(*joint.shape[:-3], -1, joint.shape[-1]))
    parts = np.stack(
        [
            redundant,
            i_first - redundant,
            i_second - redundant,
            i_both - i_first - i_second + redundant,
        ],
        -1,
    )
    return np.where(np.abs(parts) < ROUNDING, 0.0, parts)  # nothing unique is exactly nothing


def _information(table: Array) -> Array:
    """I(A; Y) of tables [..., A, C]."""
    flat = table.reshape(*table.shape[:-2], -1)
    return entropy(table.sum(-1)) + entropy(table.sum(-2)) - entropy(flat)


def _minimum(first: Array, second: Array) -> Array:
    """I_min = Σ_y p(y) min over sources of the specific information I(Y = y; A)."""
    found: Array = np.minimum(_specific(first), _specific(second)).sum(-1)
    return found


def _specific(table: Array) -> Array:
    """[..., C]: p(y) I(Y = y; A) = Σ_a p(a, y) log p(y | a) / p(y)."""
    given, label = table.sum(-1, keepdims=True), table.sum(-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(table > 0, table * np.log(table / (given * label)), 0.0)
    found: Array = terms.sum(-2)
    return found


def decomposition(
    names: tuple[str, str],
    said: tuple[NDArray[np.int64], NDArray[np.int64]],
    target: NDArray[np.int64],
    classes: int,
    bootstrap: Bootstrap,
) -> Decomposition | None:
    """Of predicted classes [N] and [N]; None where there are fewer than `PER_CELL` samples per cell.

    The counted informations are too large in small samples; the resamples say by how much, and it is taken off.
    """
    size = (classes, classes, classes)
    if len(target) < PER_CELL * classes**3:
        return None
    cell = np.ravel_multi_index((*said, target), size)
    used, cell = np.unique(cell, return_inverse=True)  # most cells are empty
    onehot = np.zeros((len(target), len(used)))
    onehot[np.arange(len(target)), cell] = 1
    figures = np.concatenate(
        [
            _figures(block @ onehot / block.sum(1)[:, None], used, size)
            for block in bootstrap.counts()
        ]
    )
    value = _figures(onehot.mean(0)[None], used, size)[0]
    found = [bootstrap.corrected(float(value[k]), figures[:, k]) for k in range(5)]
    return Decomposition(*names, *found)


def _figures(probabilities: Array, used: NDArray[np.int64], size: tuple[int, int, int]) -> Array:
    """[r, 5] of the probabilities [r, K] of the cells that are used."""
    parts = np.empty((len(probabilities), 4))
    rows = max(1, 4_000_000 // int(np.prod(size)))
    for start in range(0, len(probabilities), rows):
        some = probabilities[start : start + rows]
        joint = np.zeros((len(some), int(np.prod(size))))
        joint[:, used] = some
        parts[start : start + rows] = decompose(joint.reshape(-1, *size))
    return np.concatenate([parts, parts.sum(1, keepdims=True)], 1)
