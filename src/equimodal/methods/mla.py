r"""MLA: train one modality after another through a shared layer, without undoing what the layer learned from the others.

Multimodal learning with alternating unimodal adaptation. Each batch is one update per modality, of its encoder and of the
layer $W$ that all modalities share, by $\mathrm{CE}(f_m, y)$ with $f_m = z_m W^\top + b$. The gradient of W is projected away
from the mean features $\bar h$ [D] of the modalities that were trained before:

$$\nabla_W \leftarrow \nabla_W P, \qquad P \leftarrow P - \frac{k\, k^\top}{\alpha + \bar h^\top k}, \quad k = P \bar h, \quad P_1 = I$$

For a constant α this is $P = (I + \sum \bar h \bar h^\top / \alpha)^{-1}$, recursive least squares. The prediction weighs
each modality by how sure it is of the sample, with $\mathcal H$ the entropy:

$$f = \sum_m \lambda_m f_m, \qquad \lambda = \mathrm{softmax}_m\big(-\mathcal H(\mathrm{softmax} f_m)\big)$$

Source: X. Zhang, J. Yoon, M. Bansal, H. Yao, "Multimodal Representation Learning by Alternating Unimodal Adaptation",
CVPR 2024; the authors' code Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation at commit ab6c184.

Readings
- The projection runs. In the code it never does, because it looks for a parameter of another name; ``project=False`` is what
  the code does. Nor would its formula be a projection: it divides by a matrix and rescales P to norm 1.
- The mean feature is that of the modality trained before, over the samples that have it; the code takes the present one's.
- α falls from 0.1 to 0.01 within each epoch, as in the code; the bias is not projected; P is never reset.
- The entropy is of the classes, for each sample; that of the code is of the batch. ``fusion="mean"`` or one weight for
  each modality are fixed; the code has (0.55, 0.45). All are normalised over the modalities that a sample has.
- Encoders whose turn it is not have no gradient. In the code they have zeros, with which momentum goes on moving them.
- Each modality's loss is the mean over the samples that have it.
- One optimiser for all, as in the code: momentum and weight decay act on W once per modality.

Hyper-parameters: the schedule of α is the code's; there are no others. The order is the model's; the paper does not study it.
The features of all modalities have one width: the method needs the head ``shared()``. A large mean feature, as after a ReLU, takes
its direction out of W's gradient almost at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import distributed
from ..core import DataInfo, Gradients, Losses, Method, Output, Phase, Step
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["MLA"]


class MLA(Method):
    """One update per modality and batch; the shared layer's gradient times P; a prediction weighted by entropy.

    Notes ``mla/free``, the mean eigenvalue of P: how much of the layer's gradient is still let through.

    Args:
        fusion: "entropy", "mean", or one weight for each modality in the model's order.
        project: whether the shared layer's gradient is projected.
        alpha: α; None for the code's schedule.
        order: in which the modalities are trained; None for the model's.

    Raises:
        ConfigError: a head that is not one linear layer for all modalities, weights that are not one positive
            number per modality, α that is not positive, or an order that does not name each modality once.
    """

    changes_prediction = True
    head = "shared()"
    ordered = True
    adam = "partly: the projection within the layer"
    # No neutral setting: updates that alternate are no setting of another method.
    neutral = None

    projector: Tensor  # P [D, D]
    shares: Tensor  # [M]

    def __init__(
        self,
        fusion: str | Sequence[float] = "entropy",
        project: bool = True,
        alpha: float | None = None,
        order: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        fixed = fusion if not isinstance(fusion, str) else ()
        if not all(w > 0 for w in fixed) or (not fixed and fusion not in ("entropy", "mean")):
            raise ConfigError(
                f"mla(fusion={fusion!r}) must be 'entropy', 'mean', or a positive weight for each modality."
            )
        if alpha is not None and not alpha > 0:
            raise ConfigError(f"mla(alpha={alpha}) must be positive.")
        self.fusion, self.project, self.alpha, self.order = fusion, project, alpha, order

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        if not model.head.shared:
            raise ConfigError(
                "mla() trains one linear layer by every modality: give the model the head shared()."
            )
        self.modalities = model.modalities
        self.turns = tuple(self.modalities if self.order is None else self.order)
        if sorted(self.turns) != sorted(self.modalities):
            raise ConfigError(
                f"mla(order={self.order!r}) must name each of {', '.join(self.modalities)} once."
            )
        weight = model.head.weight(self.turns[0])
        dtype = torch.promote_types(weight.dtype, torch.float32)
        shares = (1.0,) * len(self.turns) if isinstance(self.fusion, str) else self.fusion
        if len(shares) != len(self.turns):
            raise ConfigError(
                f"mla(fusion={self.fusion!r}) needs one weight for each of {', '.join(self.modalities)}."
            )
        self.register_buffer("shares", torch.tensor(shares, dtype=dtype), persistent=False)
        self.register_buffer("projector", torch.eye(weight.shape[1], dtype=dtype))

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        return [
            replace(phase, train=(m,), name=f"{phase.name}/{m}")
            for phase in phases
            for m in self.turns
            if m in phase.train
        ]

    def outputs(self, output: Output, step: Step) -> Output:
        logits = torch.stack(list(output.unimodal.values()))
        weights = self._weights(output, step).to(logits.dtype)
        return replace(output, fused=(weights[..., None] * logits).sum(0))

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        """The task's loss, over the samples that have the modality whose turn it is."""
        if len(output.modalities) > 1:
            return losses
        own = step.loss(output.fused, output.modalities[0])
        return {**losses, "task": own}

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        if not self.project:
            return grads
        step.note("mla/free", self.projector.trace() / len(self.projector))
        shared = grads.names.get(step.model.head.weight(self.turns[0]))

        def projected(row: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: self._projected(g) if n == shared else g for n, g in row.items()}

        return replace(grads, rows={name: projected(row) for name, row in grads.rows.items()})

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        """Fold the mean feature of the modality that was trained into P, which stays symmetric bit for bit."""
        alpha = 0.1 ** (1 + step.progress) if self.alpha is None else self.alpha
        for m in step.phase.train:
            z = output.features[m].detach().to(self.projector.dtype)  # zero where missing
            count = step.batch.mask(m).sum().to(z.dtype)
            total = distributed.sum(torch.cat([z.sum(0), count[None]]))
            mean = total[:-1] / total[-1].clamp(min=1)
            k = self.projector @ mean
            self.projector -= torch.outer(k, k) / (alpha + (mean @ k).clamp(min=0))

    def _projected(self, grad: Tensor) -> Tensor:
        return (grad.to(self.projector.dtype) @ self.projector).to(grad.dtype)

    def _weights(self, output: Output, step: Step) -> Tensor:
        """[M, B]: λ, 0 where a sample lacks the modality; they sum to 1 over those that it has."""
        rows = []
        for m, logits in output.unimodal.items():
            log = logits.detach().to(self.projector.dtype).log_softmax(1)
            share = self.shares[self.modalities.index(m)].expand(len(log))
            sure = (log.exp() * log).sum(1).exp() if self.fusion == "entropy" else share
            rows.append(sure * step.batch.mask(m))
        weights = torch.stack(rows)
        return weights / weights.sum(0).clamp(min=torch.finfo(weights.dtype).tiny)
