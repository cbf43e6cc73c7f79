"""The gradients of an encoder, a row for each loss that reaches it.

Tensor by tensor: a vector of all of an encoder's gradients would have to be allocated anew for each row in each step, which
takes longer than what is computed from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["exact", "names_in", "products"]

Rows = Sequence[Mapping[str, Tensor]]


def names_in(rows: Rows) -> list[str]:
    """Of all parameters that any row reaches, each once."""
    return list(dict.fromkeys(name for row in rows for name in row))


def exact(grad: Tensor) -> Tensor:
    """In float32 at least."""
    return grad.to(torch.promote_types(grad.dtype, torch.float32))


def products(rows: Rows) -> tuple[Tensor, Tensor]:
    """[n, n]: the inner products of n rows; [n, P]: the norm of each of their gradients, 0 where there is none."""
    n, names = len(rows), names_in(rows)
    flat = [{name: grad.reshape(-1) for name, grad in row.items()} for row in rows]
    zero = next(iter(flat[0].values())).new_zeros(())

    def by_name(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(
            [one[k].dot(other[k]) if k in one and k in other else zero for k in names]
        )

    upper = {(i, k): by_name(flat[i], flat[k]) for i in range(n) for k in range(i, n)}
    gram = torch.stack([upper[min(i, k), max(i, k)].sum() for i in range(n) for k in range(n)])
    return gram.view(n, n), torch.stack([upper[i, i] for i in range(n)]).sqrt()
