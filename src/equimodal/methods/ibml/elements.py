"""What TCM's noise is added to: the elements of an input that are there, and how far they spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ... import distributed
from ...core import Batch, Input, Padded, TokenEncoder
from ...errors import DataError

__all__ = [
    "embedding",
    "rows_of",
    "spread",
    "valid",
    "values_of",
    "with_values",
]


def values_of(value: Input) -> Tensor:
    """The tensor of an input, padded or not."""
    return value.values if isinstance(value, Padded) else value


def with_values(value: Input, values: Tensor) -> Input:
    """The input with another tensor."""
    return replace(value, values=values) if isinstance(value, Padded) else values


def valid(value: Input, batch: Batch, modality: str) -> Tensor | None:
    """Booleans [B], or [B, T] where the input is `Padded`: what of a modality's input is there; None if all of it."""
    if not isinstance(value, Padded):
        return None if batch.complete([modality]) else batch.mask(modality)
    steps = torch.arange(value.values.shape[1], device=value.values.device)
    return (steps < value.lengths[:, None]) & batch.mask(modality)[:, None]


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
def spread(values: Tensor, there: Tensor | None, per: str) -> Tensor:
    """The unbiased standard deviation over the global batch: [] per "modality", [...] per "feature".

    Sums, then squared distances to the mean, are added up over processes. Fewer than two elements have no spread: 0.

    Args:
        values: [B, ...], or [B, T, ...] of a padded sequence.
        there: [B] or [B, T] booleans; None if everything is.
        per: "modality", over all elements that are there, or "feature", for each position of [...] by itself.
    """
    alone = there is None and distributed.processes() == 1
    if alone and per == "modality" and values.numel() > 1:
        away: Tensor = torch.linalg.vector_norm(values - values.mean())  # sooner done than std()
        return away.div((values.numel() - 1) ** 0.5)
    if there is None:
        there = torch.ones(len(values), dtype=torch.bool, device=values.device)
    dtype = torch.promote_types(values.dtype, torch.float32)
    elements = values.to(dtype).reshape(there.numel(), -1)
    mask, size = there.reshape(-1, 1), elements.shape[1] if per == "modality" else 1

    def total(parts: Tensor) -> Tensor:
        # Along each sample (step) first, so that the mask is applied to one number instead of all of them.
        kept = parts.sum(1, keepdim=True) if per == "modality" else parts
        return torch.where(mask, kept, 0).sum(0)

    sums = total(elements)
    sums, count = distributed.sum(torch.stack([sums, (mask.sum() * size).to(sums).expand_as(sums)]))
    squares: Tensor = distributed.sum(total((elements - sums / count.clamp(min=1)).square()))
    shape = values.shape[there.ndim :] if per == "feature" else ()
    deviation: Tensor = (squares / (count - 1).clamp(min=1)).sqrt()
    return deviation.reshape(shape).to(values.dtype)


def rows_of(chosen: Tensor) -> Tensor:
    """[R]: the rows where [B] booleans hold; all rows on an accelerator, which would have to be waited for."""
    if chosen.device.type == "cpu":
        return chosen.nonzero().squeeze(1)
    return torch.arange(len(chosen), device=chosen.device)
