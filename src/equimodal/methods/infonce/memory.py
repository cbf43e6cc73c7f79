"""Memories of directions: none, a queue of the last samples, or a bank of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import _memory as memory
from .._samples import Samples

__all__ = ["Bank", "MemoryName", "Nothing", "build"]

MemoryName = Literal["none", "queue", "bank"]


class Bank(memory.Bank):
    """A bank whose directions move half of the way to the new ones (instance discrimination)."""

    def write(self, samples: Samples) -> None:
        seen = (self.index[samples.index] >= 0)[:, None]
        old = self.features(samples.index)
        moved = {
            m: torch.where(seen, F.normalize(old[m] + u, dim=1), u)
            for m, u in samples.features.items()
        }
        super().write(replace(samples, features=moved))


class Nothing(memory.Nothing):
    """No memory, hence no columns of it."""

    def candidates(self, generator: torch.Generator) -> Tensor:
        return self.index[:0]


def build(name: MemoryName, widths: Mapping[str, int], size: int, samples: int) -> memory.Memory:
    """A memory of `size` samples, or of all `samples` of which `size` are drawn in one step."""
    make: dict[MemoryName, Callable[[], memory.Memory]] = {
        "none": lambda: Nothing(widths),
        "queue": lambda: memory.Queue(widths, size),
        "bank": lambda: Bank(widths, samples, size),
    }
    return make[name]()
