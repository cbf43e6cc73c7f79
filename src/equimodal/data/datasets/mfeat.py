"""Multiple Features: handwritten numerals as six feature vectors.

Source: R. Duin, *Multiple Features*, UCI Machine Learning Repository, data set 72, with values and split of
``handwritten_6views.mat`` in github.com/hanmenghan/TMC. `mfeat.npz` holds them as they are, for each view ``VIEW_tr`` [1600, D]
and ``VIEW_te`` [400, D], and the digits ``y_tr`` and ``y_te``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..about import About, Source
from ..arrays import standardise
from ..dataset import Arrays, known_modalities
from ..media import npz
from ..media.files import locate
from ..splits import Splits, kept_for_training

__all__ = ["ABOUT", "load"]

FILE = "mfeat.npz"
VIEWS = {"pix": 240, "fou": 76, "fac": 216, "zer": 47, "kar": 64, "mor": 6}


def sources(root: Path | None) -> Iterator[Source]:
    path = locate(root, "mfeat", FILE) / FILE
    yield path, partial(npz.read, path)


ABOUT = About(
    task="digit",
    classes="10",
    modalities={name: f"({size},)" for name, size in VIEWS.items()},
    split="1,600 / 400",
    files=f"mfeat/{FILE}",
    licence="CC BY 4.0",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("fou", "zer", "mor"),
    validation: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Six views of 2,000 handwritten digits, each feature standardised with train.

    All six views together, and pix, fac and kar each alone, are near 100 %; hence the default.

    Args:
        root: the data folder, with ``mfeat/mfeat.npz``.
        modalities: of pix, fou, fac, zer, kar, mor.
        validation: the stratified fraction of train that becomes validation.
        seed: of the choice of the validation samples.

    Raises:
        DataError: the file is missing, damaged or has other arrays.
    """
    views = known_modalities(modalities, tuple(VIEWS), "mfeat")
    path = locate(root, "mfeat", FILE) / FILE
    names = [f"{view}_{part}" for view in views for part in ("tr", "te")]
    stored = npz.read(path, [*names, "y_tr", "y_te"])
    labels, test_labels = stored["y_tr"], stored["y_te"]
    for view in views:
        for part, targets in (("tr", labels), ("te", test_labels)):
            found, right = stored[f"{view}_{part}"].shape, (len(targets), VIEWS[view])
            if found != right:
                raise DataError(f"{path}: {view}_{part} has shape {found}; it must be {right}.")
    fit = kept_for_training(labels, validation, seed)
    rows = np.isin(np.arange(len(labels) + len(test_labels)), fit)
    every = {
        view: standardise(np.concatenate([stored[f"{view}_tr"], stored[f"{view}_te"]]), rows)
        for view in views
    }
    data = Arrays(every, np.concatenate([labels, test_labels]), [str(digit) for digit in range(10)])
    return Splits.carved(
        "mfeat",
        data,
        train=np.arange(len(labels)),
        test=np.arange(len(labels), len(data)),
        fit=fit,
        recipe={"modalities": views, "validation": validation, "seed": seed},
        encoders={view: f"mlp(inputs={VIEWS[view]}, hidden=(128,), width=64)" for view in views},
        training={"batch_size": 64, "epochs": 20},
    )
