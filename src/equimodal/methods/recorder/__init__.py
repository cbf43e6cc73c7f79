r"""Recorder: watch how each modality learns, and change nothing.

Composed with any method (``ibml() + recorder()``) it records, in every k-th batch, and an epoch's figures stand in
`metrics.jsonl` under ``recorded``; in a loop of one's own ``recorder.recorded()`` gives them at the epoch's end.

- *Gradient norm* of each encoder, $\lVert \nabla_{\theta_m} \rVert$, as the optimiser sees it (before clipping).
- *Cosine* between the gradients of a modality's own loss $\mathrm{CE}(g_m)$ and of the joint loss $\mathrm{CE}(g)$, with
  respect to the modality's **features**: below zero, what is good for the fused prediction is bad for the modality alone.
  Features rather than parameters, because the gradient ends there after the head, and no encoder is gone through twice.
- *Confidence* of each modality in each class: the mean probability of the true class under $g_m$.
- *Loss* of each modality and of the fused prediction, which with those of validation give the overfitting-to-generalisation
  ratio.
- *Mapping error* from one modality to another: the share of the variance of $z_b$ that no linear map of $z_a$ explains,

$$e_{a \to b} = \frac{\min_{A, c} \mathbb{E} \lVert z_b - A z_a - c \rVert^2}{\mathbb{E} \lVert z_b - \mathbb{E} z_b \rVert^2},$$

  solved once an epoch from the sums of products of features, with both sides divided by their degrees of freedom.

Source: gradients, X. Peng, Y. Wei, A. Deng, D. Wang, D. Hu, "Balanced Multimodal Learning via On-the-fly Gradient
Modulation", CVPR 2022; confidence of each class and mapping error, C. Li et al., "InfoBridge: Balanced Multimodal
Integration through Conditional Dependency Modeling", ICCV 2025, Fig. 1b and eq. 11; the ratio, W. Wang, D. Tran,
M. Feiszli, "What makes training multi-modal classification networks hard?", CVPR 2020.

Readings
- Everything is seen as in training: on training batches, in training mode, while the weights move.
- InfoBridge's error depends on the scale of the features; ours is a share between 0 and 1. Features of more than 64
  dimensions are first mixed into 64 by fixed random weights; an epoch whose samples are not twice as many as the
  dimensions has no error.
- A modality's own logits depend on its own features only, so one backward pass through the head serves all modalities.
- A batch that is recorded costs an eighth more of a step of two small CNNs on one core, so that every tenth costs 1.4%.
- With several processes all figures are those of the global batch. In a window (``recorder().during(5, 10)``) cosines
  are recorded inside it only; the rest is memory, which a window does not stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ... import distributed
from ...core import DataInfo, Epoch, Gradients, Losses, Method, Output, Step
from ...core.batch import class_ids
from ...errors import ConfigError
from .gradients import cosines, norms, products
from .moments import Moments

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["Recorder"]

Numbers = list[float | None]


class Recorder(Method):
    """Record gradients, confidences, losses and mapping errors of each modality; training stays the same bit for bit.

    Args:
        every: k; batches 0, k, 2k, … of an epoch are recorded.

    Raises:
        ConfigError: `every` is below 1.
    """

    observes = True
    neutral = "recorder() = joint()"

    norms: Tensor  # [2, M]: sums of norms, and their number
    cosines: Tensor  # [2, M]
    by_class: Tensor  # [3, M + 1, C]: sums of confidences and losses, and their number; the fused prediction is the last
    moments: Moments

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise ConfigError(f"recorder(every={every}) must be at least 1.")
        self.every = every

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self.modalities = model.modalities
        self.moments = Moments(model.head.widths)
        count = len(self.modalities)
        shapes = {
            "norms": (2, count),
            "cosines": (2, count),
            "by_class": (3, count + 1, data.classes),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def begin_epoch(self, epoch: Epoch) -> None:
        for sums in (self.norms, self.cosines, self.by_class, self.moments.sums):
            sums.zero_()

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        """The losses as they are; notes how the gradients lie to each other, for `observe`."""
        if self._due(step):
            step.note(f"{_where(step)}/{step.micro}", products(output, step, self.modalities))
        return losses

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        if not self._due(step):
            return
        noted = [v for n, v in step.notes.items() if n.startswith(f"{_where(step)}/")]
        lie = sum(noted, start=self.norms.new_zeros(3, len(self.modalities)))  # of micro-batches
        lie, by_class, moments = _over_processes(
            lie, self._by_class(output, step), self.moments.of(output.features, step.batch)
        )
        self.norms += norms(grads, step.model, self.modalities)
        self.cosines += cosines(lie)
        self.by_class += by_class
        self.moments.sums += moments

    def recorded(self) -> Mapping[str, Any]:
        """The figures of the epoch so far; None where there is none.

        ``modalities``: of each its ``gradient_norm``, ``cosine``, ``loss`` (nats) and ``confidence`` (one per class);
        ``fused``: ``loss`` and ``confidence``; ``mapping_error``: ``from``, ``to`` and ``error`` of each ordered pair.
        """
        confidence, loss, count = self.by_class
        predictions = [
            {"loss": own, "confidence": _ratios(*of_class)}
            for own, *of_class in zip(
                _ratios(loss.sum(1), count.sum(1)), confidence, count, strict=True
            )
        ]
        gradients = zip(self.modalities, _ratios(*self.norms), _ratios(*self.cosines), strict=True)
        return {
            "modalities": {
                m: {"gradient_norm": norm, "cosine": cosine, **said}
                for (m, norm, cosine), said in zip(gradients, predictions[:-1], strict=True)
            },
            "fused": predictions[-1],
            "mapping_error": [
                {"from": a, "to": b, "error": error} for a, b, error in self.moments.errors()
            ],
        }

    # Inside.

    def _due(self, step: Step) -> bool:
        return step.number % self.every == 0

    def _by_class(self, output: Output, step: Step) -> Tensor:
        """[3, M + 1, C]: what this batch adds."""
        batch, nothing = step.batch, torch.zeros_like(output.fused)
        own = {m: output.unimodal[m] for m in output.unimodal if m in step.phase.train}
        said = torch.stack([*(own.get(m, nothing) for m in self.modalities), output.fused])
        ids = class_ids(step.target, "recorder()")
        everyone = torch.ones_like(ids, dtype=torch.bool)
        there = torch.stack([*(batch.mask(m) & (m in own) for m in self.modalities), everyone])
        flat, target = said.flatten(0, 1), ids.repeat(len(said))
        values = torch.stack([step.task.confidence(flat, target), step.task.loss(flat, target)])
        kept = torch.where(there, values.view(2, *there.shape).double(), 0)
        classes = torch.arange(self.by_class.shape[2], device=target.device)
        members = (ids[:, None] == classes).double()
        return torch.cat([kept, there[None].double()]) @ members


def _where(step: Step) -> str:
    return f"recorder/{step.phase.name}"


def _over_processes(*parts: Tensor) -> list[Tensor]:
    """The sum of each part over all processes, in one message."""
    if distributed.processes() == 1:
        return list(parts)
    message = distributed.sum(torch.cat([part.flatten() for part in parts]))
    pieces = message.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def _ratios(sums: Tensor, counts: Tensor) -> Numbers:
    pairs = zip(sums.tolist(), counts.tolist(), strict=True)
    return [total / count if count else None for total, count in pairs]
