"""What is learned: the loss, the confidence that balancing methods read, and what counts as right."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError

if TYPE_CHECKING:
    from .output import Losses, Output
    from .step import Step

__all__ = ["Classification", "Task"]


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

    def losses(self, output: Output, step: Step) -> Losses:
        """``{"task": the mean loss of the fused prediction}``."""
        return {"task": step.loss(output.fused)}


class Classification(Task):
    """One label per sample: cross-entropy; the confidence is the probability of the true class.

    Both are computed in float32 at least: a bfloat16 has three digits. For label smoothing, class weights and the like
    override `loss`.

    Raises:
        DataError: a target is not [B] class ids of type int64.
    """

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        _refuse_no_ids(target)
        return F.cross_entropy(_wide(prediction), target, reduction="none")

    def mean_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        if type(self).loss is not Classification.loss:  # a subclass with a loss of its own
            return super().mean_loss(prediction, target)
        _refuse_no_ids(target)
        return F.cross_entropy(_wide(prediction), target)

    def confidence(self, prediction: Tensor, target: Tensor) -> Tensor:
        return _wide(prediction).softmax(1).gather(1, target[:, None]).squeeze(1)

    def correct(self, prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.argmax(1) == target


def _refuse_no_ids(target: Tensor) -> None:
    if target.dtype != torch.long or target.ndim != 1:
        raise DataError(
            f"Targets must be class ids [B] of type int64; here {target.dtype} of shape {list(target.shape)}: "
            "of other whole numbers give target.long()."
        )


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
