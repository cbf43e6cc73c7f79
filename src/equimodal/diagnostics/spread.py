"""How far the values of an input are spread, which is what noise is measured against."""

from __future__ import annotations

from torch import Tensor

__all__ = ["Spread"]


class Spread:
    """The standard deviation of an input over the data, batch by batch.

    Of each entry of a vector [B, d] and of each channel of a sequence [B, T, d], for these may be different quantities; of
    all values together where there are more axes, or where the last one differs between batches.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Samples [B, ...]."""
        rows = values.detach().double()
        rows = rows.reshape(-1, values.shape[-1] if 2 <= values.ndim <= 3 else 1)
        if self.sums and rows.shape[1] != len(self.sums[0]):  # no axis that they have in common
            self.count *= len(self.sums[0])
            self.sums = [total.sum()[None] for total in self.sums]
            rows = rows.reshape(-1, 1)
        more = [rows.sum(0), (rows**2).sum(0)]
        self.sums = [a + b for a, b in zip(self.sums, more, strict=True)] if self.sums else more
        self.count += len(rows)

    def deviation(self) -> Tensor:
        """[d], or [1] of all values together."""
        mean, square = (total / max(self.count, 1) for total in self.sums)
        return (square - mean**2).clamp(min=0).sqrt().cpu()
