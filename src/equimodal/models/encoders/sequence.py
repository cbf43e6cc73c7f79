"""Encoders of sequences: sensor readings, skeletons, audio features.

All give a padded sequence the features that it has alone: batch norm sees no step beyond a sequence's end, and neither
does what follows. No length is read on the host, so that an accelerator is never waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import positive
from ._norm import StepNorm, project
from ._steps import kept, steps_of, there

__all__ = ["GRU", "Conv1d"]


class Conv1d(nn.Module):
    """Convolutions over time, then the maximum over the steps that are there.

    For each kernel a convolution of stride 2 (padding k // 2), batch norm over all steps, and ReLU; then the maximum
    over time and a linear layer with batch norm and ReLU. After every layer the steps beyond a sequence's end are set
    to zero, which is what the convolution's own padding would be.

    Args:
        channels: readings per step.
        width: features.
        hidden: channels of the convolutions.
        kernels: their odd sizes in steps.

    Shape:
        [B, T, channels], a tensor or `Padded` -> [B, width], non-negative.

    Raises:
        ConfigError: an even kernel, or an option that is not positive.
        DataError: an input of another shape.
    """

    def __init__(
        self, channels: int, width: int = 64, hidden: int = 64, kernels: Sequence[int] = (5, 3, 3)
    ) -> None:
        super().__init__()
        positive("conv1d", channels=channels, width=width, hidden=hidden, kernels=kernels)
        if not kernels or any(k % 2 == 0 for k in kernels):  # padding must be symmetric
            raise ConfigError(f"conv1d needs odd kernels, not {tuple(kernels)}.")
        self.channels, self.width = channels, width
        widths = [channels] + [hidden] * len(kernels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
            for (before, after), kernel in zip(pairwise(widths), kernels, strict=True)
        )
        self.norms = nn.ModuleList(StepNorm(hidden) for _ in kernels)
        self.project = project(hidden, width)

    def forward(self, sequences: Input) -> Tensor:
        x, lengths = steps_of("conv1d", sequences, self.channels)
        mask = there(x, lengths)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(kept(x, mask).transpose(1, 2)).transpose(1, 2)
            lengths = None if lengths is None else (lengths + 1) // 2
            mask = there(x, lengths)
            x = norm(x, mask).relu()
        # After ReLU zero is the least that a step can be, so what is not there is never the maximum.
        features: Tensor = self.project(kept(x, mask).amax(1))
        return features


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al. 2014, EMNLP); the features are its state after the last step that is there.

    It reads forward only, so that the state at a sequence's end knows nothing of the padding behind it.

    Args:
        channels: readings per step.
        width: features, the size of the state.
        layers: stacked units.

    Shape:
        [B, T, channels], a tensor or `Padded` -> [B, width], in (-1, 1).

    Raises:
        ConfigError: an option that is not positive.
        DataError: an input of another shape.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 1) -> None:
        super().__init__()
        positive("gru", channels=channels, width=width, layers=layers)
        self.channels, self.width = channels, width
        self.unit = nn.GRU(channels, width, layers, batch_first=True)

    def forward(self, sequences: Input) -> Tensor:
        x, lengths = steps_of("gru", sequences, self.channels)
        states: Tensor = self.unit(x)[0]
        if lengths is None:
            return states[:, -1]
        return states[torch.arange(len(states), device=states.device), lengths - 1]
