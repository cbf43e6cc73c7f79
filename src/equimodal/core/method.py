"""A balancing method: a change to what flows through a training step.

Four things flow through a step: inputs, outputs, losses, gradients. A method overrides the hooks of those that it
changes, and what it overrides says what kind of method it is. Every hook has the same type in and out and is the
identity by default, so joint training is `Method()` itself, ``A + B`` is composition and ``A.during(a, b)`` a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from ..errors import ConfigError
from .batch import Batch
from .expression import described, own_name
from .gradients import Gradients
from .output import Losses, Output
from .step import DataInfo, Epoch, Phase, Step

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["Chain", "During", "Method"]


class Method(nn.Module):
    """A balancing method; by itself the identity, that is joint training.

    Hyper-parameters are keyword arguments, kept as attributes of the same name, so that a method can say the
    `expression` that builds it.
    """

    per_loss_gradients: ClassVar[bool] = False  # one gradient row per named loss: a backward each
    keeps_rows: ClassVar[bool] = (
        True  # `gradients` treats every row alike, so rows may still follow
    )
    changes_prediction: ClassVar[bool] = False  # refuses .during
    asks_head: ClassVar[bool] = (
        False  # evaluates the model's head again: nobody else may change the prediction
    )
    ordered: ClassVar[bool] = False  # depends on the order of the modalities
    head: ClassVar[str | None] = None  # the head that is built when the user names none
    own_schedule: bool = False  # its `rate` decays already: no other decaying schedule beside it
    adam: ClassVar[str] = "yes"  # does it survive an optimiser that divides by the gradient's size
    observes: ClassVar[bool] = False  # a diagnostic: changes nothing of the training
    reads_validation: ClassVar[bool] = False  # at an epoch's start; never the test split
    neutral: ClassVar[str | None] = None  # "setting = other method"
    search_space: ClassVar[Mapping[str, Any]] = {}  # what tuning may vary

    def __init__(self) -> None:
        super().__init__()

    # What flows: pure; return a new value, touch no state, mutate nothing.

    def inputs(self, batch: Batch, step: Step) -> Batch:
        """In training only: what the encoders see."""
        return batch

    def outputs(self, output: Output, step: Step) -> Output:
        """The same values in training and evaluation; in training it may reroute gradients."""
        return output

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        """Named losses, whose sum is minimised."""
        return losses

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        """The gradients that the optimiser sees, after averaging over processes."""
        return grads

    # When it flows: pure functions of the epoch.

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        """The optimiser updates that one batch receives."""
        return phases

    def rate(self, rate: float, epoch: int) -> float:
        """The multiplier of the learning rate."""
        return rate

    # What is remembered: the only places that write, and only into buffers, parameters and submodules of fixed size.

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        """Once, before training: create state; refuse, in one sentence, what cannot be balanced."""

    def begin_epoch(self, epoch: Epoch) -> None:
        """At the start of each epoch: the only hook that may edit the model or clear the optimiser's state."""

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        """After an update's gradients are final."""

    def recorded(self) -> Mapping[str, Any]:
        """What a diagnostic has seen of the epoch so far, as values that JSON can hold; asked at the epoch's end."""
        return {}

    # Composition.

    def __add__(self, other: Method) -> Method:
        if not isinstance(other, Method):
            return NotImplemented
        if type(other) is Method:
            return self
        return other if type(self) is Method else Chain(self, other)

    def during(self, start: int | float, end: int | float) -> Method:
        """This method in the epochs start ≤ epoch < end only; it always remembers.

        Args:
            start, end: an integer counts epochs, a float in [0, 1] is a fraction of the run.
        """
        return During(self, start, end)

    def wants_rows(self, epoch: int) -> bool:
        """Whether this epoch needs one gradient row per named loss."""
        return self.per_loss_gradients

    def parts(self) -> tuple[Method, ...]:
        """What a chain of this method has in a row; a method in a window is one part."""
        return (self,)

    def leaves(self) -> tuple[Method, ...]:
        """The methods proper that this one is made of, in order, without chains and windows."""
        return (self,)

    def expression(self) -> str:
        """The text that builds this method, with the options that differ from their defaults.

        Raises:
            ConfigError: an option is not kept as an attribute of its name.
        """
        return described(self, expression_name(type(self)))


def expression_name(cls: type) -> str:
    """How expressions call a class: the library's own by the name of their file, others as ``module:Class``."""
    if cls is Method:
        return "joint"
    if cls.__module__.startswith("equimodal."):
        return cls.__module__.rsplit(".", 1)[-1]
    return own_name(cls)


class Chain(Method):
    """Methods one after another: each sees what the one before it returned. Chains of chains are flat.

    Raises:
        ConfigError: two methods ask for one gradient row per loss, or one stands before that would mix the rows; or a
            method evaluates the model's head whose prediction another one replaces.
    """

    def __init__(self, *methods: Method) -> None:
        super().__init__()
        flat = [part for method in methods for part in method.parts() if type(part) is not Method]
        self.methods = nn.ModuleList(flat)
        self._refuse_lost_rows(flat)
        self._refuse_other_prediction([leaf for part in flat for leaf in part.leaves()])

    @staticmethod
    def _refuse_other_prediction(leaves: Sequence[Method]) -> None:
        changing = [leaf.expression() for leaf in leaves if leaf.changes_prediction]
        asking = [leaf.expression() for leaf in leaves if leaf.asks_head]
        if changing and asking:
            raise ConfigError(
                f"{asking[0]} evaluates the model's own head, whose prediction {changing[0]} replaces: "
                "leave one of them out."
            )
        if len(changing) > 1:
            warnings.warn(
                f"{' and '.join(changing)} all replace the prediction: that of the last one counts.",
                stacklevel=4,
            )

    @staticmethod
    def _refuse_lost_rows(methods: Sequence[Method]) -> None:
        asking = [
            i
            for i, method in enumerate(methods)
            if any(leaf.per_loss_gradients for leaf in method.leaves())
        ]
        if len(asking) > 1:
            names = " and ".join(methods[i].expression() for i in asking)
            raise ConfigError(
                f"Only one method can work on the gradient of each loss; here do {names}."
            )
        for i in asking:
            for before in methods[:i]:
                if not all(leaf.keeps_rows for leaf in before.leaves()):
                    raise ConfigError(
                        f"{methods[i].expression()} needs the gradient of each loss: "
                        f"put it before {before.expression()}."
                    )

    def _each(self) -> Iterable[tuple[Method, int]]:
        offset = 0
        for method in self.methods:
            assert isinstance(method, Method)
            yield method, offset
            # Who only observes takes no place, so that methods after it draw what they would draw without it.
            offset += sum(not leaf.observes for leaf in method.leaves())

    def inputs(self, batch: Batch, step: Step) -> Batch:
        for method, offset in self._each():
            batch = method.inputs(batch, step.but(batch=batch, position=step.position + offset))
        return batch

    def outputs(self, output: Output, step: Step) -> Output:
        for method, offset in self._each():
            output = method.outputs(output, step.at(offset))
        return output

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        for method, offset in self._each():
            losses = method.losses(losses, output, step.at(offset))
        return losses

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        for method, offset in self._each():
            grads = method.gradients(grads, output, step.at(offset))
        return grads

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        for method, _ in self._each():
            phases = method.phases(phases, epoch)
        return phases

    def rate(self, rate: float, epoch: int) -> float:
        for method, _ in self._each():
            rate = method.rate(rate, epoch)
        return rate

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        for method, _ in self._each():
            method.prepare(model, data)

    def begin_epoch(self, epoch: Epoch) -> None:
        for method, offset in self._each():
            method.begin_epoch(epoch.at(offset))

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        for method, offset in self._each():
            method.observe(output, grads, step.at(offset))

    def wants_rows(self, epoch: int) -> bool:
        return any(method.wants_rows(epoch) for method, _ in self._each())

    def parts(self) -> tuple[Method, ...]:
        return tuple(method for method, _ in self._each())

    def leaves(self) -> tuple[Method, ...]:
        return tuple(leaf for method, _ in self._each() for leaf in method.leaves())

    def expression(self) -> str:
        return " + ".join(method.expression() for method, _ in self._each())


class During(Method):
    """A method in a window of epochs: outside it nothing is changed, but everything is remembered.

    Raises:
        ConfigError: the window is no window, or the method changes the prediction, which cannot change with the epoch.
    """

    def __init__(self, method: Method, start: int | float, end: int | float) -> None:
        super().__init__()
        if any(leaf.changes_prediction for leaf in method.leaves()):
            raise ConfigError(
                f"{method.expression()} changes the prediction itself, so it cannot have a window of epochs."
            )
        for bound in (start, end):
            if not bound >= 0 or (isinstance(bound, float) and bound > 1):
                raise ConfigError(
                    f".during({start}, {end}): an integer counts epochs, a float in [0, 1] is a fraction of the run."
                )
        if type(start) is type(end) and start > end:
            raise ConfigError(f".during({start}, {end}) ends before it starts.")
        self.method = method
        self.start, self.end = start, end
        self._window: tuple[float, float] | None = None

    def _active(self, epoch: int) -> bool:
        assert self._window is not None, "prepare() comes first"
        return self._window[0] <= epoch < self._window[1]

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        def resolved(bound: int | float) -> float:
            if isinstance(bound, int):
                return bound
            # 9 digits: 0.57 of 100 epochs is epoch 57, not 56.99999999999999
            return round(bound * data.need_epochs(f".during({self.start}, {self.end})"), 9)

        self._window = resolved(self.start), resolved(self.end)
        self.method.prepare(model, data)

    def inputs(self, batch: Batch, step: Step) -> Batch:
        return self.method.inputs(batch, step) if self._active(step.epoch) else batch

    def outputs(self, output: Output, step: Step) -> Output:
        return self.method.outputs(output, step) if self._active(step.epoch) else output

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        return self.method.losses(losses, output, step) if self._active(step.epoch) else losses

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        return self.method.gradients(grads, output, step) if self._active(step.epoch) else grads

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        return self.method.phases(phases, epoch) if self._active(epoch) else phases

    def rate(self, rate: float, epoch: int) -> float:
        return self.method.rate(rate, epoch) if self._active(epoch) else rate

    def begin_epoch(self, epoch: Epoch) -> None:
        active = epoch.active and self._active(epoch.index)
        self.method.begin_epoch(replace(epoch, active=active))

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        self.method.observe(output, grads, step)

    def wants_rows(self, epoch: int) -> bool:
        return self._active(epoch) and self.method.wants_rows(epoch)

    def leaves(self) -> tuple[Method, ...]:
        return self.method.leaves()

    def expression(self) -> str:
        inner = self.method.expression()
        inner = f"({inner})" if " + " in inner else inner
        return f"{inner}.during({self.start}, {self.end})"
