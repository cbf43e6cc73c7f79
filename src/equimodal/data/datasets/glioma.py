"""Glioma grading: gene mutations and clinical data of 839 patients.

Source: E. Tasci et al., *Glioma Grading Clinical and Mutation Features*, UCI Machine Learning Repository, 2022.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..about import About, Source
from ..arrays import standardise
from ..dataset import Arrays
from ..media.files import locate
from ..splits import Splits, kept_for_training, stratified

__all__ = ["ABOUT", "load"]

FILE = "TCGA_InfoWithGrade.csv"
CLINICAL = ("Gender", "Age_at_diagnosis", "Race")
GENES = (
    *("IDH1", "TP53", "ATRX", "PTEN", "EGFR", "CIC", "MUC16", "PIK3CA", "NF1", "PIK3R1"),
    *("FUBP1", "RB1", "NOTCH1", "BCOR", "CSMD3", "SMARCA4", "GRIN2A", "IDH2", "FAT4", "PDGFRA"),
)
COLUMNS = ("Grade", *CLINICAL, *GENES)
CHOICES = {"Grade": 2, "Gender": 2, "Race": 4} | dict.fromkeys(GENES, 2)
RACES = 4


def read(path: Path) -> NDArray[np.float64]:
    """The table [patients, 24], columns in the order of `COLUMNS`.

    Raises:
        DataError: the file is missing or empty, lacks a column, or a value is not one that its column can have.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if lacking:
                raise DataError(f"{path} has no column {', '.join(lacking)}.")
            rows = [
                [_value(path, line, name, row[name]) for name in COLUMNS]
                for line, row in enumerate(table, start=2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error
    if not rows:
        raise DataError(f"{path} has no patients.")
    return np.array(rows)


def _value(path: Path, line: int, name: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if name in CHOICES and value not in range(CHOICES[name]):
        right = f"0 to {CHOICES[name] - 1}"
    elif not 0 < value < 130 and name not in CHOICES:
        right = "an age in years"
    else:
        return value
    raise DataError(f"{path} line {line}: {name} is {text!r}; it must be {right}.")


def sources(root: Path | None) -> Iterator[Source]:
    path = locate(root, "glioma", FILE) / FILE
    yield path, partial(read, path)


ABOUT = About(
    task="tumour grade",
    classes="2",
    modalities={"genomic": "(20,)", "clinical": "(6,)"},
    split="587 / 252",
    files=f"glioma/{FILE}",
    licence="CC BY 4.0",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("genomic", "clinical"),
    validation: float = 0.1,
    split_seed: int | None = None,
    seed: int = 0,
) -> Splits:
    """Lower-grade glioma against glioblastoma, from 20 mutations and from sex, age and race.

    Mutations decide almost all: a check that balancing does no harm. Stratified 70/30, standardised with train.

    Args:
        root: the data folder, with ``glioma/TCGA_InfoWithGrade.csv``.
        modalities: of genomic, clinical.
        validation: the stratified fraction of train that becomes validation.
        split_seed: of the split and of the choice of the validation samples; `seed` by default.
        seed: accepted as for all sets; only the split is random.

    Raises:
        DataError: the file is missing or damaged.
    """
    table = read(locate(root, "glioma", FILE) / FILE)
    column = dict(zip(COLUMNS, table.T, strict=True))
    targets = column["Grade"].astype(np.int64)
    race = np.eye(RACES)[column["Race"].astype(np.int64)]
    clinical = np.column_stack([column["Gender"], column["Age_at_diagnosis"] / 100, race])
    genomic = np.column_stack([column[name] for name in GENES])
    divided = seed if split_seed is None else split_seed
    train, test = stratified(targets, 0.7, divided)
    fit = kept_for_training(targets[train], validation, divided)
    rows = np.isin(np.arange(len(targets)), train[fit])
    data = Arrays(
        {"genomic": standardise(genomic, rows), "clinical": standardise(clinical, rows)},
        targets,
        ("LGG", "GBM"),
    )
    return Splits.carved(
        "glioma",
        data,
        train=train,
        test=test,
        fit=fit,
        recipe={"modalities": tuple(modalities), "validation": validation, "seed": divided},
        encoders={
            "genomic": "mlp(inputs=20, hidden=(128,), width=64)",
            "clinical": "mlp(inputs=6, hidden=(128,), width=64)",
        },
        training={"batch_size": 64, "epochs": 30},
    ).only(modalities)
