from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from equimodal.data.media import mat, npz
from equimodal.errors import DataError


def test_pickled_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(DataError, match="pickled"):
        npz.read(path)
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match="nothing is unpickled"):
        npz.read(path)


@pytest.mark.parametrize("keep", [0, 100, 400])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100.0))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=str(path)):
        npz.read(path)


def test_an_archive_with_flipped_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100.0))
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        npz.read(path)


def test_an_array_that_lacks_or_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([[0, 1], [np.nan, 2]]))
    with pytest.raises(DataError, match="a has a value that is not finite .* row 1"):
        npz.read(path)
    with pytest.raises(DataError, match="no array 'b'"):
        npz.read(path, ["b"])
    with pytest.raises(DataError, match="does not exist"):
        npz.read(tmp_path / "b.npz")


def test_a_matlab_array_is_read_and_its_shape_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.arange(6.0).reshape(2, 3)})
    assert mat.read(path, "x", (None, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataError, match=r"shape \(2, 3\); it must be \('any', 4\)"):
        mat.read(path, "x", (None, 4))
    with pytest.raises(DataError, match="no array 'y'"):
        mat.read(path, "y", (None, 3))


@pytest.mark.parametrize("keep", [0, 50, 150, 200])
def test_a_damaged_matlab_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.ones((20, 3))})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=str(path)):
        mat.read(path, "x", (None, 3))


def test_a_matlab_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.array([[0.0], [np.inf]])})
    with pytest.raises(DataError, match="row 1"):
        mat.read(path, "x", (None, 1))
