"""Heads: from the features of each modality to unimodal ("decoupled") and fused logits.

Unimodal logits belong to the head and are the same in training and evaluation. A modality that a sample lacks
contributes nothing to its fused logits and has zero logits of its own.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.batch import Batch
from ..errors import ConfigError

__all__ = ["BY_NAME", "Cosine", "Head", "Linear", "Sum"]


class Head(nn.Module, abc.ABC):
    """Turns features into logits.

    Attributes:
        additive: whether the unimodal logits sum to the fused ones, so that reports can call them exact.
        separate: whether each parameter serves one modality only.
        widths: for each modality the width d of its features.
        classes: C.
    """

    additive: bool
    separate: bool = False

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.classes = classes

    @abc.abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Unimodal logits {modality: [B, C]} and fused logits [B, C] of the modalities that have features [B, d]."""

    def weight(self, modality: str) -> Tensor:
        """[C, d]: one modality's part of a linear final layer.

        Raises:
            ConfigError: the head has no such layer.
        """
        raise ConfigError(
            f"The head {type(self).__name__.lower()}() has no linear layer for {modality!r} alone: "
            "use linear() or sum()."
        )

    def alone(self, features: Mapping[str, Tensor], modality: str, batch: Batch) -> Tensor:
        """[B, C]: fused logits of one modality, the features of the others at zero (for `Linear`, z_m W_mᵀ + b)."""
        others = {name: torch.zeros_like(z) for name, z in features.items() if name != modality}
        only = {name: others.get(name, z) for name, z in features.items()}
        return self.forward(only, batch)[1]


class Linear(Head):
    """One linear layer on the concatenated features, g = Σ_m z_m W_mᵀ + b.

    Unimodal logits by the b/M rule (IBML eq. 1), g_m = z_m W_mᵀ + b / M with M the number of modalities that the
    sample has, so that Σ_m g_m = g exactly.
    """

    additive = True

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.linear = nn.Linear(sum(widths.values()), classes)

    def weight(self, modality: str) -> Tensor:
        """[C, d]: the columns W_m of the weight."""
        names = list(self.widths)
        start = sum(self.widths[name] for name in names[: names.index(modality)])
        return self.linear.weight[:, start : start + self.widths[modality]]

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        if batch.complete(features):
            share = self.linear.bias / len(features)
            unimodal = {m: F.linear(z, self.weight(m), share) for m, z in features.items()}
        else:
            masks = {m: batch.mask(m).to(z.dtype)[:, None] for m, z in features.items()}
            there = torch.stack(list(masks.values())).sum(0).clamp(min=1)
            unimodal = {
                m: (F.linear(z, self.weight(m)) + self.linear.bias / there) * masks[m]
                for m, z in features.items()
            }
        return unimodal, _sum(unimodal)


class Sum(Head):
    """A linear layer with its own bias per modality; the fused logits are the sum of the unimodal ones."""

    additive = True
    separate = True

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.linears = nn.ModuleDict({m: nn.Linear(d, classes) for m, d in widths.items()})

    def weight(self, modality: str) -> Tensor:
        return self.linears[modality].get_parameter("weight")

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        unimodal = {m: self.linears[m](z) for m, z in features.items()}
        if not batch.complete(features):
            unimodal = {m: g * batch.mask(m).to(g.dtype)[:, None] for m, g in unimodal.items()}
        return unimodal, _sum(unimodal)


class Cosine(Head):
    r"""Scaled cosines between features and class weights, $g_m = s\,\hat z_m \hat W_m^\top$ and $g = \sum_m g_m$ (MMCosine).

    Neither the norm of a feature nor that of a weight counts; there is no bias. A feature that is zero has the cosine 0.

    Args:
        widths: for each modality the width d of its features.
        classes: C.
        scale: s.

    Raises:
        ConfigError: a scale that is not positive.
    """

    additive = True
    separate = True

    def __init__(self, widths: Mapping[str, int], classes: int, scale: float = 10.0) -> None:
        super().__init__(widths, classes)
        if not scale > 0:
            raise ConfigError(f"cosine(scale={scale}) must be positive.")
        self.scale = scale
        self.linears = nn.ModuleDict(
            {m: nn.Linear(d, classes, bias=False) for m, d in widths.items()}
        )

    def weight(self, modality: str) -> Tensor:
        return self.linears[modality].get_parameter("weight")

    @staticmethod
    def least_scale(modalities: int, classes: int, posterior: float = 0.9) -> float:
        """The smallest s with which a class can reach this probability, where the class weights form a regular simplex."""
        odds = (classes - 1) * posterior / (1 - posterior)
        return (classes - 1) / (modalities * classes) * math.log(odds)

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        directions = {m: F.normalize(z, dim=1, eps=1e-6) for m, z in features.items()}
        unimodal = {
            m: self.scale * F.linear(z, F.normalize(self.weight(m), dim=1, eps=1e-6))
            for m, z in directions.items()
        }
        if not batch.complete(features):
            unimodal = {m: g * batch.mask(m).to(g.dtype)[:, None] for m, g in unimodal.items()}
        return unimodal, _sum(unimodal)


def _sum(unimodal: Mapping[str, Tensor]) -> Tensor:
    first, *others = unimodal.values()
    for logits in others:
        first = first + logits
    return first


BY_NAME: dict[str, type[Head]] = {"cosine": Cosine, "linear": Linear, "sum": Sum}
"""How expressions call the heads."""
