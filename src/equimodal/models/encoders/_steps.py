"""Sequences of different lengths as tensors, and tokens as vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.batch import Input, Padded
from ...errors import ConfigError, DataError

__all__ = ["Tokens", "kept", "steps_of", "there"]


def steps_of(encoder: str, value: Input, channels: int) -> tuple[Tensor, Tensor | None]:
    """Values [B, T, channels] and lengths [B], or None where every step is there.

    Raises:
        DataError: an input of another shape.
    """
    values = value.values if isinstance(value, Padded) else value
    if values.ndim != 3 or values.shape[2] != channels or values.shape[1] == 0:
        raise DataError(
            f"{encoder} reads [B, T, {channels}] with T of at least 1, but the input has shape {list(values.shape)}."
        )
    return values, value.lengths if isinstance(value, Padded) else None


def there(steps: Tensor, lengths: Tensor | None) -> Tensor | None:
    """[B, T] booleans: which steps are there; None for all."""
    if lengths is None:
        return None
    return torch.arange(steps.shape[1], device=lengths.device) < lengths[:, None]


def kept(steps: Tensor, mask: Tensor | None, other: float = 0.0) -> Tensor:
    """The steps [B, T, C] with another value for those that are not there."""
    return steps if mask is None else steps.masked_fill(~mask[..., None], other)


class Tokens(nn.Module):
    """The table that turns token ids into vectors, for an encoder that reads either.

    Args:
        encoder: its name, for sentences.
        tokens: size of the vocabulary; 0: the encoder reads vectors alone, and ids are refused.
        channels: of a vector.
    """

    def __init__(self, encoder: str, tokens: int, channels: int) -> None:
        super().__init__()
        if tokens < 0:
            raise ConfigError(f"{encoder} needs tokens of at least 0, not {tokens}.")
        self.encoder, self.tokens, self.channels = encoder, tokens, channels
        self.table = nn.Embedding(tokens, channels) if tokens else None

    def embed(self, ids: Tensor) -> Tensor:
        """Integer ids [B, T] to vectors [B, T, channels].

        Raises:
            DataError: the encoder was made for vectors.
        """
        if self.table is None:
            raise DataError(
                f"{self.encoder} was made for vectors, but the input holds ids: give it the size of the vocabulary, "
                "as in tokens=30522."
            )
        vectors: Tensor = self.table(ids)
        return vectors

    def forward(self, value: Input) -> Input:
        values = value.values if isinstance(value, Padded) else value
        if values.dtype.is_floating_point:
            return value
        vectors = self.embed(values)
        return Padded(vectors, value.lengths) if isinstance(value, Padded) else vectors
