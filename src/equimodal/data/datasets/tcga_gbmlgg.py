"""TCGA-GBMLGG: the grade of gliomas by tissue and genes.

Sources: the Cancer Genome Atlas (GBM and LGG), as prepared by R. J. Chen et al., *Pathomic Fusion*, IEEE Trans. Medical
Imaging, 2020; folds of P. Mobadersany et al., *Predicting cancer outcomes from histology and genomics using convolutional
networks*, PNAS 2018. A patient has several regions of tissue; the folds and the validation part are by patient. The
published folds are pickles made by an old pandas; here they are made from `pnas_splits.csv`, and nothing is unpickled.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from ..about import About, Source
from ..arrays import choose, divisor
from ..media.augment import flip
from ..media.files import locate
from ..media.image import open_image
from ..media.reader import Reader
from ..media.stain import Stains, normalise, stains_of
from ..splits import Splits
from . import _published as published

__all__ = ["ABOUT", "Genes", "Region", "load", "tables"]

FOLDS = 15
PATIENT = 12  # characters of a region's name, such as TCGA-02-0001
NOT_GENES = ("indexes", "TCGA ID", "censored", "Survival months")
GRADES = {"2": "grade 2", "3": "grade 3", "4": "grade 4"}
Table = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Region(Reader):
    """A region of tissue as [3, size, size], normalised with 0.5: a random part in training, the middle one in test.

    Args:
        size: pixels of a side.
        stain: none, or vahadane: stained as the reference.
        reference: the image whose stains are taken.
    """

    images: ClassVar[bool] = True

    size: int = 512
    stain: str = "none"
    reference: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("region", self.stain, self.reference and self.reference.name)

    def decode(self, path: Path) -> Tensor:
        """[3, H, W], bytes."""
        image = open_image(path, 3)
        if self.stain == "none" or self.reference is None:
            return image
        pixels = image.numpy().transpose(1, 2, 0)
        made = normalise(pixels, _stains(self.reference), path)
        return torch.from_numpy(made.transpose(2, 0, 1).copy())

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        free = [side - self.size for side in stored.shape[1:]]
        if min(free) < 0:
            raise DataError(
                f"A region of {stored.shape[2]} x {stored.shape[1]} pixels has no part of size={self.size}; choose a smaller one."
            )
        top, left = (f // 2 if rng is None else int(rng.integers(f + 1)) for f in free)
        part = stored[:, top : top + self.size, left : left + self.size]
        if rng is not None:
            part = flip(flip(part, rng).mT, rng).mT
        return part.float() / 127.5 - 1


@lru_cache(maxsize=2)
def _stains(reference: Path) -> Stains:
    return stains_of(open_image(reference, 3).numpy().transpose(1, 2, 0), reference)


@dataclass(frozen=True)
class Genes(Reader):
    """A vector [width] that is there already, standardised; an unknown value, NaN, becomes 0.

    Args:
        width: number of genes.
        mean, deviation: of each gene, as `standardise` finds them; empty: values as they are.
    """

    costly: ClassVar[bool] = False

    width: int
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def decode(self, path: Any) -> Tensor:
        return torch.from_numpy(np.asarray(path, dtype=np.float64))

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        if self.mean:
            mean, deviation = torch.tensor((self.mean, self.deviation), dtype=torch.float64)
            stored = (stored - mean) / deviation
        return stored.nan_to_num(0.0).float()


def standardise(train: published.Listing) -> tuple[Genes, str]:
    """As `Learn`: with mean 0 and deviation 1 over the patients of train, each once, however many regions there are.

    Raises:
        DataError: none of them has genes.
    """
    rows = zip(train.groups, train.items["genomic"], strict=True)
    patients = {patient: item[0] for patient, item in rows if item is not None}
    if not patients:
        raise DataError("The table of genes has none of the patients of the fold's train part.")
    known = np.stack([*patients.values()])
    there = np.maximum((~np.isnan(known)).sum(0), 1)
    mean = np.nansum(known, 0) / there
    spread = np.sqrt(np.nansum((known - mean) ** 2, 0) / there)
    deviation = divisor(spread, np.abs(np.nan_to_num(known)).max(0))
    genes = Genes(known.shape[1], tuple(mean.tolist()), tuple(deviation.tolist()))
    return genes, f"snn(inputs={genes.width})"


def tables(folder: Path) -> tuple[Table, Table, Table]:
    """For each patient the row of genes, of grades, and of folds.

    Raises:
        DataError: a table is missing or has no column ``TCGA ID``.
    """
    return (
        _table(_genes(folder)),
        _table(folder / "grade_data.csv"),
        _table(folder / "pnas_splits.csv"),
    )


def _genes(folder: Path) -> Path:
    """The table of genes, by the name that the code of Pathomic Fusion has for it, or by its README's."""
    path, other = folder / "all_dataset.csv", folder / "all_datasets.csv"
    return other if other.is_file() and not path.is_file() else path


def _table(path: Path) -> Table:
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if "TCGA ID" not in (reader.fieldnames or ()):
            raise DataError(f"{path} has no column 'TCGA ID'.")
        return {row["TCGA ID"].strip(): row for row in reader if row["TCGA ID"]}


def vectors(path: Path, genes: Table) -> dict[str, NDArray[np.float64]]:
    """For each patient the genes [G] as they stand in the table, NaN where a value is unknown.

    Raises:
        DataError: a value is not a number.
    """
    columns = [name for name in next(iter(genes.values())) if name and name not in NOT_GENES]
    return {p: np.array([_number(path, p, c, row[c]) for c in columns]) for p, row in genes.items()}


def _number(path: Path, patient: str, column: str, text: str | None) -> float:
    if text is None or text.strip() in ("", "NA", "nan", "NaN"):
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise DataError(
            f"{path}: {column} of {patient} is {text!r}; it must be a number."
        ) from None


def listing(folder: Path, fold: int) -> tuple[published.Listing, dict[str, str], int]:
    """The regions whose grade is known, those that are left out, and the number of genes."""
    genes, grades, folds = tables(folder)
    column = _column(folder / "pnas_splits.csv", folds, fold)
    known = vectors(_genes(folder), genes)
    regions = sorted((folder / "all_st").glob("*.png"))
    if not regions:
        raise DataError(
            f"{folder / 'all_st'} has no regions such as TCGA-02-0001-01Z-00-DX1_1.png."
        )
    left_out, kept = {}, []
    for path in regions:
        patient = path.name[:PATIENT]
        reason = _reason(patient, grades, folds)
        if reason:
            left_out[path.stem] = reason
        else:
            kept.append((path, patient))
    found = published.Listing(
        [path.stem for path, _ in kept],
        [GRADES[_grade(grades[patient])] for _, patient in kept],
        [folds[patient][column].lower() for _, patient in kept],
        {
            "image": [(path,) for path, _ in kept],
            "genomic": [(known[p],) if p in known else None for _, p in kept],
        },
        [patient for _, patient in kept],
    )
    return found, left_out, len(next(iter(known.values())))


def _column(path: Path, folds: Table, fold: int) -> str:
    columns = [name for name in next(iter(folds.values()), {}) if name != "TCGA ID"]
    if not 1 <= fold <= min(FOLDS, len(columns)):
        raise ConfigError(f"fold must be 1 to {min(FOLDS, len(columns))}; here {fold}.")
    column = columns[fold - 1]
    for patient, row in folds.items():
        if row[column] not in ("Train", "Test"):
            raise DataError(
                f"{path}: {column} of {patient} is {row[column]!r}; it must be Train or Test."
            )
    return column


def _grade(row: Mapping[str, str]) -> str:
    return row.get("Grade", "").strip().removesuffix(".0")


def _reason(patient: str, grades: Table, folds: Table) -> str:
    """Why a region is left out, or ""."""
    if patient not in folds:
        return f"{patient} is in no fold"
    if patient not in grades or _grade(grades[patient]) not in GRADES:
        return f"the grade of {patient} is not known"
    return ""


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "TCGA_GBMLGG", "*.csv")
    yield folder, partial(tables, folder)
    found, _, width = listing(folder, 1)
    yield from published.default_sources(found, {"image": Region(1), "genomic": Genes(width)})


ABOUT = About(
    task="glioma grade",
    classes="3",
    modalities={"image": "(3, 512, 512)", "genomic": "(80,)"},
    split="15 folds by patient of 769 patients, 1,505 regions",
    files="TCGA_GBMLGG/{all_dataset,grade_data,pnas_splits}.csv, all_st/*.png",
    licence="academic; open data of TCGA",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "genomic"),
    fold: int = 1,
    size: int = 512,
    stain: str = "none",
    reference: str = "",
    incomplete: str = "refuse",
    unreadable: str = "refuse",
    validation: float = 0.1,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """Three grades of glioma; a sample is a region of tissue with the genes of its patient.

    Regions whose patient has no grade are left out and counted. Genes are standardised with the fold's train part, without what becomes
    validation.

    Args:
        root: the data folder, with ``TCGA_GBMLGG``.
        modalities: of image, genomic.
        fold: 1 to 15.
        size: pixels of a side of the part of a region that is seen.
        stain: none (the published regions are normalised), or vahadane.
        reference: for vahadane, the region whose stains the others get; the first one by default.
        incomplete: regions without genes: refuse, drop, or keep with the modality missing.
        unreadable: regions that cannot be read: refuse, or drop after trying all.
        validation: the fraction of train that becomes validation, in whole patients.
        cache: where decoded files are kept: auto (in the set's folder, if that is writable), off, or a folder.
        seed: of the carving and the augmentation.

    Raises:
        DataError: a table or a region is missing or damaged.
        ConfigError: an option has no such value.
    """
    use = published.Use(modalities, incomplete, unreadable, validation, cache, seed)
    choose("stain", stain, ("none", "vahadane"))
    if size < 1:
        raise ConfigError(f"size must be at least 1; here {size}.")
    folder = locate(root, "TCGA_GBMLGG", "*.csv")
    found, left_out, _ = listing(folder, fold)
    like = Path(reference) if reference else sorted((folder / "all_st").glob("*.png"))[0]
    return published.splits(
        "tcga_gbmlgg",
        found,
        {"image": Region(size, stain, like if stain != "none" else None)},
        tuple(GRADES.values()),
        folder=folder,
        use=use,
        recipe={"fold": fold, "size": size, "stain": stain, "reference": Path(reference).name},
        encoders={"image": "resnet50(channels=3)"},
        training={"batch_size": 16, "epochs": 50, "lr": 0.001},
        left_out=left_out,
        learn={"genomic": standardise},
    )
