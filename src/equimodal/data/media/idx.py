"""The idx format of MNIST: big-endian, a magic number, the sizes, then bytes.

Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database of handwritten digits*.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

__all__ = ["read", "read_pair"]

UNSIGNED_BYTE = 8


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, compressed (``.gz``) or not.

    Args:
        path: the file.
        dimensions: how many the array must have: 3 for images, 1 for labels.

    Raises:
        DataError: the file is missing, is cut off, is no idx file, or has other dimensions.
    """
    data = _bytes(path)
    magic = UNSIGNED_BYTE << 8 | dimensions
    found = int.from_bytes(data[:4], "big")
    if found != magic:
        raise DataError(
            f"{path} begins with {found}; an idx file of {dimensions} dimension(s) begins with {magic}."
        )
    header = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    expected = int(np.prod(shape, dtype=np.int64))
    if len(data) - header != expected:
        raise DataError(
            f"{path} has {max(len(data) - header, 0)} bytes after its header where {expected} belong; "
            "it is cut off or damaged: get it again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; `equimodal data get avmnist` downloads it."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is cut off or damaged ({error}); get it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_pair(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [N, H, W] and their labels [N].

    Raises:
        DataError: as `read`, or there are not as many labels as images.
    """
    pixels, classes = read(images, 3), read(labels, 1)
    if len(pixels) != len(classes):
        raise DataError(
            f"{images} has {len(pixels)} images and {labels} has {len(classes)} labels; they must be as many."
        )
    return pixels, classes
