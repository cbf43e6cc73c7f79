"""Data sets of one's own as they are: of PyTorch, of Hugging Face, or anything that has a length and gives samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DataError, counted, nearest
from .dataset import Dataset, Sample, group_codes, known_modalities

__all__ = ["Wrapped"]

Transform = Callable[[Any], Any]


class Indexed(Protocol):
    """What is asked of a data set: how many samples, and any of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Wrapped(Dataset):
    """Samples of another data set, read when they are asked for.

    A sample is a mapping, such as ``{"image": ..., "text": ..., "label": 3}``, or a sequence, such as ``(image, sound, 3)``
    or ``({"image": ..., "sound": ...}, 3)``. A value is a tensor, an array, a list of numbers, an image of Pillow (which
    becomes [C, H, W] in 0 to 1), or the audio of Hugging Face (of which the waveform is taken); None is a missing modality.

    Args:
        data: what has a length and gives samples.
        modalities: their names: keys of a mapping, or names for the first values of a sequence.
        target: the key of the class in a mapping; in a sequence it is the last value.
        targets: [N] classes, where they are known without reading every sample, such as ``data["label"]``.
        classes: the names of the classes, in the order of their ids; by default all that there are, sorted.
        transforms: for a modality what makes of its value the tensor that the encoder sees.
        varying: modalities that are sequences of different lengths.
        groups: [N] what samples are of, such as the patient: names, or numbers.

    Raises:
        DataError: there is no such key, a label is no class, or a value is no array of numbers.
    """

    def __init__(
        self,
        data: Indexed,
        modalities: Sequence[str],
        *,
        target: str = "label",
        targets: Sequence[Any] | None = None,
        classes: Sequence[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        varying: Sequence[str] = (),
        groups: Sequence[Hashable] | None = None,
    ) -> None:
        self.data = data
        self.modalities = self.names = tuple(modalities)
        self.target = target
        self.transforms = dict(transforms or {})
        self.varying = tuple(varying)
        self.rows = torch.arange(len(data))
        if targets is None:
            said, self.present = self._looked_at()
        else:  # who lacks what is seen when a sample is read
            said, self.present = list(targets), {}
        if len(said) != len(data):
            raise DataError(
                f"The targets are {len(said)}, the samples {len(data)}; they must be as many."
            )
        self.classes, self.targets = _coded(said, classes)
        self.groups = group_codes(groups, len(self.targets))
        self.shapes = {name: self._shape(name) for name in self.modalities}

    def _looked_at(self) -> tuple[list[Any], dict[str, Tensor]]:
        """The class of every sample, and for each modality that some lack [N] booleans."""
        said, there = [], torch.zeros(len(self.names), len(self.data), dtype=torch.bool)
        for index in range(len(self.data)):
            values, label = self._parts(index)
            said.append(label)
            there[:, index] = torch.tensor([values.get(n) is not None for n in self.names])
        rows = zip(self.names, there, strict=True)
        return said, {name: mask for name, mask in rows if not bool(mask.all())}

    def _parts(self, index: int) -> tuple[Mapping[str, Any], Any]:
        """Inputs by name, and the class."""
        row = self.data[int(self.rows[index])]
        if isinstance(row, Mapping):
            for name in (*self.names, self.target):
                if name not in row:
                    lacked = " Of a modality that it lacks the value is None." * (
                        name in self.names
                    )
                    raise DataError(
                        f"Sample {index} has no {name!r}; {nearest(name, map(str, row))}{lacked}"
                    )
            return row, row[self.target]
        *values, label = row
        if len(values) == 1 and isinstance(values[0], Mapping):
            return values[0], label
        if len(values) < len(self.names):
            raise DataError(
                f"Sample {index} has {counted(len(values), 'value')} before its class, for the modalities "
                f"{', '.join(self.names)}."
            )
        return dict(zip(self.names, values, strict=False)), label

    def _value(self, name: str, value: Any, index: int) -> Tensor:
        try:
            made = _tensor(self.transforms[name](value) if name in self.transforms else value)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"Sample {index}: {name} is no array of numbers ({error}); say by transforms what makes one of it."
            ) from None
        if not bool(torch.isfinite(made).all()):
            raise DataError(f"Sample {index}: {name} has a value that is not finite.")
        return made

    def _shape(self, name: str) -> tuple[int, ...]:
        for index in range(len(self)):
            value = self._parts(index)[0].get(name)
            if value is not None:
                shape = tuple(self._value(name, value, index).shape)
                return (-1, *shape[1:]) if name in self.varying else shape
        raise ConfigError(f"No sample has the modality {name!r}.")

    def sample(self, index: int, epoch: int = 0) -> Sample:
        if not 0 <= index < len(self):  # so that iterating ends
            raise IndexError(index)
        values = self._parts(index)[0]
        here = {n: v for n in self.modalities if (v := values.get(n)) is not None}
        inputs = {name: self._value(name, value, index) for name, value in here.items()}
        return Sample(inputs, int(self.targets[index]), index)

    def subset(self, rows: Sequence[int] | Tensor) -> Wrapped:
        keep = torch.as_tensor(rows, dtype=torch.long)
        return self._like(self.modalities, keep)

    def only(self, modalities: Sequence[str]) -> Wrapped:
        names = known_modalities(modalities, self.modalities, "The data")
        return self._like(names, torch.arange(len(self)))

    def _like(self, modalities: tuple[str, ...], keep: Tensor) -> Wrapped:
        made = object.__new__(Wrapped)
        made.__dict__.update(self.__dict__)
        made.modalities, made.rows, made.targets = modalities, self.rows[keep], self.targets[keep]
        made.shapes = {name: self.shapes[name] for name in modalities}
        made.groups = None if self.groups is None else self.groups[keep]
        made.present = {n: mask[keep] for n, mask in self.present.items() if n in modalities}
        return made

    def fingerprint(self) -> str:
        """SHA-256 of which samples there are, of their classes and shapes, not of their values."""
        known = (self.modalities, self.classes, dict(self.shapes))
        digest = hashlib.sha256(repr(known).encode())
        digest.update(self.rows.numpy().tobytes())
        digest.update(self.targets.numpy().tobytes())
        return digest.hexdigest()


def _coded(said: Sequence[Any], classes: Sequence[str] | None) -> tuple[tuple[str, ...], Tensor]:
    """The classes and the ids; integers are ids if the classes are named, words are names."""
    labels = [value.item() if isinstance(value, np.generic | Tensor) else value for value in said]
    for index, label in enumerate(labels):
        whole = isinstance(label, int | float) and float(label).is_integer()
        if not isinstance(label, str) and not whole:
            raise DataError(
                f"Sample {index} has the class {label!r}: a class is a whole number or a name."
            )
        if isinstance(label, str) != isinstance(labels[0], str):
            raise DataError(
                f"Sample {index} has the class {label!r}, sample 0 {labels[0]!r}: all must be numbers, or all names."
            )
    if classes is None:
        found = sorted(set(labels))
        place = {label: i for i, label in enumerate(found)}
        return tuple(map(str, found)), torch.tensor([place[label] for label in labels])
    names = {name: i for i, name in enumerate(classes)}
    ids = [names.get(label, -1) if isinstance(label, str) else int(label) for label in labels]
    for index, (label, number) in enumerate(zip(labels, ids, strict=True)):
        if not 0 <= number < len(names):
            raise DataError(
                f"Sample {index} has the class {label!r}; known are {', '.join(classes)}."
            )
    return tuple(classes), torch.tensor(ids, dtype=torch.long)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping) and "array" in value:
        value = value["array"]
    picture = type(value).__module__.startswith("PIL.")
    if picture and value.mode in ("1", "P"):  # bits, or places in a palette
        value = value.convert("L" if value.mode == "1" else "RGB")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"it is of type {type(value).__name__}")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    made = torch.from_numpy(np.array(array))
    if not picture:
        return made
    most = {"u1": 255, "f4": 1}.get(array.dtype.str[1:], 65535)
    return (made[None] if made.ndim == 2 else made.permute(2, 0, 1)).float() / most
