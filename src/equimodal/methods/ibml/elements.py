"""What TCM's noise is added to: the elements of an input that are there, and how far they spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ... import distributed
from ...core import Input, Padded, TokenEncoder
from ...errors import DataError

__all__ = ["embedding", "spread", "valid", "values_of", "with_values"]


def values_of(value: Input) -> Tensor:
    """The tensor of an input, padded or not."""
    return value.values if isinstance(value, Padded) else value


def with_values(value: Input, values: Tensor) -> Input:
    """The input with another tensor."""
    return replace(value, values=values) if isinstance(value, Padded) else values


def valid(value: Input, present: Tensor) -> Tensor:
    """Booleans [B], or [B, T] where the input is `Padded`: what of it is there.

    Args:
        value: a modality's input.
        present: [B] booleans, which samples have the modality.
    """
    if not isinstance(value, Padded):
        return present
    steps = torch.arange(value.values.shape[1], device=present.device)
    return (steps < value.lengths[:, None]) & present[:, None]


def embedding(modality: str, value: Input, encoder: nn.Module) -> Callable[[Tensor], Tensor]:
    """What makes the input continuous: nothing if it is of floating type, else its encoder's `embed`.

    Raises:
        DataError: the input is of another type, and the encoder has no `embed`.
    """
    dtype = values_of(value).dtype
    if dtype.is_floating_point:
        return _unchanged
    if isinstance(encoder, TokenEncoder):
        return encoder.embed
    raise DataError(
        f"tcm() adds noise to inputs of floating type, but {modality!r} is of type {dtype}: "
        f"convert it, or give its encoder {type(encoder).__name__} a method embed(ids)."
    )


def _unchanged(values: Tensor) -> Tensor:
    return values


@torch.no_grad()
def spread(values: Tensor, there: Tensor, per: str) -> Tensor:
    """The unbiased standard deviation over the global batch: [] per "modality", [...] per "feature".

    Sums, then squared distances to the mean, are added up over processes. Fewer than two elements have no spread: 0.

    Args:
        values: [B, ...], or [B, T, ...] of a padded sequence.
        there: [B] or [B, T] booleans.
        per: "modality", over all elements that are there, or "feature", for each position of [...] by itself.
    """
    dtype = torch.promote_types(values.dtype, torch.float32)
    elements = values.to(dtype).reshape(there.numel(), -1)
    mask = there.reshape(-1, 1).expand_as(elements)
    over = [0] if per == "feature" else [0, 1]
    sums = torch.where(mask, elements, 0).sum(over), mask.sum(over).to(dtype)
    total, count = distributed.sum(torch.stack(sums))
    centred = torch.where(mask, elements - total / count.clamp(min=1), 0)
    variance: Tensor = distributed.sum(centred.square().sum(over)) / (count - 1).clamp(min=1)
    shape = values.shape[there.ndim :] if per == "feature" else ()
    return variance.sqrt().reshape(shape).to(values.dtype)
