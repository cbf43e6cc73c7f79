r"""BIO: add the loss of the modalities that lag behind (balanced information objective).

Multimodal training is imbalanced when the modalities do not retain their complementary information alike. BIO finds the
lazy ones in each batch and adds their own losses, with the indicator and the objective of the paper's eqs. 13 and 12:

$$\rho_m = \sum_i \mathrm{softmax}(g_{m,i})[y_i], \qquad 1_m = \Big[\rho_m < \tfrac{1}{M} \sum_k \rho_k\Big], \qquad k = \sum_m 1_m$$

$$L = \max(1 - k, 0)\, \mathrm{CE}(g) + \sum_m 1_m \big[\mathrm{CE}(g) + \mathrm{CE}(g_m)\big] = \max(k, 1)\, \mathrm{CE}(g) + \sum_{m\ \mathrm{lazy}} \mathrm{CE}(g_m)$$

Source: Y. Qin, Y. Feng, Y. Sun, D. Peng, X. Peng, P. Hu, "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026,
doi 10.1109/tpami.2026.3681770; the authors' code QinYang79/IBML at commit 5f0d9e2.

Readings
- Merging the indicators into one term, as from eq. 3 to eq. 4, holds only for exactly one lazy modality; eq. 5, from which
  eq. 12 follows, holds for any number.
- With two or more lazy modalities (M > 2) eq. 12 multiplies the fused loss by k. ``fusion_weight="one"`` leaves it at 1, which
  for M = 2 is the same and equals the authors' code.
- Eq. 13 is written with the current logits, Algorithm 1 and the code use the predictions recorded in the previous epoch:
  ``scores="recorded"`` and ``"current"``. The latter needs no record and no index and works from the first batch.
- Where a method before it does not train the fused loss (`ensemble`, the boosting of `reconboost`), there is none to weigh.
- The inequality is strict, so that in a tie (all of epoch 0) the loss is CE(g). ``margin`` asks for more:
  $\rho_m < (1 - \varepsilon)$ times the mean.
- The unimodal logits are the head's own, and each CE(g_m) is the mean over the samples that have m.
- With several processes the lazy modalities are those of the global batch. With accumulated gradients they are decided in
  each micro-batch from its own samples, because its loss is formed before the next one is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ...core import DataInfo, Epoch, Gradients, Losses, Method, Output, Step, added
from ...errors import ConfigError
from ._options import one_of
from .record import Record, known_to_be_zero, scores

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["BIO"]


class BIO(Method):
    """The fused loss, weighted, plus the losses of the lazy modalities, named ``bio/<modality>`` and 0 for the others.

    Notes ``bio/rho/<modality>`` (ρ, a sum over the batch) and ``bio/lazy/<modality>`` (0 or 1).

    Args:
        scores: "recorded", π of the previous epoch, or "current", π of this step's logits.
        fusion_weight: "lazy_count", max(k, 1) as in eq. 12, or "one".
        margin: ε in [0, 1], how far below the mean, as a fraction of it, a lazy modality must be.

    Raises:
        ConfigError: an unknown option; recorded scores without `samples`, or with a batch that has no index.
        DataError: an index outside 0..N-1.
    """

    neutral = "bio(margin=1.0) = joint()"  # no score is negative, so no modality is lazy
    search_space = {"margin": (0.0, 0.5)}

    record: Record

    def __init__(
        self, scores: str = "recorded", fusion_weight: str = "lazy_count", margin: float = 0.0
    ) -> None:
        super().__init__()
        self.scores = one_of("bio", "scores", scores, ("recorded", "current"))
        self.fusion_weight = one_of("bio", "fusion_weight", fusion_weight, ("lazy_count", "one"))
        if not 0 <= margin <= 1:
            raise ConfigError(
                f"bio(margin={margin}) must be between 0 and 1, a fraction of the mean."
            )
        self.margin = margin

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        if self.scores == "recorded":
            self.record = Record("bio()", model.modalities, data, model.like)

    def begin_epoch(self, epoch: Epoch) -> None:
        if self.scores == "recorded":
            self.record.turn()

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        modalities, confidence = self._confidence(output, step)
        rho, mean = scores(confidence, modalities, step.batch)
        lazy = (rho < (1 - self.margin) * mean).to(rho.dtype)
        indicators = dict(zip(modalities, lazy.unbind(), strict=True))
        for m, score in zip(modalities, rho.unbind(), strict=True):
            step.note(f"bio/rho/{m}", score)
            step.note(f"bio/lazy/{m}", indicators[m])
        own = {
            f"bio/{m}": self._own(indicators[m], m, logits, step)
            for m, logits in output.unimodal.items()
        }
        if (
            self.fusion_weight == "lazy_count" and "task" in losses
        ):  # a method before may not train it
            losses = {**losses, "task": lazy.sum().clamp(min=1) * losses["task"]}
        return added(losses, own)

    @staticmethod
    def _own(indicator: Tensor, m: str, logits: Tensor, step: Step) -> Tensor:
        if known_to_be_zero(indicator):
            return indicator
        return indicator * step.loss(logits, m)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        if self.scores == "recorded":
            self.record.write(output, step)

    def _confidence(self, output: Output, step: Step) -> tuple[tuple[str, ...], Tensor]:
        """The modalities that are compared, and π [M, B]."""
        if self.scores == "recorded":
            return self.record.modalities, self.record.read(step.batch).abs()
        return output.modalities, step.verdicts(output).confidence
