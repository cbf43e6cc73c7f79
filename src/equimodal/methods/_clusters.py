"""Clusters of features, and how well they agree with the classes; the same every time for the same generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["far_apart", "kmeans", "lloyd", "nearest", "purity", "scaled"]


def kmeans(points: Tensor, count: int, generator: torch.Generator, rounds: int = 50) -> Tensor:
    """[n]: the clusters of points [n, d], by Lloyd's rounds from points that lie far apart."""
    return nearest(points, lloyd(points, far_apart(points, count, generator), rounds))


def lloyd(points: Tensor, centroids: Tensor, rounds: int) -> Tensor:
    """[k, d]: centroids after Lloyd's rounds; one that loses all of its points stays where it is."""
    for _ in range(rounds):
        # A product with one-hot rows, not a scatter, whose order of sums a GPU leaves open.
        members = F.one_hot(nearest(points, centroids), len(centroids)).to(points)
        sizes = members.sum(0)[:, None]
        centroids = torch.where(sizes > 0, members.T @ points / sizes.clamp(min=1), centroids)
    return centroids


def far_apart(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """[k, d]: starting centroids, points far from each other by k-means++ (Arthur & Vassilvitskii 2007)."""
    first = torch.randint(len(points), (1,), generator=generator, device=points.device)
    centroids = points[first]
    for _ in range(count - 1):
        distances = torch.cdist(points, centroids).amin(1).square()
        weights = distances.clamp(min=torch.finfo(points.dtype).tiny)  # all points may be one
        drawn = torch.multinomial(weights, 1, generator=generator)
        centroids = torch.cat([centroids, points[drawn]])
    return centroids


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """[n]: for each point which of the centroids [k, d] is nearest."""
    return torch.cdist(points, centroids).argmin(1)


def scaled(features: Tensor) -> Tensor:
    """[n, d]: each dimension in [-1, 1]; 0 where it is constant."""
    least, most = features.aminmax(dim=0)
    width = most - least
    return torch.where(width > 0, 2 * (features - least) / torch.where(width > 0, width, 1) - 1, 0)


def purity(clusters: Tensor, target: Tensor) -> Tensor:
    """The share of samples [n] that belong to the most frequent class of their cluster."""
    members, classes = F.one_hot(clusters).double(), F.one_hot(target).double()
    return (members.T @ classes).amax(1).sum() / len(target)
