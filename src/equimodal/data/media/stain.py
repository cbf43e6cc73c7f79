r"""Stain normalisation of tissue images: every image as if it had been stained like one reference.

Source: A. Vahadane et al., *Structure-Preserving Color Normalization and Sparse Stain Separation for Histological Images*,
IEEE Trans. Medical Imaging 35(8), 2016. The optical density of a pixel is a non-negative sum of two stains,
$V = -\log(I / 255) = H W$ with sparse amounts $H \ge 0$ (N × 2) and colours $W \ge 0$ (2 × 3, rows of length 1):

$$\min_{W, H} \tfrac12 \lVert V - H W \rVert_F^2 + \lambda \lVert H \rVert_1 .$$

The image is then put together from its own amounts, scaled to those of the reference, and the reference's colours. For two
stains the amounts have a closed form, and the colours one least-squares step each, so that no solver is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

__all__ = ["Stains", "amounts", "normalise", "stains_of"]

Array = NDArray[np.float64]
SPARSITY = 0.1  # lambda while the colours are sought
FINAL_SPARSITY = 0.01  # lambda of the amounts that the image is put together from
TISSUE = 0.15  # mean density above which a pixel is tissue, not glass
ROUNDS = 60
PIXELS = 20_000  # of tissue that the colours are sought on, evenly strided


@dataclass(frozen=True)
class Stains:
    """How an image is stained.

    Attributes:
        colours: [2, 3], densities in red, green, blue, rows of length 1; haematoxylin, which absorbs more red, first.
        strong: [2], the amount of each that one pixel in a hundred exceeds.
    """

    colours: Array
    strong: Array


def stains_of(image: NDArray[np.uint8], where: object = "The image") -> Stains:
    """The stains of an image [H, W, 3].

    Args:
        image: bytes.
        where: named in a refusal.

    Raises:
        DataError: less than one pixel in a hundred is tissue.
    """
    density = _density(image)
    tissue = density[density.mean(1) > TISSUE]
    if len(tissue) < max(10, len(density) / 100):
        raise DataError(
            f"{where} shows no stained tissue: less than one pixel in a hundred is dark."
        )
    some = tissue[:: max(1, len(tissue) // PIXELS)]
    colours = _colours(some)
    return Stains(colours, _strong(amounts(some, colours, FINAL_SPARSITY)))


def normalise(
    image: NDArray[np.uint8], reference: Stains, where: object = "The image"
) -> NDArray[np.uint8]:
    """An image [H, W, 3] as if it had been stained as the reference.

    Raises:
        DataError: as `stains_of`.
    """
    own = stains_of(image, where)
    found = amounts(_density(image), own.colours, FINAL_SPARSITY)
    density = found * (reference.strong / own.strong) @ reference.colours
    return (255 * np.exp(-density)).round().clip(0, 255).astype(np.uint8).reshape(image.shape)


def amounts(density: Array, colours: Array, sparsity: float) -> Array:
    """How much there is of two stains, [N, 2]: the sparse, non-negative minimum, exactly.

    Args:
        density: [N, 3].
        colours: [2, 3], rows of length 1.
        sparsity: lambda.
    """
    overlap = float(colours[0] @ colours[1])
    fit = density @ colours.T - sparsity
    both = (fit - overlap * fit[:, ::-1]) / max(1 - overlap**2, 1e-12)
    alone = fit.clip(0)
    first = (alone[:, 0] > 0) & (fit[:, 1] <= overlap * fit[:, 0])
    second = (alone[:, 1] > 0) & (fit[:, 0] <= overlap * fit[:, 1])
    found = np.where((both > 0).all(1, keepdims=True), both, 0.0)
    found[first] = np.stack([alone[first, 0], np.zeros(first.sum())], 1)
    found[second] = np.stack([np.zeros(second.sum()), alone[second, 1]], 1)
    return found


def _density(image: NDArray[np.uint8]) -> Array:
    """[pixels, 3]."""
    return -np.log(np.maximum(image, 1).reshape(-1, 3) / 255)


def _colours(density: Array) -> Array:
    """The colours [2, 3] of pixels [N, 3]: amounts and colours in turn, from the reddest and the least red pixels on."""
    direction = density / np.linalg.norm(density, axis=1, keepdims=True)
    order = direction[:, 0].argsort()
    few = max(1, len(order) // 20)
    colours = _unit(np.stack([direction[order[-few:]].mean(0), direction[order[:few]].mean(0)]))
    for _ in range(ROUNDS):
        found = amounts(density, colours, SPARSITY)
        gram, fit = found.T @ found, found.T @ density
        for k in range(2):
            if gram[k, k] > 0:
                step = (fit[k] - gram[k] @ colours) / gram[k, k]
                colours[k] = _unit((colours[k] + step).clip(0))
    return colours[np.argsort(-colours[:, 0])]


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


def _strong(found: Array) -> Array:
    return np.maximum(np.percentile(found, 99, axis=0), 1e-6)
