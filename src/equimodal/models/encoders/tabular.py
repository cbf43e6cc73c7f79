"""An encoder of vectors: measurements, tables, features that others computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ...core.batch import Input
from ._check import positive, tensor

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers, each with ReLU.

    Args:
        inputs: entries of a vector.
        hidden: widths of the layers before the last.
        width: features.

    Shape:
        [B, inputs] -> [B, width], non-negative.

    Raises:
        ConfigError: an option that is not positive.
        DataError: an input of another shape.
    """

    def __init__(self, inputs: int, hidden: Sequence[int] = (128,), width: int = 64) -> None:
        super().__init__()
        positive("mlp", inputs=inputs, width=width)
        self.inputs, self.width = inputs, width
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden, width]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Input) -> Tensor:
        vectors = tensor("mlp", vectors, f"[B, {self.inputs}]", (2,), {1: self.inputs})
        features: Tensor = self.layers(vectors)
        return features
