r"""Fitted fusion: one weight per modality on its unimodal logits, fitted after training.

An additive head says $g = \sum_m g_m$, and a modality that is mostly noise hurts it. The validation split tells how far
each modality can be trusted:

$$\min_\theta\ \frac1N \sum_i \mathrm{CE}\Big(\sum_m e^{\theta_m} g_{m,i},\ y_i\Big) + \frac{\lVert\theta\rVert^2}{N},$$

a normal prior on θ that N samples outweigh, so that with few of them the weights stay near 1. The cross-entropy is convex
in the weights $e^{\theta_m}$, not in θ; L-BFGS from θ = 0 ends in a minimum that is never worse than weights of 1.

The weights are worth keeping only where the cross-entropy falls by more than one standard error of the paired
differences: where nothing is wrong, fitted fusion costs nothing. On the samples that they were fitted on it always falls, so
that the fall is that of samples left out: the split is cut into ten parts, and each is judged by weights fitted on the
others (cross-fitting).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import Classification, Method, Task
from ..data.splits import Splits
from ..errors import ConfigError, DataError
from ..models import Multimodal
from .groups import mean_spread

PARTS = 10
"""Into which the validation split is cut; of fewer samples each is a part."""

__all__ = ["FittedFusion", "check_fusion", "fit_weights", "fuse", "is_sum"]


@dataclass(frozen=True)
class FittedFusion:
    """What was fitted, and whether it helps.

    Attributes:
        weights: for each modality exp(θ_m), positive; 1 leaves its logits as they are.
        gain: fall of the mean loss against weights of 1, in nats, on samples that the weights were not fitted on.
        standard_error: of the gain, paired; infinite for fewer than two samples.
        samples: N.
    """

    weights: Mapping[str, float]
    gain: float
    standard_error: float
    samples: int

    @property
    def better(self) -> bool:
        """Whether the gain is more than one standard error."""
        return self.gain > self.standard_error

    def figures(self, kept: bool) -> dict[str, Any]:
        """As in `results.json`; weights that are not kept are 1."""
        used = self.weights if kept else dict.fromkeys(self.weights, 1.0)
        return {
            "weights": dict(used),
            "kept": kept,
            "fitted": dict(self.weights),
            "gain": self.gain,
            "standard_error": self.standard_error if math.isfinite(self.standard_error) else None,
            "samples": self.samples,
        }


def fuse(
    unimodal: Mapping[str, Tensor],
    weights: Mapping[str, float],
    present: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """[N, C]: Σ_m w_m g_m over the modalities that each sample has."""
    masked = _masked(unimodal, present or {})
    return torch.stack([weights[m] * logits for m, logits in masked.items()]).sum(0)


def fit_weights(
    unimodal: Mapping[str, Tensor],
    target: Tensor,
    present: Mapping[str, Tensor] | None = None,
    task: Task | None = None,
    groups: NDArray[np.int64] | None = None,
) -> FittedFusion:
    """Fit one weight per modality.

    Args:
        unimodal: for each modality [N, C] logits of samples that the model has not learned from.
        target: [N].
        present: for each modality [N] booleans; one that is not named is present in every sample.
        task: owns the loss; single-label classification by default.
        groups: [N] what the samples are of, if several are of one: a group is then left out whole.

    Raises:
        DataError: there is no sample, or a logit is not finite.
    """
    task = Classification() if task is None else task
    logits = torch.stack([g.double() for g in _masked(unimodal, present or {}).values()])
    if not len(target):
        raise DataError("Fitted fusion needs at least one validation sample.")
    if not bool(logits.isfinite().all()):
        raise DataError("Fitted fusion needs finite unimodal logits of all validation samples.")
    theta = _fitted(logits, target, task, torch.zeros(len(logits), dtype=torch.float64))
    falls = _falls(logits, target, task, theta, groups)
    error = mean_spread(falls.numpy(), groups)
    weights = dict(zip(unimodal, theta.exp().tolist(), strict=True))
    return FittedFusion(weights, float(falls.mean()), error, len(falls))


def _losses(logits: Tensor, target: Tensor, task: Task, theta: Tensor) -> Tensor:
    return task.loss(torch.einsum("m,mnc->nc", theta.exp(), logits), target)


def _fitted(logits: Tensor, target: Tensor, task: Task, start: Tensor) -> Tensor:
    """θ [M] of logits [M, N, C]."""
    from scipy.optimize import minimize

    def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = torch.tensor(point, requires_grad=True)
        with torch.enable_grad():
            loss = _losses(logits, target, task, theta).mean()
            value = loss + theta.square().sum() / len(target)
        (slope,) = torch.autograd.grad(value, theta)
        return value.item(), slope.numpy()

    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x)


@torch.no_grad()
def _falls(
    logits: Tensor, target: Tensor, task: Task, theta: Tensor, groups: NDArray[np.int64] | None
) -> Tensor:
    """[N]: how far the loss of each sample falls with the weights that the other parts say; from θ of all they are near."""
    falls = torch.zeros(len(target), dtype=torch.float64)
    units = np.arange(len(target)) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(int(units.max()) + 1)
    part = torch.from_numpy(order[units] % PARTS)
    for number in part.unique():
        here, others = part == number, part != number
        if others.any():
            of_others = _fitted(logits[:, others], target[others], task, theta)
            mine, truth = logits[:, here], target[here]
            with_ones = _losses(mine, truth, task, torch.zeros_like(theta))
            falls[here] = with_ones - _losses(mine, truth, task, of_others)
    return falls


def is_sum(model: Multimodal, method: Method) -> bool:
    """Whether the prediction is the sum of the unimodal logits, so that each can be weighted."""
    return model.head.additive and not any(leaf.changes_prediction for leaf in method.leaves())


def check_fusion(choice: str, model: Multimodal, method: Method, data: Splits) -> None:
    """Refuse fitted fusion where it was asked for and cannot be.

    Raises:
        ConfigError: the prediction is no sum over modalities, or there are no validation samples.
    """
    if choice != "on":
        return
    if not is_sum(model, method):
        raise ConfigError(
            f"fit_fusion='on' weighs the modalities of a sum, which {method.expression()} with this head does not "
            "predict: use linear() or sum(), or fit_fusion='auto'."
        )
    if not len(data.val):
        raise ConfigError(
            f"fit_fusion='on' needs validation samples, and {data.name} has none: give it some, or say "
            "fit_fusion='auto'."
        )


def _masked(unimodal: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The logits, zero where a sample lacks the modality."""
    return {
        m: torch.where(present[m][:, None], logits, 0) if m in present else logits
        for m, logits in unimodal.items()
    }
