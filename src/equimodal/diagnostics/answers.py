"""One pass over the data: what a model answers when it has only some of the modalities. Nothing is computed twice.

How a modality is taken away is a choice that changes the figures, so it has a name:

- ``missing``: the model is told that the sample lacks it (only models of this library know how); with nobody left it is asked
  no more, and the answer is what is known of the classes, see `guess`;
- ``zero``: its input is zero;
- ``mean``: its input is the mean over the data;
- ``permute``: its input is that of another sample, so it stays plausible and says nothing of the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from .coalitions import Plan
from .guess import guess
from .spread import Spread

__all__ = ["Absence", "Answers", "Collector", "right"]

Absence = Literal["missing", "zero", "mean", "permute"]


@dataclass(frozen=True)
class Answers:
    """What a model said of N samples, on the CPU.

    Attributes:
        plan: the coalitions that were asked.
        absence: how the others were taken away.
        correct: [N, S], 1 where a coalition's answer is right; by chance, in between, where classes tie.
        log_likelihood: [N, S] of the true class, in nats.
        target: [N].
        classes: C.
        unimodal: for each modality its own logits [N, C]; nothing where the model has none.
        features: for each modality [N, d]; nothing where they are not known.
        present: for each modality [N] booleans.
        spread: for each input of floating numbers its standard deviation over the data, [d] or [1]; see `Spread`.
        probabilities: whether the model answered with probabilities, so that their logarithms stand for logits.
        groups: [N] codes of what samples are of, where several are of one; intervals are then over groups.
    """

    plan: Plan
    absence: Absence
    correct: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    target: NDArray[np.int64]
    classes: int
    unimodal: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    present: Mapping[str, NDArray[np.bool_]]
    spread: Mapping[str, Tensor] = field(default_factory=dict)
    probabilities: bool = False
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.target)


def _refuse_no_class(target: Tensor, classes: int) -> None:
    whole = not target.is_floating_point() and not target.is_complex() and target.ndim == 1
    if not whole or bool((target < 0).any() | (target >= classes).any()):
        raise DataError(
            f"Targets must be class ids [B], whole numbers from 0 to {classes - 1}, for logits of {classes} classes; here "
            f"{target.dtype} of shape {tuple(target.shape)}{f', {target.min()} to {target.max()}' if whole else ''}."
        )


class Collector:
    """Gathers the answers of batches; a row of logits is reduced to what is asked of it at once."""

    def __init__(self, plan: Plan, absence: Absence) -> None:
        self.plan, self.absence = plan, absence
        self.correct: list[Tensor] = []
        self.log_likelihood: list[Tensor] = []
        self.target: list[Tensor] = []
        self.unimodal: dict[str, list[Tensor]] = {}
        self.features: dict[str, list[Tensor]] = {}
        self.present: dict[str, list[Tensor]] = {}
        self.spread: dict[str, Spread] = {}
        self.classes = 0
        self.probabilities = False

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Logits [S, B, C] of the coalitions, targets [B]."""
        self.classes = logits.shape[2]
        _refuse_no_class(target, self.classes)
        logits, target = logits.detach().double().cpu(), target.long().cpu()
        there = target[None, :, None].expand(len(logits), -1, 1)
        log_p = logits.log_softmax(2).gather(2, there).squeeze(2)
        self.correct.append(right(logits, target).T)
        self.log_likelihood.append(log_p.T)
        self.target.append(target)

    def keep(
        self,
        unimodal: Mapping[str, Tensor],
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
    ) -> None:
        """What else is known of the same batch."""
        for held, found in (
            (self.unimodal, unimodal), (self.features, features), (self.present, present)
        ):  # fmt: skip
            for modality, values in found.items():
                held.setdefault(modality, []).append(values.detach().cpu())

    def measure(self, name: str, values: Tensor) -> None:
        """The rows [B, ...] of an input, for its standard deviation; what is not of floating numbers has none."""
        if values.is_floating_point():
            self.spread.setdefault(name, Spread()).add(values)

    def answers(self) -> Answers:
        correct, log_likelihood = (
            torch.cat(parts).numpy() for parts in (self.correct, self.log_likelihood)
        )
        target = torch.cat(self.target).numpy()
        present = {m: torch.cat(parts).bool().numpy() for m, parts in self.present.items()}
        if self.absence == "missing":
            rows, columns = self._nobody(present).nonzero()
            right, log_share = guess(target, self.classes)
            correct[rows, columns] = right[target[rows]]
            log_likelihood[rows, columns] = log_share[target[rows]]
        return Answers(
            self.plan,
            self.absence,
            correct,
            log_likelihood,
            target,
            self.classes,
            {m: torch.cat(parts) for m, parts in self.unimodal.items()},
            {m: torch.cat(parts) for m, parts in self.features.items()},
            present,
            {name: spread.deviation() for name, spread in self.spread.items()},
            self.probabilities,
        )

    def _nobody(self, present: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """[N, S]: where a sample has nobody of a coalition; what the whole model says stays its own answer."""
        names, coalitions = self.plan.modalities, self.plan.coalitions
        members = np.array([[m in s for m in names] for s in coalitions], dtype=np.int64)
        there = np.stack([present[m] for m in names], 1).astype(np.int64)
        nobody: NDArray[np.bool_] = (there @ members.T == 0) & (members.sum(1) < len(names))
        return nobody


def right(logits: Tensor, target: Tensor) -> Tensor:
    """[S, B]: 1 where logits [S, B, C] are right; where classes tie, as in a uniform answer, by chance."""
    tied = logits == logits.max(2, keepdim=True).values
    there = target[None, :, None].expand(len(logits), -1, 1)
    return tied.gather(2, there).squeeze(2).double() / tied.sum(2)
