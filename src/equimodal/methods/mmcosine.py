r"""MMCosine: every modality speaks by cosines, so that no norm can dominate (multi-modal cosine loss).

Under a linear head a modality can win by the mere size of its features or of its class weights. MMCosine replaces its
logits by scaled cosines between feature and class weights, and the fused logits by their sum:

$$f_m = s\, \frac{z_m}{\lVert z_m \rVert} \Big(\frac{W_m}{\lVert W_m \rVert}\Big)^{\!\top}, \qquad f = \sum_m f_m \in [-Ms, Ms], \qquad L = \mathrm{CE}(f, y)$$

Each row of $W_m$, the part of the head's weight for modality m, has unit length by itself. Gradients flow through both
normalisations, so that $\partial L / \partial z_m$ is orthogonal to $z_m$.

Source: R. Xu, R. Feng, S.-X. Zhang, D. Hu, "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained
Learning", ICASSP 2023; the authors' code GeWu-Lab/MMCosine_ICASSP23 at commit 00ba0a9.

Readings
- The same logits train and predict. The authors' test loop predicts with the plain linear layer and its bias after
  training with cosines; that is a defect. So the method changes the prediction and cannot have a window of epochs.
- Norms below 1e-6 count as 1e-6: a feature that is zero, as after a ReLU, has the cosine 0 and a finite gradient.
- The bias of the head takes no part and gets no gradient.
- A modality that a sample lacks is left out of the sum, without rescaling.
- It needs a head with a linear final layer (`Linear`, `Sum`, `Cosine`); gated, FiLM and attention fusion are refused.
- The contrastive term of the authors' code, whose default weight is 0, is a method of its own: ``infonce()``.

Hyper-parameters: s = 10 is the authors'. `heads.Cosine` is the same function as a head, and its `least_scale` the smallest
s that lets a class reach a wanted probability.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from ..core import DataInfo, Method, Output, Step
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["MMCosine"]


class MMCosine(Method):
    """Replace unimodal and fused logits by scaled cosines, in training and in prediction.

    Args:
        scale: s.
        learn_scale: learn s, which then starts there.

    Raises:
        ConfigError: a scale that is not positive, or a head without a linear layer per modality.
    """

    changes_prediction = True
    neutral = None  # no s makes cosines of linear logits
    search_space = {"scale": (1.0, 30.0)}

    def __init__(self, scale: float = 10.0, learn_scale: bool = False) -> None:
        super().__init__()
        if not scale > 0:
            raise ConfigError(f"mmcosine(scale={scale}) must be positive.")
        self.scale, self.learn_scale = scale, learn_scale

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        for m in model.modalities:
            model.head.weight(m)  # refuses in one sentence
        if self.learn_scale:
            self.learned = nn.Parameter(next(model.parameters()).new_tensor(self.scale))

    def outputs(self, output: Output, step: Step) -> Output:
        scale: float | Tensor = self.learned if self.learn_scale else self.scale
        unimodal = {
            m: scale * F.linear(_unit(z), _unit(step.model.head.weight(m)))
            for m, z in output.features.items()
        }
        if not step.batch.complete(unimodal):
            unimodal = {m: f * step.batch.mask(m).to(f.dtype)[:, None] for m, f in unimodal.items()}
        return Output(output.features, unimodal, functools.reduce(operator.add, unimodal.values()))


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1, eps=1e-6)
