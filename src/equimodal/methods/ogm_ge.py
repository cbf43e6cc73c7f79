r"""OGM-GE: damp the encoder of the dominant modality and keep the gradient noise (on-the-fly gradient modulation).

The modality that puts more probability on the true class takes the shared error away from the others. OGM multiplies
the gradient of *its encoder* by k < 1; generalisation enhancement (GE) adds Gaussian noise of the gradient's own size,
which SGD loses when gradients shrink. With $s_m$ the mean over the batch of $\mathrm{softmax}(g_{m,i})[y_i]$:

$$r_m = \frac{s_m}{\mathrm{mean}_{n \ne m}\, s_n}, \qquad k_m = \begin{cases} 1 - \tanh(\alpha\, r_m) & r_m > 1 \\ 1 & \text{else} \end{cases}$$

$$\nabla_{\theta_m} \leftarrow k_m \nabla_{\theta_m} + \varepsilon, \qquad \varepsilon \sim \mathcal N\big(0, (\mathrm{std}(\nabla_{\theta_m}) + 10^{-8})^2\big)$$

with the unbiased std over the entries of each tensor's unscaled gradient. Momentum and weight decay act afterwards.

Source: X. Peng, Y. Wei, A. Deng, D. Wang, D. Hu, "Balanced Multimodal Learning via On-the-fly Gradient Modulation",
CVPR 2022; the authors' code GeWu-Lab/OGM-GE_CVPR2022 at commit 343dc1d.

Readings
- All encoder parameters of two and more dimensions are modulated, as the authors say that they mean; ``conv_only=True``
  takes those of four dimensions only, as their code does. Batch norm, biases and the head are left alone.
- More than two modalities (not in the paper): each against the mean of the others, which for M = 2 is the paper's ratio.
- In a tie nobody is damped; the code damps the first modality. k jumps at r = 1, so a tie is one up to rounding.
- The noise is added to *all* encoders, also where k = 1, as in the code, where the paper has the covariance of
  per-sample gradients. It is the same on every process, and falls on the summed gradient, never on one loss's row.
- A tensor of one entry has no std and gets no noise. A parameter of several encoders is changed once, by their mean k.
- Scores are those of the head's unimodal logits; each is the mean over the samples that have m, and a modality that the
  whole batch lacks is not compared. They are of the global batch, and of all its micro-batches.
- Adam divides by the gradient's size and so undoes the damping; only the noise remains (a warning says so).

Hyper-parameters: the authors give α = 0.1 (VGGSound) to 0.8 (CREMA-D) and modulate in epochs 0 to 50, that is
``ogm_ge(alpha=0.8).during(0, 51)``; 0.3 is the example in their readme and our default, without a window.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from .. import distributed
from ..core import TOTAL, Epoch, Gradients, Method, Output, Step
from ..errors import ConfigError

__all__ = ["OGMGE"]


class OGMGE(Method):
    """Damp the gradient of the dominant modalities' encoders, and add noise to those of all.

    Notes ``ogm_ge/ratio/<modality>`` (r) and ``ogm_ge/k/<modality>``.

    Args:
        alpha: α, how strongly; 0 damps nothing.
        noise: GE; False is OGM.
        conv_only: only parameters of four dimensions, as in the authors' code.

    Raises:
        ConfigError: a negative alpha.
    """

    keeps_rows = False  # one draw of noise per loss would drown the gradient
    adam = "noise only"
    neutral = "ogm_ge(alpha=0.0, noise=False) = joint()"
    search_space = {"alpha": (0.05, 1.0)}

    def __init__(self, alpha: float = 0.3, noise: bool = True, conv_only: bool = False) -> None:
        super().__init__()
        if not alpha >= 0:
            raise ConfigError(f"ogm_ge(alpha={alpha}) must be at least 0.")
        self.alpha, self.noise, self.conv_only = alpha, noise, conv_only

    def begin_epoch(self, epoch: Epoch) -> None:
        if epoch.active and epoch.optimizer is not None and "betas" in epoch.optimizer.defaults:
            warnings.warn(
                "ogm_ge() damps gradients, which Adam and its kin undo: only the noise acts; use SGD.",
                stacklevel=2,
            )

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        grads = grads.sum()
        total = dict(grads.rows[TOTAL])
        generator = step.generator("ogm_ge")
        for name, k in self._factors(grads, output, step).items():
            total[name] = self._modulated(total[name], k, generator)
        return replace(grads, rows={TOTAL: total})

    def _factors(self, grads: Gradients, output: Output, step: Step) -> dict[str, Tensor]:
        """The factor k of each parameter that is modulated."""
        least = 4 if self.conv_only else 2
        sharing: dict[str, list[Tensor]] = {}
        for m, k in self._coefficients(output, step).items():
            for name in grads.names_in(step.model.encoders[m]):
                grad = grads.rows[TOTAL].get(name)
                if grad is not None and grad.ndim >= least:
                    sharing.setdefault(name, []).append(k)
        return {
            name: ks[0] if len(ks) == 1 else torch.stack(ks).mean() for name, ks in sharing.items()
        }

    def _coefficients(self, output: Output, step: Step) -> Mapping[str, Tensor]:
        """k_m of each modality, a scalar."""
        modalities = output.modalities
        present = torch.stack([step.batch.mask(m) for m in modalities])
        sums, counts = distributed.totals(step.verdicts(output).confidence, present)
        ratio = _ratio(sums / counts.clamp(min=1), counts > 0)
        k = torch.where(ratio > 1, 1 - torch.tanh(self.alpha * ratio), 1)
        found = dict(zip(modalities, k.unbind(), strict=True))
        for m, own in zip(modalities, ratio.unbind(), strict=True):
            step.note(f"ogm_ge/ratio/{m}", own)
            step.note(f"ogm_ge/k/{m}", found[m])
        return found

    def _modulated(self, grad: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
        k = k.to(grad.dtype)
        if not self.noise or grad.numel() < 2:
            return grad * k
        draw = torch.randn(grad.shape, generator=generator, device=grad.device, dtype=grad.dtype)
        return draw.mul_(grad.std() + 1e-8).addcmul_(grad, k)


def _ratio(scores: Tensor, there: Tensor) -> Tensor:
    """[M]: each score, 0 where none is there, over the mean of the others; 1 in a tie up to rounding, and without others."""
    limits = torch.finfo(scores.dtype)
    rivals = there.sum() - 1
    ratio = scores / ((scores.sum() - scores) / rivals.clamp(min=1)).clamp(min=limits.tiny)
    tie = (ratio - 1).abs() <= 8 * limits.eps
    return torch.where(there & (rivals > 0) & ~tie, ratio, 1)
