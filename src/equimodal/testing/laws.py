"""The laws, and what holds a method to them.

A law is a function ``law_<name>(make, world)``: `make` builds the method, afresh on each call, and a `World` is a small
problem to train it on. A law that is broken raises an AssertionError that names it.
"""

from __future__ import annotations

import functools
import itertools
import pickle
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, DataInfo, Epoch, Gradients, Losses, Method, Output, Phase, Step
from ..models import Multimodal
from .compare import clones, expect, same, tensors
from .workers import Workers, share
from .world import Make, Training, World, eager_host, head_of, maker, plain_host

__all__ = [
    "LAWS",
    "check_method",
    "law_decoupling",
    "law_equivariance",
    "law_finite",
    "law_host",
    "law_identity",
    "law_monoid",
    "law_neutral",
    "law_precision",
    "law_processes",
    "law_purity",
    "law_resume",
    "law_value",
    "parametrize_with_checks",
]

Law = Callable[[Make, World], None]


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
    same("1 (identity)", found.advance().weights(), wanted.weights())


def law_monoid(make: Make, world: World) -> None:
    """Law 2: `Method()` changes nothing in a sum, sums associate, and an empty window is joint training."""
    law = "2 (monoid)"
    alone = Training(make(), world).advance().weights()
    same(law, Training(Method() + make() + Method(), world).advance().weights(), alone)
    left = Training((make() + _Jitter()) + _Jitter(), world).advance().weights()
    right = Training(make() + (_Jitter() + _Jitter()), world).advance().weights()
    same(law, left, right)
    if any(leaf.changes_prediction for leaf in make().leaves()):
        return  # it refuses a window
    never = Training(make().during(1, 1), world).advance().weights()
    same(law, never, _joint(world, head_of(make())))


def law_host(make: Make, world: World) -> None:
    """Law 3: a host with habits of its own ends with the same weights as the plain loop."""
    wanted = Training(make(), world).advance().state()
    same("3 (host independence)", Training(make(), world).advance(host=eager_host).state(), wanted)


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
        same(f"4 (resume, after step {cut})", resumed.state(), whole.state())


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
        trained = tensors(learner.train()(step))
        same("6 (value)", trained, tensors(learner.predict(batch)), 1e-12)


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
            expect(f"7 (finite: {case})", bool(value.isfinite().all()), f"{name} is not finite")


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
        same(law, _turned(here), _by_tokens(there), 1e-12)
    same(law, _turned(first.predictions()), _by_tokens(second.predictions()), 1e-12)


def law_neutral(make: Make, world: World) -> None:
    """Law 9: in the setting that `neutral` names, the method equals the other one that it names."""
    method, law, world = make(), "9 (neutral)", world.still()
    if method.neutral is None:
        return
    setting, _, other = method.neutral.partition(" = ")
    neutral = maker(setting)()
    expect(law, type(neutral) is type(method), f"{setting} is another method")
    wanted = Training(maker(other)(), world, head=head_of(neutral)).advance().weights()
    same(law, Training(neutral, world).advance().weights(), wanted, 1e-12)


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
            same("10 (decoupling)", {"fused": total}, {"fused": output.fused}, 1e-12)


def law_precision(make: Make, world: World) -> None:
    """Law 13: with the model in bfloat16 by autocast training goes through, and losses and weights stay finite.

    The run is long enough for what a method begins after its first epochs.
    """
    law, world = "13 (precision)", replace(world, dtype=torch.float32, batches=2, epochs=8)
    training = Training(make(), world)
    try:
        training.advance(host=functools.partial(plain_host, low=True))
    except RuntimeError as error:
        raise AssertionError(f"Law {law} is broken: {error}") from error
    found = training.state() | {k: v for losses in training.losses for k, v in losses.items()}
    for name, value in found.items():
        expect(law, bool(value.isfinite().all()), f"{name} is not finite")


def law_processes(make: Make, world: World, workers: Workers, micro: int = 1) -> None:
    """Law 11: processes that share each batch find the losses, the state and the weights that one process finds.

    With `micro` each of them has its part in so many micro-batches, which only methods without a decision per step
    survive.
    """
    law, world = "11 (processes)", replace(world.still(), batches=2)
    whole = Training(make(), world).advance()
    parts = workers.run(_train_part, make, world, micro)
    for _, state in parts:
        same(law, state, whole.state(), 1e-10)
    for number, wanted in enumerate(whole.losses):
        shares = [losses[number * micro : (number + 1) * micro] for losses, _ in parts]
        means = {
            name: torch.stack([losses[name] for share in shares for losses in share]).sum(0)
            / len(parts)
            for name in wanted
        }
        same(law, means, wanted, 1e-10)


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


# Inside the laws.


def _train_part(
    make: Make, world: World, micro: int
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    training = Training(make(), world, part=share, micro=micro).advance()
    return training.losses, training.state()


@functools.cache  # every method is compared with it
def _joint(world: World, head: str) -> dict[str, Tensor]:
    return Training(Method(), world, head=head).advance().weights()


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
        before = clones(self._everything(args)), _generators()
        result = getattr(self.method, hook)(*args)
        same(f"5 (purity of {hook}())", self._everything(args), before[0])
        expect(
            f"5 (purity of {hook}())",
            _generators() == before[1],
            "it draws from a global generator: use step.generator(purpose)",
        )
        return result

    def _everything(self, args: Sequence[Any]) -> dict[str, Tensor]:
        owners = {"method": self.method, "model": self._model[0]}
        found = {f"argument{name}": value for name, value in tensors(args).items()}
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
        expect("5 (purity of phases())", list(phases) == given, "it changes its argument")
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
