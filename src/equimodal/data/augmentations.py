"""Augmentations by expression, such as ``crop() + flip()``: what training sees of an input, drawn anew for each look.

They work on what an encoder sees, of any data set. Readers of files have a few of their own, which work on what was decoded
and are sharper for it: `crop` and `flip` of images and videos, `rotate`, `jitter` and so on of points.

Sources: random resized crops as in C. Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015; masks as in D. S. Park
et al., *SpecAugment*, Interspeech 2019; clouds as in C. R. Qi et al., *PointNet*, CVPR 2017.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from torch import Tensor

from ..errors import ConfigError
from .media import augment

__all__ = [
    "BY_NAME",
    "Augmentation",
    "Crop",
    "Flip",
    "Jitter",
    "Rotate",
    "Scale",
    "Shift",
    "SpecAugment",
]


class Augmentation(ABC):
    """A random change of one sample's input; `a + b` is a, then b.

    Attributes:
        reads: the inputs that it is for, in words.
    """

    reads: ClassVar[str] = ""

    @abstractmethod
    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        """The input as this look sees it: another tensor of the same shape."""

    @abstractmethod
    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether inputs of this shape can be changed so; -1 in the first place marks sequences."""

    def parts(self) -> tuple[Augmentation, ...]:
        """One after another."""
        return (self,)

    def __add__(self, other: Augmentation) -> Augmentation:
        return Chain(*self.parts(), *other.parts())

    def require(self, modality: str, shape: tuple[int, ...]) -> None:
        """Refuse inputs that it is not for.

        Raises:
            ConfigError: naming the modality.
        """
        for part in self.parts():
            if not part.fits(shape):
                raise ConfigError(
                    f"The augmentation {type(part).__name__} of {modality!r} is for {part.reads}; a sample is "
                    f"{list(shape)}."
                )


class Chain(Augmentation):
    """Augmentations, one after another."""

    def __init__(self, *parts: Augmentation) -> None:
        self._parts = parts

    def parts(self) -> tuple[Augmentation, ...]:
        return self._parts

    def fits(self, shape: tuple[int, ...]) -> bool:
        return all(part.fits(shape) for part in self._parts)

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        for part in self._parts:
            values = part(values, rng)
        return values


class _OfImages(Augmentation):
    reads = "images [C, H, W] or frames [T, C, H, W]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) in (3, 4) and shape[0] != -1


class _OfPoints(Augmentation):
    reads = "points [N, 3]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 2 and shape[1] == 3


class Crop(_OfImages):
    """A random part of an image at the image's size, the same for all frames.

    Args:
        smallest: share of the image's area, in (0, 1]; the area is uniform from it to 1, the ratio of width to height
            log-uniform from 3/4 to 4/3.
    """

    def __init__(self, smallest: float = 0.08) -> None:
        if not 0 < smallest <= 1:
            raise ConfigError(f"smallest of crop() must be above 0 and at most 1; here {smallest}.")
        self.smallest = smallest

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        height, width = values.shape[-2:]
        top, left, h, w = augment.crop_box(height, width, rng, (self.smallest, 1.0))
        return augment.resize(values[..., top : top + h, left : left + w], height, width)


class Flip(_OfImages):
    """Mirrored left to right, half of the time, all frames alike."""

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        return augment.flip(values, rng)


class SpecAugment(Augmentation):
    """Stretches of time and bands of frequency of a spectrogram, or channels of a sequence, replaced by its mean.

    Args:
        time, frequency: longest stretch and widest band, in steps and bins; widths are uniform from 0 to these.
        masks: of each.
    """

    reads = "spectrograms [C, F, T] and sequences [T, F]"

    def __init__(self, time: int = 0, frequency: int = 0, masks: int = 1) -> None:
        if min(time, frequency) < 0 or not time + frequency or masks < 1:
            raise ConfigError(
                "spec_augment() needs time or frequency above 0 and at least one mask, as in "
                f"spec_augment(time=20, frequency=8); here {time}, {frequency} and {masks}."
            )
        self.time, self.frequency, self.masks = time, frequency, masks

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) in (2, 3)

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        if values.ndim == 2:
            return augment.spec_augment(values.T, rng, self.frequency, self.time, self.masks).T
        return augment.spec_augment(values, rng, self.frequency, self.time, self.masks)


class Rotate(_OfPoints):
    """Turned about the second axis, the upright one, by a uniform angle."""

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        return augment.rotate_upright(values, rng)


class Scale(_OfPoints):
    """Each axis scaled by a factor, uniform from 1 / `most` to `most`.

    Args:
        most: largest factor, above 1.
    """

    def __init__(self, most: float = 1.5) -> None:
        if most <= 1:
            raise ConfigError(f"most of scale() must be above 1; here {most}.")
        self.most = most

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        return augment.scale_and_shift(values, rng, (1 / self.most, self.most), 0.0)


class Shift(_OfPoints):
    """Moved along each axis by an offset, uniform within ±`most`.

    Args:
        most: largest offset, above 0, in the units of the points.
    """

    def __init__(self, most: float = 0.2) -> None:
        if most <= 0:
            raise ConfigError(f"most of shift() must be above 0; here {most}.")
        self.most = most

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        return augment.scale_and_shift(values, rng, (1.0, 1.0), self.most)


class Jitter(_OfPoints):
    """Every point moved by Gaussian noise, cut at two deviations.

    Args:
        deviation: above 0, in the units of the points.
    """

    def __init__(self, deviation: float = 0.01) -> None:
        if deviation <= 0:
            raise ConfigError(f"deviation of jitter() must be above 0; here {deviation}.")
        self.deviation = deviation

    def __call__(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        return augment.jitter(values, rng, self.deviation, 2 * self.deviation)


BY_NAME: dict[str, type[Augmentation]] = {
    "crop": Crop,
    "flip": Flip,
    "spec_augment": SpecAugment,
    "rotate": Rotate,
    "scale": Scale,
    "shift": Shift,
    "jitter": Jitter,
}
"""What expressions may name."""
