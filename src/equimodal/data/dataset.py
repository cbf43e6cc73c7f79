"""What a data set is: samples by position, some of which may lack a modality."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..core.batch import Batch, Input, Padded
from ..errors import ConfigError, DataError, counted, nearest
from .draws import numpy_generator

__all__ = [
    "UNKNOWN",
    "Arrays",
    "Dataset",
    "Sample",
    "Transform",
    "collate",
    "fits",
    "group_codes",
    "known_modalities",
    "known_target",
    "stack",
]

Transform = Callable[[Tensor, np.random.Generator], Tensor]
UNKNOWN = -1
"""Stands in place of the class id of a sample that is only to be predicted."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        inputs: for each modality that the sample has, one tensor; a modality that it lacks is not named.
        target: class id, or `UNKNOWN`.
        index: stable position in its data set.
    """

    inputs: Mapping[str, Tensor]
    target: int
    index: int


class Dataset(torch.utils.data.Dataset[Sample], ABC):
    """Samples of several modalities with one class each, by position.

    Attributes:
        modalities: their names, in order.
        classes: the names of the classes; a target is a position in them.
        targets: [N] class ids; `UNKNOWN` only in samples that are to be predicted, whose batches have no target.
        shapes: for each modality the shape of one sample; -1 in the first place marks sequences of different lengths.
        present: for each modality that some sample lacks, [N] booleans.
        time_first: the modalities that are spectrograms [C, T, F], where others are [C, F, T].
        groups: [N] codes of what samples are of, such as the patient, where several may be of one; None where each stands by
            itself. Intervals over samples are then over groups.
    """

    time_first: tuple[str, ...] = ()
    groups: Tensor | None = None
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    targets: Tensor
    shapes: Mapping[str, tuple[int, ...]]
    present: Mapping[str, Tensor]

    @abstractmethod
    def sample(self, index: int, epoch: int = 0) -> Sample:
        """The sample at a position, as it is seen in the given epoch (which matters only to augmentation)."""

    @abstractmethod
    def subset(self, rows: Sequence[int] | Tensor) -> Dataset:
        """The samples at the given positions as a data set of its own, whose positions count from 0."""

    @abstractmethod
    def only(self, modalities: Sequence[str]) -> Dataset:
        """The same samples with some of the modalities, in the given order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of everything that the data set holds."""

    def seen(self, augment: bool) -> Dataset:
        """The same samples as training sees them, or as validation and test do; itself where there is no difference."""
        return self

    def fetch(self, indices: Sequence[int] | Tensor, epoch: int = 0) -> Batch:
        """The samples at the given positions as a batch."""
        return collate([self.sample(int(i), epoch) for i in indices], self.shapes)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def __len__(self) -> int:
        return len(self.targets)

    def text(self, name: str, index: int) -> str | None:
        """What a sample says in a modality of text, as it was written; None in every other modality."""
        return None

    def name(self, index: int) -> str:
        """What its owner calls the sample at a position: an id, a row of a table, a clip; "" where it has no name."""
        return ""

    @property
    def class_counts(self) -> dict[str, int]:
        """For each class the number of samples."""
        counts = torch.bincount(self.targets, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @property
    def missing(self) -> dict[str, float]:
        """For each modality the fraction of samples that lack it."""
        rates = {name: float((~mask).double().mean()) for name, mask in self.present.items()}
        return {name: rates.get(name, 0.0) for name in self.modalities}


def known_modalities(names: Sequence[str], known: Sequence[str], of: str) -> tuple[str, ...]:
    """The names, checked against those that there are.

    Raises:
        ConfigError: there are none, one is unknown, or one is named twice.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"{of} has no modality {name!r}; {nearest(name, known)}")
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"Modalities must be one or more different names of {', '.join(known)}; here {', '.join(names) or 'none'}."
        )
    return tuple(names)


class Arrays(Dataset):
    """A data set in memory.

    Args:
        inputs: for each modality an array [N, ...].
        targets: [N] class ids.
        classes: the names of the classes.
        present: for each modality that some sample lacks, [N] booleans; what the array holds in such a row is ignored.
        transforms: for a modality, how the stored value of one sample becomes what the encoder sees; receives the value
            and a generator that is a function of (seed, modality, epoch, index).
        seed: of the transforms.
        time_first: the modalities that are spectrograms [C, T, F].
        groups: [N] what samples are of, such as the patient: names, or numbers.

    Raises:
        DataError: lengths differ, a value is not finite, a label is outside the classes.
    """

    def __init__(
        self,
        inputs: Mapping[str, ArrayLike | Tensor],
        targets: ArrayLike | Tensor,
        classes: Sequence[str],
        *,
        present: Mapping[str, ArrayLike | Tensor] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        seed: int = 0,
        time_first: Sequence[str] = (),
        groups: Sequence[Hashable] | NDArray[Any] | Tensor | None = None,
    ) -> None:
        self.time_first = tuple(name for name in time_first if name in inputs)
        self.inputs = {name: _tensor(values, name) for name, values in inputs.items()}
        self.targets = _class_ids(targets)
        self.groups = group_codes(groups, len(self.targets))
        self.modalities = tuple(self.inputs)
        self.classes = tuple(classes)
        masks = {n: torch.as_tensor(m, dtype=torch.bool) for n, m in (present or {}).items()}
        self._check(masks)
        self.present = {name: mask for name, mask in masks.items() if not bool(mask.all())}
        for name, mask in self.present.items():
            self.inputs[name] = _blank(self.inputs[name], ~mask)
        self._check_values()
        self.transforms = {n: t for n, t in (transforms or {}).items() if n in self.inputs}
        self.seed = seed
        self.shapes = {name: self._shape(name) for name in self.modalities}

    def _check(self, masks: Mapping[str, Tensor]) -> None:
        known_modalities(tuple(masks) or self.modalities, self.modalities, "The data")
        parts = self.inputs.items() | {f"present[{n!r}]": m for n, m in masks.items()}.items()
        for name, values in parts:
            if len(values) != len(self.targets):
                raise DataError(
                    f"{name} has {counted(len(values), 'row')} and the targets have {len(self.targets)}; they must be as many."
                )
        bad = ((self.targets < 0) | (self.targets >= len(self.classes))).nonzero()
        if len(bad):
            row = int(bad[0])
            raise DataError(
                f"The label of row {row} is {int(self.targets[row])}; "
                f"with {len(self.classes)} classes it must be 0 to {len(self.classes) - 1}."
            )

    def _check_values(self) -> None:
        for name, values in self.inputs.items():
            finite = torch.isfinite(values)
            if bool(finite.all()):
                continue
            row = int((~finite.reshape(len(values), -1).all(1)).nonzero()[0])
            raise DataError(
                f"Modality {name!r} has a value that is not finite (NaN or infinite) in row {row}; "
                "put it right, or mark the modality as missing there."
            )

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.transforms or not len(self):
            return tuple(self.inputs[name].shape[1:])
        return tuple(self._value(name, 0, 0).shape)

    def _value(self, name: str, index: int, epoch: int) -> Tensor:
        stored = self.inputs[name][index]
        if name not in self.transforms:
            return stored
        key = (self.seed, "transform", name, epoch, index)
        return self.transforms[name](stored, numpy_generator(*key))

    def sample(self, index: int, epoch: int = 0) -> Sample:
        if not 0 <= index < len(self):  # so that iterating ends
            raise IndexError(index)
        here = [n for n in self.modalities if n not in self.present or self.present[n][index]]
        inputs = {name: self._value(name, index, epoch) for name in here}
        return Sample(inputs, int(self.targets[index]), index)

    def fetch(self, indices: Sequence[int] | Tensor, epoch: int = 0) -> Batch:
        rows = torch.as_tensor(indices, dtype=torch.long)
        inputs = {name: self._values(name, rows, epoch) for name in self.modalities}
        present = {name: mask[rows] for name, mask in self.present.items()}
        return Batch(inputs, self.targets[rows], rows, present)

    def _values(self, name: str, rows: Tensor, epoch: int) -> Tensor:
        if name not in self.transforms:
            return self.inputs[name][rows]
        if not len(rows):
            return torch.zeros((0, *self.shapes[name]))
        values = torch.stack([self._value(name, int(row), epoch) for row in rows])
        return _blank(values, ~self.present[name][rows]) if name in self.present else values

    def subset(self, rows: Sequence[int] | Tensor) -> Arrays:
        keep = torch.as_tensor(rows, dtype=torch.long)
        return Arrays(
            {name: values[keep] for name, values in self.inputs.items()},
            self.targets[keep],
            self.classes,
            present={name: mask[keep] for name, mask in self.present.items()},
            transforms=self.transforms,
            seed=self.seed,
            time_first=self.time_first,
            groups=None if self.groups is None else self.groups[keep],
        )

    def only(self, modalities: Sequence[str]) -> Arrays:
        names = known_modalities(modalities, self.modalities, "The data")
        return Arrays(
            {name: self.inputs[name] for name in names},
            self.targets,
            self.classes,
            present={name: mask for name, mask in self.present.items() if name in names},
            transforms=self.transforms,
            seed=self.seed,
            time_first=self.time_first,
            groups=self.groups,
        )

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.modalities, self.classes, self.seed)).encode())
        parts = [self.targets, *self.inputs.values(), *self.present.values()]
        for values in parts:
            digest.update(repr((values.dtype, tuple(values.shape))).encode())
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()


def group_codes(
    groups: Sequence[Hashable] | NDArray[Any] | Tensor | None, samples: int
) -> Tensor | None:
    """[N] a number for each group: whole numbers stay what they are, of names it is their order; None where there are none.

    Raises:
        DataError: they are not as many as the samples.
    """
    if groups is None:
        return None
    if len(groups) != samples:
        raise DataError(
            f"groups has {counted(len(groups), 'row')} and the targets have {samples}; they must be as many."
        )
    if isinstance(groups, Tensor | np.ndarray) and groups.ndim != 1:
        raise DataError(
            f"groups has one entry for each sample, [N]; here its shape is {list(groups.shape)}."
        )
    names = groups.tolist() if isinstance(groups, Tensor | np.ndarray) else list(groups)
    if all(isinstance(name, int) and abs(name) < 2**63 for name in names):
        return torch.tensor(names, dtype=torch.long)
    # Who has no group stands by himself, as in a manifest; NaN is not equal to itself.
    names = [object() if name is None or name != name else name for name in names]
    code: dict[Hashable, int] = {}
    return torch.tensor([code.setdefault(name, len(code)) for name in names], dtype=torch.long)


def _as_tensor(values: ArrayLike | Tensor) -> Tensor:
    """Also of a table of pandas, which PyTorch does not know; a copy, since such tables are not to be written into."""
    known = isinstance(values, Tensor | np.ndarray | list | tuple)
    return torch.as_tensor(values if known else np.array(values))


def _tensor(values: ArrayLike | Tensor, name: str) -> Tensor:
    if isinstance(values, list | tuple) and any(one is None for one in values):
        row = next(i for i, one in enumerate(values) if one is None)
        raise DataError(
            f"Modality {name!r} is None in row {row}; give such rows zeros, and say by present= which rows have it."
        )
    try:
        return _as_tensor(values)
    except (TypeError, ValueError) as error:  # texts, or rows of different lengths
        raise DataError(
            f"Modality {name!r} must be an array of numbers, [N, ...]: {str(error).splitlines()[0]}"
        ) from None


def _class_ids(targets: ArrayLike | Tensor) -> Tensor:
    try:
        given = _as_tensor(targets)
    except (TypeError, ValueError):
        raise DataError(
            "The targets must be class ids, whole numbers from 0 on; of names give their positions in the classes, as "
            "[classes.index(name) for name in names]."
        ) from None
    ids = given.long()
    if len(wrong := (ids != given).nonzero()):
        row = int(wrong[0, 0])
        raise DataError(
            f"The label of row {row} is {given[row].item()}; class ids are whole numbers."
        )
    return ids


def _blank(values: Tensor, rows: Tensor) -> Tensor:
    """A copy with zeros in the marked rows."""
    return values.clone().index_fill_(0, rows.nonzero().squeeze(1), 0)


def collate(samples: Sequence[Sample], shapes: Mapping[str, tuple[int, ...]]) -> Batch:
    """A batch of samples; who has which modality is found out here, on the CPU.

    Args:
        samples: B samples.
        shapes: for each modality of the batch the shape of one sample, for the zeros in place of a missing one; -1 in
            the first place: sequences of different lengths, padded at the end with zeros to the longest.

    Raises:
        DataError: an input has another shape than its modality.
    """
    present = {n: torch.tensor([n in s.inputs for s in samples], dtype=torch.bool) for n in shapes}
    return Batch(
        {name: _stack(name, samples, shape) for name, shape in shapes.items()},
        known_target(torch.tensor([s.target for s in samples], dtype=torch.long)),
        torch.tensor([s.index for s in samples], dtype=torch.long),
        present,
    )


def known_target(ids: Tensor) -> Tensor | None:
    """The class ids [B] of a batch; None if one is unknown, since nothing can then be learned or measured from them."""
    return None if bool((ids == UNKNOWN).any()) else ids


def _stack(name: str, samples: Sequence[Sample], shape: tuple[int, ...]) -> Input:
    values = {i: s.inputs[name] for i, s in enumerate(samples) if name in s.inputs}
    for i, value in values.items():
        if not fits(value, shape):
            raise DataError(
                f"Modality {name!r} of sample {samples[i].index} has shape {tuple(value.shape)}; it must be {shape}."
            )
    return stack(values, len(samples), shape)


def fits(value: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a sample has the shape; -1 in the first place stands for any length."""
    varies = bool(shape) and shape[0] == -1
    return len(value.shape) == len(shape) and tuple(value.shape)[varies:] == shape[varies:]


def stack(values: Mapping[int, Tensor], count: int, shape: tuple[int, ...]) -> Input:
    """Samples of one modality, by their positions in a batch of `count`; zeros in the other positions."""
    # Of all of them: whole numbers may stand first, and fractions after them.
    dtypes = [value.dtype for value in values.values()] or [torch.get_default_dtype()]
    dtype = functools.reduce(torch.promote_types, dtypes)
    if not shape or shape[0] != -1:
        out = torch.zeros((count, *shape), dtype=dtype)
        for i, value in values.items():
            out[i] = value
        return out
    # A missing sequence has length 1, so that no encoder meets an empty one.
    lengths = torch.tensor([len(values[i]) if i in values else 1 for i in range(count)])
    longest = int(lengths.max()) if count else 1
    out = torch.zeros((count, longest, *shape[1:]), dtype=dtype)
    for i, value in values.items():
        out[i, : len(value)] = value
    return Padded(out, lengths)
