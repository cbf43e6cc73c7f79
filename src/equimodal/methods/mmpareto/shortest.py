"""The shortest convex combination of gradients, the direction in which no loss grows, from their inner products alone."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shortest", "shortest_of_two"]


def shortest_of_two(gram: Tensor) -> Tensor:
    """[2]: the weights of the shortest convex combination of two gradients that conflict, from their products."""
    a, dot, _, b = gram.flatten().unbind()
    first = (b - dot) / (a + b - 2 * dot)
    first = torch.where(dot >= b, 0.001, first)
    first = torch.where(dot >= a, 0.999, first)
    return torch.stack([first, 1 - first])


def shortest(gram: Tensor, there: Tensor) -> Tensor:
    """[n]: the weights of the shortest convex combination of the gradients that are not zero.

    The best of all sets of gradients: of each the shortest affine combination, where its weights are not negative.
    """
    n = len(gram)
    eye = torch.eye(n, dtype=gram.dtype, device=gram.device)
    scaled = gram / gram.trace().clamp(min=torch.finfo(gram.dtype).tiny)
    number = torch.arange(1, 2**n, device=gram.device)
    member = (number[:, None] >> torch.arange(n, device=gram.device) & 1).to(gram.dtype)
    inside = member[:, :, None] * member[:, None, :]
    ridge = 8 * torch.finfo(gram.dtype).eps  # parallel gradients have no unique solution
    system = inside * scaled + (1 - member)[:, :, None] * eye + ridge * eye
    found = torch.linalg.solve_ex(system, member[..., None]).result.squeeze(2)
    found = found / found.sum(1, keepdim=True)
    length = ((found @ scaled) * found).sum(1)
    good = (found >= 0).all(1) & (member <= there).all(1)
    best = torch.where(good, length, torch.inf).argmin(0, keepdim=True)
    weights: Tensor = found.index_select(0, best).squeeze(0)
    return weights
