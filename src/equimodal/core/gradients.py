"""The gradients of a step, by loss and by parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

__all__ = ["TOTAL", "Gradients"]

TOTAL = "total"
"""The name of the only row, unless a method asked for one row per loss."""


@dataclass(frozen=True)
class Gradients:
    """One row per loss: for each parameter's name its gradient. A parameter without gradient is not in the row.

    Attributes:
        rows: ``{"total": {parameter name: tensor}}``, or one entry per named loss.
        names: the name of each trainable parameter.
        members: for modules that were asked for the names of their parameters; to walk through one takes longer than what
            is done with them.
    """

    rows: Mapping[str, Mapping[str, Tensor]]
    names: Mapping[Tensor, str]
    members: dict[nn.Module, list[str]] = field(default_factory=dict, repr=False)

    def names_in(self, module: nn.Module) -> list[str]:
        """The names of a module's trainable parameters, each once."""
        if module not in self.members:
            self.members[module] = [self.names[p] for p in module.parameters() if p in self.names]
        return self.members[module]

    def of(self, row: str, module: nn.Module) -> Tensor:
        """[P]: a module's gradient in one row as one vector, zeros where the row has none."""
        known = self.rows[row]
        parts = [
            known[self.names[p]].reshape(-1)
            if self.names[p] in known
            else torch.zeros_like(p).reshape(-1)
            for p in module.parameters()
            if p in self.names
        ]
        return torch.cat(parts) if parts else torch.zeros(0)

    def map(self, module: nn.Module, change: Callable[[Tensor], Tensor]) -> Gradients:
        """The gradients with those of a module's parameters changed, in every row."""
        inside = set(self.names_in(module))
        return replace(
            self,
            rows={
                row: {
                    name: change(grad) if name in inside else grad for name, grad in grads.items()
                }
                for row, grads in self.rows.items()
            },
        )

    def sum(self) -> Gradients:
        """One row, ``"total"``: the sum of all rows."""
        if set(self.rows) == {TOTAL}:
            return self
        total: dict[str, Tensor] = {}
        for grads in self.rows.values():
            for name, grad in grads.items():
                total[name] = total[name] + grad if name in total else grad
        return replace(self, rows={TOTAL: total})
