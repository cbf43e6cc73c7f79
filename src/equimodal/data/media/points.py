"""Point clouds of digits: each dark pixel becomes a box whose open faces are sampled on a grid.

The recipe of the 3D MNIST data set (Kaggle, daavoo/3d-mnist), restated. Axes: r row, c column, d depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cloud", "bordered", "cloud", "draw", "evenly", "perturb"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Cloud:
    """A cloud of N points.

    Attributes:
        points: [N, 3].
        kinds: [N], which of the 650 points of a pixel's box each is.
    """

    points: FloatArray
    kinds: NDArray[np.int64]

    @property
    def normals(self) -> FloatArray:
        """[N, 3], unit vectors."""
        return _NORMALS[self.kinds]


def bordered(images: NDArray[np.generic]) -> FloatArray:
    """Images [..., H, W] in a border of one zero pixel: [..., H + 2, W + 2]."""
    around = [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)]
    return np.pad(images.astype(np.float64), around)


def _grid(slow: FloatArray, fast: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b = np.meshgrid(slow, fast, indexing="ij")
    return a.ravel(), b.ravel()


def _faces() -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Of one pixel's six faces: offsets [3, 650] in (r, c, d), normals [650, 3], and the face of each point."""
    across, along = np.linspace(-0.5, 0.5, 5), np.linspace(-3.0, 3.0, 30)
    r, c = _grid(across, across)
    d, side = _grid(along, across)
    flat, long = np.ones_like(r), np.ones_like(d)
    offsets = [
        np.stack([r, c, 3 * flat], 1),
        np.stack([r, c, -3 * flat], 1),
        np.stack([-0.5 * long, side, d], 1),
        np.stack([0.5 * long, side, d], 1),
        np.stack([side, -0.5 * long, d], 1),
        np.stack([side, 0.5 * long, d], 1),
    ]
    # Stored as they are, in the frame after the rotation.
    directions = np.array([[1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [0, 1, 0]])
    face = np.repeat(np.arange(6), [len(points) for points in offsets])
    return np.concatenate(offsets).T.copy(), directions[face].astype(np.float64), face


_OFFSETS, _NORMALS, _FACE = _faces()


def cloud(image: NDArray[np.generic]) -> Cloud:
    """The cloud of an image [H, W] whose outermost pixels are 0.

    N = 50 · (pixels above 0) + 150 · (their sides whose 4-neighbour is 0); pixels row by row, faces front, back, r - 0.5,
    r + 0.5, c - 0.5, c + 0.5. Scaled by the longest axis, centred at the mean, turned by 90° about the second axis.
    """
    ink = np.asarray(image) > 0
    r, c = ink.nonzero()
    shut = [ink[r - 1, c], ink[r + 1, c], ink[r, c - 1], ink[r, c + 1]]
    always = np.ones_like(r, dtype=bool)
    visible = np.stack([always, always, *(~s for s in shut)], 1)[:, _FACE]  # [P, 650]
    of_pixel, kinds = visible.nonzero()
    axes = _OFFSETS.take(kinds, axis=1)  # [3, N]: along rows of three everything takes longer
    axes[0] += r[of_pixel]
    axes[1] += c[of_pixel]
    low = axes.min(1)
    reach = axes.max(1) - low
    longest = int(reach.argmax())
    axes -= low[longest]
    axes /= reach[longest]
    # One after another, as a mean over rows adds; NumPy's mean of one axis rounds otherwise, and figures would change.
    axes -= axes.cumsum(1)[:, -1:] / axes.shape[1]
    return Cloud(np.stack([axes[2], axes[1], -axes[0]], 1), kinds)


def draw(points: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """`count` of the points [N, 3] at random, without replacement where there are enough."""
    return points[rng.choice(len(points), count, replace=count > len(points))]


def evenly(points: FloatArray, count: int) -> FloatArray:
    """`count` of the points [N, 3], evenly strided: the same each time, for validation and test."""
    return points[np.linspace(0, len(points) - 1, count).astype(np.int64)]


def perturb(
    points: FloatArray, rotation: float, jitter: float, rng: np.random.Generator
) -> FloatArray:
    """Points [N, 3] turned about the three axes, each by a uniform angle, then moved by Gaussian noise.

    Args:
        points: [N, 3].
        rotation: the largest angle, in degrees.
        jitter: the noise's standard deviation, in the units of the points.
        rng: generator.
    """
    x, y, z = np.deg2rad(rng.uniform(-rotation, rotation, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turned = points @ (about_z @ about_y @ about_x).T
    return np.asarray(turned + jitter * rng.standard_normal(points.shape))
