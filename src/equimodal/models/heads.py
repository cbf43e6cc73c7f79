"""Heads: from the features of each modality to unimodal ("decoupled") and fused logits.

Unimodal logits belong to the head and are the same in training and evaluation. A modality that a sample lacks
contributes nothing to its fused logits and has zero logits of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.batch import Batch
from ..errors import ConfigError
from .fusion import Attention, FiLM, Gated
from .head import Head, where_present

__all__ = [
    "BY_NAME",
    "Attention",
    "Auxiliary",
    "Cosine",
    "FiLM",
    "Gated",
    "Head",
    "Linear",
    "Shared",
    "Sum",
]


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
        # One split instead of a slice each: its gradient is one tensor, not a sum of padded ones.
        columns = self.linear.weight.split(list(self.widths.values()), 1)
        weights = dict(zip(self.widths, columns, strict=True))
        if batch.complete(features):
            share = self.linear.bias / len(features)
            unimodal = {m: F.linear(z, weights[m], share) for m, z in features.items()}
        else:
            masks = {m: batch.mask(m).to(z.dtype)[:, None] for m, z in features.items()}
            there = torch.stack(list(masks.values())).sum(0).clamp(min=1)
            unimodal = {
                m: (F.linear(z, weights[m]) + self.linear.bias / there) * masks[m]
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
        return cast(Tensor, self.linears[modality].weight)

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        unimodal = where_present({m: self.linears[m](z) for m, z in features.items()}, batch)
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
        return cast(Tensor, self.linears[modality].weight)

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
        unimodal = where_present(unimodal, batch)
        return unimodal, _sum(unimodal)


class Shared(Head):
    r"""The same layers for every modality, $g_m = \mathrm{layers}(z_m)$ and $g = \sum_m g_m$ (MLA, ReconBoost).

    Args:
        widths: for each modality the width d of its features, the same for all.
        classes: C.
        hidden: the width of a layer with a ReLU before the last one; 0 for a single linear layer.

    Raises:
        ConfigError: features of different widths, or a negative width of the hidden layer.
    """

    additive = True
    shared = True

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 0) -> None:
        super().__init__(widths, classes)
        if len(set(widths.values())) > 1:
            raise ConfigError(
                f"shared() needs features of one width, but they have {dict(widths)}: "
                "give the encoders the same width, or use sum()."
            )
        if hidden < 0:
            raise ConfigError(f"shared(hidden={hidden}) must be at least 0.")
        width = next(iter(widths.values()))
        steps = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        self.hidden = hidden
        self.layers = nn.Sequential(*steps, nn.Linear(hidden or width, classes))

    def weight(self, modality: str) -> Tensor:
        """[C, d]: the only weight, the same parameter for every modality."""
        if self.hidden:
            raise ConfigError(
                f"shared(hidden={self.hidden}) has a layer before its last one: use shared()."
            )
        return cast(Tensor, self.layers[0].weight)

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        unimodal = where_present({m: self.layers(z) for m, z in features.items()}, batch)
        return unimodal, _sum(unimodal)


class Auxiliary(Head):
    """Any fusion, and beside it a linear classifier of each modality, whose logits are the unimodal ones.

    They are true unimodal classifiers and not parts of the fused logits, so that nothing sums to those. Only a method with
    unimodal losses, such as ``uniform()`` or ``mmpareto()``, trains them; with others they stay as they were made.

    Args:
        widths: for each modality the width d of its features.
        classes: C.
        fusion: the head that makes the fused logits; `Linear` by default.
    """

    additive = False
    auxiliary = True

    def __init__(self, widths: Mapping[str, int], classes: int, fusion: Head | None = None) -> None:
        super().__init__(widths, classes)
        self.fusion = Linear(widths, classes) if fusion is None else fusion
        self.own = nn.ModuleDict({m: nn.Linear(d, classes) for m, d in widths.items()})

    def weight(self, modality: str) -> Tensor:
        """[C, d]: of the fusion, not of the unimodal classifier."""
        return self.fusion.weight(modality)

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        unimodal = where_present({m: self.own[m](z) for m, z in features.items()}, batch)
        return unimodal, self.fusion(features, batch)[1]


def _sum(unimodal: Mapping[str, Tensor]) -> Tensor:
    first, *others = unimodal.values()
    for logits in others:
        first = first + logits
    return first


BY_NAME: dict[str, type[Head]] = {
    "attention": Attention,
    "auxiliary": Auxiliary,
    "cosine": Cosine,
    "film": FiLM,
    "gated": Gated,
    "linear": Linear,
    "shared": Shared,
    "sum": Sum,
}
"""How expressions call the heads."""
