"""Arrays in MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

__all__ = ["read"]


def read(path: Path, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """One array of a ``.mat`` file.

    Args:
        path: the file.
        name: of the variable.
        shape: what it must have; None for any length of at least 1.

    Raises:
        DataError: the file is missing or damaged, has no such array, another shape, or a value that is not finite.
    """
    from scipy.io import loadmat

    try:
        values = np.asarray(loadmat(path, variable_names=[name])[name], dtype=np.float64)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except KeyError as error:
        raise DataError(f"{path} has no array {name!r}.") from error
    except Exception as error:  # scipy raises nearly anything on damaged bytes
        raise DataError(
            f"{path} is damaged or not a MATLAB file ({error}); get it again."
        ) from error
    fits = values.ndim == len(shape) and all(
        have == want if want is not None else have > 0
        for have, want in zip(values.shape, shape, strict=False)
    )
    if not fits:
        wanted = tuple("any" if n is None else n for n in shape)
        raise DataError(f"{path}: {name} has shape {values.shape}; it must be {wanted}.")
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(
            f"{path}: {name} has a value that is not finite (NaN or infinite) in row {row}."
        )
    return values
