r"""ARL: unimodal losses, and encoders scaled towards the inverse of their variance (asymmetric representation learning).

The best reliance on a modality is inversely proportional to the variance of its prediction: not balance, but the right
imbalance. Unimodal losses through the shared head reduce bias and give a proxy of the variance; each encoder's gradient
is scaled so that the reliance approaches the inverse variance. With u_m = z_m W_mᵀ + b (full bias):

$$D_m = \sum_c \mathrm{mean}_i |u_{m,ic}|, \quad d_m = D_m / \sum_k D_k, \qquad
H_m = \mathrm{mean}_i \mathcal{H}(\mathrm{softmax}(u_{m,i})), \quad h_m = \max(H_m / \sum_k H_k, 0.3)$$

$$w_m = \frac{1/h_m}{\sum_k 1/h_k}, \qquad s = \mathrm{softmax}_m\left(T \cdot d_{\neg m} \cdot w_m\right), \qquad
L = \mathrm{CE}(g) + \gamma \sum_m \mathrm{CE}(u_m)$$

and encoder m's gradient is multiplied by 1 + s_m. In the first epochs (0 to `start`) γ is 1 and nothing is scaled.

Source: "Asymmetric Representation Learning", ICCV 2025; authors' code shicaiwei123/ICCV2025-ARL.

Readings and deviations:

- The released code does not run (a `raise`, and a tensor times a tuple), and where it is patched its weights stay ½:
  both encoders ×1.5. Here s is used, as the text says, and that of the same step: it touches only the backward.
- Several modalities: d_¬m is the mean d of the others (M = 2: the other's); the floor is min(0.3, 0.9 / M), because
  0.3 would make all h equal from M = 4 on. Both are ours. With one modality there is no other, and nothing is scaled.
- Statistics and losses are over the samples that have m; a modality that the whole batch lacks is not compared.
- A parameter of several encoders is scaled once, by the mean of their scales.
- The reported unimodal logits are the head's own; ``bias="split"`` uses them in losses and statistics too.
- ``scale_by_gamma`` multiplies s by γ, the authors' variant for Swin transformers.
- Authors' values: CREMA-D γ 4, T 8; Kinetics-Sounds 3, 4; AVE 5, 4; start 5; clipping at 40 is part of the recipe.
- The scale is cancelled by Adam; the unimodal losses are not, and much of the gain may be theirs: compare with `uniform`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from .. import distributed
from ..core import Gradients, Losses, Method, Output, Step, added
from ..errors import ConfigError

__all__ = ["ARL"]


class ARL(Method):
    """Unimodal losses ``arl/<modality>``, and encoder gradients scaled by 1 + s_m.

    Notes ``arl/scale/<modality>``.

    Args:
        gamma: γ, the weight of the unimodal losses after `start`.
        temperature: T; larger favours one modality more.
        start: the last epoch of plain training.
        floor: of h_m.
        scale_by_gamma: scale by 1 + γ s_m.
        bias: "full" or "split", the bias in losses and statistics.

    Raises:
        ConfigError: γ or T is negative, the floor is not in [0, 1), or `bias` is unknown.
    """

    asks_head = True
    adam = "losses only"
    # No neutral setting: the softmax of s sums to 1, so some gradient is always scaled after `start`.
    neutral = None
    search_space = {"gamma": (1.0, 8.0), "temperature": (1.0, 16.0)}

    def __init__(
        self,
        gamma: float = 4.0,
        temperature: float = 8.0,
        start: int = 5,
        floor: float = 0.3,
        scale_by_gamma: bool = False,
        bias: Literal["full", "split"] = "full",
    ) -> None:
        super().__init__()
        for name, value in (("gamma", gamma), ("temperature", temperature)):
            if not value >= 0:
                raise ConfigError(f"arl({name}={value}) must be at least 0.")
        if not 0 <= floor < 1:
            raise ConfigError(f"arl(floor={floor}) must be in [0, 1).")
        if bias not in ("full", "split"):
            raise ConfigError(f"arl(bias={bias!r}) must be 'full' or 'split'.")
        self.gamma = gamma
        self.temperature = temperature
        self.start = start
        self.floor = floor
        self.scale_by_gamma = scale_by_gamma
        self.bias = bias

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        weight = self.gamma if step.epoch > self.start else 1.0
        own = {
            f"arl/{m}": weight * step.loss(logits, m)
            for m, logits in self._logits(output, step).items()
        }
        return added(losses, own)

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        if step.epoch <= self.start:
            return grads
        factors = self._factors(grads, output, step)

        def scaled(row: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: g * factors[n].to(g.dtype) if n in factors else g for n, g in row.items()}

        return replace(grads, rows={name: scaled(row) for name, row in grads.rows.items()})

    def _factors(self, grads: Gradients, output: Output, step: Step) -> dict[str, Tensor]:
        """The factor of each encoder parameter; one of several encoders has the mean of theirs."""
        strength = self.gamma if self.scale_by_gamma else 1.0
        sharing: dict[str, list[Tensor]] = {}
        for m, share in zip(output.modalities, self._shares(output, step), strict=True):
            step.note(f"arl/scale/{m}", 1 + strength * share)
            for name in grads.names_in(step.model.encoders[m]):
                sharing.setdefault(name, []).append(1 + strength * share)
        return {name: torch.stack(scales).mean(0) for name, scales in sharing.items()}

    def _shares(self, output: Output, step: Step) -> Tensor:
        """[M]: s, by which the gradients grow: it sums to 1 over the modalities that the batch has, if these are several."""
        reliance, entropy, there = self._statistics(output, step)
        count = there.sum().to(entropy.dtype)
        d = reliance / reliance.sum().clamp(min=1e-12)
        h = entropy / entropy.sum().clamp(min=1e-12)
        h = h.maximum((0.9 / count.clamp(min=1)).clamp(max=self.floor))
        inverse = torch.where(there, 1 / h.clamp(min=1e-12), 0)
        w = inverse / inverse.sum().clamp(min=1e-12)
        others = (d.sum() - d) / (count - 1).clamp(min=1)
        drive = torch.where(there, self.temperature * others * w, -torch.inf)
        return torch.where(there & (count > 1), drive.softmax(0), 0)

    def _statistics(self, output: Output, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """[M] each: D_m and H_m over the global batch, and whether anyone has m."""
        reliance, entropy = [], []
        for logits in self._logits(output, step).values():
            wide = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
            log = wide.log_softmax(1)
            reliance.append(wide.abs().sum(1))
            entropy.append(-(log.exp() * log).sum(1))
        present = torch.stack([step.batch.mask(m) for m in output.modalities])
        sums, counts = distributed.totals(torch.stack(reliance + entropy), present.repeat(2, 1))
        mean = sums / counts.clamp(min=1)
        size = len(present)
        return mean[:size], mean[size:], counts[:size] > 0

    def _logits(self, output: Output, step: Step) -> dict[str, Tensor]:
        if self.bias == "split":
            return dict(output.unimodal)
        head, batch = step.model.head, step.batch
        # Under autocast features may be bfloat16, and gradients are worked on outside of it.
        dtype = step.model.like.dtype
        features = {m: z.to(dtype) for m, z in output.features.items()}
        return {m: head.alone(features, m, batch) for m in output.modalities}
