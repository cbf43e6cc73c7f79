"""Digits 3D: scikit-learn's bundled real digits as image and as point cloud. No download and no file.

Source: UCI *Optical Recognition of Handwritten Digits* (E. Alpaydin, C. Kaynak), as `sklearn.datasets.load_digits`;
clouds by the recipe of `media.points`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import ConfigError
from ..about import About
from ..arrays import non_negative
from ..dataset import Arrays, known_modalities
from ..draws import numpy_generator
from ..media.points import bordered, cloud, draw, perturb
from ..splits import Splits, kept_for_training, stratified

__all__ = ["ABOUT", "load"]

ENCODERS = {
    "image": "cnn(channels=1, widths=(16, 32), kernels=(3, 3), width=64)",
    "points": "dgcnn(width=64, k=10, widths=(32, 64))",
}

ABOUT = About(
    task="digit",
    classes="10",
    modalities={"image": "(1, 10, 10)", "points": "(128, 3)"},
    split="1,258 / 539",
    files="",
    licence="CC BY 4.0",
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "points"),
    image_noise: float = 0.4,
    points: int = 128,
    rotation: float = 20.0,
    jitter: float = 0.02,
    validation: float = 0.1,
    split_seed: int | None = None,
    seed: int = 0,
) -> Splits:
    """1,797 digits of 8 x 8 pixels, each as a noisy image and as a turned and jittered point cloud.

    Stratified 70/30. Writers are not known, so one may be in both parts. Noise and points are drawn once.

    Args:
        root: accepted as for all sets; nothing is read from it.
        modalities: of image, points.
        image_noise: standard deviation of the noise on the image, whose pixels are in [0, 1]; 0 leaves nothing to gain.
        points: of a cloud.
        rotation: largest angle about each axis, in degrees; 45 or more leaves the cloud nearly useless.
        jitter: standard deviation of the points' noise; the cloud's longest axis is 1 (coordinates are doubled after).
        validation: the stratified fraction of train that becomes validation.
        split_seed: of the split and of the choice of the validation samples, if they are not to follow `seed`.
        seed: of every draw.

    Raises:
        ConfigError: an option cannot be.
    """
    from sklearn.datasets import load_digits

    non_negative(image_noise=image_noise, rotation=rotation, jitter=jitter)
    if points < 1:
        raise ConfigError(f"points must be at least 1; here {points}.")
    names = known_modalities(modalities, ("image", "points"), "digits3d")
    digits = load_digits()
    grey = bordered(digits.images) / 16
    build: dict[str, Callable[[], NDArray[np.float64]]] = {
        "image": lambda: _noisy(grey, image_noise, seed),
        "points": lambda: _clouds(grey, points, rotation, jitter, seed),
    }
    inputs = {name: torch.from_numpy(build[name]().astype(np.float32)) for name in names}
    data = Arrays(inputs, digits.target, [str(digit) for digit in range(10)])
    divided = seed if split_seed is None else split_seed
    train, test = stratified(digits.target, 0.7, divided)
    fit = kept_for_training(digits.target[train], validation, divided)
    return Splits.carved(
        "digits3d",
        data,
        train=train,
        test=test,
        fit=fit,
        recipe={
            "modalities": names,
            "image_noise": image_noise,
            "points": points,
            "rotation": rotation,
            "jitter": jitter,
            "validation": validation,
            "split": divided,
            "seed": seed,
        },
        encoders={name: ENCODERS[name] for name in names},
        training={"batch_size": 64, "epochs": 20, "lr": 0.02},
    )


def _noisy(grey: NDArray[np.float64], noise: float, seed: int) -> NDArray[np.float64]:
    """[N, 1, 10, 10]."""
    shape = grey.shape[1:]
    drawn = [numpy_generator(seed, "image", i).standard_normal(shape) for i in range(len(grey))]
    return (grey + noise * np.stack(drawn))[:, None]


def _clouds(
    grey: NDArray[np.float64], count: int, rotation: float, jitter: float, seed: int
) -> NDArray[np.float64]:
    """[N, count, 3]."""
    drawn = []
    for i, image in enumerate(grey):
        rng = numpy_generator(seed, "points", i)
        some = draw(cloud(image).points, count, rng)
        drawn.append(2 * perturb(some, rotation, jitter, rng))
    return np.stack(drawn)
