"""What goes into a training step: inputs of several modalities, targets, and who is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import DataError

__all__ = ["Batch", "Input", "Padded"]


@dataclass(frozen=True)
class Padded:
    """Sequences of different lengths, padded at the end.

    Attributes:
        values: [B, T, ...], of floating type, or token ids of integer type.
        lengths: [B], integers between 1 and T.
    """

    values: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, rows: Tensor) -> Padded:
        return Padded(self.values[rows], self.lengths[rows])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Padded:
        return Padded(
            self.values.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
        )


Input = Tensor | Padded


@dataclass(frozen=True)
class Batch:
    """B samples of one or more modalities.

    Attributes:
        inputs: for each modality a tensor [B, ...] or `Padded`; rows of a missing modality hold any finite placeholder.
        target: [B] class ids, or None in prediction.
        index: [B] stable positions of the samples in their data set, or None where there are none.
        present: for each modality [B] booleans; a modality that is not named is present in every sample.
        rows: for each modality in `present` the positions of its present rows. Computed here once, on the CPU, so that
            no later step has to ask the device how many there are; leave it out.

    Raises:
        DataError: there is no modality, something is no tensor, or modalities, target and index do not have the same
            number of samples.
    """

    inputs: Mapping[str, Input]
    target: Tensor | None = None
    index: Tensor | None = None
    present: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.rows is not None:  # moved or changed from a batch that was checked already
            return
        self._check()
        present = {name: mask.bool() for name, mask in self.present.items() if not bool(mask.all())}
        object.__setattr__(self, "present", present)
        object.__setattr__(
            self, "rows", {name: mask.nonzero().squeeze(1) for name, mask in present.items()}
        )

    def _check(self) -> None:
        if not isinstance(self.inputs, Mapping):
            raise DataError(
                "A batch names its inputs, as in Batch({'image': images, 'sound': sounds}, target); "
                f"here they are a {type(self.inputs).__name__}."
            )
        if not self.inputs:
            raise DataError("A batch needs the input of at least one modality; it has none.")
        inputs = {f"input {name!r}": value for name, value in self.inputs.items()}
        flat = {f"present[{name!r}]": mask for name, mask in self.present.items()}
        target = {} if self.target is None else {"target": self.target}
        if self.index is not None:
            flat["index"] = self.index
        parts = {**inputs, **flat, **target}
        for name, value in parts.items():
            _refuse_other_kind(value, name)
        sizes = {name: _size(value) for name, value in parts.items()}
        first, *others = sizes.values()
        if any(size != first for size in others):
            raise DataError(
                f"A batch needs the same number of samples everywhere; here it has {sizes}."
            )
        for name, value in flat.items():
            if value.ndim != 1 or (name == "index" and value.dtype != torch.long):
                raise DataError(
                    f"A batch's {name} has one entry for each sample, [B], and an index is of type int64; here it is "
                    f"{value.dtype} of shape {list(value.shape)}."
                )
        for name, sequences in inputs.items():
            if isinstance(sequences, Padded):
                _refuse_other_lengths(sequences, name)
        if unknown := sorted(set(self.present) - set(self.inputs)):
            raise DataError(
                f"A batch says who is present for {unknown}, which are not among its inputs {sorted(self.inputs)}."
            )

    def __len__(self) -> int:
        return _size(next(iter(self.inputs.values())))

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.inputs)

    @property
    def device(self) -> torch.device:
        first = next(iter(self.inputs.values()))
        return first.values.device if isinstance(first, Padded) else first.device

    def mask(self, modality: str) -> Tensor:
        """[B] booleans: which samples have this modality."""
        if modality in self.present:
            return self.present[modality]
        there = modality in self.inputs
        return torch.full((len(self),), there, dtype=torch.bool, device=self.device)

    def count(self, modality: str) -> int:
        """How many samples have this modality; known without asking the device."""
        if self.rows is not None and modality in self.rows:
            return len(self.rows[modality])
        return _size(self.inputs[modality]) if modality in self.inputs else 0

    def complete(self, modalities: Iterable[str]) -> bool:
        """Whether every sample has all of these modalities; known without asking the device."""
        # A mask that holds everywhere is not kept.
        return all(m in self.inputs and m not in self.present for m in modalities)

    def with_inputs(self, inputs: Mapping[str, Input]) -> Batch:
        """The same samples with other inputs."""
        return replace(self, inputs=dict(inputs))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device; nothing is computed there."""

        def moved(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {
                name: value.to(device, non_blocking=non_blocking) for name, value in values.items()
            }

        return Batch(
            {
                name: value.to(device, non_blocking=non_blocking)
                for name, value in self.inputs.items()
            },
            None if self.target is None else self.target.to(device, non_blocking=non_blocking),
            None if self.index is None else self.index.to(device, non_blocking=non_blocking),
            moved(self.present),
            moved(self.rows or {}),
        )

    def select(self, keep: Sequence[int] | slice) -> Batch:
        """The samples at the given positions, as a batch of its own."""
        positions = range(len(self))[keep] if isinstance(keep, slice) else keep
        rows = torch.tensor(positions, dtype=torch.long)
        rows = rows.to(self.device)
        return Batch(
            {name: value[rows] for name, value in self.inputs.items()},
            None if self.target is None else self.target[rows],
            None if self.index is None else self.index[rows],
            {name: mask[rows] for name, mask in self.present.items()},
        )

    def pin_memory(self) -> Batch:
        """For `torch.utils.data.DataLoader(pin_memory=True)`."""

        def pinned(value: Input) -> Input:
            if isinstance(value, Padded):
                return Padded(value.values.pin_memory(), value.lengths.pin_memory())
            return value.pin_memory()

        def each(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.pin_memory() for name, value in values.items()}

        return replace(
            self,
            inputs={name: pinned(value) for name, value in self.inputs.items()},
            present=each(self.present),
            rows=each(self.rows or {}),
            target=None if self.target is None else self.target.pin_memory(),
            index=None if self.index is None else self.index.pin_memory(),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[Batch]) -> Batch:
        """One batch of all samples, in order; sequences are padded to the longest."""
        if len(batches) == 1:
            return batches[0]
        named = dict.fromkeys(name for batch in batches for name in batch.inputs)
        masked = [name for name in named if not all(b.complete([name]) for b in batches)]
        present = {name: torch.cat([b.mask(name) for b in batches]) for name in masked}
        offsets = [sum(len(b) for b in batches[:i]) for i in range(len(batches))]

        def rows(batch: Batch, name: str) -> Tensor:
            known, there = batch.rows or {}, len(batch) if name in batch.inputs else 0
            return known[name] if name in known else torch.arange(there, device=batch.device)

        def inputs(name: str) -> list[Input]:
            known = next(b.inputs[name] for b in batches if name in b.inputs)
            return [
                b.inputs[name] if name in b.inputs else _placeholder(known, len(b)) for b in batches
            ]

        return cls(
            {name: _concatenate(inputs(name)) for name in named},
            _maybe([b.target for b in batches]),
            _maybe([b.index for b in batches]),
            present,
            {
                name: torch.cat(
                    [rows(b, name) + start for b, start in zip(batches, offsets, strict=True)]
                )
                for name in masked
            },
        )


def class_ids(target: Tensor | None, who: str) -> Tensor:
    """[B]: targets that are class ids.

    Args:
        target: of a batch.
        who: needs them, for the sentence of a refusal.

    Raises:
        DataError: they are not.
    """
    if target is None:
        raise DataError(f"{who} needs a target for every sample: give Batch(inputs, target).")
    if target.dtype != torch.long or target.ndim != 1:
        raise DataError(
            f"{who} needs targets that are class ids [B] of type int64; here {target.dtype} of shape {list(target.shape)}: "
            "of other whole numbers give target.long()."
        )
    return target


def _size(value: Input) -> int:
    """How many samples. `len` of a tensor is slow, and ties an exported model to one size of a batch."""
    return (value.values if isinstance(value, Padded) else value).shape[0]


def _refuse_other_kind(value: object, name: str) -> None:
    values = value.values if isinstance(value, Padded) else value
    if isinstance(values, Tensor) and values.ndim:
        return
    what = "a tensor without axes" if isinstance(values, Tensor) else f"a {type(values).__name__}"
    right = "torch.as_tensor makes one of an array or a list."
    if isinstance(values, Mapping):
        right = "of token ids and their mask make Padded(ids, mask.sum(1))."
    raise DataError(f"A batch is made of tensors [B, ...]; its {name} is {what}: {right}")


def _refuse_other_lengths(sequences: Padded, name: str) -> None:
    values, lengths = sequences.values, sequences.lengths
    steps = values.shape[1] if values.ndim > 1 else 0
    fit = lengths.shape == values.shape[:1] and not lengths.is_floating_point()
    if fit and (
        not len(lengths) or lengths.device.type != "cpu"
    ):  # another device would have to be waited for
        return
    if not fit or not 1 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise DataError(
            f"The lengths of {name} must be {values.shape[0]} whole numbers from 1 to {steps}, its number of steps; an "
            "empty sequence is a missing one (present)."
        )


def _maybe(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if len(there) == len(parts) else None


def _placeholder(like: Input, count: int) -> Input:
    """What so many samples hold that lack a modality, in the form of one that has it."""
    if isinstance(like, Padded):
        values, lengths = like.values, like.lengths
        return Padded(values.new_zeros(count, 1, *values.shape[2:]), lengths.new_full((count,), 1))
    return like.new_zeros(count, *like.shape[1:])


def _concatenate(parts: Sequence[Input]) -> Input:
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if len(tensors) == len(parts):
        return torch.cat(tensors)
    padded = [part for part in parts if isinstance(part, Padded)]
    longest = max(part.values.shape[1] for part in padded)
    wide = [
        torch.nn.functional.pad(
            p.values, [0, 0] * (p.values.ndim - 2) + [0, longest - p.values.shape[1]]
        )
        for p in padded
    ]
    return Padded(torch.cat(wide), torch.cat([part.lengths for part in padded]))
