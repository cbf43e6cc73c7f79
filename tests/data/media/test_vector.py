from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from equimodal.data.media.sequence import Sequence
from equimodal.data.media.vector import Vector
from equimodal.errors import DataError

VALUES = np.array([1.5, -2.0, 1e9 + 0.25])


def write(path: Path, values: np.ndarray) -> Path:
    match path.suffix:
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, feature=values, other=np.zeros(2))
        case ".mat":
            savemat(path, {"feature": values, "other": np.zeros(2)})
        case ".h5" | ".hdf5":
            with h5py.File(path, "w") as file:
                file["feature"], file["of/other"] = values, np.zeros(2)
        case _:
            np.savetxt(path, values, delimiter=",", fmt="%.17g")
    return path


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1)])
@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "csv", "txt", "h5", "hdf5"])
def test_a_file_holds_one_vector_however_it_lies(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
) -> None:
    path = write(tmp_path / f"a.{suffix}", VALUES.reshape(shape))
    variable = "feature" if suffix in ("npz", "mat", "h5", "hdf5") else ""
    assert Vector(variable=variable).decode(path).tolist() == VALUES.tolist()
    if variable:
        with pytest.raises(DataError, match="has the arrays feature, (of/)?other; name one by"):
            Vector().decode(path)


def test_each_value_is_standardised_with_train(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    every = rng.normal((3, -1e7, 0), (2, 1e-2, 0), (30, 3))
    paths = [write(tmp_path / f"{i}.npy", one) for i, one in enumerate(every)]
    reader = Vector()
    reader = reader.fitted(map(reader.decode, paths))
    assert reader.shape == (3,)
    seen = torch.stack([reader.read(path) for path in paths])
    assert seen.dtype == torch.float32
    expected = (every - every.mean(0)) / np.where(every.std(0) == 0, 1, every.std(0))
    assert seen.numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((2, 3)), r"a.npy has the shape \(2, 3\); a vector is \[values\]"),
        (np.zeros(()), r"a.npy has the shape \(\); a vector"),
        (np.zeros(0), r"a.npy has the shape \(0,\); a vector"),
        (np.zeros(4), "a.npy has 4 values; it must have 3"),
        (np.array([1, np.nan, 2]), "a.npy has a value that is not finite .* at position 1"),
        (np.array(["x"]), "a.npy is damaged, or no array of numbers"),
    ],
)
def test_a_file_that_holds_no_such_vector(tmp_path: Path, values: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Vector(width=3).decode(write(tmp_path / "a.npy", values))


@pytest.mark.parametrize(("reader", "what"), [(Sequence(), "a sequence"), (Vector(), "a vector")])
def test_a_file_of_another_kind_is_told_what_is_read(
    tmp_path: Path, reader: Sequence | Vector, what: str
) -> None:
    path = tmp_path / "0.bin"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    kinds = "csv, tsv, txt, npy, npz, mat, h5, hdf5"
    with pytest.raises(DataError, match=rf"0.bin is no text; {what} is read from .*: {kinds}\."):
        reader.decode(path)


def test_arrays_of_hdf5_are_named_with_their_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["rgb/features"] = VALUES
    assert Vector().decode(path).tolist() == VALUES.tolist()  # the only one
    assert Vector(variable="rgb/features").decode(path).tolist() == VALUES.tolist()
    for wrong in ("rgb", "flow"):
        with pytest.raises(DataError, match="has the arrays rgb/features; name one by the option"):
            Vector(variable=wrong).decode(path)
    with h5py.File(path, "a") as file:
        for i in range(20):
            file[f"words/{i:02}"] = ["a"]
    with pytest.raises(DataError, match=r"words/00, .*words/06, \.\.\.; name one by"):
        Vector().decode(path)
    with pytest.raises(DataError, match="a.h5: words/00 is no array of numbers"):
        Vector(variable="words/00").decode(path)
    with h5py.File(path, "a") as file:
        file["gone"], file["waves"] = h5py.SoftLink("/nowhere"), np.ones(3, dtype=complex)
    with pytest.raises(DataError, match="a.h5 is cut off, damaged or not HDF5 .*open object"):
        Vector(variable="gone").decode(path)
    with pytest.raises(DataError, match="a.h5: waves is no array of numbers, but of type complex"):
        Vector(variable="waves").decode(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"a\.h5 is cut off, damaged or not HDF5"):
        Vector().decode(path)


def test_matlab_writes_hdf5_since_its_version_7_3(tmp_path: Path) -> None:
    """With 512 bytes of its own before, and the axes in its own order."""
    path, values = tmp_path / "a.mat", np.arange(6.0).reshape(2, 3)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = values.T
        file["#refs#/a"] = np.zeros(3)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header)
    assert Sequence().decode(path).tolist() == values.tolist()


def test_a_sequence_may_be_of_one_dimension(tmp_path: Path) -> None:
    assert Sequence().decode(write(tmp_path / "a.npy", VALUES)).shape == (3, 1)
