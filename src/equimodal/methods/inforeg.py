r"""InfoReg: hold back the modality that is ahead, while all of them still acquire information (the prime learning window).

Every modality has its own loss. In the window the encoder of a modality that is ahead of the others is pulled to where it was
at the epoch's start. With $s_m$ the mean over the batch of $\mathrm{softmax}(g_{m,i})[y_i]$:

$$L = \mathrm{CE}(g, y) + \sum_m \mathrm{CE}(g_m, y), \qquad \mathrm{gap}_m = s_m - \mathrm{mean}_{n \ne m}\, s_n$$

$$\nabla_{\theta_m} \leftarrow \nabla_{\theta_m} + \beta_m (\theta_m - \theta_m^{start}), \qquad \beta_m = \beta\, e^{\tanh(\mathrm{gap}_m)} \text{ where } \mathrm{gap}_m > 0$$

The window follows the trace of the Fisher information, for which the squared gradients of the batches stand: with $tr_e$ the sum
over an encoder's weights (two and more dimensions) of the mean over their entries of $\sum_{steps} \nabla^2$ in epoch e, the
window of epoch t is open where

$$k_t = \frac{tr_{t-1} - tr_{t-11}}{\sum_{e=t-10}^{t-1} tr_e} > K, \qquad k_0 = 1, \quad tr_{e < 0} = 0$$

Source: C. Huang, Y. Wei, Z. Yang, D. Hu, "Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition",
CVPR 2025 (arXiv 2503.18595); the authors' code GeWu-Lab/InfoReg_CVPR2025 at commit 939b2ed.

Readings
- The gap is of means; ``gap="sum"`` is of sums over the global batch, as in the code, where the tanh is 1 whatever the gap.
- One β for all, as in the paper; the code has 0.95 for the one modality and 0.1 for the other, ``beta=(0.95, 0.1)``.
- Each modality's own trace opens its window; ``trace="shared"`` has that of the modality with the highest score in the last
  epoch decide for all, where the code has always the same one. The window may open again, as in the code.
- The trace is of the final gradient, after all other methods and with the pull in it, as in the code. An
  epoch without any gradient has k = 0.
- More than two modalities (not in the paper): everyone with a positive gap, each by its own β_m. Equal scores, up to rounding,
  hold nobody back, nor is a modality compared that the whole batch lacks.
- The pull is added to the gradient. Decoupled from it, as AdamW does with weight decay, it would be a step of its own, which
  no method takes. A parameter of several encoders gets the mean of their β_m, 0 for those that are not ahead.
- Half of the method is the unimodal losses: compare it with `Uniform`.

Hyper-parameters: β = 0.95 and K = 0.05 are the code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from .. import distributed
from ..core import TOTAL, DataInfo, Epoch, Gradients, Losses, Method, Output, Step, added
from ..errors import ConfigError, nearest
from ._snapshot import Snapshot

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["InfoReg"]

Gap = Literal["mean", "sum"]
Trace = Literal["own", "shared"]


class InfoReg(Method):
    """The joint loss plus ``inforeg/<modality>``, and a pull on the encoders of modalities that are ahead.

    Notes ``inforeg/k/<modality>`` and ``inforeg/beta/<modality>`` (0 where nobody is held back).

    Args:
        beta: β of all modalities, or one for each in the model's order; 0 holds nobody back.
        threshold: K, above which a window is open.
        gap: of "mean" or "sum" of the probabilities of the true class.
        trace: each modality's "own" one opens its window, or the strongest one's is "shared".

    Raises:
        ConfigError: a negative beta, as many of them as the model has no modalities, or an unknown word.
    """

    keeps_rows = False  # the pull is added once, not to the gradient of each loss
    neutral = "inforeg(beta=0.0) = uniform()"
    search_space = {"beta": (0.1, 2.0), "threshold": (0.01, 0.1)}

    betas: Tensor  # [M]
    traces: Tensor  # [M, 11], of the last epochs
    sums: Tensor  # [M], the trace of this epoch so far
    scores: Tensor  # [M], summed over the steps of this epoch, for a shared trace
    k: Tensor  # [M], of this epoch

    def __init__(
        self,
        beta: float | Sequence[float] = 0.95,
        threshold: float = 0.05,
        gap: Gap = "mean",
        trace: Trace = "own",
    ) -> None:
        super().__init__()
        if not bool((torch.as_tensor(beta) >= 0).all()):
            raise ConfigError(f"inforeg(beta={beta}) must be at least 0.")
        for option, value, choices in (
            ("gap", gap, get_args(Gap)),
            ("trace", trace, get_args(Trace)),
        ):
            if value not in choices:
                hint = nearest(str(value), choices)
                raise ConfigError(f"inforeg(): there is no {option}={value!r}: {hint}")
        self.beta, self.threshold, self.gap, self.trace = beta, threshold, gap, trace

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self.modalities = model.modalities
        dtype = torch.promote_types(model.like.dtype, torch.float32)
        betas = torch.as_tensor(self.beta, dtype=dtype)
        if betas.ndim and len(betas) != len(self.modalities):
            raise ConfigError(
                f"{self.expression()} needs one beta, or one for each of {', '.join(self.modalities)}."
            )
        size = len(self.modalities)
        self.register_buffer("betas", betas.expand(size).clone(), persistent=False)
        self.register_buffer("traces", torch.zeros(size, 11, dtype=dtype))
        self.register_buffer("k", torch.ones(size, dtype=dtype))
        for name in ("sums", "scores"):
            self.register_buffer(name, torch.zeros(size, dtype=dtype))
        self.start = Snapshot(model.encoders)

    def begin_epoch(self, epoch: Epoch) -> None:
        self.start.take(epoch.model.encoders)
        if epoch.index == 0:
            return
        self.traces.copy_(torch.cat([self.traces[:, 1:], self.sums[:, None]], 1))
        total = self.traces[:, 1:].sum(1)
        k = (self.traces[:, -1] - self.traces[:, 0]) / torch.where(total > 0, total, 1)
        self.k.copy_(k[self.scores.argmax()].expand_as(k) if self.trace == "shared" else k)
        self.sums.zero_()
        self.scores.zero_()

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        own = {f"inforeg/{m}": step.loss(g, m) for m, g in output.unimodal.items()}
        return added(losses, own)

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        grads = grads.sum()
        total = dict(grads.rows[TOTAL])
        beta = self._strengths(output, step)
        pulls: dict[str, list[Tensor]] = {}
        for i, m in enumerate(self.modalities):
            for name in grads.names_in(step.model.encoders[m]):
                pulls.setdefault(name, []).append(beta[i])
        for parameter, start in self.start.pairs(step.model.encoders):
            name = grads.names.get(parameter, "")
            if name in total:
                pull = pulls[name][0] if len(pulls[name]) == 1 else torch.stack(pulls[name]).mean()
                total[name] = torch.addcmul(
                    total[name], pull.to(parameter.dtype), parameter - start
                )
        return replace(grads, rows={TOTAL: total})

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        final = grads.sum().rows[TOTAL]
        for i, m in enumerate(self.modalities):
            found = [final[n] for n in grads.names_in(step.model.encoders[m]) if n in final]
            flat = [g.to(self.sums.dtype).flatten() for g in found if g.ndim >= 2]
            means = [g.dot(g) / len(g) for g in flat]
            if means:
                self.sums[i] += torch.stack(means).sum()
        if self.trace == "shared":
            self.scores += self._scores(output, step)[0]

    def _scores(self, output: Output, step: Step) -> tuple[Tensor, Tensor]:
        """The scores s [M], and which modalities the global batch has."""
        silence = torch.zeros_like(output.fused)
        logits = [output.unimodal.get(m, silence).to(self.k.dtype) for m in self.modalities]
        pi = torch.stack([step.task.confidence(g, step.target) for g in logits])
        present = [step.batch.mask(m) & (m in output.unimodal) for m in self.modalities]
        sums, counts = distributed.totals(pi, torch.stack(present))
        return sums / counts.clamp(min=1), counts > 0

    def _strengths(self, output: Output, step: Step) -> Tensor:
        """β_m [M], 0 where a modality is not held back."""
        scores, there = self._scores(output, step)
        rivals = there & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        mean = torch.where(rivals, scores, 0).sum(1) / rivals.sum(1).clamp(min=1)
        gap = torch.where(there & rivals.any(1), scores - mean, 0)
        ahead = (gap > 8 * torch.finfo(gap.dtype).eps) & (self.k > self.threshold)
        if self.gap == "sum":
            gap = gap * distributed.sum(torch.full_like(gap[0], len(step.batch)))
        beta = torch.where(ahead, self.betas * torch.exp(torch.tanh(gap)), 0)
        for i, m in enumerate(self.modalities):
            step.note(f"inforeg/k/{m}", self.k[i])
            step.note(f"inforeg/beta/{m}", beta[i])
        return beta
