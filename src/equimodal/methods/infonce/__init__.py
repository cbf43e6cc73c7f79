r"""InfoNCE: pull the modalities of one sample together, push those of other samples in the batch away.

With the directions $u_m = P_m z_m / \lVert P_m z_m \rVert$ of projections of d = 128 dimensions and, for each pair of
modalities, $S_{ij} = u_{a,i} \cdot u_{b,j} / \tau$:

$$L = L_{task} + \frac{\alpha}{\#pairs} \sum_{(a, b)} \tfrac12 \big[\mathrm{CE}(S, (0..B-1)) + \mathrm{CE}(S^\top, (0..B-1))\big]$$

Each direction bounds the shared information from below, $I(z_a; z_b) \ge \log B - \mathrm{CE}$, which saturates at log B and
includes what the class says. A large α compresses what only one modality knows.

Source: A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv 1807.03748
(2018), in the symmetric form of CLIP (Radford et al., ICML 2021); a baseline of InfoBridge (ICCV 2025), whose limit it is for
a constant context with a softmax in place of the binary loss.

Readings
- α multiplies the whole term, for the projections too; `InfoBridge` gives its critic the full gradient.
- Samples of the same class are negatives, as in the first paper; ``false_negatives="mask"`` leaves them out, and
  ``"positives"`` has them as further positives of which the mean log probability counts (supervised contrast).
- More than two modalities: the mean over all pairs, or over the pairs with one ``anchor``; a modality has one projection for
  all of its pairs. Samples that lack one of the two are left out of the rows and the columns of that pair; one
  modality has no pair and no term.
- ``memory="queue"`` adds the last samples as negatives, stored after the loss, without the sample itself. Fresh
  positives beside stale negatives let the model tell them apart by age: keep it shorter than an epoch.
  ``memory="bank"`` keeps every sample's direction (half of the old stays) and takes positive and negatives from there,
  equally stale, for samples that are in it. There is no momentum encoder, which costs a second forward pass: the bank serves
  its purpose.
- A learned τ is exp(-logit scale) with the scale at most 100, as in CLIP.
- Several processes: keys are gathered with gradient, and each process has the rows of its own samples, so the gradient is
  that of the large batch. Logits are float32 at least. The last small batch of an epoch has fewer negatives.

Hyper-parameters: α = 0.1 is InfoBridge's weight; τ and d, which it does not give, are common ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import distributed
from ...core import DataInfo, Gradients, Losses, Method, Output, Step, added
from ...errors import ConfigError, nearest
from .._samples import gathered
from .contrast import Columns, FalseNegatives
from .memory import MemoryName, build

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["InfoNCE"]

_SHORTEST = 1e-6  # a feature that is all zero, as after a ReLU, has no direction


class InfoNCE(Method):
    """The joint loss plus ``infonce/<a>-<b>`` for each pair of modalities.

    Notes ``infonce/bound/<a>-<b>``, log of the number of keys minus the unweighted loss, for a batch without a memory.

    Args:
        alpha: α; 0 changes nothing for the encoders.
        dim: d, the width of the projections.
        temperature: τ.
        learn_temperature: whether τ is a parameter.
        false_negatives: samples of the same class are negatives ("keep"), left out ("mask"), or "positives".
        anchor: the modality that every pair has; None for all pairs.
        memory: "none", a "queue" of the last samples, or a "bank" of all.
        memory_size: of the queue, or how many samples of the bank are drawn as negatives in one step.

    Raises:
        ConfigError: an option that cannot be; an anchor that the model lacks; no index of the samples where there is a
            memory, or no number of them where there is a bank.
    """

    neutral = "infonce(alpha=0.0) = joint()"
    search_space = {"alpha": (0.01, 1.0), "temperature": (0.05, 0.5)}

    def __init__(
        self,
        alpha: float = 0.1,
        dim: int = 128,
        temperature: float = 0.1,
        learn_temperature: bool = False,
        false_negatives: FalseNegatives = "keep",
        anchor: str | None = None,
        memory: MemoryName = "none",
        memory_size: int = 1024,
    ) -> None:
        super().__init__()
        if not alpha >= 0:
            raise ConfigError(f"infonce(alpha={alpha}) must be at least 0.")
        least = 0.01 if learn_temperature else 0.0
        if not temperature > 0 or temperature < least:
            raise ConfigError(
                f"infonce(temperature={temperature}) must be positive, and 0.01 at least where it is learned."
            )
        for option, count in (("dim", dim), ("memory_size", memory_size)):
            if count < 1:
                raise ConfigError(f"infonce({option}={count}) must be at least 1.")
        for option, value, choices in (
            ("false_negatives", false_negatives, get_args(FalseNegatives)),
            ("memory", memory, get_args(MemoryName)),
        ):
            if value not in choices:
                hint = nearest(str(value), choices)
                raise ConfigError(f"infonce(): there is no {option}={value!r}: {hint}")
        self.alpha, self.dim, self.anchor = alpha, dim, anchor
        self.temperature, self.learn_temperature = temperature, learn_temperature
        self.false_negatives, self.memory, self.memory_size = false_negatives, memory, memory_size

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        if self.anchor is not None and self.anchor not in model.modalities:
            raise ConfigError(
                f"{self.expression()}: the model has no modality {self.anchor!r}: "
                f"{nearest(self.anchor, model.modalities)}"
            )
        pairs = itertools.combinations(model.modalities, 2)
        self.pairs = [pair for pair in pairs if self.anchor is None or self.anchor in pair]
        dtype = torch.promote_types(model.like.dtype, torch.float32)
        self.projections = nn.ModuleDict(
            {m: nn.Linear(d, self.dim, bias=False) for m, d in model.head.widths.items()}
            if self.pairs
            else {}
        )
        scale = torch.tensor(-math.log(self.temperature), dtype=torch.float64)
        self.log_scale = nn.Parameter(scale, self.learn_temperature and bool(self.pairs))
        samples = data.need_samples(self.expression()) if self.memory == "bank" else 0
        widths = dict.fromkeys(self.projections, self.dim)
        self.store = build(self.memory, widths, self.memory_size, samples)
        self.to(dtype)

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        pairs = [pair for pair in self.pairs if output.features.keys() >= set(pair)]
        if not pairs:
            return losses
        if self.memory != "none" and step.batch.index is None:
            raise ConfigError(
                f"{self.expression()} keeps a record per sample: give every Batch the index of its samples."
            )
        with torch.autocast(step.batch.device.type, enabled=False):
            u = self._directions(output.features)
            columns = Columns.of(u, step, self.store, self.false_negatives)
            terms = {}
            for a, b in pairs:
                there = step.batch.mask(a) & step.batch.mask(b)
                each = [self._surprise(u[x], columns, x, y) for x, y in ((a, b), (b, a))]
                loss = step.mean((each[0] + each[1]) / 2, mask=there)
                step.note(f"infonce/bound/{a}-{b}", columns.keys(a, b).log() - loss)
                terms[f"infonce/{a}-{b}"] = self.alpha / len(pairs) * loss
        return added(losses, terms)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        if self.memory != "none" and self.pairs:
            widths = self.store.widths
            samples, _ = gathered(
                self._directions(output.features), step.batch, widths, distributed.gather
            )
            self.store.write(samples)

    def _directions(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For each modality [B, d], of length 1."""
        wide = {m: z.to(self.log_scale.dtype) for m, z in features.items()}
        return {
            m: F.normalize(self.projections[m](z), dim=1, eps=_SHORTEST) for m, z in wide.items()
        }

    def _surprise(self, anchors: Tensor, columns: Columns, own: str, other: str) -> Tensor:
        """[B]: the cross-entropy of each anchor's keys in the other modality."""
        limit = math.log(100) if self.learn_temperature else math.inf
        scale = self.log_scale.clamp(max=limit).exp()
        return columns.surprise(scale * anchors, own, other)
