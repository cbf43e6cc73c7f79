"""What TCM's noise is added to: the elements of an input that are there, and how far they spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ... import distributed
from ...core import Input, Padded, TokenEncoder
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
def spread(values: Tensor, there: Tensor, per: str, complete: bool = False) -> Tensor:
    """The unbiased standard deviation over the global batch: [] per "modality", [...] per "feature".

    Sums, then squared distances to the mean, are added up over processes. Fewer than two elements have no spread: 0.

    Args:
        values: [B, ...], or [B, T, ...] of a padded sequence.
        there: [B] or [B, T] booleans.
        per: "modality", over all elements that are there, or "feature", for each position of [...] by itself.
        complete: whether `there` is known to hold everywhere.
    """
    if complete and per == "modality" and values.numel() > 1 and distributed.processes() == 1:
        return values.std()
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
