"""Looking at a model as it predicts, in the middle of training it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside: running statistics are read and not changed, nothing is dropped; gradients may flow.

    Afterwards each part is in the mode that it was in, also a part that its owner keeps in evaluation mode.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
