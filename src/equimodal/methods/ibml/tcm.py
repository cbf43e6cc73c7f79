r"""TCM: make the task harder for the modalities that lead (task complexity modulation).

A strong modality gets noise on samples that it already predicts right, the more often the further it leads (eq. 16):

$$a_m = \frac{M \tilde\rho_m}{\sum_k \tilde\rho_k}, \qquad p^m = \frac{\min(a_m, \lambda)}{\lambda}, \qquad \hat x_{m,i} = x_{m,i} + \epsilon_{m,i} \ \text{ with probability } p^m, \quad \epsilon \sim \mathcal N(0, s_m^2)$$

where $a_m > 1$ and $g_{m,i}$ was right; $\tilde\rho$ (eq. 13) and correctness are those recorded in the previous epoch, and $s_m$
is the standard deviation of all elements of the modality's batch (unbiased). Evaluation sees clean inputs.

Source: Y. Qin, Y. Feng, Y. Sun, D. Peng, X. Peng, P. Hu, "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026,
doi 10.1109/tpami.2026.3681770; the authors' code QinYang79/IBML at commit 5f0d9e2.

Readings
- Eq. 15 noises every sample, eq. 16 some: eq. 16. Its condition "y = argmax" means the recorded prediction, as a current one
  would cost a clean forward. All modalities with $a_m > 1$ get noise.
- $a_m \le M$, so that min(·, λ) would bind only for λ < M, where p = 1 is possible: λ is at least M, and 1/λ is the strength.
  λ = 10 gives p in (.1, .2] for two modalities; the code has 40 for ModelNet40.
- The paper calls s² a "variance σ" and its square root is meant: one scalar per modality and batch, or ``per="feature"``.
- The text draws noise per sample, the code one tensor for the batch: ``noise="independent"`` and ``"shared"``.
- Lemma 1's printed chain X → X̃ → Y should read Y – X – X̃; nothing depends on it.
- A sequence gets noise on the steps that it has, and only they and the samples that have m enter $s_m$. Token ids get it after
  the embedding (as the authors do with theirs), which the encoder declares by `embed` (`TokenEncoder`).
- Noise differs between processes, while ρ̃, a and s are those of the global batch. With accumulated gradients they are those of
  each micro-batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core import Batch, DataInfo, Epoch, Gradients, Input, Method, Output, Step
from ._options import at_least, one_of
from .elements import embedding, rows_of, spread, valid, values_of, with_values
from .record import Record, known_to_be_zero, scores

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["TCM"]


class TCM(Method):
    """Noise on a strong modality's inputs. Notes ``tcm/rate/<modality>``: p where the modality is strong, else 0.

    Args:
        strength: λ, at least the number of modalities; a larger one gives noise less often.
        noise: "independent", a draw per sample, or "shared", one draw of a sample's shape for the whole batch.
        per: "modality", one standard deviation, or "feature", one for each element of a sample (of a step, if padded).

    Raises:
        ConfigError: an unknown option, λ < M, no `samples`, or a batch without index.
        DataError: inputs of integer type whose encoder has no `embed`; an index outside 0..N-1.
    """

    neutral = "tcm(strength=inf) = joint()"  # p = 0
    search_space = {"strength": (5.0, 50.0)}

    record: Record

    def __init__(
        self, strength: float = 10.0, noise: str = "independent", per: str = "modality"
    ) -> None:
        super().__init__()
        self.strength = at_least("tcm", "strength", strength, 1)
        self.noise = one_of("tcm", "noise", noise, ("independent", "shared"))
        self.per = one_of("tcm", "per", per, ("modality", "feature"))

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        at_least("tcm", "strength", self.strength, len(model.modalities))
        self.record = Record("tcm()", model.modalities, data, model.like)

    def begin_epoch(self, epoch: Epoch) -> None:
        self.record.turn()

    def inputs(self, batch: Batch, step: Step) -> Batch:
        said, modalities = self.record.read(batch), self.record.modalities
        rho, mean = scores(said.abs(), modalities, batch)
        # No a_m exceeds M, nor λ, which is at least M.
        rates = torch.where(rho > mean, rho / (mean * self.strength), 0)
        changed = dict(batch.inputs)
        for m, rate, previous in zip(modalities, rates.unbind(), said, strict=True):
            step.note(f"tcm/rate/{m}", rate)
            if m in batch.inputs:
                value = self._continuous(m, batch.inputs[m], step)
                changed[m] = self._noised(m, value, rate, ~previous.signbit(), step)
        return batch.with_inputs(changed)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        for m, encoder in step.model.encoders.items():
            if m in step.batch.inputs:  # refused here too: a window may begin late
                embedding(m, step.batch.inputs[m], encoder)
        self.record.write(output, step)

    @staticmethod
    def _continuous(m: str, value: Input, step: Step) -> Input:
        embed = embedding(m, value, step.model.encoders[m])
        return with_values(value, embed(values_of(value)))

    def _noised(self, m: str, value: Input, rate: Tensor, correct: Tensor, step: Step) -> Input:
        if known_to_be_zero(rate):
            return value
        batch, values = step.batch, values_of(value)
        generator, device = step.generator(f"tcm/{m}", per_process=True), values.device
        draws = torch.rand(len(batch), generator=generator, device=device, dtype=rate.dtype)
        chosen = correct & (draws < rate)
        if not batch.complete([m]):
            chosen = chosen & batch.mask(m)
        rows = rows_of(chosen)  # few samples get noise, and most of its cost is to draw it
        shape = values.shape[1:] if self.noise == "shared" else (len(rows), *values.shape[1:])
        noise = torch.randn(shape, generator=generator, device=device, dtype=values.dtype)
        there = valid(value, batch, m)
        noise = (noise * spread(values, there, self.per)).expand(len(rows), *values.shape[1:])
        if there is not None or device.type != "cpu":  # else the rows are those, and whole
            there = chosen if there is None else (chosen.view(-1, *[1] * (there.ndim - 1)) & there)
            where = there[rows]
            noise = noise * where.reshape(*where.shape, *[1] * (values.ndim - where.ndim))
        return with_values(value, values.index_add(0, rows, noise))
