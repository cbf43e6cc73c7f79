"""The learning rate as a pure function of the epoch, and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..core import Method
from ..errors import ConfigError
from .settings import Settings

__all__ = ["FACTORS", "make_optimizer", "resolve_schedule", "set_rate"]


def _step(epoch: int, epochs: int) -> float:
    return 1.0 if epoch < round(0.7 * epochs, 9) else 0.1


def _cosine(epoch: int, epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


FACTORS: Mapping[str, Callable[[int, int], float]] = {
    "step": _step,
    "cosine": _cosine,
    "none": lambda epoch, epochs: 1.0,
}
"""(epoch, epochs) -> the factor on the learning rate: x0.1 from 70% of the run on, half a cosine, or 1."""


def resolve_schedule(schedule: str, method: Method) -> str:
    """The name in `FACTORS`; "auto" is "step", or "none" where the method has a schedule of its own.

    Raises:
        ConfigError: both a decaying schedule is asked for and the method has its own.
    """
    own = [leaf.expression() for leaf in method.leaves() if leaf.own_schedule]
    if schedule == "auto":
        return "none" if own else "step"
    if own and schedule != "none":
        raise ConfigError(
            f"{own[0]} has a learning-rate schedule of its own, so schedule={schedule!r} would decay twice: "
            "leave it out, or say schedule='none'."
        )
    return schedule


def make_optimizer(learner: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD or AdamW over all that learns, the method's own parameters included."""
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("The model has no parameter that learns: nothing can be trained.")
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """As `LambdaLR` does, but without a state that would have to be saved."""
    for group in optimizer.param_groups:
        group["lr"] = rate
