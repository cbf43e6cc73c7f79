"""A small encoder of small images, and of spectrograms as images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import positive, tensor

__all__ = ["CNN"]


class CNN(nn.Module):
    """A small network for images of a few dozen pixels.

    For each width a convolution of stride 2 (padding k // 2), batch norm and ReLU; then an adaptive average pool to
    2 x 2 and a linear layer with ReLU. The defaults are the standard encoder of AV-MNIST.

    Args:
        channels: input channels.
        widths: output channels of the convolutions, as many as `kernels`.
        kernels: their odd sizes in pixels.
        width: features.

    Shape:
        [B, channels, H, W] -> [B, width], non-negative.

    Raises:
        ConfigError: `widths` and `kernels` differ in length, or an option is not positive.
        DataError: an input of another shape.

    >>> import torch
    >>> CNN(channels=1)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (8, 16, 32),
        kernels: Sequence[int] = (5, 3, 3),
        width: int = 64,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(kernels):
            raise ConfigError(
                f"cnn needs one kernel for each of its widths, not {len(kernels)} for {len(widths)}."
            )
        positive("cnn", channels=channels, widths=widths, kernels=kernels, width=width)
        self.channels, self.width = channels, width
        layers: list[nn.Module] = []
        for (before, after), kernel in zip(pairwise([channels, *widths]), kernels, strict=True):
            layers += [
                nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.project = nn.Sequential(nn.Linear(4 * widths[-1], width), nn.ReLU())

    def forward(self, images: Input) -> Tensor:
        shape = f"[B, {self.channels}, H, W]"
        images = tensor("cnn", images, shape, (4,), {1: self.channels})
        features: Tensor = self.project(self.convolutions(images))
        return features
