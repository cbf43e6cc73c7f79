"""Batch norm where rows or steps may be few or missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RowNorm", "StepNorm", "project"]


class RowNorm(nn.BatchNorm1d):
    """Batch norm of [B, C] that meets a single row with its running statistics: one row has no variance."""

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) > 1:
            return super().forward(rows)
        return F.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class StepNorm(nn.BatchNorm1d):
    """Batch norm over the steps that are there, of all sequences together.

    Parameters and buffers are those of `torch.nn.BatchNorm1d`, and so are the values where every step is there.

    Shape:
        [B, T, C] and booleans [B, T], or None where all are there -> [B, T, C].
    """

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, steps: Tensor, there: Tensor | None = None) -> Tensor:
        if there is None or not self.training:
            return super().forward(steps.flatten(0, 1)).view_as(steps)
        steps = steps.to(self.weight.dtype)  # no statistics in half precision
        mean, variance = self._moments(steps, there[..., None])
        return (steps - mean) * (self.weight * torch.rsqrt(variance + self.eps)) + self.bias

    def _moments(self, steps: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel over the steps that are there, which move the running ones."""
        count = there.sum()
        mean = steps.where(there, 0).sum((0, 1)) / count
        variance = (steps - mean).where(there, 0).square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return mean, variance


def project(inputs: int, width: int) -> nn.Sequential:
    """From pooled features to the encoder's, with a norm: pooled maxima are large, and without it units die early."""
    return nn.Sequential(nn.Linear(inputs, width, bias=False), RowNorm(width), nn.ReLU())
