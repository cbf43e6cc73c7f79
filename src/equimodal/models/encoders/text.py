"""Encoders of text, as vectors of words or as ids; they read any other sequence just as well.

All are `equimodal.core.tokens.TokenEncoder`: where ids are given, `embed` says what vectors they become.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import positive
from ._steps import Tokens, kept, steps_of, there

__all__ = ["BiGRU", "Transformer"]


class BiGRU(nn.Module):
    """Two gated recurrent units, one from either end; their mean at every step, then the maximum over the steps.

    The encoder of text in IBML: GloVe vectors, width 512. The backward unit begins at a sequence's own last step, so
    padding changes nothing.

    Args:
        channels: entries of a word's vector.
        width: features, the size of the states.
        tokens: size of the vocabulary, where the input holds ids; their vectors are learned.

    Shape:
        [B, T, channels], or ids [B, T]; a tensor or `Padded` -> [B, width], in (-1, 1).

    Raises:
        ConfigError: an option that is not positive.
        DataError: an input of another shape, or ids without `tokens`.
    """

    def __init__(self, channels: int = 300, width: int = 512, tokens: int = 0) -> None:
        super().__init__()
        positive("bigru", channels=channels, width=width)
        self.channels, self.width = channels, width
        self.tokens = Tokens("bigru", tokens, channels)
        self.forwards = nn.GRU(channels, width, batch_first=True)
        self.backwards = nn.GRU(channels, width, batch_first=True)

    def embed(self, ids: Tensor) -> Tensor:
        return self.tokens.embed(ids)

    def forward(self, words: Input) -> Tensor:
        x, lengths = steps_of("bigru", self.tokens(words), self.channels)
        ahead = self.forwards(x)[0]
        back = _reversed(self.backwards(_reversed(x, lengths))[0], lengths)
        return kept((ahead + back) / 2, there(x, lengths), -math.inf).amax(1)


def _reversed(steps: Tensor, lengths: Tensor | None) -> Tensor:
    """[B, T, C] with each sequence's own steps in the opposite order."""
    if lengths is None:
        return steps.flip(1)
    order = lengths[:, None] - 1 - torch.arange(steps.shape[1], device=steps.device)
    return steps.gather(1, order.clamp(min=0)[..., None].expand_as(steps))


class Transformer(nn.Module):
    """A small transformer (Vaswani et al. 2017, NeurIPS) with norms before its layers, then the mean over the steps.

    Positions are told by sines and cosines, so that a sequence of any length can be read.

    Args:
        channels: readings per step, or entries of a token's vector.
        width: features, and the width of the layers; even, and a multiple of `heads`.
        layers: blocks of attention and a two-layer network of 4 * width.
        heads: of attention.
        dropout: in the blocks.
        tokens: size of the vocabulary, where the input holds ids; their vectors are learned.

    Shape:
        [B, T, channels], or ids [B, T]; a tensor or `Padded` -> [B, width].

    Raises:
        ConfigError: an option that cannot be.
        DataError: an input of another shape, or ids without `tokens`.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        positive("transformer", channels=channels, width=width, layers=layers, heads=heads)
        if width % heads or width % 2:
            raise ConfigError(
                f"transformer needs an even width that is a multiple of heads={heads}, not {width}."
            )
        self.channels, self.width = channels, width
        self.tokens = Tokens("transformer", tokens, channels)
        self.enter = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def embed(self, ids: Tensor) -> Tensor:
        return self.tokens.embed(ids)

    def forward(self, sequences: Input) -> Tensor:
        x, lengths = steps_of("transformer", self.tokens(sequences), self.channels)
        mask = there(x, lengths)
        x = self.enter(kept(x, mask)) * math.sqrt(self.width) + _positions(x, self.width)
        absent = None if mask is None else ~mask
        for block in self.blocks:
            x = block(x, src_key_padding_mask=absent)
        total = kept(self.norm(x), mask).sum(1)
        return total / x.shape[1] if lengths is None else total / lengths[:, None]


def _positions(steps: Tensor, width: int) -> Tensor:
    """[T, width]: sines and cosines of T positions, with wavelengths from 2π to 10,000 · 2π."""
    places = torch.arange(steps.shape[1], device=steps.device, dtype=steps.dtype)
    rates = torch.arange(0, width, 2, device=steps.device, dtype=steps.dtype)
    angles = places[:, None] * torch.exp(rates * (-math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
