"""What a head is: from the features of each modality to unimodal ("decoupled") and fused logits."""

from __future__ import annotations

import abc
from collections.abc import Mapping

from torch import Tensor, nn

from ..core.batch import Batch
from ..errors import ConfigError

__all__ = ["Head", "where_present"]


class Head(nn.Module, abc.ABC):
    """Turns features into logits.

    Attributes:
        additive: whether the unimodal logits sum to the fused ones, so that reports can call them exact.
        separate: whether each parameter serves one modality only.
        shared: whether the same layers serve every modality.
        auxiliary: whether the unimodal logits have layers of their own, beside those of the fused logits.
        widths: for each modality the width d of its features.
        classes: C.
    """

    additive: bool = False
    separate: bool = False
    shared: bool = False
    auxiliary: bool = False

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.classes = classes

    @abc.abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Unimodal logits {modality: [B, C]} and fused logits [B, C] of the modalities that have features [B, d]."""

    def weight(self, modality: str) -> Tensor:
        """[C, d]: one modality's part of a linear final layer.

        Raises:
            ConfigError: the head has no such layer.
        """
        raise ConfigError(
            f"The head {type(self).__name__.lower()}() has no linear layer for {modality!r} alone: "
            "use linear() or sum()."
        )

    def alone(self, features: Mapping[str, Tensor], modality: str, batch: Batch) -> Tensor:
        """[B, C]: fused logits of one modality as if the sample had no other (for `Linear`, z_m W_mᵀ + b)."""
        return self.forward({modality: features[modality]}, batch)[1]


def where_present(values: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The values [B, ·] of each modality, zero where a sample lacks it."""
    if batch.complete(values):
        return dict(values)
    return {m: value * batch.mask(m).to(value.dtype)[:, None] for m, value in values.items()}
