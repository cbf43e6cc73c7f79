r"""L1: a penalty on the size of the weights of some encoders, which makes them sparse.

$$L \leftarrow L + \lambda \sum_m \lVert \theta_m \rVert_1$$

A regulariser and no balancing method: a composition with one, as ``infobridge() + l1(modalities='genomic')``, is how the
genomic networks of the field are trained.

Source: R. J. Chen et al., "Pathomic Fusion: an integrated framework for fusing histopathology and genomic features for cancer
diagnosis and prognosis", IEEE TMI 2020, and its code: λ = 3e-4 over all parameters of the genomic network, biases included.

Readings
- θ_m is every parameter of the encoder of m that is trained; the head is left alone.
- The penalty is a loss of its own, ``l1``: a method that weighs or combines named losses sees it as one of them.
- It is the same whoever is missing: an encoder whose modality a whole batch lacks shrinks all the same, as by weight decay.
- In a phase that trains some encoders only, only theirs count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..core import DataInfo, Losses, Method, Output, Step, added
from ..errors import ConfigError, nearest

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["L1"]


class L1(Method):
    """The sum of the absolute weights of some encoders, times λ, as a loss named ``l1``.

    Args:
        weight: λ.
        modalities: whose encoders, one name or several; all of them if none is named.

    Raises:
        ConfigError: λ is negative, or there is no such modality.
    """

    neutral = "l1(weight=0.0) = joint()"
    search_space = {"weight": (1e-6, 1e-2)}

    def __init__(self, weight: float = 3e-4, modalities: str | Sequence[str] = ()) -> None:
        super().__init__()
        if not weight >= 0:
            raise ConfigError(f"l1: weight must be at least 0; here {weight}.")
        self.weight = weight
        self.modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        for name in self.modalities:
            if name not in model.encoders:
                raise ConfigError(f"l1: no modality {name!r}; {nearest(name, model.encoders)}")

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        sizes = [
            parameter.abs().sum()
            for name in self.modalities or step.model.encoders
            if name in step.phase.train
            for parameter in step.model.encoders[name].parameters()
            if parameter.requires_grad
        ]
        if not sizes or not self.weight:
            return losses
        # As a mean over samples, so that micro-batches and processes each add their part of it, once.
        penalty = self.weight * torch.stack(sizes).sum()
        return added(losses, {"l1": step.mean(penalty.expand(len(step.batch)))})
