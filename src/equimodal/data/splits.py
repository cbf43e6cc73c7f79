"""Train, validation and test, and how validation is carved out where a set has none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, DataError, nearest
from .dataset import Dataset, known_modalities

__all__ = ["Splits", "carve_validation", "hold_out", "kept_for_training", "stratified"]


@dataclass(frozen=True)
class Splits:
    """A data set, ready to train on.

    Attributes:
        name: of the data set.
        train, val, test: its three parts. `val` is empty where the user asked for no validation (``validation=0``);
            nothing can be selected then.
        recipe: the options that made it, resolved; no paths.
        encoders: for each modality the expression of its default encoder.
        augment: for a modality the expression of what training does to it, if the user says nothing.
        advice: what a user should know before training for several epochs.
        training: what the set would be trained with if the user says nothing, such as ``batch_size``.
        val_indices: the rows of the published train part that were carved out as `val`; empty where a set has its own.
        learned: for each modality what its reader learned from train, as JSON holds it, if there is any.
        left_out: for each published sample that is in no part, by its name, the reason: files that are missing or that
            cannot be read.

    Raises:
        DataError: the parts differ in classes or modalities, or a class has no sample in train.
    """

    name: str
    train: Dataset
    val: Dataset
    test: Dataset
    recipe: Mapping[str, object] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, float] = field(default_factory=dict)
    val_indices: tuple[int, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    augment: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""
    learned: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, data in self.parts.items():
            if not isinstance(data, Dataset):
                raise DataError(
                    f"{self.name}: {part} is a {type(data).__name__}; give equimodal.data.Wrapped(it, modalities), or Arrays."
                )
        for part, data in (("val", self.val), ("test", self.test)):
            for what, here, there in (
                ("classes", data.classes, self.train.classes),
                ("modalities", data.modalities, self.train.modalities),
            ):
                if here != there:
                    raise DataError(
                        f"{self.name}: the {what} of {part} {here} must be those of train {there}."
                    )
        absent = [name for name, count in self.train.class_counts.items() if not count]
        if absent:
            raise DataError(
                f"{self.name}: train has no sample of class {', '.join(map(repr, absent))}; "
                "every class needs at least one."
            )

    @classmethod
    def carved(
        cls,
        name: str,
        data: Dataset,
        *,
        train: NDArray[np.int64],
        test: NDArray[np.int64],
        fit: NDArray[np.int64],
        recipe: Mapping[str, object],
        encoders: Mapping[str, str],
        training: Mapping[str, float],
    ) -> Splits:
        """Splits of one data set, with validation carved out of train.

        Args:
            name, recipe, encoders, training: as the attributes.
            data: all samples.
            train, test: the rows of the published parts.
            fit: positions in `train` of the rows that stay there; the others become validation.
        """
        held = np.setdiff1d(np.arange(len(train)), fit)
        return cls(
            name,
            data.subset(torch.from_numpy(train[fit])),
            data.subset(torch.from_numpy(train[held])),
            data.subset(torch.from_numpy(test)),
            recipe=recipe,
            encoders=encoders,
            training=training,
            val_indices=tuple(held.tolist()),
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.train.modalities

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def parts(self) -> dict[str, Dataset]:
        """The three parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def part(self, name: str) -> Dataset:
        """One of train, val, test by its name."""
        if name not in self.parts:
            raise ConfigError(f"There is no split {name!r}; {nearest(name, self.parts)}")
        return self.parts[name]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the contents of all parts."""
        contents = [self.name, *(data.fingerprint() for data in self.parts.values())]
        return hashlib.sha256("\n".join(contents).encode()).hexdigest()

    def only(self, modalities: Sequence[str]) -> Splits:
        """The same samples with some of the modalities, in the given order."""
        names = known_modalities(modalities, self.modalities, self.name)
        if names == self.modalities:
            return self
        return replace(
            self,
            train=self.train.only(names),
            val=self.val.only(names),
            test=self.test.only(names),
            encoders={name: self.encoders[name] for name in names if name in self.encoders},
            augment={name: self.augment[name] for name in names if name in self.augment},
            learned={name: self.learned[name] for name in names if name in self.learned},
        )


def stratified(
    targets: ArrayLike, fraction: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sorted lists of rows: round(fraction · n_c) of each class c, and the others.

    Classes in ascending order, each permuted by one ``numpy.random.default_rng(seed)``.
    """
    labels = np.asarray(targets)
    rng = np.random.default_rng(seed)
    first = [np.zeros(0, dtype=np.int64)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        first.append(rows[: round(fraction * len(rows))])
    chosen = np.sort(np.concatenate(first))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def kept_for_training(targets: ArrayLike, validation: float, seed: int = 0) -> NDArray[np.int64]:
    """The rows of train that remain when a stratified fraction of it becomes validation.

    Raises:
        ConfigError: the fraction is outside [0, 1), or is not one sample of any class.
    """
    if not 0 <= validation < 1:
        raise ConfigError(
            f"The validation fraction must be at least 0 and below 1; here {validation}."
        )
    kept, held = stratified(targets, 1 - validation, seed)
    if validation and not len(held):
        raise ConfigError(
            f"A validation fraction of {validation} of {len(kept)} samples is none of any class; choose a larger one."
        )
    return kept


def hold_out(train: Dataset, rows: ArrayLike) -> tuple[Dataset, Dataset, tuple[int, ...]]:
    """Train without the given rows, the rows as validation, and the rows themselves."""
    val = np.unique(np.asarray(rows, dtype=np.int64))
    rest = np.setdiff1d(np.arange(len(train)), val)
    return (
        train.subset(torch.from_numpy(rest)),
        train.subset(torch.from_numpy(val)),
        tuple(val.tolist()),
    )


def carve_validation(
    train: Dataset, fraction: float = 0.1, seed: int = 0, groups: ArrayLike | None = None
) -> tuple[Dataset, Dataset, tuple[int, ...]]:
    """Validation out of train: a stratified fraction, or whole groups.

    Args:
        train: the published train part.
        fraction: of the samples, in [0, 1); 0 leaves validation empty.
        seed: of the choice.
        groups: [N], such as the person of each sample, by default those of the data: groups are then held out whole, in
            random order, until the fraction is reached, so that no group is on both sides.

    Returns:
        train, validation, and the rows of the published train part that are now validation.

    Raises:
        ConfigError: the fraction is outside [0, 1) or leaves nothing for validation.
        DataError: there is only one group.
    """
    groups = train.groups if groups is None else groups
    if groups is None:
        kept = kept_for_training(train.targets.numpy(), fraction, seed)
        return hold_out(train, np.setdiff1d(np.arange(len(train)), kept))
    return hold_out(train, _whole_groups(np.asarray(groups), fraction, seed))


def _whole_groups(groups: NDArray[np.generic], fraction: float, seed: int) -> NDArray[np.int64]:
    names, counts = np.unique(groups, return_counts=True)
    if fraction and len(names) < 2:
        raise DataError(
            "Validation by group needs at least two groups in train; here there is one."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    held = order[before < fraction * len(groups)][: len(names) - 1]
    return np.flatnonzero(np.isin(groups, names[held]))
