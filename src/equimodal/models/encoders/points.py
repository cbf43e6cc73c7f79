"""Encoders of point clouds, whose features do not depend on the order of the points.

`PointNet`: Qi et al. 2017, CVPR, "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation",
without its alignment networks. `DGCNN`: Wang et al. 2019, ACM TOG, "Dynamic Graph CNN for Learning on Point Clouds",
in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.batch import Input
from ...errors import ConfigError, DataError
from ._check import positive, tensor
from ._norm import project

__all__ = ["DGCNN", "PointNet"]

SLOPE = 0.2  # of LeakyReLU, as in DGCNN


def _each(layer: nn.Module, points: Tensor) -> Tensor:
    """A layer for [rows, C] applied to every point of [B, N, C]."""
    out: Tensor = layer(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    return out


class PointNet(nn.Module):
    """The same small network on every point, then the maximum over the points.

    Args:
        width: features.
        widths: layers of the network on a point (linear, batch norm, ReLU).
        channels: coordinates of a point.

    Shape:
        [B, N, channels] -> [B, width], non-negative.

    Raises:
        ConfigError: no layers, or an option that is not positive.
        DataError: an input of another shape.
    """

    def __init__(
        self, width: int = 64, widths: Sequence[int] = (64, 128), channels: int = 3
    ) -> None:
        super().__init__()
        positive("pointnet", width=width, widths=widths, channels=channels)
        if not widths:
            raise ConfigError("pointnet needs at least one layer in widths.")
        self.channels, self.width = channels, width
        layers: list[nn.Module] = []
        for before, after in pairwise([channels, *widths]):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.point = nn.Sequential(*layers)
        self.project = project(widths[-1], width)

    def forward(self, points: Input) -> Tensor:
        points = tensor("pointnet", points, f"[B, N, {self.channels}]", (3,), {2: self.channels})
        features: Tensor = self.project(_each(self.point, points).amax(1))
        return features


class EdgeNorm(nn.Module):
    """Batch norm over the edges u_i + v_j of a graph, at chosen points of it, without making the edges.

    Its parameters and buffers are those of `torch.nn.BatchNorm1d`.
    """

    running_mean: Tensor
    running_var: Tensor
    eps, momentum = 1e-5, 0.1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, chosen: Tensor, u: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = self._moments(u, v, rows)
        return (chosen - mean) * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias

    def _moments(self, u: Tensor, v: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over all edges: from u, v, how often each v is met, and around whom."""
        edges, k = rows.numel(), rows.shape[1]
        met = torch.zeros_like(v[:, 0]).index_add_(0, rows.flatten(), v.new_ones(edges))
        u_mean, v_mean = u.mean(0), v.mean(0)  # taken off first, so that squares do not cancel
        u, v = u - u_mean, v - v_mean
        around = F.embedding_bag(rows, v, mode="mean")
        rest = (u + around).mean(0)
        square = (u * (u + 2 * around) + met[:, None] * v.square() / k).mean(0)
        mean, variance = u_mean + v_mean + rest, square - rest.square()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * edges / max(edges - 1, 1), self.momentum)
        return mean, variance


class EdgeConv(nn.Module):
    """For every point the maximum over its k nearest of LeakyReLU(BN(W [x_i, x_j - x_i])).

    With W = [A, D] an edge is u_i + v_j, u = (A - D) x and v = D x, so the products are taken once per point. Batch
    norm and LeakyReLU are monotone in each channel, so they may follow the maximum (where the norm's weight is
    negative, the minimum), and the mean and variance over all edges follow from sums over points. The mathematics is
    that of the paper; the [B, N, k, width] tensor of edges, which costs nearly all the time, is never made. The
    nearest are found in the space of the layer's own input, and a point is one of its own nearest.
    """

    def __init__(self, inputs: int, width: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.edge = nn.Linear(2 * inputs, width, bias=False)
        self.norm = EdgeNorm(width)

    def forward(self, points: Tensor) -> Tensor:
        own, difference = self.edge.weight.chunk(2, dim=1)
        rows = _nearest(points, self.k)
        flat, kind = points.flatten(0, 1), self.norm.weight.dtype
        u = F.linear(flat, own - difference).to(kind)  # no statistics in half precision
        v = F.linear(flat, difference).to(kind)
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0).to(kind)
        extreme = u + sign * F.embedding_bag(rows, sign * v, mode="max")
        out = F.leaky_relu(self.norm(extreme, u, v, rows), SLOPE)
        return out.view(*points.shape[:2], -1)


def _nearest(points: Tensor, k: int) -> Tensor:
    """[B, N, C] -> [B * N, k]: each point's nearest as rows of the flattened cloud, without gradient."""
    points = points.detach()
    nearest = torch.cdist(points, points).topk(k, largest=False, sorted=False).indices
    start = torch.arange(len(points), device=points.device) * points.shape[1]
    return (nearest + start[:, None, None]).flatten(0, 1)


class DGCNN(nn.Module):
    """Edge convolutions on a graph of nearest neighbours that is drawn anew at every layer.

    All layers' outputs side by side pass a linear layer with batch norm and LeakyReLU on every point; the maximum and
    the mean over the points pass a linear layer with batch norm and ReLU. The paper's classifier is width 512, k = 20, widths
    (64, 64, 128, 256), point 1024, before its last layers; the defaults are for small clouds on a CPU.

    Args:
        width: features.
        k: nearest neighbours of a point, itself included.
        widths: of the edge convolutions.
        channels: coordinates of a point.
        point: width of the layer on every point; None: that of the features.

    Shape:
        [B, N, channels] with N >= k -> [B, width], non-negative.

    Raises:
        ConfigError: no layers, or an option that is not positive.
        DataError: an input of another shape, or fewer than k points.
    """

    def __init__(
        self,
        width: int = 64,
        k: int = 10,
        widths: Sequence[int] = (32, 64),
        channels: int = 3,
        point: int | None = None,
    ) -> None:
        super().__init__()
        point = width if point is None else point
        positive("dgcnn", width=width, k=k, widths=widths, channels=channels, point=point)
        if not widths:
            raise ConfigError("dgcnn needs at least one layer in widths.")
        self.channels, self.width, self.k = channels, width, k
        self.layers = nn.ModuleList(
            EdgeConv(before, after, k) for before, after in pairwise([channels, *widths])
        )
        self.point = nn.Sequential(
            nn.Linear(sum(widths), point, bias=False), nn.BatchNorm1d(point), nn.LeakyReLU(SLOPE)
        )
        self.project = project(2 * point, width)

    def forward(self, points: Input) -> Tensor:
        x = tensor("dgcnn", points, f"[B, N, {self.channels}]", (3,), {2: self.channels})
        if x.shape[1] < self.k:
            raise DataError(
                f"dgcnn(k={self.k}) needs clouds of at least {self.k} points, not {x.shape[1]}."
            )
        seen = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        x = _each(self.point, torch.cat(seen, 2))
        features: Tensor = self.project(torch.cat([x.amax(1), x.mean(1)], 1))
        return features
