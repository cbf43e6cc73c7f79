"""The laws that every balancing method keeps, public so that your own methods can be held to them.

::

    from equimodal.testing import check_method

    def test_my_method():
        check_method(MyMethod)

or, one test per law, number of modalities and method::

    @pytest.mark.parametrize("check", parametrize_with_checks(["my_package.my_module:MyMethod(alpha=0.5)"]))
    def test_law(check):
        check()

A law is a function ``law_<name>(make, world)``: `make` builds the method, afresh on each call, and a `World` is a small
problem to train it on. A law that is broken raises an AssertionError that names it.
"""

from __future__ import annotations

import functools
import inspect
import io
import itertools
import multiprocessing
import pickle
import random
import re
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from . import distributed, methods
from .core import (
    Balanced,
    Batch,
    DataInfo,
    Epoch,
    Gradients,
    Losses,
    Method,
    Output,
    Phase,
    Step,
)
from .core.expression import build
from .models import Multimodal, heads

__all__ = [
    "LAWS",
    "Make",
    "Training",
    "Workers",
    "World",
    "check_method",
    "law_decoupling",
    "law_equivariance",
    "law_finite",
    "law_host",
    "law_identity",
    "law_monoid",
    "law_neutral",
    "law_processes",
    "law_purity",
    "law_resume",
    "law_value",
    "maker",
    "parametrize_with_checks",
]

Make = Callable[[], Method]
Law = Callable[[Make, "World"], None]


# The problem.


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
        return self._drawn(1)

    def val_set(self) -> list[Batch]:
        """Other samples of the same kind."""
        return self._drawn(2)

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
        torch.manual_seed(seed)
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
        torch.manual_seed(seed + 1)  # dropout draws the same, however the model was made

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
            given = _split(self.train[number], self.micro)
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
        return _clones(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Everything that is remembered: model, method, momentum."""
        momentum = {
            f"momentum of {name}": self.optimizer.state[p]["momentum_buffer"]
            for name, p in self.learner.named_parameters()
            if self.optimizer.state.get(p, {}).get("momentum_buffer") is not None
        }
        return _clones(self.learner.state_dict() | momentum)

    def predictions(self) -> dict[str, Tensor]:
        """Features and logits of all batches."""
        batches = self.world.train_set()
        return _tensors({str(i): self.learner.predict(b) for i, b in enumerate(batches)})


def plain_host(training: Training, steps: Sequence[Step], low: bool = False) -> None:
    """The loop that the documentation shows; on request with model and losses in bfloat16, and the rest not, as Fabric does."""
    learner = training.learner
    for step in steps:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output = learner(step)
            losses = learner.losses(output, step)
        learner.backward(losses, output, step)
        training.losses.append(_clones(losses))
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


# The laws.


def law_identity(make: Make, world: World) -> None:
    """Law 1: `Balanced` with `Method()` equals a plain PyTorch loop bit for bit. Says nothing of other methods."""
    if type(make()) is not Method:
        return
    found = Training(make(), world)
    wanted = Training(make(), world)
    optimizer = torch.optim.SGD(
        wanted.model.parameters(), lr=Training.RATE, momentum=Training.MOMENTUM
    )
    for batch in wanted.train * world.epochs:
        assert batch.target is not None
        F.cross_entropy(wanted.model(batch).fused, batch.target).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.manual_seed(1)
    _same("1 (identity)", found.advance().weights(), wanted.weights())


def law_monoid(make: Make, world: World) -> None:
    """Law 2: `Method()` changes nothing in a sum, sums associate, and an empty window is joint training."""
    law = "2 (monoid)"
    alone = Training(make(), world).advance().weights()
    _same(law, Training(make() + Method(), world).advance().weights(), alone)
    _same(law, Training(Method() + make(), world).advance().weights(), alone)
    left = Training((make() + _Jitter()) + _Jitter(), world).advance().weights()
    right = Training(make() + (_Jitter() + _Jitter()), world).advance().weights()
    _same(law, left, right)
    if any(leaf.changes_prediction for leaf in make().leaves()):
        return  # it refuses a window
    never = Training(make().during(1, 1), world).advance().weights()
    joint = Training(Method(), world, head=head_of(make())).advance().weights()
    _same(law, never, joint)


def law_host(make: Make, world: World) -> None:
    """Law 3: a host with habits of its own ends with the same weights as the plain loop."""
    wanted = Training(make(), world).advance().state()
    _same("3 (host independence)", Training(make(), world).advance(host=eager_host).state(), wanted)


def law_resume(make: Make, world: World) -> None:
    """Law 4: after saving and loading at the first, a middle and the last step, training goes on bit for bit."""
    world = replace(world, batches=5)
    whole = Training(make(), world)
    cuts = (0, 1, 7, whole.length - 1, whole.length)
    saved = {}
    for start, stop in itertools.pairwise(cuts):
        whole.advance(start, stop)
        saved[stop] = whole.save()
    for cut in cuts[1:-1]:
        resumed = Training(make(), world, seed=99).load(saved[cut]).advance(cut)
        _same(f"4 (resume, after step {cut})", resumed.state(), whole.state())


def law_purity(make: Make, world: World) -> None:
    """Law 5: the six hooks of flows and schedules change no state and no argument, and draw from no global generator."""
    Training(_Watched(make()), world).advance()


def law_value(make: Make, world: World) -> None:
    """Law 6: `outputs` gives the same values in training and in evaluation."""
    training = Training(make(), world.still()).advance()
    learner = training.learner
    for batch in training.train:
        phase = Phase(training.model.modalities)
        step = Step(batch, phase, training.model, learner.task, world.epochs - 1, seed=3)
        trained = _tensors(learner.train()(step))
        _same("6 (value)", trained, _tensors(learner.predict(batch)), 1e-12)


def law_finite(make: Make, world: World) -> None:
    """Law 7: losses and weights stay finite where there is little to see, or nothing to learn."""
    world = replace(world.still(), dtype=torch.float32)
    for case, batch, rank in _hard_cases(world):
        training = Training(make(), world, batches=[batch])
        if rank is not None:
            training.train = [_sure(training.model, batch, rank)]
        training.advance()
        found = training.state() | {k: v for losses in training.losses for k, v in losses.items()}
        for name, value in found.items():
            _expect(f"7 (finite: {case})", bool(value.isfinite().all()), f"{name} is not finite")


def law_equivariance(make: Make, world: World) -> None:
    """Law 8: other names and another order of the modalities change nothing but names and order.

    A method that says that it is `ordered` may depend on the order, but not on the names.
    """
    law, world = "8 (equivariance)", world.still()
    ordered = any(leaf.ordered for leaf in make().leaves())
    other = replace(world, prefix="way") if ordered else world.turned()
    first, second = Training(make(), world), Training(make(), other)
    _carry(first, second)
    first.advance()
    second.advance()
    for here, there in zip(first.losses, second.losses, strict=True):
        _same(law, _turned(here), _by_tokens(there), 1e-12)
    _same(law, _turned(first.predictions()), _by_tokens(second.predictions()), 1e-12)


def law_neutral(make: Make, world: World) -> None:
    """Law 9: in the setting that `neutral` names, the method equals the other one that it names."""
    method, law, world = make(), "9 (neutral)", world.still()
    if method.neutral is None:
        return
    setting, _, other = method.neutral.partition(" = ")
    neutral = maker(setting)()
    _expect(law, type(neutral) is type(method), f"{setting} is another method")
    wanted = Training(maker(other)(), world, head=head_of(neutral)).advance().weights()
    _same(law, Training(neutral, world).advance().weights(), wanted, 1e-12)


def law_decoupling(make: Make, world: World) -> None:
    """Law 10: the unimodal logits of an additive head sum to the fused ones, also after `outputs`."""
    training = Training(make(), world).advance()
    if not training.model.head.additive:
        return
    replaced = any(leaf.changes_prediction for leaf in make().leaves())
    for batch in training.train:
        said = [training.model(batch)] + ([] if replaced else [training.learner.predict(batch)])
        for output in said:
            total = torch.stack(list(output.unimodal.values())).sum(0)
            _same("10 (decoupling)", {"fused": total}, {"fused": output.fused}, 1e-12)


def law_precision(make: Make, world: World) -> None:
    """Law 12: with the model in bfloat16 by autocast training goes through, and losses and weights stay finite.

    The run is long enough for what a method begins after its first epochs.
    """
    law, world = "12 (precision)", replace(world, dtype=torch.float32, batches=2, epochs=8)
    training = Training(make(), world)
    try:
        training.advance(host=functools.partial(plain_host, low=True))
    except RuntimeError as error:
        raise AssertionError(f"Law {law} is broken: {error}") from error
    found = training.state() | {k: v for losses in training.losses for k, v in losses.items()}
    for name, value in found.items():
        _expect(law, bool(value.isfinite().all()), f"{name} is not finite")


def law_processes(make: Make, world: World, workers: Workers, micro: int = 1) -> None:
    """Law 11: processes that share each batch find the losses, the state and the weights that one process finds.

    With `micro` each of them has its part in so many micro-batches, which only methods without a decision per step
    survive.
    """
    law, world = "11 (processes)", replace(world.still(), batches=2)
    whole = Training(make(), world).advance()
    parts = workers.run(_train_part, make, world, micro)
    for _, state in parts:
        _same(law, state, whole.state(), 1e-10)
    for number, wanted in enumerate(whole.losses):
        shares = [losses[number * micro : (number + 1) * micro] for losses, _ in parts]
        means = {
            name: torch.stack([losses[name] for share in shares for losses in share]).sum(0)
            / len(parts)
            for name in wanted
        }
        _same(law, means, wanted, 1e-10)


LAWS: dict[str, Law] = {
    "identity": law_identity,
    "monoid": law_monoid,
    "host": law_host,
    "resume": law_resume,
    "purity": law_purity,
    "value": law_value,
    "finite": law_finite,
    "equivariance": law_equivariance,
    "neutral": law_neutral,
    "decoupling": law_decoupling,
    "precision": law_precision,
}
"""The laws that need one process."""

_QUIET = ("equivariance",)  # compares draws in another order


def check_method(
    method_factory: str | Make,
    *,
    modalities: Sequence[int] = (1, 2, 3),
    quiet: str | Make | None = None,
    workers: Workers | None = None,
) -> None:
    """Hold a method to the laws.

    Args:
        method_factory: builds it, such as its class; or an expression.
        modalities: the numbers M to try.
        quiet: builds it with its noise off, for the laws that compare draws; the method itself if it has none.
        workers: for law 11, which is left out without them; what builds the method must then be importable there.

    Raises:
        AssertionError: a law is broken; the text says which.
    """
    make = maker(method_factory)
    still = make if quiet is None else maker(quiet)
    for world in map(World.of, modalities):
        for name, law in LAWS.items():
            law(still if name in _QUIET else make, world)
        if workers is not None:
            law_processes(still, world, workers)


def parametrize_with_checks(
    expressions: Iterable[str],
    *,
    modalities: Sequence[int] = (1, 2, 3),
    quiet: Mapping[str, str] | None = None,
) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize("check", ...)``, one per method, law and number of modalities.

    Args:
        expressions: of the methods.
        modalities: the numbers M to try.
        quiet: for an expression the one with its noise off.
    """
    import pytest

    quiet = quiet or {}
    return [
        pytest.param(
            functools.partial(
                law, maker(quiet.get(text, text) if name in _QUIET else text), World.of(count)
            ),
            id=f"{text}-{name}-{count}",
        )
        for text in expressions
        for name, law in LAWS.items()
        for count in modalities
    ]


# Processes.


class Workers:
    """Processes that train together, started at the first use and kept until closed.

    Args:
        count: how many.
        patience: seconds to wait for an answer.
    """

    def __init__(self, count: int = 2, patience: float = 120) -> None:
        self.count, self.patience = count, patience
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What a function says in each process, in their order; both it and its arguments go by import path.

        Raises:
            RuntimeError: it failed in a process, or none answered in time; the text has the traceback.
        """
        self._start()
        for connection in self._connections:
            connection.send_bytes(pickle.dumps((function, args)))
        answers: dict[int, Any] = {}
        while len(answers) < self.count:
            for rank, good, answer in self._answers(set(range(self.count)) - set(answers)):
                if not good:
                    self.close()
                    raise RuntimeError(f"Process {rank} failed:\n{answer}")
                answers[rank] = answer
        return [answers[rank] for rank in range(self.count)]

    def close(self) -> None:
        """End the processes; a later `run` starts others."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._processes, self._connections = [], []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self) -> None:
        if self._processes:
            return
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        store = str(Path(self._folder.name) / "store")
        for rank in range(self.count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, self.count, store, there), daemon=True
            )
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def _answers(self, waiting: set[int]) -> Iterator[tuple[int, bool, Any]]:
        ready = wait([self._connections[rank] for rank in waiting], self.patience)
        if not ready:
            self.close()
            raise RuntimeError(f"No process answered within {self.patience} seconds.")
        for rank in sorted(waiting):
            if self._connections[rank] in ready:
                yield rank, *self._received(rank)

    def _received(self, rank: int) -> tuple[bool, Any]:
        try:
            good, answer = pickle.loads(self._connections[rank].recv_bytes())
        except EOFError:
            return False, "it ended without an answer."
        return good, answer


def _serve(rank: int, count: int, store: str, connection: Connection) -> None:
    """What a worker does: answer until nobody asks."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=Path(store).as_uri(),
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=60),
    )
    while True:
        try:
            function, args = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        except Exception:
            connection.send_bytes(pickle.dumps((False, traceback.format_exc())))
            continue
        connection.send_bytes(pickle.dumps(_answer(function, args)))


def _answer(function: Callable[..., Any], args: Sequence[Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args)
    except Exception:
        return False, traceback.format_exc()


def _train_part(
    make: Make, world: World, micro: int
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    training = Training(make(), world, part=share, micro=micro).advance()
    return training.losses, training.state()


def share(batch: Batch) -> Batch:
    """This process's contiguous slice of a batch; the first processes hold one more where it does not divide."""
    return _split(batch, distributed.processes())[distributed.rank()]


def _split(batch: Batch, parts: int) -> list[Batch]:
    if parts == 1:
        return [batch]
    slices = torch.arange(len(batch)).tensor_split(parts)
    return [batch.select(rows.tolist()) for rows in slices]


# Inside the laws.


class _Jitter(Method):
    """Noise on every gradient: another draw at each place of a chain, so that its places can be told apart."""

    keeps_rows = False

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        draw = step.generator("jitter")
        return grads.sum().map(
            step.model,
            lambda grad: (
                grad
                + 0.01
                * torch.randn(grad.shape, generator=draw, dtype=grad.dtype, device=grad.device)
            ),
        )


class _Watched(Method):
    """A method whose pure hooks are watched."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def _watch(self, hook: str, *args: Any) -> Any:
        before = _clones(self._everything(args)), _generators()
        result = getattr(self.method, hook)(*args)
        _same(f"5 (purity of {hook}())", self._everything(args), before[0])
        _expect(
            f"5 (purity of {hook}())",
            _generators() == before[1],
            "it draws from a global generator: use step.generator(purpose)",
        )
        return result

    def _everything(self, args: Sequence[Any]) -> dict[str, Tensor]:
        owners = {"method": self.method, "model": self._model[0]}
        found = {f"argument{name}": value for name, value in _tensors(args).items()}
        for owner, module in owners.items():
            held = dict(module.named_parameters()) | dict(module.named_buffers())
            found |= {f"{owner}.{name}": value for name, value in held.items()}
            modes = [part.training for part in module.modules()]
            found[f"the training mode of the {owner}"] = torch.tensor(modes)
        return found

    def inputs(self, batch: Batch, step: Step) -> Batch:
        changed: Batch = self._watch("inputs", batch, step)
        return changed

    def outputs(self, output: Output, step: Step) -> Output:
        changed: Output = self._watch("outputs", output, step)
        return changed

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        changed: Losses = self._watch("losses", losses, output, step)
        return changed

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        changed: Gradients = self._watch("gradients", grads, output, step)
        return changed

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        given = list(phases)
        changed: Sequence[Phase] = self._watch("phases", phases, epoch)
        _expect("5 (purity of phases())", list(phases) == given, "it changes its argument")
        return changed

    def rate(self, rate: float, epoch: int) -> float:
        changed: float = self._watch("rate", rate, epoch)
        return changed

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self._model = (model,)  # in a tuple, so that it does not become a part of the method
        self.method.prepare(model, data)

    def begin_epoch(self, epoch: Epoch) -> None:
        self.method.begin_epoch(epoch)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        self.method.observe(output, grads, step)

    def wants_rows(self, epoch: int) -> bool:
        return self.method.wants_rows(epoch)

    def leaves(self) -> tuple[Method, ...]:
        return self.method.leaves()


def _generators() -> bytes:
    return pickle.dumps((torch.get_rng_state().numpy(), random.getstate(), np.random.get_state()))


def _hard_cases(world: World) -> Iterator[tuple[str, Batch, int | None]]:
    """Batches that have led to a division by zero somewhere; and which class, by its rank, the model shall be sure of."""
    batch = replace(world, missing=False).train_set()[0]
    nobody = torch.zeros(len(batch), dtype=torch.bool)
    someone = torch.arange(len(batch)) > 0
    yield "a batch of one", batch.select([0]), None
    yield "a modality that nobody has", _lacking(batch, {world.names[0]: nobody}), None
    yield "a sample without modalities", _lacking(batch, dict.fromkeys(world.names, someone)), None
    yield "a batch without modalities", _lacking(batch, dict.fromkeys(world.names, nobody)), None
    yield "one class only", replace(batch, target=torch.zeros_like(nobody, dtype=torch.long)), None
    yield "all sure and right", batch, -1
    yield "all sure and wrong", batch, 0


@torch.no_grad()
def _sure(model: Multimodal, batch: Batch, rank: int) -> Batch:
    """Make a model sure of itself, and its likeliest (-1) or least likely (0) class the true one."""
    for parameter in model.parameters():
        parameter.mul_(20)
    return replace(batch, target=model(batch).fused.argsort(1)[:, rank])


def _lacking(batch: Batch, present: Mapping[str, Tensor]) -> Batch:
    return Batch(batch.inputs, batch.target, batch.index, present)


def _carry(source: Training, target: Training) -> None:
    """Give a run in a turned world the weights of the run that it is to equal."""
    known = {_tokens(_renamed(k)): v for k, v in source.learner.state_dict().items()}
    state = target.learner.state_dict()
    assert len(known) == len(state), "names of parameters differ by more than their modality"
    same = {k: known[_tokens(k)] for k, v in state.items() if known[_tokens(k)].shape == v.shape}
    target.learner.load_state_dict(state | same)
    if source.model.head.shared:
        return
    with torch.no_grad():
        for name in source.model.modalities:  # the parts of a layer on concatenated features
            target.model.head.weight(_renamed(name)).copy_(source.model.head.weight(name))


def _renamed(text: str) -> str:
    return re.sub(r"mod(\d)", r"way\1", text)


def _tokens(text: str) -> str:
    """The words of a name in alphabetical order: a pair of modalities is the same in both orders."""
    return " ".join(sorted(re.findall(r"[a-zA-Z0-9_]+", text)))


def _by_tokens(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_tokens(name): value for name, value in values.items()}


def _turned(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return _by_tokens({_renamed(name): value for name, value in values.items()})


def _tensors(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in a value that flows through a step, each by its path; what a step refers to is left out."""
    match value:
        case Tensor():
            return {name: value}
        case Mapping():
            parts = {str(key): part for key, part in value.items()}
        case list() | tuple():
            parts = {str(i): part for i, part in enumerate(value)}
        case _ if is_dataclass(value):
            left_out = ("model", "task", "notes", "memo", "names")
            parts = {
                f.name: getattr(value, f.name) for f in fields(value) if f.name not in left_out
            }
        case _:
            return {}
    return {
        path: tensor
        for key, part in parts.items()
        for path, tensor in _tensors(part, f"{name}.{key}").items()
    }


def _clones(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def _same(
    law: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float = 0.0
) -> None:
    _expect(
        law, set(found) == set(wanted), f"there is {sorted(set(found) ^ set(wanted))} on one side"
    )
    for name, value in wanted.items():
        other = found[name]
        _expect(law, other.shape == value.shape, f"the shape of {name} differs")
        if not torch.equal(other, value):
            apart = float((other.detach().double() - value.detach().double()).abs().max())
            _expect(law, apart <= tolerance, f"{name} differs by {apart:.3g}")


def _expect(law: str, holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(f"Law {law} is broken: {otherwise}.")
