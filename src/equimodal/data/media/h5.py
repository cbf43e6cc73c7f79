"""The published layout of 3D MNIST: HDF5 files with a group for each digit.

A group ``"0"``, ``"1"``, ... holds ``img`` [30, 30], ``points`` [N, 3] and ``normals`` [N, 3], all float64, and the
attribute ``label``. Source: the 3D MNIST data set (Kaggle, daavoo/3d-mnist). Needs h5py, the extra ``media``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...files import whole
from .points import bordered, cloud

__all__ = ["Digit", "labels_of", "read_digit", "read_h5", "write_h5"]

T = TypeVar("T")
SIDE = 30
SHAPES = {"img": (SIDE, SIDE), "points": (None, 3), "normals": (None, 3)}


@dataclass(frozen=True)
class Digit:
    """One group.

    Attributes:
        image: [30, 30], grey in [0, 1], with a border of one empty pixel.
        points: [N, 3].
        normals: [N, 3], unit vectors.
        label: the digit.
    """

    image: NDArray[np.float64]
    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    label: int


def write_h5(path: Path, images: NDArray[np.uint8], labels: Sequence[int]) -> None:
    """Write images as the published files have them, each with the cloud that the recipe makes of it.

    Args:
        path: the file; it is replaced only when all is written.
        images: [N, 28, 28], grey in 0 to 255.
        labels: N digits.

    Raises:
        ConfigError: h5py is not installed.
        WriteError: the file cannot be written.
    """
    with whole(path) as part, _h5py().File(part, "w") as file:
        for i, (image, label) in enumerate(zip(bordered(images), labels, strict=True)):
            made, group = cloud(image), file.create_group(str(i))
            group.create_dataset("img", data=image / 255)
            group.create_dataset("points", data=made.points)
            group.create_dataset("normals", data=made.normals)
            group.attrs["label"] = int(label)


def read_h5(path: Path, count: int | None = None) -> Iterator[Digit]:
    """The digits of a file in the order of their numbers, one at a time.

    Args:
        path: such as ``train_point_clouds.h5``.
        count: the first so many; None for all.

    Raises:
        ConfigError: h5py is not installed.
        DataError: the file is missing or damaged, has too few groups, or one that is not as published.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    try:
        with _h5py().File(path, "r") as file:
            wanted = len(file) if count is None else count
            if wanted > len(file):
                raise DataError(f"{path} has {len(file)} groups where {wanted} are needed.")
            for i in range(wanted):
                yield _digit(path, file, str(i))
    except OSError as error:
        raise DataError(f"{path} is cut off, damaged or not HDF5; get it again.") from error


def labels_of(path: Path, count: int | None = None) -> list[int]:
    """The labels of the first `count` groups, or of all, without their clouds.

    Raises:
        ConfigError: h5py is not installed.
        DataError: the file is missing or damaged, or has too few groups or a group without a label.
    """
    return _opened(path, lambda file: _labels(path, file, count))


def read_digit(path: Path, number: int) -> Digit:
    """One group by its number.

    Raises:
        ConfigError: h5py is not installed.
        DataError: as `read_h5`.
    """
    return _opened(path, lambda file: _digit(path, file, str(number)))


def _opened(path: Path, read: Callable[[Any], T]) -> T:
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    try:
        with _h5py().File(path, "r") as file:
            return read(file)
    except OSError as error:
        raise DataError(f"{path} is cut off, damaged or not HDF5; get it again.") from error


def _labels(path: Path, file: Any, count: int | None) -> list[int]:
    wanted = len(file) if count is None else count
    if wanted > len(file):
        raise DataError(f"{path} has {len(file)} groups where {wanted} are needed.")
    return [_label(path, file, str(i)) for i in range(wanted)]


def _label(path: Path, file: Any, name: str) -> int:
    if name not in file:
        raise DataError(f"{path} has no group {name!r}: the groups are numbered from 0.")
    label = file[name].attrs.get("label")
    if label is None or int(label) not in range(10):
        raise DataError(f"{path} group {name!r} has the label {label}; it must be a digit.")
    return int(label)


def _digit(path: Path, file: Any, name: str) -> Digit:
    label = _label(path, file, name)
    group = file[name]
    img, points, normals = (_array(path, group, name, key) for key in SHAPES)
    if len(points) != len(normals):
        raise DataError(
            f"{path} group {name!r} has {len(points)} points and {len(normals)} normals; they must be as many."
        )
    return Digit(img, points, normals, label)


def _array(path: Path, group: Any, name: str, key: str) -> NDArray[np.float64]:
    if key not in group:
        raise DataError(f"{path} group {name!r} has no {key!r}; get the file again.")
    values = np.asarray(group[key][()], dtype=np.float64)
    right = SHAPES[key]
    fits = values.ndim == 2 and all(
        n in (None, m) for n, m in zip(right, values.shape, strict=True)
    )
    if not fits or not len(values) or not np.isfinite(values).all():
        shape = ["N" if n is None else n for n in right]
        raise DataError(
            f"{path} group {name!r}: {key} must be finite and of shape {shape}; here {list(values.shape)}."
        )
    return values


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "The published files of 3D MNIST need h5py: pip install 'equimodal[media]'."
        ) from None
    return h5py
