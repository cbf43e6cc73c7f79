"""The values that parameters had at some time, kept as buffers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["Snapshot"]


class Snapshot(nn.Module):
    """A copy of a module's parameters; one that occurs in several places is kept once, running statistics are not."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name, parameter in module.named_parameters():
            # A buffer's name has no dots.
            self.register_buffer("at/" + name.replace(".", "/"), parameter.detach().clone())

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Keep the present values."""
        for parameter, kept in self.pairs(module):
            kept.copy_(parameter)

    def pairs(self, module: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each parameter of the module, with its value at that time."""
        return zip(module.parameters(), self.buffers(), strict=True)
