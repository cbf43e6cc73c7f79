"""Sums, means and gathered records over processes; with one process each is the identity.

Every mean in a loss is ``processes * local sum / global count``, so that averaging the gradients over processes gives
exactly the gradient of the mean over the global batch, also when processes hold different numbers of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "average_gradients",
    "gather",
    "gather_with_gradient",
    "processes",
    "rank",
    "start_alike",
    "sum",
    "totals",
]


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The position of this process among them."""
    return dist.get_rank() if processes() > 1 else 0


@torch.no_grad()
def start_alike(tensors: Iterable[Tensor]) -> None:
    """Put the first process's values into the tensors of all, given in the same order in every process."""
    if processes() == 1:
        return
    for tensor in tensors:
        # Booleans are not sent by every backend; bytes are.
        sent = tensor.to(torch.uint8 if tensor.dtype == torch.bool else tensor.dtype).contiguous()
        dist.broadcast(sent, src=0)
        tensor.copy_(sent)


def sum(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, of the same shape, without gradient."""
    if processes() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def totals(values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Sums [M] and numbers [M] of what is there in M rows of samples, over all processes in one message, without gradient.

    Args:
        values: [M, B]; summed in float32 at least, because bfloat16 cannot count beyond 256.
        there: [M, B] booleans: which values count.
    """
    wide = values.detach().to(torch.promote_types(values.dtype, torch.float32))
    sums, counts = torch.where(there, wide, 0).sum(1), there.sum(1).to(wide.dtype)
    found = sum(torch.stack([sums, counts]))
    return found[0], found[1]


def gather(values: Tensor) -> Tensor:
    """The rows of all processes, in the order of the processes; their numbers may differ. Without gradient."""
    if processes() == 1:
        return values.detach()
    sizes = _sizes(values)
    longest = max(sizes)
    mine = values.detach()
    filled = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
    # Booleans are not reduced by every backend; bytes are.
    carried = filled.to(torch.uint8) if filled.dtype == torch.bool else filled
    parts = [torch.empty_like(carried) for _ in sizes]
    dist.all_gather(parts, carried.contiguous())
    rows = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
    return rows.to(values.dtype)


def gather_with_gradient(values: Tensor) -> Tensor:
    """As `gather`; gradients flow back to the process that each row came from, summed over all that used it."""
    if processes() == 1:
        return values
    if torch.is_grad_enabled() and not values.requires_grad:
        # Nobody here may have what others have, but all must meet again in the backward pass.
        values = values.detach().requires_grad_()
    return _Gather.apply(values)  # type: ignore[no-any-return, no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        sizes = _sizes(values)
        start = _total(sizes[: rank()])
        ctx.mine = slice(start, start + len(values))
        return gather(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return sum(gradient.contiguous())[ctx.mine]


def _sizes(values: Tensor) -> list[int]:
    size = torch.tensor([len(values)], device=values.device)
    parts = [torch.empty_like(size) for _ in range(processes())]
    dist.all_gather(parts, size)
    return [int(part) for part in parts]


def _total(sizes: Sequence[int]) -> int:
    return int(torch.tensor(sizes, dtype=torch.int64).sum()) if sizes else 0


def average_gradients(
    gradients: Sequence[Tensor | None], like: Sequence[Tensor]
) -> list[Tensor | None]:
    """The mean of each gradient over processes, in one message.

    A gradient that is absent here counts as zero; it stays None only if it is absent everywhere.

    Args:
        gradients: one per parameter, or None.
        like: the parameters, which give shapes, types and device; in the same order in every process.
    """
    if processes() == 1 or not like:
        return list(gradients)
    first = like[0]
    there = torch.tensor([gradient is not None for gradient in gradients], dtype=first.dtype)
    flat = [
        (torch.zeros_like(parameter) if gradient is None else gradient).reshape(-1).to(first.dtype)
        for gradient, parameter in zip(gradients, like, strict=True)
    ]
    message = torch.cat([there.to(first.device, non_blocking=True), *flat])
    dist.all_reduce(message)
    message /= processes()
    # The device is waited for only where a gradient is absent here, and may be there elsewhere.
    whole = all(gradient is not None for gradient in gradients)
    known = [True] * len(like) if whole else (message[: len(like)] > 0).tolist()
    pieces = message[len(like) :].split([parameter.numel() for parameter in like])
    return [
        piece.reshape(parameter.shape).to(parameter.dtype) if present else None
        for piece, parameter, present in zip(pieces, like, known, strict=True)
    ]
