"""Where training is: the run, the epoch, the phase, the step. What the hooks of a method are told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import distributed
from ..errors import ConfigError, DataError
from .batch import Batch

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal
    from .output import Output
    from .task import Task

__all__ = ["DataInfo", "Epoch", "Phase", "Step", "Verdicts"]


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the run before it starts.

    Attributes:
        classes: C.
        samples: N, the number of training samples; None if the stream has no end or no index.
        epochs: the length of the run; None if unknown.
        task: what is learned.
    """

    classes: int
    task: Task
    samples: int | None = None
    epochs: int | None = None

    def need_samples(self, who: str) -> int:
        """N, or a refusal that says how to give it."""
        if self.samples is None:
            raise ConfigError(f"{who} keeps a record per sample: say Balanced(..., samples=N).")
        return self.samples

    def need_epochs(self, who: str) -> int:
        """The length of the run, or a refusal that says how to give it."""
        if self.epochs is None:
            raise ConfigError(f"{who} depends on the run's length: say Balanced(..., epochs=N).")
        return self.epochs


@dataclass(frozen=True)
class Phase:
    """One of the optimiser updates that a batch receives.

    Attributes:
        train: the modalities whose encoders run with gradients.
        frozen: the modalities whose encoders run without.
        name: tells phases of one batch apart.
    """

    train: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    name: str = "joint"


@dataclass(frozen=True)
class Verdicts:
    """What the modalities' own predictions are worth, in the order of `Output.unimodal`.

    Attributes:
        confidence: [M, B] in [0, 1], in the truth.
        correct: [M, B] booleans.
    """

    confidence: Tensor
    correct: Tensor


@dataclass(frozen=True)
class Step:
    """Where training is: one batch (or micro-batch) in one phase.

    Attributes:
        batch: what the encoders see, after every method's `inputs`.
        phase: the update that it belongs to.
        model: the model that is trained.
        task: what is learned.
        epoch: 0-based.
        number: of the batch in its epoch, 0-based.
        progress: through the epoch, in [0, 1).
        last: whether this is the last micro-batch of the phase, after which gradients are final.
        counts: how many samples the phase's whole batch has here ("" ) and with each modality.
        seed, position, micro: what tells random draws apart.
        notes: what methods noted; read by `observe`, never by the training itself.
        memo: what was computed for one method and may be asked for by another.
    """

    batch: Batch
    phase: Phase
    model: Multimodal
    task: Task
    epoch: int = 0
    number: int = 0
    progress: float = 0.0
    last: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    position: int = 0
    micro: int = 0
    notes: dict[str, Tensor] = field(default_factory=dict)
    memo: dict[str, tuple[object, Verdicts]] = field(default_factory=dict)

    @property
    def target(self) -> Tensor:
        """[B] the targets, which training always has.

        Raises:
            DataError: the batch has none.
        """
        if self.batch.target is None:
            raise DataError("Training needs a target for every sample: give Batch(inputs, target).")
        return self.batch.target

    def mean(
        self, values: Tensor, modality: str | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The mean over the global batch, as this process's and this micro-batch's part of it.

        The parts of all micro-batches sum, and those of all processes average, to the mean over all samples.

        Args:
            values: [B], one per sample.
            modality: only over the samples that have this modality.
            mask: [B] booleans, only over these samples of the micro-batch, which then weighs by its size.

        Raises:
            ConfigError: there is not one value for each sample.
        """
        if values.ndim != 1:
            raise ConfigError(
                f"A mean over samples needs one value for each sample, [B]; here the shape is {list(values.shape)}: "
                "compute a loss with reduction='none'."
            )
        if modality is not None:
            complete = self.batch.complete([modality])
            mask = None if complete else self.batch.mask(modality)
            count: int | Tensor = self.counts.get(modality, self.batch.count(modality))
        elif mask is not None:
            count = mask.sum().to(values.dtype)
        else:
            count = self.counts.get("", len(self.batch))
        if mask is not None:
            values = torch.where(mask, values, values.new_zeros(()))
        total = values.sum() * self._share() if isinstance(count, Tensor) else values.sum()
        if distributed.processes() > 1:
            if not isinstance(count, Tensor):
                count = values.new_full((), count)  # a copy would make the device wait
            count = distributed.sum(count)
            total = total * distributed.processes()
        if isinstance(count, Tensor):
            return total / count.clamp(min=1)
        return total / max(count, 1)

    def loss(self, prediction: Tensor, modality: str | None = None) -> Tensor:
        """The task's loss of predictions [B, C], its `mean` over the global batch or over the samples with a modality."""
        size = len(self.batch)
        count = self.counts.get(modality or "", size)
        complete = modality is None or self.batch.complete([modality])
        if complete and count == size > 0 and distributed.processes() == 1:
            return self.task.mean_loss(prediction, self.target)
        return self.mean(self.task.loss(prediction, self.target), modality)

    def verdicts(self, output: Output) -> Verdicts:
        """What the modalities' own predictions are worth; computed once, however many methods ask. Without gradient."""
        known = self.memo.get("verdicts")
        if known is None or known[0] is not output:
            known = self.memo["verdicts"] = output, self._verdicts(output)
        return known[1]

    @torch.no_grad()
    def _verdicts(self, output: Output) -> Verdicts:
        # All modalities at once: a step has many small tensors, and each operation on one costs the same.
        count = len(output.unimodal)
        stacked, target = (
            torch.cat(list(output.unimodal.values())),
            torch.cat([self.target] * count),
        )
        confidence = self.task.confidence(stacked, target).view(count, -1)
        return Verdicts(confidence, self.task.correct(stacked, target).view(count, -1))

    def _share(self) -> float:
        return len(self.batch) / max(self.counts.get("", len(self.batch)), 1)

    def note(self, name: str, value: Tensor) -> None:
        """Write down a figure for diagnostics; never influences training."""
        self.notes[name] = value.detach()

    def generator(self, purpose: str, per_process: bool = False) -> torch.Generator:
        """Random numbers that depend only on the seed, the purpose and where training is: nothing to save."""
        process = distributed.rank() if per_process else -1
        where = (self.epoch, self.number, self.phase.name, self.micro, process)
        return _generator(self.batch.device, self.seed, purpose, self.position, *where)

    def at(self, offset: int) -> Step:
        """This step as seen by the method `offset` places further in the chain."""
        return self.but(position=self.position + offset) if offset else self

    def but(self, **changes: object) -> Step:
        """As `dataclasses.replace`, which takes longer than much of what is done in a step."""
        step = object.__new__(Step)
        step.__dict__.update(self.__dict__, **changes)
        return step


@dataclass(frozen=True)
class Epoch:
    """The start of an epoch.

    Attributes:
        index: 0-based.
        model: the model that is trained; a method may edit it only if `active`.
        train: an iterable of training batches, or None; reading it does not move the training position.
        val: likewise for validation.
        optimizer: may be cleared of its state, only if `active`.
        active: False outside a method's window.
    """

    index: int
    model: Multimodal
    task: Task
    train: Iterable[Batch] | None = None
    val: Iterable[Batch] | None = None
    optimizer: torch.optim.Optimizer | None = None
    active: bool = True
    seed: int = 0
    position: int = 0

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Random numbers that depend only on the seed, the purpose and the epoch."""
        return _generator(torch.device(device), self.seed, purpose, self.position, self.index)

    def at(self, offset: int) -> Epoch:
        """This epoch as seen by the method `offset` places further in the chain."""
        return replace(self, position=self.position + offset) if offset else self


def _generator(device: torch.device, *key: object) -> torch.Generator:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
