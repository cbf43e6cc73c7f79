"""Encoders of vectors: measurements, rows of tables, genes, features that others computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import positive, tensor

__all__ = ["MLP", "SNN", "Table"]


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
        positive("mlp", inputs=inputs, hidden=hidden, width=width)
        self.inputs, self.width = inputs, width
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden, width]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Input) -> Tensor:
        vectors = tensor("mlp", vectors, f"[B, {self.inputs}]", (2,), {1: self.inputs})
        features: Tensor = self.layers(vectors)
        return features


class SNN(nn.Module):
    """A self-normalising network: linear layers with SELU and alpha dropout.

    The genomic network of Chen et al. 2020, IEEE TMI, "Pathomic Fusion", has these widths; the units and the
    initialisation N(0, 1 / inputs) are those of Klambauer et al. 2017, NeurIPS, "Self-Normalizing Neural Networks".

    The L1 penalty that makes the network of Chen et al. sparse is a loss, so it is said with the method:
    ``infobridge() + l1(3e-4, "genomic")``.

    Args:
        inputs: entries of a vector, standardised.
        hidden: widths of the layers before the last.
        width: features.
        dropout: the share of units that alpha dropout sets to their lower limit.

    Shape:
        [B, inputs] -> [B, width].

    Raises:
        ConfigError: an option that cannot be.
        DataError: an input of another shape.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (64, 48, 32),
        width: int = 32,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        positive("snn", inputs=inputs, hidden=hidden, width=width)
        self.inputs, self.width = inputs, width
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden, width]):
            linear = nn.Linear(before, after)
            nn.init.normal_(linear.weight, std=before**-0.5)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.SELU(), nn.AlphaDropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Input) -> Tensor:
        vectors = tensor("snn", vectors, f"[B, {self.inputs}]", (2,), {1: self.inputs})
        features: Tensor = self.layers(vectors)
        return features


class Table(nn.Module):
    """Rows of numbers and categories: each category has an embedding; beside the numbers they enter an `MLP`.

    Args:
        numbers: columns of numbers, which come first.
        categories: for each further column how many categories it has; its values are 0 to that less 1, and -1 for one
            that is missing or was never seen, which has an embedding of its own.
        embedding: entries of an embedding.
        hidden: widths of the layers before the last.
        width: features.

    Shape:
        [B, numbers + number of categories], floating -> [B, width], non-negative.

    Raises:
        ConfigError: no columns, or an option that is not positive.
        DataError: an input of another shape.
    """

    offsets: Tensor
    limits: Tensor

    def __init__(
        self,
        numbers: int,
        categories: Sequence[int] = (),
        embedding: int = 8,
        hidden: Sequence[int] = (128,),
        width: int = 64,
    ) -> None:
        super().__init__()
        positive("table", embedding=embedding, hidden=hidden, width=width)
        if numbers < 0 or any(count < 1 for count in categories) or numbers + len(categories) < 1:
            raise ConfigError(
                f"table needs columns, and at least one category in each that has any; here numbers={numbers}, "
                f"categories={tuple(categories)}."
            )
        self.numbers, self.columns, self.width = numbers, numbers + len(categories), width
        sizes = torch.tensor(categories, dtype=torch.long) + 1  # the first is for what is unknown
        self.register_buffer("limits", sizes - 1, persistent=False)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.embeddings = nn.Embedding(max(int(sizes.sum()), 1), embedding)
        self.layers = MLP(numbers + embedding * len(categories), hidden, width)

    def forward(self, rows: Input) -> Tensor:
        rows = tensor("table", rows, f"[B, {self.columns}]", (2,), {1: self.columns})
        # Rounded, not cut: a little noise on the vector, as a method or a diagnosis adds, leaves a category what it is.
        numbers, ids = rows[:, : self.numbers], rows[:, self.numbers :].round().long()
        known = (ids >= 0) & (ids < self.limits)
        found = self.embeddings(self.offsets + torch.where(known, ids + 1, 0))
        features: Tensor = self.layers(torch.cat([numbers, found.flatten(1)], 1))
        return features
