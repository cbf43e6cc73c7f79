"""The driver: a model and the method that balances it. The only place that calls autograd."""

from __future__ import annotations

import contextlib
import functools
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import distributed
from ..errors import ConfigError
from .batch import Batch
from .evaluation import evaluating
from .gradients import TOTAL, Gradients
from .method import Method
from .modules import require_initialised
from .output import Losses, Output
from .step import DataInfo, Epoch, Phase, Step, Verdicts
from .task import Classification, Task

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["Balanced"]


class Balanced(nn.Module):
    """A model and the method that balances it: all that a training loop needs.

    ::

        learner = Balanced(model, IBML(), samples=len(train_set), epochs=20)
        optimizer = SGD(learner.parameters(), lr=0.01, momentum=0.9)
        for epoch in range(20):
            learner.begin_epoch(epoch, train, val, optimizer)
            for i, batch in enumerate(train):
                for step in learner.steps(batch, epoch, i, len(train)):
                    output = learner(step)
                    losses = learner.losses(output, step)
                    learner.backward(losses, output, step)
                    optimizer.step(); optimizer.zero_grad()

    Args:
        model: encoders and a head.
        method: `Method()` is joint training.
        samples: N, for methods that keep a record per sample.
        epochs: for methods and windows that depend on the run's length.
        seed: of everything random inside a step.
        task: what is learned; single-label classification by default.

    Raises:
        ConfigError: the method cannot balance this model, or lacks `samples` or `epochs`; or something is of another kind.
    """

    begun: Tensor

    def __init__(
        self,
        model: Multimodal,
        method: Method | None = None,
        *,
        samples: int | None = None,
        epochs: int | None = None,
        seed: int = 0,
        task: Task | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.method = Method() if method is None else method
        self.task = Classification() if task is None else task
        classes = self._checked_classes()
        self.seed = seed
        # A buffer, so that a run that is resumed in the middle of an epoch does not begin it twice.
        self.register_buffer("begun", torch.tensor(-1))
        # A method's own parameters leave the host's draws alone, also those on the model's device.
        with torch.random.fork_rng({p.device for p in model.parameters() if p.is_cuda}):
            torch.manual_seed(seed)
            self.method.prepare(model, DataInfo(classes, self.task, samples, epochs))
        self.method.to(next((p.device for p in model.parameters()), None))
        self._watched = self._overrides("gradients", "observe")
        self._begins = self._overrides("begin_epoch")
        self._rate_asked = not self._overrides("rate")
        self._last_begun = 0  # here, where `begun` is also that of a run that is resumed
        self._trainable: dict[str, Tensor] = {}
        self._names: dict[Tensor, str] = {}
        self._members: dict[nn.Module, list[str]] = {}
        self._parts = _Parts()

    # The host calls these, in this order.

    def begin_epoch(
        self,
        index: int,
        train: Iterable[Batch] | None = None,
        val: Iterable[Batch] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Start an epoch; does nothing for one that has begun already, so it may be called freely.

        Several processes start the first one from the weights of the first process, however each of them made its model.

        Raises:
            ConfigError: the optimiser lacks a parameter of the method (build it from ``learner.parameters()``).
        """
        if optimizer is not None:
            self._refuse_forgotten_parameters(optimizer)
        begun = int(self.begun)
        if begun < 0:
            distributed.start_alike(self.state_dict().values())
        if index > begun:
            self.method.begin_epoch(
                Epoch(index, self.model, self.task, train, val, optimizer, seed=self.seed)
            )
            self.begun.fill_(index)
            self._remember_trainable()
        self._last_begun = index

    def rate(self, epoch: int) -> float:
        """The method's multiplier of the learning rate, for `torch.optim.lr_scheduler.LambdaLR`."""
        self._rate_asked = True
        return self.method.rate(1.0, epoch)

    def steps(
        self, batch: Batch | Sequence[Batch], epoch: int, number: int = 0, of: int = 1
    ) -> list[Step]:
        """The steps that a batch receives: one per phase, and within a phase one per micro-batch.

        Args:
            batch: a batch, or micro-batches whose gradients are accumulated.
            epoch: 0-based.
            number: of the batch in its epoch, 0-based.
            of: batches in the epoch.

        Raises:
            ConfigError: it is something else.
        """
        micro_batches = _micro_batches(batch)
        counts = _counts(micro_batches)
        everyone = Phase(train=tuple(self.model.modalities))
        notes: dict[str, Tensor] = {}
        memo: dict[str, tuple[object, Verdicts]] = {}
        found = []
        for phase in self.method.phases([everyone], epoch):
            for i, part in enumerate(micro_batches):
                last = i == len(micro_batches) - 1
                step = Step(
                    part, phase, self.model, self.task, epoch, number, number / of, last,
                    counts, self.seed, 0, i, notes, memo,
                )  # fmt: skip
                found.append(step.but(batch=self.method.inputs(part, step)))
        return found

    def forward(self, step: Step) -> Output:
        """Model, then the method's `outputs`.

        Raises:
            ConfigError: it is given something else than one of `steps`.
        """
        if not isinstance(step, Step):
            raise ConfigError(
                f"A learner is given the steps of a batch, as in learner(step) for step in learner.steps(batch, epoch), here a "
                f"{type(step).__name__}: without training say learner.predict(batch)."
            )
        return self.method.outputs(self.model(step.batch, step.phase), step)

    def losses(self, output: Output, step: Step) -> Losses:
        """The task's loss, then the method's `losses`; their sum is minimised."""
        losses = self.method.losses(self.task.losses(output, step), output, step)
        if not isinstance(losses, Mapping):
            raise ConfigError(
                f"{self.method.expression()}: losses() must return the losses by name, and returned {losses!r}."
            )
        for name, value in losses.items():
            step.note(f"loss/{name}", value)
        return losses

    def backward(
        self,
        losses: Losses,
        output: Output,
        step: Step,
        backward: Callable[..., object] = Tensor.backward,
    ) -> None:
        """Autograd, average over processes, the method's `gradients` and `observe`, and the result in ``p.grad``.

        Args:
            backward: the host's own, such as ``fabric.backward``; called as ``backward(loss)``, or with
                ``retain_graph=True`` where the method needs one gradient per loss.

        Raises:
            ConfigError: the method needs to be told when an epoch begins, and was not.
        """
        if self._begins and step.epoch > self._last_begun:
            raise ConfigError(
                f"Epoch {step.epoch} has not begun, which {self.method.expression()} needs: say "
                f"learner.begin_epoch({step.epoch}, train, val, optimizer) before its first batch."
            )
        if not self._rate_asked:
            self._warn_of_lost_rate(step.epoch)
        if not self._trainable:
            self._remember_trainable()
        rows = self.method.wants_rows(step.epoch)
        asked = rows or self._watched or distributed.processes() > 1
        if step.micro == 0:  # a host may have given up the batch before in its middle
            self._parts = _Parts(self._set_aside() if asked else {})
        if rows:
            self._backward_rows(losses, backward)
        else:
            total = functools.reduce(operator.add, losses.values())
            if total.requires_grad:
                backward(total)
        if not asked:
            return  # p.grad holds them already
        self._parts.add(output, step.batch)
        if step.last:
            self._finish(step)

    @torch.no_grad()
    def predict(self, batch: Batch) -> Output:
        """What the trained model says, in evaluation mode, of clean inputs."""
        phase = Phase(train=tuple(self.model.modalities))
        step = Step(batch, phase, self.model, self.task, max(int(self.begun), 0), seed=self.seed)
        with evaluating(self):
            output: Output = self(step)
        return output

    # Inside.

    def _overrides(self, *hooks: str) -> bool:
        """Whether a part of the method does something in one of these hooks."""
        return any(
            getattr(type(leaf), hook) is not getattr(Method, hook)
            for leaf in self.method.leaves()
            for hook in hooks
        )

    def _checked_classes(self) -> int:
        """C; before anything fails further down."""
        if not isinstance(self.method, Method):
            raise ConfigError(f"The method is {self.method!r}; give an object, as methods.IBML().")
        for leaf in self.method.leaves():
            require_initialised(leaf)
        if not isinstance(self.task, Task):
            raise ConfigError(
                f"The task is a {type(self.task).__name__}; give a Task, such as a subclass of "
                "equimodal.core.Classification with a loss of its own."
            )
        try:
            classes = self.model.classes
        except AttributeError:
            raise ConfigError(
                f"The model is a {type(self.model).__name__}; give Multimodal(encoders, head), not wrapped in anything."
            ) from None
        self.task.check(classes)
        return classes

    def _warn_of_lost_rate(self, epoch: int) -> None:
        factor = self.method.rate(1.0, epoch)
        if factor == 1:
            return
        self._rate_asked = True  # said once
        warnings.warn(
            f"{self.method.expression()} multiplies the learning rate of epoch {epoch} by {factor:g}, and nobody asked for it: "
            "say LambdaLR(optimizer, learner.rate), or multiply your own schedule by learner.rate(epoch).",
            stacklevel=3,
        )

    def _backward_rows(self, losses: Losses, backward: Callable[..., object]) -> None:
        names = list(losses)
        for name in names:
            if losses[name].requires_grad:
                backward(losses[name], retain_graph=name != names[-1])
            row = self._parts.rows.setdefault(name, {})
            for parameter_name, parameter in self._trainable.items():
                if parameter.grad is not None:
                    held = row.get(parameter_name)
                    row[parameter_name] = parameter.grad if held is None else held + parameter.grad
                    parameter.grad = None

    def _finish(self, step: Step) -> None:
        parts, self._parts = self._parts, _Parts()
        output = Output.concatenate(parts.outputs)
        if len(parts.batches) > 1:
            step = step.but(batch=Batch.concatenate(parts.batches))
        rows = parts.rows or {TOTAL: self._named([p.grad for p in self._trainable.values()])}
        averaged = {name: self._averaged(row) for name, row in rows.items()}
        made = Gradients(averaged, self._names, self._members)
        with torch.no_grad(), _full_precision(step.batch.device):
            gradients = self.method.gradients(made, output, step)
            self.method.observe(output, gradients, step)
        if gradients is not made or parts.rows or distributed.processes() > 1:
            final = gradients.sum().rows[TOTAL]
            for name, parameter in self._trainable.items():
                parameter.grad = final.get(name)
        for name, before in parts.before.items():
            parameter = self._trainable[name]
            parameter.grad = before if parameter.grad is None else before + parameter.grad

    def _set_aside(self) -> dict[str, Tensor]:
        """What the host has left in p.grad of earlier batches: a method is asked about the gradient of its own batch."""
        before = {}
        for name, parameter in self._trainable.items():
            if parameter.grad is not None:
                before[name], parameter.grad = parameter.grad, None
        return before

    def _remember_trainable(self) -> None:
        self._trainable = {n: p for n, p in self.named_parameters() if p.requires_grad}
        self._names = {p: n for n, p in self._trainable.items()}
        self._members = {}

    def _named(self, grads: Sequence[Tensor | None]) -> dict[str, Tensor]:
        return {
            name: grad
            for name, grad in zip(self._trainable, grads, strict=True)
            if grad is not None
        }

    def _averaged(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if distributed.processes() == 1:
            return dict(row)
        here = [row.get(name) for name in self._trainable]
        return self._named(distributed.average_gradients(here, list(self._trainable.values())))

    def _refuse_forgotten_parameters(self, optimizer: torch.optim.Optimizer) -> None:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        forgotten = [
            name
            for name, p in self.method.named_parameters()
            if p.requires_grad and id(p) not in held
        ]
        if forgotten:
            raise ConfigError(
                f"The optimiser lacks the method's parameter {forgotten[0]!r}: "
                "build it from learner.parameters(), not from model.parameters()."
            )


def _full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A host may still be inside its autocast; products of gradients are not for bfloat16."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class _Parts:
    """What the micro-batches of a phase have left so far."""

    def __init__(self, before: Mapping[str, Tensor] | None = None) -> None:
        self.before = before or {}  # gradients of earlier batches, to be added to
        self.outputs: list[Output] = []
        self.batches: list[Batch] = []
        self.rows: dict[str, dict[str, Tensor]] = {}

    def add(self, output: Output, batch: Batch) -> None:
        self.outputs.append(output.detach())
        self.batches.append(batch)


def _micro_batches(batch: Batch | Sequence[Batch]) -> list[Batch]:
    if isinstance(batch, Batch):
        return [batch]
    found = list(batch) if isinstance(batch, Iterable) else [batch]
    for part in found:
        if not isinstance(part, Batch):
            raise ConfigError(
                f"steps() is given a Batch or a list of them, here a {type(batch).__name__} with a {type(part).__name__}: "
                "make one, as in Batch({'image': images, 'sound': sounds}, target)."
            )
    return found


def _counts(batches: Sequence[Batch]) -> dict[str, int]:
    counts = {"": sum(len(batch) for batch in batches)}
    for modality in dict.fromkeys(name for batch in batches for name in batch.modalities):
        counts[modality] = sum(batch.count(modality) for batch in batches)
    return counts
