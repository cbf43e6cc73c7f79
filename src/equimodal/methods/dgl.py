r"""DGL: encoders learn by unimodal losses only, the head by the fused loss only (disentangled gradient learning).

Under joint training the softmax residual of the fused logits is shared, so even the strong modality ends below its
unimodal ceiling. DGL cuts the fused loss from the encoders, trains them by unimodal losses only, and keeps those away
from the head:

$$L = \mathrm{CE}(\mathrm{Head}(\mathrm{sg}\,z), y) + \alpha \sum_m \mathrm{CE}(u_m, y), \qquad
u_m = \mathrm{sg}(\mathrm{Head})(0, \ldots, z_m, \ldots, 0)$$

with sg the stop-gradient. The encoders see α ∇ Σ CE(u_m) only, the head ∇ CE(g) only.

Source: "Disentangled Gradient Learning", ICCV 2025; authors' code shicaiwei123/ICCV2025-GDL.

Readings and deviations:

- The code takes two backwards and discards gradients between them. One backward through detached features and
  detached head parameters gives the same gradients and works under any gradient reducer.
- The unimodal logits of the *loss* have the full bias, u_m = z_m W_mᵀ + b, as in the code; the logits that are
  reported stay the head's own, so that modality accuracies can be compared between methods (``bias="split"`` uses
  those in the loss too).
- For fusions other than concatenation u_m is what the head says of a sample that has no other modality, its parameters
  detached. (In the code the gated fusion is fed the modality with itself, and its inner layers never receive a gradient.)
- With missing modalities CE(u_m) is the mean over the samples that have m.
- Clipping gradients to norm 40 belongs to the authors' recipe (``--clip 40``), not to the method.
- α = 4 is the code's default; the scripts use 2 to 5. It multiplies all of an encoder's gradient: an encoder learning
  rate under SGD, without effect under Adam.

Features that only unimodal losses train hold no interaction between modalities: a label that is the XOR of two
modalities is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.func import functional_call

from ..core import Batch, Losses, Method, Output, Step, added
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.heads import Head

__all__ = ["DGL"]


class DGL(Method):
    """Encoders by their own losses (``dgl/<modality>``), the head by the fused loss, and neither by the other's.

    Args:
        alpha: α, the weight of the unimodal losses.
        bias: "full" or "split", the bias in the unimodal losses.

    Raises:
        ConfigError: α is negative, or `bias` is unknown.
    """

    asks_head = True
    adam = "the cut only"
    # No neutral setting: with α = 0 the encoders receive no gradient at all.
    neutral = None
    search_space = {"alpha": (1.0, 10.0)}

    def __init__(self, alpha: float = 4.0, bias: Literal["full", "split"] = "full") -> None:
        super().__init__()
        if not alpha >= 0:
            raise ConfigError(f"dgl(alpha={alpha}) must be at least 0.")
        if bias not in ("full", "split"):
            raise ConfigError(f"dgl(bias={bias!r}) must be 'full' or 'split'.")
        self.alpha = alpha
        self.bias = bias

    def outputs(self, output: Output, step: Step) -> Output:
        """The same values; the fused logits no longer reach the encoders."""
        cut = {name: z.detach() for name, z in output.features.items()}
        return replace(output, fused=step.model.head(cut, step.batch)[1])

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        frozen = {name: p.detach() for name, p in step.model.head.named_parameters()}
        own = {}
        for modality in output.modalities:
            logits = self._logits(modality, frozen, output, step)
            loss = step.loss(logits, modality)
            own[f"dgl/{modality}"] = self.alpha * loss
        return added(losses, own)

    def _logits(
        self, modality: str, frozen: dict[str, Tensor], output: Output, step: Step
    ) -> Tensor:
        logits: Tensor = functional_call(
            _Alone(step.model.head, self.bias),
            {f"head.{name}": value for name, value in frozen.items()},
            (output.features, modality, step.batch),
        )
        return logits


class _Alone(nn.Module):
    """A head's logits of one modality, as a module whose parameters can be replaced."""

    def __init__(self, head: Head, bias: str) -> None:
        super().__init__()
        self.head, self.bias = head, bias

    def forward(self, features: Mapping[str, Tensor], modality: str, batch: Batch) -> Tensor:
        if self.bias == "full":
            return self.head.alone(features, modality, batch)
        unimodal: Mapping[str, Tensor] = self.head(features, batch)[0]
        return unimodal[modality]
