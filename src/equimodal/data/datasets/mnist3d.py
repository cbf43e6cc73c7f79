"""3D MNIST, rebuilt from MNIST: a handwritten digit as image and as point cloud.

Source: the recipe of the 3D MNIST data set (Kaggle, daavoo/3d-mnist), restated in `media.points`; images as in `avmnist`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from ..about import About, Source
from ..arrays import choose, non_negative
from ..dataset import Arrays
from ..draws import numpy_generator
from ..media import idx
from ..media.points import bordered, cloud, draw, evenly, perturb
from ..splits import Splits, kept_for_training
from . import _mnist3d_h5 as h5_set
from .avmnist import FILES, components_of, mnist, mnist_files

__all__ = ["ABOUT", "load"]


def sources(root: Path | None) -> Iterator[Source]:
    published = h5_set.files(root)
    for path in published:
        yield path, partial(h5_set.examine, path)
    try:
        files = mnist_files(root)
    except DataError:
        if published:  # one of the two is enough
            return
        raise
    for images, labels in FILES.values():
        yield files[images], partial(idx.read, files[images], 3)
        yield files[labels], partial(idx.read, files[labels], 1)


ABOUT = About(
    task="digit",
    classes="10",
    modalities={"image": "(1, 30, 30)", "points": "(1024, 3)"},
    split="5,000 / 1,000, or any",
    files="mnist/*-ubyte.gz, or 3d-mnist/*_point_clouds.h5 with layout='h5'",
    licence="CC BY-SA",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "points"),
    samples: Sequence[int] = (5_000, 1_000),
    points: int = 1024,
    components: int = 784,
    image_noise: float = 0.0,
    rotation: float = 0.0,
    jitter: float = 0.0,
    validation: float = 0.1,
    layout: str = "mnist",
    seed: int = 0,
) -> Splits:
    """MNIST as image and as cloud; the image alone is near perfect unless it is made harder.

    In train the points are drawn anew in each epoch, in validation and test they are evenly strided and fixed.

    Args:
        root: the data folder, with ``mnist``, or with ``3d-mnist`` for the published files.
        modalities: of image, points.
        samples: how many for train and for test, at most 60,000 and 10,000.
        points: of a cloud (128 for small runs).
        components: principal components that the image keeps; 784 are all.
        image_noise: standard deviation of the noise on the image, whose pixels are in [0, 1].
        rotation: largest angle of the cloud about each axis, in degrees.
        jitter: standard deviation of the points' noise; the cloud's longest axis is 1.
        validation: the stratified fraction of train that becomes validation.
        layout: mnist: rebuilt from MNIST; h5: the published files with their clouds, the first `samples` of each.
        seed: of every draw.

    Raises:
        DataError: a file is missing or damaged.
        ConfigError: an option cannot be.
    """
    non_negative(image_noise=image_noise, rotation=rotation, jitter=jitter)
    if points < 1 or not 1 <= components <= 784 or len(samples) != 2 or min(samples) < 1:
        raise ConfigError(
            f"mnist3d needs points of at least 1, components of 1 to 784 and two samples of at least 1; "
            f"here {points}, {components} and {tuple(samples)}."
        )
    if choose("layout", layout, ("mnist", "h5")) == "h5":
        if components < 784 or image_noise:
            raise ConfigError(
                "With layout='h5' images are as published: leave out components and image_noise."
            )
        reader = h5_set.Cloud(points, rotation, jitter, seed)
        return h5_set.load(root, modalities, samples, reader, validation, seed)
    official = {part: mnist(root, part) for part in ("train", "test")}
    basis = components_of(official["train"][0], components) if components < 784 else None
    chosen = {}
    for (part, (pixels, labels)), count in zip(official.items(), samples, strict=True):
        if count > len(pixels):
            raise DataError(f"MNIST has {len(pixels)} images in {part} where {count} are needed.")
        rows = numpy_generator(seed, "subset", part).permutation(len(pixels))[:count]
        image = _images(pixels[rows], rows, basis, image_noise, part, seed)
        chosen[part] = (image, bordered(pixels[rows]), labels[rows])

    def clouds(grey: Tensor, rng: np.random.Generator, *, fixed: bool) -> Tensor:
        every = cloud(grey.numpy()).points
        some = evenly(every, points) if fixed else draw(every, points, rng)
        return torch.from_numpy(perturb(some, rotation, jitter, rng).astype(np.float32))

    def arrays(part: str, rows: NDArray[np.int64], purpose: str) -> Arrays:
        image, grey, labels = (values[rows] for values in chosen[part])
        stored = torch.from_numpy(grey.astype(np.uint8))
        inputs: Mapping[str, Tensor] = {"image": torch.from_numpy(image), "points": stored}
        moving = {"points": partial(clouds, fixed=False)}
        if purpose != "train":
            draws = (numpy_generator(seed, "points", part, int(row)) for row in rows)
            fixed = [clouds(s, rng, fixed=True) for s, rng in zip(stored, draws, strict=True)]
            still = torch.stack(fixed) if fixed else torch.zeros(0, points, 3)
            inputs, moving = {"image": inputs["image"], "points": still}, {}
        return Arrays(
            inputs, labels, [str(digit) for digit in range(10)], transforms=moving, seed=seed
        )

    labels = chosen["train"][2]
    fit = kept_for_training(labels, validation, seed)
    held = np.setdiff1d(np.arange(len(labels)), fit)
    return Splits(
        "mnist3d",
        arrays("train", fit, "train"),
        arrays("train", held, "val"),
        arrays("test", np.arange(samples[1]), "test"),
        recipe={
            "modalities": tuple(modalities),
            "samples": tuple(samples),
            "points": points,
            "components": components,
            "image_noise": image_noise,
            "rotation": rotation,
            "jitter": jitter,
            "validation": validation,
            "seed": seed,
        },
        encoders={
            "image": "cnn(channels=1, widths=(16, 32), kernels=(3, 3), width=64)",
            "points": "pointnet(width=64)",
        },
        training={"batch_size": 64, "epochs": 20},
        val_indices=tuple(held.tolist()),
    ).only(modalities)


def _images(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    basis: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    noise: float,
    part: str,
    seed: int,
) -> NDArray[np.float32]:
    """[N, 1, 30, 30], grey over 255, in a border of one pixel."""
    flat = pixels.reshape(len(pixels), -1) / 255
    if basis is not None:
        mean, directions = basis
        flat = mean + (flat - mean) @ directions @ directions.T
    framed = bordered(flat.reshape(-1, 28, 28))[:, None]
    if noise:
        draws = [
            numpy_generator(seed, "image", part, int(r)).standard_normal((1, 30, 30)) for r in rows
        ]
        framed = framed + noise * np.stack(draws)
    return framed.astype(np.float32)
