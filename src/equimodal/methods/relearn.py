r"""Diagnosing & Re-learning: now and then pull every encoder softly back to where it began, by how much it is over-trained.

An encoder that is over-trained separates the classes of its training samples better than those of the validation samples.
After epoch e, if e > 0, e mod E = 0 and fewer than R re-learnings were done, for each modality:

1. features of the training and of the validation set, in evaluation mode; each dimension scaled to [-1, 1] within its set;
2. k-means with as many clusters as there are classes, and of each set its purity
   $\frac1n \sum_{clusters} \max_{class} count$;
3. $$\mathrm{gap}_m = |\mathrm{purity}_{train} - \mathrm{purity}_{val}|, \qquad a_m = \tanh(\lambda\, \mathrm{gap}_m), \qquad
   \theta_m \leftarrow a_m\, \theta_m^{init} + (1 - a_m)\, \theta_m$$

for all parameters of the encoder, those of batch norm too, but neither its running statistics nor the head. In between it is
joint training.

Source: Y. Wei, S. Li, R. Feng, D. Hu, "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024; the
authors' code GeWu-Lab/Diagnosing_Relearning_ECCV2024 at commit 025085e.

Readings
- "After epoch e" is the start of epoch e + 1; so after the last epoch nothing happens. Until the next epoch has refreshed
  them, running statistics do not fit the weights.
- Validation is never the test set, on which another public version diagnoses.
- Training features see the augmentation of the epoch that begins, as the code's do; the batches come as training reads them.
- Of more than 10,000 samples so many are drawn. A dimension that is constant becomes 0, one cluster per sample is the most.
- The optimiser keeps its momentum, as in the code; ``reset_momentum=True`` forgets it. Adam's second moments describe the old
  position for a while.
- θ_init is what the encoder had at the start of training: of a pretrained one, its pretrained weights.
- A frozen encoder is not diagnosed; a modality that one of the sets lacks has no gap. Purity is over the samples that have
  m. A parameter of several encoders is pulled by the mean of their a_m.
- With several processes all see the features of all; the weights a_m are those of the first.

Hyper-parameters: λ = 3, E = 20, R = 3 are those of the authors' script for CREMA-D, with 90 epochs.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import distributed
from ..core import Batch, DataInfo, Epoch, Gradients, Method, Output, Step, evaluating
from ..core.batch import class_ids
from ..errors import ConfigError
from ._clusters import kmeans, purity, scaled
from ._snapshot import Snapshot

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["Relearn"]

MOST = 10_000  # samples of a set that are clustered


class Relearn(Method):
    """Pull each encoder back to its initial weights after some epochs, the more the more it is over-trained.

    Notes ``relearn/gap/<modality>`` and ``relearn/weight/<modality>`` (a) of the last diagnosis.

    Args:
        strength: λ; 0 changes nothing.
        every: E, after how many epochs.
        times: R, at most.
        reset_momentum: whether the optimiser forgets what it knows of the encoders.

    Raises:
        ConfigError: an option out of its range; an epoch that begins without the training or the validation batches, or
            without the optimiser that is to forget.
    """

    reads_validation = True
    neutral = "relearn(strength=0.0) = joint()"
    search_space = {"strength": (0.5, 10.0), "every": (5, 30)}

    gaps: Tensor  # [M]
    weights: Tensor  # [M], a
    count: Tensor  # re-learnings so far

    def __init__(
        self, strength: float = 3.0, every: int = 20, times: int = 3, reset_momentum: bool = False
    ) -> None:
        super().__init__()
        for option, value, least in (
            ("strength", strength, 0),
            ("every", every, 1),
            ("times", times, 0),
        ):
            if not value >= least:
                raise ConfigError(f"relearn({option}={value}) must be at least {least}.")
        self.strength, self.every, self.times = strength, every, times
        self.reset_momentum = reset_momentum

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self.modalities, self.classes = model.modalities, data.classes
        dtype = torch.promote_types(model.like.dtype, torch.float32)
        for name in ("gaps", "weights"):
            self.register_buffer(name, torch.zeros(len(self.modalities), dtype=dtype))
        self.register_buffer("count", torch.tensor(0))
        self.initial = Snapshot(model.encoders)

    @torch.no_grad()
    def begin_epoch(self, epoch: Epoch) -> None:
        if epoch.index == 0:
            self.initial.take(epoch.model.encoders)  # weights may have been loaded since
        if not epoch.active or int(self.count) >= self.times:
            return
        self._refuse_missing(epoch)
        if epoch.index > 1 and (epoch.index - 1) % self.every == 0:
            self.gaps.copy_(self._diagnosed(epoch))
            weights = torch.tanh(self.strength * self.gaps)
            self.weights.copy_(distributed.sum(weights * (distributed.rank() == 0)))
            self._pull_back(epoch)
            self.count += 1

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        for i, m in enumerate(self.modalities):
            step.note(f"relearn/gap/{m}", self.gaps[i])
            step.note(f"relearn/weight/{m}", self.weights[i])

    def _refuse_missing(self, epoch: Epoch) -> None:
        if epoch.train is None or epoch.val is None or operator.length_hint(epoch.val, 1) == 0:
            raise ConfigError(
                "relearn() compares training and validation: say begin_epoch(epoch, train, val, optimizer)."
            )
        if self.reset_momentum and epoch.optimizer is None:
            raise ConfigError(
                "relearn(reset_momentum=True) needs the optimiser: say begin_epoch(epoch, train, val, optimizer)."
            )

    def _diagnosed(self, epoch: Epoch) -> Tensor:
        """[M]: the gaps."""
        assert epoch.train is not None
        assert epoch.val is not None
        train, val = (self._purities(epoch, batches) for batches in (epoch.train, epoch.val))
        return (train - val).abs().nan_to_num(0)

    def _purities(self, epoch: Epoch, batches: Iterable[Batch]) -> Tensor:
        """[M]: of one set, NaN for a modality that it lacks or that does not learn."""
        encoders, found = epoch.model.encoders, torch.full_like(self.gaps, torch.nan)
        learning = [m for m, e in encoders.items() if any(p.requires_grad for p in e.parameters())]
        for m, (features, target) in self._features(epoch, batches, learning).items():
            if len(features):
                generator = epoch.generator("relearn", features.device)
                found[self.modalities.index(m)] = self._purity(features, target, generator)
        return found

    def _features(
        self, epoch: Epoch, batches: Iterable[Batch], modalities: list[str]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each modality the features [n, d] and targets [n] of all samples that have it."""
        found: dict[str, list[tuple[Tensor, Tensor]]] = {m: [] for m in modalities}
        with evaluating(epoch.model):
            for read in batches:
                batch = read.to(self.gaps.device)
                target = class_ids(batch.target, "relearn()")
                for m in modalities:
                    mask = batch.mask(m)
                    z = epoch.model.encode(m, batch)[mask].to(self.gaps.dtype)
                    both = distributed.gather(z), distributed.gather(target[mask])
                    found[m].append(both)
        return {
            m: (torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts]))
            for m, parts in found.items()
            if parts
        }

    def _purity(self, features: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        if len(features) > MOST:
            order = torch.randperm(len(features), generator=generator, device=features.device)
            features, target = features[order[:MOST]], target[order[:MOST]]
        count = min(self.classes, len(features))
        return purity(kmeans(scaled(features), count, generator), target)

    def _pull_back(self, epoch: Epoch) -> None:
        for parameter, initial in self.initial.pairs(epoch.model.encoders):
            weight = torch.stack(list(self._weights_of(parameter, epoch.model))).mean()
            parameter.lerp_(initial.to(parameter.dtype), weight.to(parameter.dtype))
            if self.reset_momentum and epoch.optimizer is not None:
                epoch.optimizer.state.pop(parameter, None)

    def _weights_of(self, parameter: Tensor, model: Multimodal) -> Iterator[Tensor]:
        for i, m in enumerate(self.modalities):
            if any(p is parameter for p in model.encoders[m].parameters()):
                yield self.weights[i]
