r"""ReconBoost: boost one modality at a time against what the others say, then set all of them right together.

The ensemble $G = r \sum_m f_m$ of unimodal learners, with r learned, is trained in stages s = 0, 1, ... as in gradient boosting,
each of modality m = s mod M. With $O = r \sum_{k \ne m} f_k$, what the frozen others say, a stage first boosts learner m by

$$L_1 = \frac1B \sum_i \frac{w_1 - w_2\, \mathrm{softmax}(O_i)[y_i]}{C}\, \mathrm{CE}(f_{m,i}, y_i) + \alpha\, \mathrm{MSE}\big(\mathrm{softmax} f_m,\ \mathrm{softmax} f_m^{prev}\big)$$

so that what the others get right already counts less, and $f_m^{prev}$, the learner at the stage's start, holds the new one close;
then it trains everything together by $L_2 = \mathrm{CE}(G, y)$.

Source: C. Hua, Q. Xu, S. Bao, Z. Yang, Q. Huang, "ReconBoost: Boosting Can Achieve Modality Reconcilement", ICML 2024; the
authors' code huacong/ReconBoost at commit 14ab57a.

Readings
- The gradient of the consolidation term flows through $f_m$. In the code it flows nowhere, so that the term is without effect
  (``alpha=0.0``). There is none in stage 0. Its mean is over samples and classes.
- Only the newest learner of each modality is kept, and goes on from its weights.
- In the first round the others are those that have had a stage. With none, and for samples that have none of them, the
  weight is $(w_1 - w_2) / C$, as in the code.
- The frozen others speak in evaluation mode; in the code batch norm goes on drifting.
- Each of the two phases starts with an optimiser without momentum, as in the code.
- The factor 1/C makes the first phase's steps C times smaller than the second's; ``boost_rate`` multiplies its learning rate.
- A shared head of two layers is the code's; `Sum` and `Linear` work as well. A step of the first phase moves the others'
  logits through a shared head although their encoders are frozen.
- The authors start from pretrained unimodal encoders, and so did their published numbers; here training starts from scratch.
- Each modality's loss is the mean over the samples that have it.

Hyper-parameters: the authors have $w_1$ = 5 and $w_2$ = 1 for CREMA-D, 4 and 1 for AVE and ModelNet40, 1 and 0.25 for MSA; α = 0.5;
4 + 4 epochs in each stage; the learning rate (0.01) × 0.1 every 30 stages for CREMA-D, × 0.5 at stage 40 for AVE.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core import DataInfo, Epoch, Losses, Method, Output, Phase, Step, evaluating
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["ReconBoost"]

_BOOST = "boost"


class ReconBoost(Method):
    """Stages of two phases: ``reconboost/<modality>`` with ``reconboost/consolidation``, then the joint loss.

    Args:
        w1: w_1, the weight of a sample that the others get wrong.
        w2: w_2, how much less one counts that they get right; below w_1.
        alpha: α, of the consolidation.
        boost: epochs of a stage's first phase.
        consolidate: epochs of its second phase.
        boost_rate: what multiplies the learning rate in the first phase.
        decay: what multiplies the learning rate every `every` stages; 1 leaves it to a schedule.
        every: see `decay`.
        order: of the modalities; None for the model's.

    Raises:
        ConfigError: an option out of its range; a head whose unimodal logits do not sum to the fused ones; an order that
            does not name each modality once; an epoch that begins without an optimiser of PyTorch.
    """

    changes_prediction = True
    head = "shared(hidden=256)"
    ordered = True
    # No neutral setting: the factor r is learned even where nothing is boosted.
    neutral = None
    search_space = {"w1": (1.5, 10.0), "alpha": (0.0, 2.0)}

    def __init__(
        self,
        w1: float = 5.0,
        w2: float = 1.0,
        alpha: float = 0.5,
        boost: int = 4,
        consolidate: int = 4,
        boost_rate: float = 1.0,
        decay: float = 0.1,
        every: int = 30,
        order: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not w1 > w2 >= 0:
            raise ConfigError(
                f"reconboost(w1={w1}, w2={w2}): w1 must be above w2, and w2 at least 0."
            )
        counts = (("alpha", alpha, 0), ("consolidate", consolidate, 0), ("boost", boost, 1))
        for name, value, least in (*counts, ("every", every, 1)):
            if not value >= least:
                raise ConfigError(f"reconboost({name}={value}) must be at least {least}.")
        for name, value in (("boost_rate", boost_rate), ("decay", decay)):
            if not value > 0:
                raise ConfigError(f"reconboost({name}={value}) must be positive.")
        self.w1, self.w2, self.alpha = w1, w2, alpha
        self.boost, self.consolidate, self.order = boost, consolidate, order
        self.boost_rate, self.decay, self.every = boost_rate, decay, every
        self.own_schedule = decay != 1

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        if not model.head.additive:
            raise ConfigError(
                "reconboost() sums the logits of its learners: give the model the head shared(hidden=256), sum() or linear()."
            )
        self.turns = tuple(model.modalities if self.order is None else self.order)
        if sorted(self.turns) != sorted(model.modalities):
            raise ConfigError(
                f"reconboost(order={self.order!r}) must name each of {', '.join(model.modalities)} once."
            )
        self.r = nn.Parameter(model.like.new_tensor(1.0))
        if self.alpha:
            self.previous = copy.deepcopy(model).requires_grad_(False)

    def begin_epoch(self, epoch: Epoch) -> None:
        stage, inside = self._at(epoch.index)
        if not epoch.active or inside not in (0, self.boost):
            return
        if not isinstance(epoch.optimizer, torch.optim.Optimizer):
            raise ConfigError(
                "reconboost() clears the optimiser's state as a phase starts: "
                "say begin_epoch(epoch, train, val, optimizer) with one of torch.optim."
            )
        epoch.optimizer.state.clear()
        if inside == 0 and self.alpha:
            m = self.turns[stage % len(self.turns)]
            self.previous.encoders[m].load_state_dict(epoch.model.encoders[m].state_dict())
            self.previous.head.load_state_dict(epoch.model.head.state_dict())

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        stage, inside = self._at(epoch)
        if inside >= self.boost:
            return phases
        m = self.turns[stage % len(self.turns)]
        known = self.turns[:stage]  # all, after the first round
        return [Phase((m,), tuple(k for k in known if k != m), _BOOST)]

    def rate(self, rate: float, epoch: int) -> float:
        stage, inside = self._at(epoch)
        phase = self.boost_rate if inside < self.boost else 1.0
        return float(rate * phase * self.decay ** (stage // self.every))

    def outputs(self, output: Output, step: Step) -> Output:
        return replace(output, fused=self.r.to(output.fused.dtype) * output.fused)

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        if step.phase.name != _BOOST:
            return losses
        (m,) = step.phase.train
        own = self._unsaid(output, step) * step.task.loss(output.unimodal[m], step.target)
        found = {name: loss for name, loss in losses.items() if name != "task"}
        found[f"reconboost/{m}"] = step.mean(own, m)
        if self.alpha and self._at(step.epoch)[0] > 0:
            change = output.unimodal[m].softmax(1) - self._before(m, output, step).softmax(1)
            moved = step.mean(change.square().mean(1), m)
            found["reconboost/consolidation"] = self.alpha * moved
        return found

    def _at(self, epoch: int) -> tuple[int, int]:
        """The stage, and the epoch in it."""
        return divmod(epoch, self.boost + self.consolidate)

    def _unsaid(self, output: Output, step: Step) -> Tensor:
        """[B]: the weight of each sample, smaller where the others give the true class more probability."""
        classes = output.fused.shape[1]
        others = step.phase.frozen
        if not others:
            return output.fused.new_full((len(step.batch),), (self.w1 - self.w2) / classes)
        said = torch.stack([output.unimodal[k].detach() for k in others]).sum(0)
        anyone = torch.stack([step.batch.mask(k) for k in others]).any(0)
        p = step.task.confidence(self.r.detach().to(said.dtype) * said, step.target)
        return (self.w1 - self.w2 * torch.where(anyone, p, 1)) / classes

    @torch.no_grad()
    def _before(self, modality: str, output: Output, step: Step) -> Tensor:
        """[B, C]: what the learner said at the stage's start, beside the features that the others have now."""
        with evaluating(self.previous):
            z = self.previous.encode(modality, step.batch)
            features = {**output.features, modality: z}
            unimodal, _ = self.previous.head(features, step.batch)
        logits: Tensor = unimodal[modality]
        return logits
