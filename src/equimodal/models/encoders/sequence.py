"""Encoders of sequences: sensor readings, skeletons, audio features.

Both give a padded sequence exactly the features that it has alone. Nothing here mixes samples (no batch norm), and no
length is read on the host, so that an accelerator is never waited for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.batch import Input, Padded
from ...errors import ConfigError, DataError
from ._check import positive

__all__ = ["GRU", "Conv1d"]


def _sequences(encoder: str, value: Input, channels: int) -> tuple[Tensor, Tensor]:
    """Values [B, T, channels] and lengths [B]."""
    values = value.values if isinstance(value, Padded) else value
    if values.ndim != 3 or values.shape[2] != channels or values.shape[1] == 0:
        raise DataError(
            f"{encoder} reads [B, T, {channels}] with T of at least 1, but the input has shape {list(values.shape)}."
        )
    if isinstance(value, Padded):
        return values, value.lengths
    return values, torch.full(values.shape[:1], values.shape[1], device=values.device)


def _mask(lengths: Tensor, steps: int) -> Tensor:
    """[B, T] booleans: which steps are there."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class Conv1d(nn.Module):
    """Convolutions over time, then the mean over the steps that are there.

    For each kernel a convolution of stride 2 (padding k // 2), layer norm over the channels of a step, and ReLU; then
    the mean over time and a linear layer with ReLU. After every layer the steps beyond a sequence's end are set to
    zero, which is what the convolution's own padding would be.

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
        positive("conv1d", channels=channels, width=width, hidden=hidden)
        if any(kernel % 2 == 0 for kernel in kernels):  # ceil(T / 2) steps need symmetric padding
            raise ConfigError(f"conv1d needs odd kernels, not {tuple(kernels)}.")
        self.channels, self.width = channels, width
        widths = [channels] + [hidden] * len(kernels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, hidden, kernel, stride=2, padding=kernel // 2)
            for before, kernel in zip(widths, kernels, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in kernels)
        self.project = nn.Sequential(nn.Linear(widths[-1], width), nn.ReLU())

    def forward(self, sequences: Input) -> Tensor:
        x, lengths = _sequences("conv1d", sequences, self.channels)
        mask = _mask(lengths, x.shape[1])
        x = x.masked_fill(~mask[..., None], 0)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x.transpose(1, 2)).transpose(1, 2)).relu()
            lengths = (lengths + 1) // 2
            x = x.masked_fill(~_mask(lengths, x.shape[1])[..., None], 0)
        features: Tensor = self.project(x.sum(1) / lengths[:, None])
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
        x, lengths = _sequences("gru", sequences, self.channels)
        states: Tensor = self.unit(x)[0]
        return states[torch.arange(len(states), device=states.device), lengths - 1]
