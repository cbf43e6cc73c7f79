"""Point clouds: from meshes, sampled on their surface (off, ply), and from lists of points (ply, h5, txt, xyz, npy).

Augmentation as in Y. Wang et al., *Dynamic Graph CNN for Learning on Point Clouds*, ACM TOG 2019.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from ..draws import numpy_generator
from . import augment
from .points import draw, evenly
from .reader import Reader, needs, require

__all__ = ["CLOUD_SUFFIXES", "Points", "read_cloud", "read_off", "sample_surface"]

CLOUD_SUFFIXES = (".off", ".ply", ".h5", ".hdf5", ".xyz", ".txt", ".pts", ".npy")
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Points(Reader):
    """A cloud as [points, 3], centred and scaled into the unit sphere.

    In training the points are drawn anew in each epoch; in validation and test they are evenly strided, the same each time.

    Args:
        points: how many are seen.
        keep: how many are sampled on the surface of a mesh; 0: twice as many as are seen.
        rotate: turn about the upright (second) axis in training.
        stretch: largest factor by which each axis is scaled in training, uniform from its inverse; 1: not at all.
        shift: largest offset along each axis in training.
        jitter: deviation of the noise in training, cut at twice that.

    Raises:
        ConfigError: an option that cannot be.
    """

    points: int = 1024
    keep: int = 0
    rotate: bool = False
    stretch: float = 1.0
    shift: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.points < 1 or self.keep < 0:
            raise ConfigError(
                f"points must be at least 1 and keep at least 0; here {self.points} and {self.keep}."
            )
        if self.stretch < 1 or min(self.shift, self.jitter) < 0:
            raise ConfigError(
                f"stretch must be at least 1, shift and jitter at least 0; here {self.stretch}, {self.shift}, {self.jitter}."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.points, 3)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("points", self.keep or 2 * self.points)

    def decode(self, path: Path, row: int | None = None) -> Tensor:
        """[N, 3], float32; `row` is the cloud of an h5 file that holds many."""
        cloud = read_cloud(path, self.keep or 2 * self.points, row)
        return torch.from_numpy(cloud.astype(np.float32))

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        every = stored.numpy().astype(np.float64)
        some = evenly(every, self.points) if rng is None else draw(every, self.points, rng)
        points = torch.from_numpy(_in_unit_sphere(some).astype(np.float32))
        return points if rng is None else self._moved(points, rng)

    def _moved(self, points: Tensor, rng: np.random.Generator) -> Tensor:
        if self.rotate:
            points = augment.rotate_upright(points, rng)
        if self.stretch > 1 or self.shift:
            scale = (1 / self.stretch, self.stretch)
            points = augment.scale_and_shift(points, rng, scale, self.shift)
        if self.jitter:
            points = augment.jitter(points, rng, self.jitter, 2 * self.jitter)
        return points


def _in_unit_sphere(points: FloatArray) -> FloatArray:
    centred = points - points.mean(0)
    radius = np.linalg.norm(centred, axis=1).max()
    return np.asarray(centred / (radius if radius > 0 else 1))


def read_cloud(path: Path, samples: int = 2048, row: int | None = None) -> FloatArray:
    """The points [N, 3] of a file; of a mesh `samples` points of its surface, the same each time.

    Args:
        path: .off, .ply, .h5 (array `data`), .xyz, .txt, .pts (columns x, y, z, ...) or .npy.
        samples: points that are drawn on the surface of a mesh.
        row: which cloud of an h5 file.

    Raises:
        DataError: the file is missing or damaged, has no points, or one that is not finite.
        ConfigError: a package of the extra `media` is not installed.
    """
    require(path)
    suffix = path.suffix.lower()
    faces: IntArray | None = None
    if suffix == ".off":
        points, faces = read_off(path)
    elif suffix == ".ply":
        points, faces = _read_ply(path)
    elif suffix in (".h5", ".hdf5"):
        points = _read_h5(path, row)
    elif suffix == ".npy":
        points = _read_npy(path)
    else:
        points = _read_text(path)
    _check(path, points)
    if faces is None or not len(faces):
        return points
    rng = numpy_generator("surface", path.stem, samples)
    return sample_surface(path, points, faces, samples, rng)


def _check(path: Path, points: FloatArray) -> None:
    if points.ndim != 2 or points.shape[1] < 3 or not len(points):
        raise DataError(
            f"{path} holds an array of shape {points.shape}; a cloud is [points, 3] with at least one point."
        )
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if len(bad):
        raise DataError(
            f"{path}: point {bad[0]} is not finite (NaN or infinite), as are {len(bad)} of {len(points)}; put it right."
        )


def read_off(path: Path) -> tuple[FloatArray, IntArray]:
    """Vertices [V, 3] and triangles [F, 3] of a mesh in the Object File Format; polygons are cut into triangles.

    Some files of ModelNet40 have their counts glued to the header, as in ``OFF490 518 0``.

    Raises:
        DataError: it is no such file, is cut off, or a face names a vertex that is not there.
    """
    lines = (line.partition("#")[0].split() for line in _text(path).splitlines())
    words = [word for line in lines for word in line]
    if not words or not words[0].upper().startswith("OFF"):
        raise DataError(f"{path} does not begin with OFF; it is no mesh of this format.")
    glued = words[0][3:]
    numbers = [glued, *words[1:]] if glued else words[1:]
    try:
        vertices, polygons = int(numbers[0]), int(numbers[1])
        start = 3 + 3 * vertices
        points = np.array(numbers[3:start], dtype=np.float64).reshape(vertices, 3)
        return points, _triangles(numbers, start, polygons, vertices)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is cut off or damaged ({error}); get it again.") from None


def _triangles(numbers: list[str], at: int, polygons: int, vertices: int) -> IntArray:
    found = []
    for _ in range(polygons):
        corners = [int(n) for n in numbers[at + 1 : at + 1 + int(numbers[at])]]
        if len(corners) != int(numbers[at]):
            raise IndexError("a face is missing")
        found += [(corners[0], *pair) for pair in pairwise(corners[1:])]
        at += 1 + len(corners)
    triangles = np.array(found, dtype=np.int64).reshape(-1, 3)
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < vertices:
        raise IndexError(f"a face names a vertex outside 0 to {vertices - 1}")
    return triangles


def sample_surface(
    path: Path, points: FloatArray, faces: IntArray, samples: int, rng: np.random.Generator
) -> FloatArray:
    """Points [samples, 3], uniform on the surface of a mesh.

    Raises:
        DataError: the surface has no area.
    """
    corner, first, second = (points[faces[:, i]] for i in range(3))
    along, across = first - corner, second - corner
    area = np.linalg.norm(np.cross(along, across), axis=1)
    if not area.sum() > 0:
        raise DataError(f"{path} has a surface without area; no points can be drawn on it.")
    chosen = rng.choice(len(faces), samples, p=area / area.sum())
    u, v = rng.random((2, samples, 1))
    outside = u + v > 1  # of the parallelogram the half that is not the triangle, folded back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    made: FloatArray = corner[chosen] + u * along[chosen] + v * across[chosen]
    return made


def _read_ply(path: Path) -> tuple[FloatArray, IntArray | None]:
    trimesh = needs("trimesh", "Reading ply files")
    try:
        with path.open("rb") as file:
            shape = trimesh.load(file, file_type="ply", process=False)
        faces: Any = getattr(shape, "faces", None)
        return np.asarray(shape.vertices, dtype=np.float64), faces
    except Exception as error:  # trimesh raises nearly anything on damaged bytes
        raise DataError(f"{path} is damaged or no ply file ({error}); get it again.") from error


def _read_h5(path: Path, row: int | None) -> FloatArray:
    h5py = needs("h5py", "Reading h5 files")
    try:
        with h5py.File(path, "r") as file:
            if "data" not in file:
                raise DataError(
                    f"{path} has no array 'data'; it has {', '.join(file) or 'nothing'}."
                )
            array = file["data"]
            if array.ndim == 2:
                return np.asarray(array[()], dtype=np.float64)
            if row is None or not 0 <= row < len(array):
                raise DataError(
                    f"{path} holds {len(array)} clouds; say which, 0 to {len(array) - 1}."
                )
            return np.asarray(array[row], dtype=np.float64)
    except OSError as error:
        raise DataError(f"{path} is cut off, damaged or not HDF5; get it again.") from error


def _read_npy(path: Path) -> FloatArray:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise DataError(f"{path} is damaged, or no array of numbers ({error}).") from None


def _read_text(path: Path) -> FloatArray:
    text = _text(path).replace(",", " ").replace(";", " ")
    try:
        values = np.loadtxt(io.StringIO(text), dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers ({error}).") from None
    return values[:, :3]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")
