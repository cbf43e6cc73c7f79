r"""Ensemble: single-modality models trained side by side, their logits averaged.

$$L = \sum_m \mathrm{CE}(g_m, y), \qquad g = \frac{1}{M} \sum_m g_m$$

The baseline that the papers lack and that a balanced model has to beat: nothing is shared, each encoder and its linear
layer learn as if alone, and the prediction is the mean of the logits of the modalities that a sample has.

Source: late fusion, textbook baseline; as one run rather than M (each member's gradient is that of its own training).

Reading: ``average="probabilities"`` averages probabilities instead of logits and reports their logarithm as the fused
logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..core import DataInfo, Losses, Method, Output, Step
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["Ensemble"]


class Ensemble(Method):
    """Every modality by its own loss, ``ensemble/<modality>``; the prediction is their mean.

    Args:
        average: "logits" or "probabilities".

    Raises:
        ConfigError: `average` is unknown, or the head shares parameters between modalities (use ``sum()``).
    """

    changes_prediction = True
    head = "sum()"
    # No neutral setting: it never trains the fused prediction, and so equals joint training only for one modality.
    neutral = None

    def __init__(self, average: Literal["logits", "probabilities"] = "logits") -> None:
        super().__init__()
        if average not in ("logits", "probabilities"):
            raise ConfigError(f"ensemble(average={average!r}): it is 'logits' or 'probabilities'.")
        self.average = average

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        if not model.head.separate:
            raise ConfigError(
                "ensemble() shares nothing between modalities: give it the head sum()."
            )

    def outputs(self, output: Output, step: Step) -> Output:
        """The mean over the modalities that a sample has."""
        masks = [step.batch.mask(m).to(output.fused.dtype)[:, None] for m in output.modalities]
        count = torch.stack(masks).sum(0).clamp(min=1)
        if self.average == "logits":
            return replace(output, fused=output.fused / count)
        parts = [
            g.softmax(1) * mask for g, mask in zip(output.unimodal.values(), masks, strict=True)
        ]
        mean: Tensor = torch.stack(parts).sum(0) / count
        return replace(output, fused=mean.clamp(min=1e-12).log())

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        """The members' own losses; the fused loss is not trained."""
        own = {f"ensemble/{m}": step.loss(logits, m) for m, logits in output.unimodal.items()}
        return {**{name: value for name, value in losses.items() if name != "task"}, **own}
