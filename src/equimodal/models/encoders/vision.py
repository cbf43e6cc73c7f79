"""Encoders of images, of spectrograms as images, and of frames.

`CNN` is a small network for small images. `ResNet18` is the network that the papers on audio-visual learning share
(He et al. 2016, CVPR, "Deep Residual Learning for Image Recognition"): no pooling or classifier beyond the mean over
space and, where there are frames, over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import positive, tensor

__all__ = ["CNN", "ResNet18"]


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
        positive("cnn", channels=channels, width=width)
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


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(residual + self.downsample(x))
        return out


class ResNet18(nn.Module):
    """ResNet-18 without its classifier, for images or for frames.

    Parameters are named as in torchvision, so that published weights load after their ``fc`` is left out.

    Args:
        channels: input channels: 3 for RGB, 2 for optical flow, 1 for a spectrogram.
        init: ``"default"``: convolutions Kaiming normal (fan-out, ReLU), batch-norm weight 1 and bias 0, as OGM-GE,
            PMR and MLA train it; ``"paper"``: the same with batch-norm weights from N(1, 0.02), as MMPareto and
            MMCosine train it.

    Shape:
        [B, channels, H, W] or, with T frames, [B, T, channels, H, W] -> [B, 512]: the mean over space and frames
        of the last feature map, non-negative.

    Raises:
        ConfigError: an unknown `init`, or no channels.
        DataError: an input of another shape.
    """

    width = 512

    def __init__(self, channels: int = 3, init: Literal["default", "paper"] = "default") -> None:
        super().__init__()
        if init not in ("default", "paper"):
            raise ConfigError(f"resnet18 knows init='default' and init='paper', not {init!r}.")
        positive("resnet18", channels=channels)
        self.channels = channels
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self._initialise(0.02 if init == "paper" else 0.0)

    def _initialise(self, spread: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d) and spread:
                nn.init.normal_(module.weight, 1.0, spread)

    def maps(self, images: Tensor) -> Tensor:
        """The last feature map, [B, channels, H, W] -> [B, 512, about H / 32, about W / 32]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        out: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return out

    def forward(self, images: Input) -> Tensor:
        shape = f"[B, {self.channels}, H, W] or [B, T, {self.channels}, H, W]"
        images = tensor("resnet18", images, shape, (4, 5), {-3: self.channels})
        if images.ndim == 4:
            return self.maps(images).mean((2, 3))
        frames = self.maps(images.flatten(0, 1)).mean((2, 3))
        return frames.view(*images.shape[:2], self.width).mean(1)
