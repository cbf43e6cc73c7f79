"""Another encoder with weights that stay: all of them (frozen), or all but a change of low rank (LoRA).

Hu et al. 2022, ICLR, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...core.batch import Input
from ...core.tokens import TokenEncoder
from ...errors import ConfigError, DataError
from ._check import positive

__all__ = ["Frozen", "LoRA"]


def _embed(encoder: nn.Module, ids: Tensor) -> Tensor:
    """Integer ids to embeddings.

    Raises:
        DataError: the encoder does not read tokens.
    """
    if not isinstance(encoder, TokenEncoder):
        raise DataError(f"The input holds ids, but {type(encoder).__name__} has no embed(ids).")
    return encoder.embed(ids)


class Frozen(nn.Module):
    """Another encoder with fixed weights, always in evaluation mode: running statistics stay, nothing is dropped.

    ``frozen(resnet18(weights="resnet18.safetensors"))``. To tune a part of an encoder only, set `requires_grad` of the
    others to False; methods leave every parameter alone that does not require a gradient.

    Args:
        encoder: the encoder.

    Shape:
        that of the encoder.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.encoder.eval()
        return self

    def embed(self, ids: Tensor) -> Tensor:
        return _embed(self.encoder, ids)

    def forward(self, inputs: Input) -> Tensor:
        features: Tensor = self.encoder(inputs)
        return features


class LowRank(nn.Module):
    """W to W + scale · B A, with A [rank, inputs] drawn and B [outputs, rank] zero at the beginning."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, inputs, dtype=weight.dtype))
        self.b = nn.Parameter(torch.zeros(outputs, rank, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a)


class LoRA(nn.Module):
    """Another encoder whose linear layers learn a change of low rank, while all of its own weights stay.

    ``lora(bert("bert-base-uncased"), rank=8)``. At the beginning nothing is changed.

    Args:
        encoder: the encoder.
        rank: of the change of each linear layer.
        alpha: the change is multiplied by alpha / rank.

    Shape:
        that of the encoder.

    Raises:
        ConfigError: a rank below 1, or an encoder without a linear layer.
    """

    def __init__(self, encoder: nn.Module, rank: int = 8, alpha: float = 16.0) -> None:
        super().__init__()
        positive("lora", rank=rank)
        encoder.requires_grad_(False)
        layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
        if not layers:
            raise ConfigError(f"lora needs linear layers; {type(encoder).__name__} has none.")
        for layer in layers:
            parametrize.register_parametrization(
                layer, "weight", LowRank(layer.weight, rank, alpha / rank)
            )
        self.encoder = encoder

    def embed(self, ids: Tensor) -> Tensor:
        return _embed(self.encoder, ids)

    def forward(self, inputs: Input) -> Tensor:
        features: Tensor = self.encoder(inputs)
        return features
