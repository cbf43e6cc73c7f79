"""What is learned: the loss, the confidence that balancing methods read, and what counts as right."""

from __future__ import annotations

import abc
import copy
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError, counted
from .batch import class_ids
from .expression import described, own_name

if TYPE_CHECKING:
    from .output import Losses, Output
    from .step import Step

__all__ = ["TASKS", "Classification", "Task"]


class Task(abc.ABC):
    """Owns the loss, the confidence and the notion of a correct answer; methods never compute them by themselves."""

    @abc.abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[B]: the loss of each sample; `prediction` is [B, C], `target` whatever the task has for B samples."""

    def mean_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[]: the mean of `loss`, where there is a way to it in fewer operations."""
        return self.loss(prediction, target).mean()

    @abc.abstractmethod
    def confidence(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[B] in [0, 1]: how much of its belief a prediction puts on the truth."""

    @abc.abstractmethod
    def correct(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[B] booleans: which predictions are right."""

    def check(self, classes: int) -> None:  # noqa: B027 (optional)
        """Raise a `ConfigError` if there cannot be this task with so many classes."""

    def fitted(self, counts: Sequence[int]) -> Task:
        """This task for training samples of which so many are of each class; itself where that makes no difference."""
        return self

    def expression(self) -> str:
        """The text that builds this task, with the options that differ from their defaults.

        Raises:
            ConfigError: an option is not kept as an attribute of its name.
        """
        names = {cls: name for name, cls in TASKS.items()}
        return described(self, names.get(type(self)) or own_name(type(self)))

    def losses(self, output: Output, step: Step) -> Losses:
        """``{"task": the mean loss of the fused prediction}``."""
        return {"task": step.loss(output.fused)}


class Classification(Task):
    """One label per sample: cross-entropy; the confidence is the probability of the true class.

    Both are computed in float32 at least: a bfloat16 has three digits. For another loss override `loss`.

    Args:
        class_weights: one per class, in their order, by which the loss of its samples is multiplied; none: all count alike.
            The mean is over samples, as ever, and not over weights. "balanced": all classes count alike together; `fitted`
            makes numbers of it, N/(C N_c) for the N_c samples of a class, which `fit` does by itself.
        label_smoothing: in [0, 1), how much of the truth is spread over all classes (Szegedy et al. 2016).

    Raises:
        ConfigError: weights that are not finite numbers of at least 0, or of another number than the classes; a smoothing
            outside [0, 1).
        DataError: a target is not [B] class ids of type int64.
    """

    class_weights: tuple[float, ...] | Literal["balanced"] = ()
    label_smoothing: float = 0.0

    def __init__(
        self,
        class_weights: Iterable[float] | Literal["balanced"] = (),
        label_smoothing: float = 0.0,
    ) -> None:
        self.class_weights = _checked(class_weights)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"classification(label_smoothing={label_smoothing}) must be at least 0 and below 1."
            )
        self.label_smoothing = label_smoothing

    def check(self, classes: int) -> None:
        if self.class_weights == "balanced":
            raise ConfigError(
                "classification(class_weights='balanced') has not seen the training samples: give .fitted(counts) of it, "
                "with the number of samples of each class."
            )
        if self.class_weights and len(self.class_weights) != classes:
            raise ConfigError(
                f"classification() has {counted(len(self.class_weights), 'class weight')}, and the model tells "
                f"{classes} classes apart: give one for each."
            )

    def fitted(self, counts: Sequence[int]) -> Task:
        if self.class_weights != "balanced":
            return self
        each = sum(counts) / len(counts)
        made = copy.copy(self)  # of a subclass, with what it has
        made.class_weights = tuple(each / max(count, 1) for count in counts)
        return made

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        costs = self._cross_entropy(prediction, target, "none")
        if not self.class_weights:
            return costs
        # PyTorch's weights would be those of the classes that smoothing spreads the truth over, not of the sample.
        return costs * _weights(self.class_weights, costs.device, costs.dtype)[target]

    def mean_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        own = type(self).loss is not Classification.loss  # of a subclass
        if own or self.class_weights:
            return super().mean_loss(prediction, target)
        return self._cross_entropy(prediction, target, "mean")

    def _cross_entropy(self, prediction: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            _wide(prediction),
            class_ids(target, "classification()"),
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def confidence(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _wide(prediction).softmax(1).gather(1, target[:, None]).squeeze(1)

    def correct(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.argmax(1) == target


def _checked(weights: Iterable[float] | str) -> tuple[float, ...] | Literal["balanced"]:
    if isinstance(weights, str) and weights == "balanced":
        return "balanced"
    try:
        made = tuple(map(float, weights))
    except (TypeError, ValueError):
        made = (math.nan,)
    if not all(0 <= weight < math.inf for weight in made):
        raise ConfigError(
            f"classification(class_weights={weights!r}): give a list of numbers of at least 0, one per class, or 'balanced'."
        )
    return made


TASKS: Mapping[str, type[Task]] = {"classification": Classification}
"""The tasks by the names of their expressions."""


@functools.cache  # to copy them to a device in each step would make it wait
def _weights(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
