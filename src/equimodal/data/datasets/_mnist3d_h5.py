"""3D MNIST as published: HDF5 files that hold the clouds themselves."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from ..draws import numpy_generator
from ..media.files import locate
from ..media.h5 import labels_of, read_digit, read_h5
from ..media.points import draw, evenly, perturb
from ..media.reader import Reader
from ..splits import Splits
from . import _published as published

__all__ = ["Cloud", "Picture", "examine", "files", "load"]

FOLDER, HOLDS = "3d-mnist", "*_point_clouds.h5"
FILES = {"train": "train_point_clouds.h5", "test": "test_point_clouds.h5"}


@dataclass(frozen=True)
class Picture(Reader):
    """The image of a group, [1, 30, 30]."""

    costly: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 30, 30)

    def decode(self, path: Path, number: int = 0) -> Tensor:
        return torch.from_numpy(read_digit(path, number).image.astype(np.float32)[None])


@dataclass(frozen=True)
class Cloud(Reader):
    """The cloud of a group, [points, 3]: drawn and perturbed anew in training, evenly strided and perturbed once and for all
    in validation and test.
    """

    points: int
    rotation: float
    jitter: float
    seed: int
    costly: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.points, 3)

    def decode(self, path: Path, number: int = 0) -> Tensor:
        return torch.from_numpy(read_digit(path, number).points)

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        every = stored.numpy()
        some = evenly(every, self.points) if rng is None else draw(every, self.points, rng)
        if rng is None:  # the draw of this cloud, which is known by its points
            rng = numpy_generator(self.seed, "points", zlib.crc32(every.tobytes()))
        seen = perturb(some, self.rotation, self.jitter, rng)
        return torch.from_numpy(seen.astype(np.float32))


def files(root: Path | None) -> list[Path]:
    """The two files, or none where there are none."""
    try:
        folder = locate(root, FOLDER, HOLDS)
    except DataError:
        return []
    return [folder / name for name in FILES.values()]


def examine(path: Path) -> None:
    """Read every group of a file."""
    deque(read_h5(path), maxlen=0)


def load(
    root: str | Path | None,
    modalities: Sequence[str],
    samples: Sequence[int],
    reader: Cloud,
    validation: float,
    seed: int,
) -> Splits:
    """The first `samples` groups of the two files."""
    folder = locate(root, FOLDER, HOLDS)
    names, labels, parts, items = [], [], [], []
    for (part, name), count in zip(FILES.items(), samples, strict=True):
        found = labels_of(folder / name, count)
        names += [f"{part} {i}" for i in range(count)]
        labels += [str(label) for label in found]
        parts += [part] * count
        items += [(folder / name, i) for i in range(count)]
    return published.splits(
        "mnist3d",
        published.Listing(names, labels, parts, {"image": items, "points": items}),
        {"image": Picture(), "points": reader},
        [str(digit) for digit in range(10)],
        folder=folder,
        use=published.Use(modalities, validation=validation, cache="off", seed=seed),
        recipe={
            "samples": tuple(samples),
            "points": reader.points,
            "rotation": reader.rotation,
            "jitter": reader.jitter,
            "layout": "h5",
        },
        encoders={
            "image": "cnn(channels=1, widths=(16, 32), kernels=(3, 3), width=64)",
            "points": "pointnet(width=64)",
        },
        training={"batch_size": 64, "epochs": 20},
    )
