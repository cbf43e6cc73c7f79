r"""AGM: weaken what flows into the modality that answers better than it used to (adaptive gradient modulation).

For any fusion each modality's response is its Shapley value, with F(S) the logits when the modalities outside S see zeros,
and $F(\emptyset) := 0$:

$$\phi_m = \sum_{S \not\ni m} w(|S|)\,\big[F(S + m) - F(S)\big], \qquad w(k) = \frac{k!\,(M - k - 1)!}{M!}, \qquad \sum_m \phi_m = F(\text{all})$$

With $s_m = \mathrm{CE}(\phi_m, y)$ and its running mean $\bar s_m$ over the steps before this one:

$$r_m = \exp\big(\mathrm{mean}_{n \ne m} s_n - s_m\big), \qquad \tau_m = \text{the same of } \bar s, \qquad \kappa_m = \exp\big(\alpha \min(\tau_m - r_m, \mathrm{cap})\big)$$

and the gradient that enters $\phi_m$ is multiplied by $\kappa_m$. So the gradient G of F(all) reaches each F(S) as ω(S) G,

$$\omega(S) = \sum_m \kappa_m \,\big(+w(|S|-1) \text{ if } m \in S,\ -w(|S|) \text{ if not}\big)$$

The logits keep their value; κ scales everything below them, head, fusion and encoders.

Source: H. Li, X. Li, P. Hu, Y. Lei, C. Li, Y. Zhou, "Boosting Multi-modal Model Performance with Adaptive Gradient
Modulation", ICCV 2023; the authors' code lihong2303/AGM_ICCV2023 at commit 5a65542.

Readings
- F(all) is the training forward; the other passes are in evaluation mode, with gradient, as in the code. The encoders run
  once more, and once on zeros (one sample; of sequences all, for their lengths); token ids become 0.
  ``masked="train"`` takes the training features and saves a pass: another function.
- F(∅) is not computed, as in the code, where it is computed and not used.
- ``cap`` bounds κ from above; the code has 10 for CREMA-D, 7 for UR-Funny, none elsewhere.
- No clipping of gradients here: the code's is a part of its recipes. After a window of epochs κ is 1, where the code keeps the
  last one. s̄ is a part of the state, which the code restores for one data set only.
- A sample's coalitions are of the modalities that it has; s_m is over the samples that have m, and a modality that the
  whole batch lacks is not compared. κ is that of the global batch, and of each micro-batch by itself.
- Outside a window, where there is no φ, s̄ follows the head's own unimodal logits.
- Above 6 modalities the Shapley values are averaged over some orders instead of all (see `shapley`).
- Adam undoes the factor that all of an encoder's gradient shares, and keeps the mix of coalitions.

Hyper-parameters: the authors give α = 2.5 for AV-MNIST, 4 for UR-Funny, 1.5 for CREMA-D, in all epochs; 1 is the code's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ... import distributed
from ...core import Batch, DataInfo, Gradients, Input, Method, Output, Padded, Step, evaluating
from ...errors import ConfigError
from .shapley import shares

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["AGM"]


class AGM(Method):
    """Reroute the gradient of the fused logits by how well each modality does; their values stay.

    The unimodal logits become the responses φ. Notes ``agm/loss/<modality>`` (s) and ``agm/kappa/<modality>``.

    Args:
        alpha: α, how strongly; 0 changes nothing.
        cap: the largest τ - r that counts.
        masked: mode of the encoders in masked passes, "eval" or "train".

    Raises:
        ConfigError: a negative alpha, or an unknown mode.
    """

    asks_head = True
    adam = "partly: the mix of coalitions"
    neutral = "agm(alpha=0.0) = joint()"
    search_space = {"alpha": (0.1, 4.0)}

    running: Tensor  # [M], the mean of s
    steps: Tensor  # [M], over how many steps
    shares: Tensor  # [M, coalitions], of which each response is made

    def __init__(self, alpha: float = 1.0, cap: float = 10.0, masked: str = "eval") -> None:
        super().__init__()
        if not alpha >= 0:
            raise ConfigError(f"agm(alpha={alpha}) must be at least 0.")
        if masked not in ("eval", "train"):
            raise ConfigError(f"agm(masked={masked!r}) must be 'eval' or 'train'.")
        self.alpha, self.cap, self.masked = alpha, cap, masked

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self.modalities = model.modalities
        like = next(model.parameters())
        dtype = torch.promote_types(like.dtype, torch.float32)
        made = shares(len(self.modalities))
        self.coalitions = [frozenset(self.modalities[i] for i in chosen) for chosen in made]
        self.register_buffer("running", torch.zeros(len(self.modalities), dtype=dtype))
        self.register_buffer("steps", torch.zeros(len(self.modalities), dtype=dtype))
        table = torch.tensor(list(made.values()), dtype=dtype).T
        self.register_buffer("shares", table, persistent=False)

    def outputs(self, output: Output, step: Step) -> Output:
        logits = self._logits(output, step)  # [coalitions, B, C], the last of all modalities
        response = (self.shares[:, :, None, None] * logits).sum(1)
        unimodal = {
            m: (response[i] * step.batch.mask(m)[:, None]).to(output.fused.dtype)
            for i, m in enumerate(self.modalities)
            if m in output.features
        }
        if step.batch.target is None or not torch.is_grad_enabled():
            return Output(output.features, unimodal, output.fused)
        kappa = self._coefficients(Output(output.features, unimodal, output.fused), step)
        # Written around the mean κ, so that equal κ cancel exactly in all coalitions but the last.
        omega = (kappa - kappa.mean()) @ self.shares
        omega = torch.cat([omega[:-1], kappa.mean()[None]])
        mix = (omega[:, None, None] * logits).sum(0).to(output.fused.dtype)
        return Output(output.features, unimodal, output.fused.detach() + (mix - mix.detach()))

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        losses, there = self._losses(output, step)
        self.steps += there
        change = (losses - self.running) / self.steps.clamp(min=1)
        self.running += torch.where(there, change, 0)

    def _coefficients(self, output: Output, step: Step) -> Tensor:
        """κ [M]."""
        losses, there = self._losses(output, step)
        excess = _relative(self.running, there & (self.steps > 0)) - _relative(losses, there)
        kappa = torch.where(there, torch.exp(self.alpha * excess.clamp(max=self.cap)), 1)
        for i, m in enumerate(self.modalities):
            step.note(f"agm/loss/{m}", losses[i])
            step.note(f"agm/kappa/{m}", kappa[i])
        return kappa

    def _losses(self, output: Output, step: Step) -> tuple[Tensor, Tensor]:
        """The losses s [M], and which modalities the global batch has."""
        silence = torch.zeros_like(output.fused)
        responses = [output.unimodal.get(m, silence).detach() for m in self.modalities]
        pi = [step.task.confidence(r.to(self.running.dtype), step.target) for r in responses]
        present = [step.batch.mask(m) & (m in output.unimodal) for m in self.modalities]
        surprise = -torch.stack(pi).clamp(min=1e-8).log()
        sums, counts = distributed.totals(surprise, torch.stack(present))
        return sums / counts.clamp(min=1), counts > 0

    def _logits(self, output: Output, step: Step) -> Tensor:
        """[coalitions, B, C]: F(S); modalities that a sample lacks make no difference to it."""
        everyone = frozenset(m for m in output.features if step.batch.count(m))
        known = {frozenset[str](): torch.zeros_like(output.fused), everyone: output.fused}
        wanted = [chosen & everyone for chosen in self.coalitions]
        asked = [chosen for chosen in dict.fromkeys(wanted) if chosen not in known]
        if asked:
            with evaluating(step.model):
                heard, silent = self._features(output, step)
                for chosen in asked:
                    features = {m: heard[m] if m in chosen else silent[m] for m in heard}
                    known[chosen] = step.model.head(features, step.batch)[1]
        if not step.batch.complete(everyone):
            known |= {chosen: _effective(known[chosen], chosen, output, step) for chosen in asked}
        return torch.stack([known[chosen] for chosen in wanted])

    def _features(
        self, output: Output, step: Step
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Features of the inputs and features of zeros, both [B, d], of each modality."""
        heard = {m: z for m, z in output.features.items() if step.batch.count(m)}
        silent = {}
        for m in heard:
            learns = torch.is_grad_enabled() and m in step.phase.train
            with torch.set_grad_enabled(learns):
                if self.masked == "eval":
                    heard[m] = step.model.encode(m, step.batch)
                zeros = Batch({m: _zeros(step.batch.inputs[m])})
                silent[m] = step.model.encode(m, zeros).expand(len(step.batch), -1)
        return heard, silent


def _zeros(value: Input) -> Input:
    """One sample of zeros; of sequences as many as there are, because their lengths differ."""
    if isinstance(value, Padded):
        return Padded(torch.zeros_like(value.values), value.lengths)
    return torch.zeros_like(value[:1])


def _effective(logits: Tensor, chosen: Set[str], output: Output, step: Step) -> Tensor:
    """F(S) by sample: F(all) where S holds all that a sample has, 0 where S holds nothing of it."""
    masks = {m: step.batch.mask(m)[:, None] for m in output.features}
    heard = torch.stack([masks[m] for m in masks if m in chosen]).any(0)
    left = torch.stack([masks[m] for m in masks if m not in chosen]).any(0)
    return torch.where(left, logits * heard, output.fused)


def _relative(losses: Tensor, compared: Tensor) -> Tensor:
    """[M]: exp(mean loss of the others - own loss) among those that are compared, 1 for the rest."""
    itself = torch.eye(len(losses), dtype=torch.bool, device=losses.device)
    rivals = ~itself & compared
    mean = torch.where(rivals, losses, 0).sum(1) / rivals.sum(1).clamp(min=1)
    return torch.where(rivals.any(1) & compared, torch.exp(mean - losses), 1)
