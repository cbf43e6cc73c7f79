"""NumPy archives, without unpickling anything."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

__all__ = ["Array", "npy", "read"]

Array = NDArray[Any]


def npy(values: Array) -> bytes:
    """What is in the ``.npy`` file of an array. NumPy itself may write a part of it to a full disk, and not say so."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def read(path: Path, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The arrays of an ``.npz`` file, all or those named.

    Raises:
        DataError: the file is missing or damaged, lacks an array, holds pickled objects, or a value that is not finite.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = archive.files if names is None else names
            arrays = {name: archive[name] for name in wanted}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except KeyError as error:
        raise DataError(
            f"{path} has no array {error.args[0].split()[0]!r}; get it again."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{path} holds pickled objects or is no .npz file, and nothing is unpickled; store plain arrays."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}); get it again.") from error
    for name, values in arrays.items():
        _check_finite(path, name, values)
    return arrays


def _check_finite(path: Path, name: str, values: Array) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
    raise DataError(
        f"{path}: {name} has a value that is not finite (NaN or infinite) in row {row}."
    )
