"""Arrays of numbers in files (csv, tsv, txt, npy, npz, mat, h5), nothing of them unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, counted
from . import npz
from .reader import needs, require

__all__ = ["NUMBER_SUFFIXES", "read_numbers"]

NUMBER_SUFFIXES = (".csv", ".tsv", ".txt", ".npy", ".npz", ".mat", ".h5", ".hdf5")
TOLD = 8
"""Names of arrays that a message tells of a file that has more."""


def read_numbers(path: Path, what: str, variable: str = "") -> NDArray[np.float64]:
    """The array of a file, of any shape; of text [lines, values of a line].

    Args:
        path: of the file; with another suffix than those known it is read as text.
        what: is made of it, such as "a sequence", for messages.
        variable: of a ``.mat``, ``.npz`` or HDF5 file that holds several arrays; with its groups, as in ``rgb/features``.

    Raises:
        DataError: it is missing, empty or damaged, is no table of numbers, or holds no such array.
        ConfigError: HDF5 needs h5py, the extra ``media``.
    """
    require(path)
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".npz":
            return _chosen(path, npz.read(path), variable)
        case ".mat":
            return _mat(path, variable)
        case ".h5" | ".hdf5":
            return _h5(path, variable)
    return _text(path, what)


def _npy(path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise DataError(f"{path} is damaged, or no array of numbers ({error}).") from None


def _mat(path: Path, variable: str) -> NDArray[np.float64]:
    from scipy.io import loadmat

    try:
        held = loadmat(path)
    except NotImplementedError:  # since version 7.3 it is HDF5, with the axes in MATLAB's order
        return _h5(path, variable).T
    except Exception as error:  # scipy raises nearly anything on damaged bytes
        raise DataError(f"{path} is damaged or not a MATLAB file ({error}).") from None
    arrays = {name: values for name, values in held.items() if not name.startswith("__")}
    return _chosen(path, arrays, variable)


def _h5(path: Path, variable: str) -> NDArray[np.float64]:
    h5py = needs("h5py", "Reading HDF5")
    held = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # what MATLAB refers to
            held[name] = item

    try:
        with h5py.File(path, "r") as file:
            if variable in file:  # there may be thousands of others
                keep(variable, file[variable])
            if not held:
                file.visititems(keep)
            return _chosen(path, held, variable)
    except (OSError, KeyError) as error:  # a link to what is not there is a KeyError
        raise DataError(f"{path} is cut off, damaged or not HDF5 ({error}).") from None


def _chosen(path: Path, held: Mapping[str, Any], variable: str) -> NDArray[np.float64]:
    name = variable or (next(iter(held)) if len(held) == 1 else "")
    if name not in held:
        names = [*list(held)[:TOLD], *(["..."] if len(held) > TOLD else [])]
        raise DataError(
            f"{path} has the arrays {', '.join(names) or 'none'}; name one by the option variable."
        )
    if held[name].dtype.kind not in "biuf":
        raise DataError(f"{path}: {name} is no array of numbers, but of type {held[name].dtype}.")
    try:
        return np.asarray(held[name], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {name} is no array of numbers ({error}).") from None


def _text(path: Path, what: str) -> NDArray[np.float64]:
    """Numbers separated by commas, semicolons, tabs or spaces; a first line that holds none is a header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        kinds = ", ".join(suffix[1:] for suffix in NUMBER_SUFFIXES)
        raise DataError(
            f"{path} is no text; {what} is read from these kinds of files: {kinds}."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        cells = _cells(line)
        if not cells:
            continue
        try:
            row = [float(cell) if cell else float("nan") for cell in cells]
        except ValueError:
            if not rows and number == 1:
                continue
            raise DataError(
                f"{path} line {number} is not a row of numbers: {line[:60]!r}."
            ) from None
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path} line {number} has {counted(len(row), 'value')}; those before {len(rows[0])}."
            )
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _cells(line: str) -> list[str]:
    """Of a line; a comma in a line with semicolons is a decimal one."""
    for separator in (";", "\t", ","):
        if separator in line:
            parts = [part.strip() for part in line.split(separator)]
            return [part.replace(",", ".") for part in parts] if separator == ";" else parts
    return line.split()
