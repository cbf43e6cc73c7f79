"""How well the features of one modality are a linear map of another's, from sums of products alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Batch

__all__ = ["Moments", "unexplained"]

WIDTH = 64
"""The most dimensions of a modality's features that are mapped."""

NOTHING = 1e-10  # of the largest variance: a direction in which features do not vary


class Moments(nn.Module):
    """The products of all pairs of modalities' features, summed over samples.

    Args:
        widths: for each modality the width d of its features.
    """

    sums: Tensor  # [pairs, 1 + 2w, 1 + 2w], of the products of (1, z_a, z_b)
    directions: Tensor  # [d, w], by which wide features are mixed

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(widths)
        self.pairs = list(itertools.combinations(range(len(widths)), 2))
        self.width = min(max(widths.values()), WIDTH)
        side = 1 + 2 * self.width
        self.register_buffer("sums", torch.zeros(len(self.pairs), side, side, dtype=torch.float64))
        # Of a generator of its own: methods beside the recorder must draw what they would draw without it.
        draw = torch.Generator().manual_seed(0)
        mixed = torch.randn(max(widths.values()), self.width, generator=draw, dtype=torch.float64)
        self.register_buffer("directions", mixed / self.width**0.5, persistent=False)

    def of(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """What the samples of a batch add to the sums, those that have both modalities of a pair.

        Args:
            features: of the modalities that ran, [B, d] each.
            batch: the samples.
        """
        if not self.pairs:
            return self.sums
        size = len(batch)
        z = [self._narrow(features.get(m, self.sums.new_zeros(size, 1))) for m in self.modalities]
        there = [batch.mask(m) & (m in features) for m in self.modalities]
        both = torch.stack([there[a] & there[b] for a, b in self.pairs])
        ones = self.sums.new_ones(size, 1)
        rows = torch.stack([torch.cat([ones, z[a], z[b]], 1) for a, b in self.pairs])
        rows = rows * both[..., None]
        return rows.mT @ rows

    def _narrow(self, features: Tensor) -> Tensor:
        """[B, d] as [B, w]."""
        features, width = features.detach().to(self.sums.dtype), features.shape[1]
        if width <= self.width:
            return F.pad(features, (0, self.width - width))
        return features @ self.directions[:width]

    def errors(self) -> Iterator[tuple[str, str, float | None]]:
        """For each ordered pair of modalities the mapping error from the first to the second."""
        for (a, b), sums in zip(self.pairs, self.sums.cpu(), strict=True):
            first, second = self.modalities[a], self.modalities[b]
            count, mean = sums[0, 0], sums[0, 1:] / sums[0, 0]
            covariance = sums[1:, 1:] / count - torch.outer(mean, mean)
            back = covariance.roll((self.width, self.width), (0, 1))
            yield first, second, unexplained(covariance, int(count))
            yield second, first, unexplained(back, int(count))


def unexplained(covariance: Tensor, samples: int) -> float | None:
    """The share of the variance of some variables that the best linear map of others leaves, in [0, 1].

    Both variances are divided by their degrees of freedom, so that a map of noise explains nothing.

    Args:
        covariance: [2w, 2w], the given variables first.
        samples: that it was computed from; None is the answer where they are not twice as many as the dimensions.
    """
    if samples < 2 or not bool(covariance.isfinite().all()):
        return None
    given, asked = covariance.diagonal().chunk(2)
    inside, across = covariance[: len(given)].chunk(2, 1)
    values, vectors = torch.linalg.eigh(inside)
    kept = values > NOTHING * given.max()
    dimensions, total = int(kept.sum()), float(asked.sum())
    if total <= 0 or samples < 2 * (dimensions + 1):
        return None
    explained = float(((vectors[:, kept].T @ across).square() / values[kept, None]).sum())
    share = (total - explained) / (samples - 1 - dimensions) / (total / (samples - 1))
    return min(max(share, 0.0), 1.0)
