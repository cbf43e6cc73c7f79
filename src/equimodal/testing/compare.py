"""Whether two runs are the same, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["clones", "expect", "same", "tensors"]


def tensors(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in a value that flows through a step, each by its path; what a step refers to is left out."""
    match value:
        case Tensor():
            return {name: value}
        case Mapping():
            parts = {str(key): part for key, part in value.items()}
        case list() | tuple():
            parts = {str(i): part for i, part in enumerate(value)}
        case _ if is_dataclass(value):
            left_out = ("model", "task", "notes", "memo", "names")
            parts = {
                f.name: getattr(value, f.name) for f in fields(value) if f.name not in left_out
            }
        case _:
            return {}
    return {
        path: tensor
        for key, part in parts.items()
        for path, tensor in tensors(part, f"{name}.{key}").items()
    }


def clones(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now."""
    return {name: value.detach().clone() for name, value in values.items()}


def same(
    law: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float = 0.0
) -> None:
    """Hold two sets of tensors against each other.

    Args:
        law: that asks for it.
        found, wanted: by name.
        tolerance: the largest difference of an element; 0 asks for the same bits.

    Raises:
        AssertionError: names, shapes or values differ.
    """
    expect(
        law, set(found) == set(wanted), f"there is {sorted(set(found) ^ set(wanted))} on one side"
    )
    for name, value in wanted.items():
        other = found[name]
        expect(law, other.shape == value.shape, f"the shape of {name} differs")
        if not torch.equal(other, value):
            apart = float((other.detach().double() - value.detach().double()).abs().max())
            expect(law, apart <= tolerance, f"{name} differs by {apart:.3g}")


def expect(law: str, holds: bool, otherwise: str) -> None:
    """Raise an AssertionError that names the law unless it holds."""
    if not holds:
        raise AssertionError(f"Law {law} is broken: {otherwise}.")
