r"""PMR: pull the slow modality to its class prototypes, and slow the dominant one (prototypical modal rebalance).

The mean features of each class, its prototypes $c_k^m$, classify a modality without parameters of its own (eqs. 6, 7):

$$D^m_{ik} = \lVert z_{m,i} - c_k^m \rVert_2, \qquad q^m = \mathrm{softmax}(-D^m), \qquad s_m = \sum_i q^m_{i,y_i}, \qquad L^m_{PCE} = \mathrm{CE}(-D^m, y)$$

The slow modality gets its prototypical cross-entropy; in the first epochs the dominant one gets a bonus for entropy H
(eqs. 8 to 13, here for any number of modalities):

$$L = \mathrm{CE}(g, y) + \alpha \sum_m \mathrm{clip}\Big(\frac{\max_n s_n}{s_m} - 1, 0, 1\Big) L^m_{PCE} - \mu \sum_m \mathrm{clip}\Big(\frac{s_m}{\min_n s_n} - 1, 0, 1\Big) H(q^m)$$

At each epoch's start the prototypes move: $c \leftarrow \varepsilon\, c + (1 - \varepsilon)\, c_{new}$. They are constants for the
gradient, so that these losses reach encoder m only.

Source: Y. Fan, W. Xu, H. Wang, J. Wang, S. Guo, "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023; the
authors' code fanyunfeng-bit/Modal-Imbalance-PMR at commit 3615e48.

Readings
- Coefficients as in the paper; ``binary=True`` gives the slower modality all of α and a tie nothing, as the code does.
- The entropy term is in the paper ("first few epochs") and not in the code: here 5 epochs; ``mu=0.0`` is the code.
- More than two modalities (not in the paper): as above, which for M = 2 is the paper's.
- Prototypes come from the first tenth of the training batches (at least one; exactly one where their number is unknown), in
  evaluation mode, never from validation or test as in the code for two sets. Those of epoch 0, of the untrained network,
  are replaced at the next update, as in the code. ``accumulate=True`` takes the features that the last epoch trained
  with, at no extra cost, and so has none in epoch 0. Outside a window only the latter keeps up.
- A class without samples keeps its prototype (in the code it makes the loss NaN). One that was never seen is left out of the
  softmax, its samples out of loss and score. Closer to a prototype than 1e-6 the gradient is 0 (in the code NaN at 0).
- A modality that the whole batch lacks is not compared; loss and score are over the samples that have m.

Hyper-parameters: the paper has α of 1 or 2 and μ of 1e-2 or 1e-3; ε = 0.2 is the default of the code, whose scripts use 0.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ... import distributed
from ...core import DataInfo, Epoch, Gradients, Losses, Method, Output, Step, added, evaluating
from ...core.batch import class_ids
from ...errors import ConfigError
from .prototypes import Prototypes

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["PMR"]


class PMR(Method):
    """The joint loss plus ``pmr/pce/<modality>`` and, in the first epochs, ``pmr/per/<modality>``.

    Notes ``pmr/score/<modality>`` (s, as a mean) and the weights ``pmr/slow/<modality>`` and ``pmr/dominant/<modality>``.

    Args:
        alpha: α, of the prototypical cross-entropy.
        mu: μ, of the entropy.
        entropy_epochs: E_r, the entropy counts in epochs 0 to E_r - 1.
        momentum: ε in [0, 1), what is kept of a prototype.
        binary: the coefficients of the authors' code.
        accumulate: prototypes from the features of training instead of extra passes.

    Raises:
        ConfigError: an option out of its range; an epoch that begins without its training batches.
    """

    neutral = "pmr(alpha=0.0, mu=0.0) = joint()"
    search_space = {"alpha": (0.5, 5.0), "mu": (1e-3, 1e-1)}

    updated: Tensor  # the epoch of the last update

    def __init__(
        self,
        alpha: float = 1.0,
        mu: float = 1e-2,
        entropy_epochs: int = 5,
        momentum: float = 0.2,
        binary: bool = False,
        accumulate: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("mu", mu), ("entropy_epochs", entropy_epochs)):
            if not value >= 0:
                raise ConfigError(f"pmr({name}={value}) must be at least 0.")
        if not 0 <= momentum < 1:
            raise ConfigError(f"pmr(momentum={momentum}) must be in [0, 1).")
        self.alpha, self.mu, self.entropy_epochs = alpha, mu, entropy_epochs
        self.momentum, self.binary, self.accumulate = momentum, binary, accumulate

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        like = next(model.parameters())
        widths = model.head.widths.items()
        made = {m: Prototypes(data.classes, width, like) for m, width in widths}
        self.prototypes = nn.ModuleDict(made)
        self.register_buffer("updated", torch.tensor(-1))

    @torch.no_grad()
    def begin_epoch(self, epoch: Epoch) -> None:
        if not self.accumulate and not epoch.active:
            return
        if not self.accumulate:
            self._measure(epoch)
        # What the untrained network said is replaced.
        kept = self.momentum if int(self.updated) >= 1 else 0.0
        for m in epoch.model.modalities:
            self._of(m).move(kept)
        self.updated.fill_(epoch.index)

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        logits = {m: self._of(m).logits(z) for m, z in output.features.items()}
        target = class_ids(step.target, "pmr()")
        known = [step.batch.mask(m) & self._of(m).seen[target] for m in logits]
        there = torch.stack(known)
        slow, dominant = self._weights(logits, there, step)
        terms = {}
        for i, (m, g) in enumerate(logits.items()):
            own = step.mean(step.task.loss(g, step.target), mask=there[i])
            terms[f"pmr/pce/{m}"] = self.alpha * slow[i] * own
            if self.mu and step.epoch < self.entropy_epochs:
                entropy = step.mean(_entropy(g), mask=there[i])
                terms[f"pmr/per/{m}"] = -self.mu * dominant[i] * entropy
        return added(losses, terms)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        if self.accumulate:
            for m in step.phase.train:
                self._of(m).add(output.features[m], step.target, step.batch.mask(m))

    def _of(self, modality: str) -> Prototypes:
        return cast(Prototypes, self.prototypes[modality])

    def _weights(
        self, logits: Mapping[str, Tensor], there: Tensor, step: Step
    ) -> tuple[Tensor, Tensor]:
        """How slow and how dominant each modality is, [M] in [0, 1]."""
        pi = [step.task.confidence(g.detach(), step.target) for g in logits.values()]
        sums, counts = distributed.totals(torch.stack(pi), there)
        score, compared = sums / counts.clamp(min=1), counts > 0
        tiny = torch.finfo(score.dtype).tiny
        best = torch.where(compared, score, 0).max()
        least = torch.where(compared, score, torch.inf).min()
        slow = (best / score.clamp(min=tiny) - 1).clamp(0, 1)
        if self.binary:
            slow = (score < best).to(score.dtype)
        dominant = (score / least.clamp(min=tiny) - 1).clamp(0, 1)
        slow, dominant = slow * compared, dominant * compared
        for i, m in enumerate(logits):
            step.note(f"pmr/score/{m}", score[i])
            step.note(f"pmr/slow/{m}", slow[i])
            step.note(f"pmr/dominant/{m}", dominant[i])
        return slow, dominant

    def _measure(self, epoch: Epoch) -> None:
        """Add up the features of a tenth of the training set."""
        if epoch.train is None:
            raise ConfigError(
                "pmr() makes its prototypes from the training batches: say begin_epoch(epoch, train, ...), "
                "or pmr(accumulate=True)."
            )
        count = max(operator.length_hint(epoch.train) // 10, 1)
        with evaluating(epoch.model):
            for read in itertools.islice(epoch.train, count):
                batch = read.to(self.updated.device)
                for m in epoch.model.modalities:
                    z = epoch.model.encode(m, batch)
                    self._of(m).add(z, class_ids(batch.target, "pmr()"), batch.mask(m))


def _entropy(logits: Tensor) -> Tensor:
    """[B], in nats."""
    log = logits.log_softmax(1)
    return -(log.exp() * log).sum(1)
