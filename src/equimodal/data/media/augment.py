"""What changes in training and not in test: crops, flips, masks, rotations. On tensors, drawn from the generator given.

Sources: random resized crops as in C. Szegedy et al., *Going Deeper with Convolutions*, CVPR 2015; masks of spectrograms
as in D. S. Park et al., *SpecAugment*, Interspeech 2019; clouds as in C. R. Qi et al., *PointNet*, CVPR 2017.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "crop_box",
    "flip",
    "jitter",
    "resize",
    "rotate_upright",
    "scale_and_shift",
    "spec_augment",
    "stretch",
    "window",
]


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images [..., C, H, W] at another size, bilinear and without aliasing; the type stays."""
    if images.shape[-2:] == (height, width):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    out = F.interpolate(flat, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return out.reshape(*images.shape[:-2], height, width)


def crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part of an image.

    Its area is uniform in `scale` times the image's, its ratio of width to height log-uniform in `ratio`. After ten boxes
    that do not fit, the largest centred one of an allowed ratio.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(height - h + 1))
            return top, int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def flip(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images [..., W] mirrored left to right, half of the time."""
    return images.flip(-1) if rng.random() < 0.5 else images


def window(values: Tensor, length: int, rng: np.random.Generator | None) -> Tensor:
    """A stretch of `length` of values [..., T], T at least `length`: at random, or the middle one without a generator."""
    free = values.shape[-1] - length
    start = free // 2 if rng is None else int(rng.integers(free + 1))
    return values[..., start : start + length]


def spec_augment(
    spectrogram: Tensor, rng: np.random.Generator, frequency: int, time: int, masks: int = 1
) -> Tensor:
    """A spectrogram [..., F, T] with bands and stretches of time replaced by its mean.

    Args:
        spectrogram: [..., F, T].
        rng: generator.
        frequency, time: widest band and longest stretch; the widths are uniform from 0 to these.
        masks: of each.
    """
    out = spectrogram.clone()
    for dim, longest in ((-2, frequency), (-1, time)) * masks:
        size = out.shape[dim]
        width = int(rng.integers(min(longest, size) + 1))
        start = int(rng.integers(size - width + 1))
        out.narrow(dim, start, width).fill_(spectrogram.mean())
    return out


def rotate_upright(points: Tensor, rng: np.random.Generator) -> Tensor:
    """Points [N, 3] turned about the second axis, the upright one, by a uniform angle."""
    angle = float(rng.uniform(0, 2 * math.pi))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=points.dtype)
    return points @ turn


def jitter(points: Tensor, rng: np.random.Generator, sigma: float, limit: float) -> Tensor:
    """Points [N, 3] moved by Gaussian noise of deviation `sigma`, cut at ±`limit`."""
    noise = (sigma * rng.standard_normal(tuple(points.shape))).clip(-limit, limit)
    return points + torch.from_numpy(noise).to(points.dtype)


def scale_and_shift(
    points: Tensor, rng: np.random.Generator, scale: tuple[float, float], shift: float
) -> Tensor:
    """Points [N, 3] scaled and moved along each axis by uniform amounts: in `scale`, and within ±`shift`."""
    factor = torch.from_numpy(rng.uniform(*scale, 3)).to(points.dtype)
    offset = torch.from_numpy(rng.uniform(-shift, shift, 3)).to(points.dtype)
    return points * factor + offset


def stretch(images: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """A random part of images [..., C, H, W], the same for all, at size × size."""
    top, left, height, width = crop_box(images.shape[-2], images.shape[-1], rng)
    return resize(images[..., top : top + height, left : left + width], size, size)
