"""Residual networks for images, spectrograms as images, frames of a video, and views of an object.

He et al. 2016, CVPR, "Deep Residual Learning for Image Recognition". `ResNet18` is the network that the papers on
audio-visual learning share; the strided convolution of a block of `ResNet50` is the 3 x 3, as in the weights that
torchvision publishes. Neither has a classifier: the features are the mean over space and, where there are several
images, their mean, or their maximum as of views in Su et al. 2015, ICCV, "Multi-view Convolutional Neural Networks for
3D Shape Recognition".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from ...core.batch import Input
from ...errors import ConfigError
from ._check import one_of, positive, tensor
from ._weights import load_weights

__all__ = ["ResNet18", "ResNet50"]

Init = Literal["default", "paper", "uniform"]
SPREAD = 0.02  # of batch-norm weights


def _shortcut(inputs: int, width: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == width:
        return nn.Identity()
    convolution = nn.Conv2d(inputs, width, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(residual + self.downsample(x))
        return out


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1 beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        out: Tensor = self.relu(self.bn3(self.conv3(inner)) + self.downsample(x))
        return out


Block = type[BasicBlock] | type[Bottleneck]


def _stage(block: Block, inputs: int, width: int, stride: int, depth: int) -> nn.Sequential:
    rest = (block(width * block.expansion, width, 1) for _ in range(depth - 1))
    return nn.Sequential(block(inputs, width, stride), *rest)


class _ResNet(nn.Module):
    """What both have in common; parameters are named as in torchvision."""

    name: ClassVar[str]
    block: ClassVar[Block]
    depths: ClassVar[Sequence[int]]

    def __init__(
        self,
        channels: int = 3,
        init: Init = "default",
        pool: Literal["mean", "max"] = "mean",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        one_of(self.name, "init", init, ("default", "paper", "uniform"))
        one_of(self.name, "pool", pool, ("mean", "max"))
        positive(self.name, channels=channels)
        if weights is not None and init != "default":
            raise ConfigError(f"{self.name} is initialised by init or by weights, not by both.")
        self.channels, self.pool = channels, pool
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        wide, (a, b, c, d) = self.block.expansion, self.depths
        self.layer1 = _stage(self.block, 64, 64, 1, a)
        self.layer2 = _stage(self.block, 64 * wide, 128, 2, b)
        self.layer3 = _stage(self.block, 128 * wide, 256, 2, c)
        self.layer4 = _stage(self.block, 256 * wide, 512, 2, d)
        self.width = 512 * wide
        if weights is None:
            self._initialise(init)
        else:
            load_weights(self.name, self, weights, leave=("fc.",))

    def _initialise(self, init: Init) -> None:
        fill = nn.init.kaiming_uniform_ if init == "uniform" else nn.init.kaiming_normal_
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fill(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d) and init == "paper":
                nn.init.normal_(module.weight, 1.0, SPREAD)

    def maps(self, images: Tensor) -> Tensor:
        """The last feature map, [B, channels, H, W] -> [B, width, about H / 32, about W / 32]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        out: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return out

    def forward(self, images: Input) -> Tensor:
        shape = f"[B, {self.channels}, H, W] or [B, T, {self.channels}, H, W]"
        images = tensor(self.name, images, shape, (4, 5), {-3: self.channels})
        if images.ndim == 4:
            return self.maps(images).mean((2, 3))
        each = self.maps(images.flatten(0, 1)).mean((2, 3)).unflatten(0, images.shape[:2])
        features: Tensor = each.mean(1) if self.pool == "mean" else each.amax(1)
        return features


class ResNet18(_ResNet):
    """ResNet-18 without its classifier, for images, for frames or for views.

    Parameters are named as in torchvision, so that published weights load; their ``fc`` is left out.

    Args:
        channels: input channels: 3 for RGB, 2 for optical flow, 1 for a spectrogram.
        init: ``"default"``: convolutions Kaiming normal (fan-out, ReLU), batch-norm weight 1 and bias 0, as OGM-GE,
            PMR and MLA train it; ``"paper"``: the same with batch-norm weights from N(1, 0.02), as MMPareto and
            MMCosine train it; ``"uniform"``: convolutions Kaiming uniform (fan-out, ReLU), as AGM trains it.
        pool: over T frames or views: their mean, or their maximum.
        weights: a ``.safetensors`` or ``.pth`` file with parameters in torchvision's naming.

    Shape:
        [B, channels, H, W] or, with T frames or views, [B, T, channels, H, W] -> [B, 512], non-negative.

    Raises:
        ConfigError: an unknown option, no channels, or weights of another network.
        DataError: an input of another shape.
    """

    name, block, depths = "resnet18", BasicBlock, (2, 2, 2, 2)


class ResNet50(_ResNet):
    """ResNet-50 without its classifier, for images, for frames or for views.

    Args:
        channels: input channels.
        init: as of `ResNet18`.
        pool: over T frames or views: their mean, or their maximum.
        weights: a ``.safetensors`` or ``.pth`` file with parameters in torchvision's naming.

    Shape:
        [B, channels, H, W] or, with T frames or views, [B, T, channels, H, W] -> [B, 2048], non-negative.

    Raises:
        ConfigError: an unknown option, no channels, or weights of another network.
        DataError: an input of another shape.
    """

    name, block, depths = "resnet50", Bottleneck, (3, 4, 6, 3)
