"""A small problem, and a run of a method in it: what the laws are tried on."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .. import methods
from ..core import Balanced, Batch, Method, Step
from ..core.expression import build
from ..models import Multimodal, heads
from .compare import clones, tensors
from .workers import split

__all__ = ["Host", "Make", "Training", "World", "eager_host", "head_of", "maker", "plain_host"]

Make = Callable[[], Method]


@dataclass(frozen=True)
class World:
    """A small classification problem, and a model for it whose encoders have two layers.

    Attributes:
        order: the modalities, each by its number; renaming or reordering them changes no value.
        prefix: what the modalities' names begin with.
        batches: per epoch.
        size: B; odd, so that two processes hold different numbers of samples.
        missing: whether samples lack modalities, and one batch all of the last one.
        dropout: of each encoder; 0 for none.
        norm: whether each encoder has a batch norm.
        dtype: of inputs and parameters.
    """

    order: tuple[int, ...] = (0, 1)
    prefix: str = "mod"
    batches: int = 3
    size: int = 7
    epochs: int = 2
    classes: int = 3
    missing: bool = True
    dropout: float = 0.3
    norm: bool = True
    dtype: torch.dtype = torch.float64

    WIDTH: ClassVar[int] = 5

    @classmethod
    def of(cls, modalities: int, **options: Any) -> World:
        """The problem of M modalities."""
        return cls(tuple(range(modalities)), **options)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{number}" for number in self.order)

    @property
    def samples(self) -> int:
        """N."""
        return self.batches * self.size

    def still(self) -> World:
        """The same problem without dropout and batch norm: the same values in training and evaluation."""
        return replace(self, dropout=0.0, norm=False)

    def turned(self) -> World:
        """The same problem with the modalities in another order, under other names."""
        return replace(self, order=(*self.order[1:], self.order[0]), prefix="way")

    def model(self, head: str) -> Multimodal:
        """A model whose head is the one that the expression names."""
        encoders = {f"{self.prefix}{number}": self._encoder(number) for number in self.order}
        widths = dict.fromkeys(self.names, self.WIDTH)
        given = (widths, self.classes)
        made: heads.Head = build(head, heads.BY_NAME, "head", heads.Head, given=given)
        return Multimodal(encoders, made).to(self.dtype)

    def _encoder(self, number: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(3 + number, 8),
            nn.BatchNorm1d(8) if self.norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(8, self.WIDTH),
        )

    def train_set(self) -> list[Batch]:
        """The batches of an epoch; modality 0 says most of the class, each further one less."""
        return list(self._drawn(1))

    def val_set(self) -> list[Batch]:
        """Other samples of the same kind."""
        return list(self._drawn(2))

    @functools.cache  # noqa: B019 - a world is a handful of values, and its batches are small
    def _drawn(self, seed: int) -> list[Batch]:
        same, draw = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
        target = torch.randint(self.classes, (self.samples,), generator=draw)
        inputs, present = {}, {}
        for number in range(len(self.order)):  # drawn by number: their order changes nothing
            name, width = f"{self.prefix}{number}", 3 + number
            means = torch.randn(self.classes, width, generator=same, dtype=torch.float64)
            noise = torch.randn(self.samples, width, generator=draw, dtype=torch.float64)
            inputs[name] = (means[target] / (1 + number) + noise / 2).to(self.dtype)
            there = torch.rand(self.samples, generator=draw) < 0.8
            there[:: self.size] = there[1 :: self.size] = True  # batch norm needs two samples
            present[name] = there
        last = f"{self.prefix}{len(self.order) - 1}"
        present[last][self.size : 2 * self.size] &= len(self.order) == 1
        everything = Batch(
            {name: inputs[name] for name in self.names},
            target,
            torch.arange(self.samples),
            {name: present[name] for name in self.names} if self.missing else {},
        )
        starts = range(0, self.samples, self.size)
        return [everything.select(range(start, start + self.size)) for start in starts]


def _seed(seed: int) -> None:
    """Of the CPU alone: `torch.manual_seed` also notes a stack for CUDA, and the laws train hundreds of small models."""
    torch.default_generator.manual_seed(seed)


Host = Callable[["Training", Sequence[Step]], None]


class Training:
    """A run of a method in a world, batch by batch, with SGD, momentum and the method's learning rate.

    Args:
        method: a fresh one.
        world: the problem.
        seed: of the weights.
        head: an expression; by default the one that the method asks for.
        part: what of each batch this process has.
        batches: other ones than those of the world.
        micro: how many micro-batches each batch comes in.
    """

    RATE, MOMENTUM = 0.05, 0.9

    def __init__(
        self,
        method: Method,
        world: World,
        *,
        seed: int = 0,
        head: str | None = None,
        part: Callable[[Batch], Batch] | None = None,
        batches: Sequence[Batch] | None = None,
        micro: int = 1,
    ) -> None:
        self.world, self.micro = world, micro
        _seed(seed)
        self.model = world.model(head or head_of(method))
        self.learner = Balanced(
            self.model, method, samples=world.samples, epochs=world.epochs, seed=3
        )
        self.optimizer = torch.optim.SGD(
            self.learner.parameters(), lr=self.RATE, momentum=self.MOMENTUM
        )
        batches = world.train_set() if batches is None else batches
        self.train, self.val = (
            [part(batch) for batch in read] if part else list(read)
            for read in (batches, world.val_set())
        )
        self.losses: list[dict[str, Tensor]] = []
        _seed(seed + 1)  # dropout draws the same, however the model was made

    @property
    def length(self) -> int:
        """All batches of all epochs."""
        return self.world.epochs * len(self.train)

    def advance(
        self, start: int = 0, stop: int | None = None, host: Host | None = None
    ) -> Training:
        """Train on the batches start ≤ k < stop, counted through all epochs."""
        for k in range(start, self.length if stop is None else stop):
            epoch, number = divmod(k, len(self.train))
            for group in self.optimizer.param_groups:
                group["lr"] = self.RATE * self.learner.rate(epoch)
            self.learner.begin_epoch(epoch, self.train, self.val, self.optimizer)
            given = split(self.train[number], self.micro)
            steps = self.learner.steps(given, epoch, number, len(self.train))
            (host or plain_host)(self, steps)
        return self

    def save(self) -> bytes:
        """What a checkpoint has: learner, optimiser, and the generator that dropout draws from."""
        file = io.BytesIO()
        state = {
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
        }
        torch.save(state, file)
        return file.getvalue()

    def load(self, saved: bytes) -> Training:
        """Go on from what `save` returned."""
        state = torch.load(io.BytesIO(saved), weights_only=True)
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        return self

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the model, without the method's."""
        return clones(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything that is remembered: model, method, momentum."""
        momentum = {
            f"momentum of {name}": self.optimizer.state[p]["momentum_buffer"]
            for name, p in self.learner.named_parameters()
            if self.optimizer.state.get(p, {}).get("momentum_buffer") is not None
        }
        return clones(self.learner.state_dict() | momentum)

    def predictions(self) -> dict[str, Tensor]:
        """Features and logits of all batches."""
        batches = self.world.train_set()
        return tensors({str(i): self.learner.predict(b) for i, b in enumerate(batches)})


def plain_host(training: Training, steps: Sequence[Step], low: bool = False) -> None:
    """The loop that the documentation shows; on request with model and losses in bfloat16, and the rest not, as Fabric does."""
    learner = training.learner
    for step in steps:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output = learner(step)
            losses = learner.losses(output, step)
        learner.backward(losses, output, step)
        training.losses.append(clones(losses))
        if step.last:
            training.optimizer.step()
            training.optimizer.zero_grad()


def eager_host(training: Training, steps: Sequence[Step]) -> None:
    """A host that knows updates only: it clears late, and differentiates by itself."""
    learner = training.learner
    for step in steps:
        learner.begin_epoch(step.epoch, training.train, training.val, training.optimizer)
        output = learner(step)
        losses = learner.losses(output, step)
        if step.micro == 0:
            training.optimizer.zero_grad()
        learner.backward(losses, output, step, backward=torch.autograd.backward)
        if step.last:
            training.optimizer.step()


def head_of(method: Method) -> str:
    """The head that a method asks for, or the default one."""
    wanted = [leaf.head for leaf in method.leaves() if leaf.head is not None]
    return wanted[0] if wanted else "linear()"


def maker(expression: str | Make) -> Make:
    """What builds the method that an expression describes."""
    if isinstance(expression, Method):
        raise TypeError(
            f"The laws need a fresh method each time: give the class of {expression.expression()}, what builds it, or its "
            "expression."
        )
    if callable(expression):
        _refuse_arguments(expression)
        return expression
    return functools.partial(build, expression, methods.BY_NAME, "method", Method)


def _refuse_arguments(make: Make) -> None:
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        name = getattr(make, "__name__", str(make))
        raise TypeError(
            f"{name} cannot be built without arguments ({error}): give what builds it, as lambda: {name}(...), or its "
            "expression."
        ) from None
