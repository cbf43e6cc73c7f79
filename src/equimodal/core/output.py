"""What comes out of a model: features, unimodal logits, fused logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Losses", "Output", "added"]

Losses = Mapping[str, Tensor]
"""Named scalar losses, whose sum is minimised: ``{"task": ..., "bio/audio": ...}``."""


def added(losses: Losses, own: Losses) -> Losses:
    """The losses and a method's own; where a name is taken, as by the same method earlier in a chain, their sum."""
    sums = {name: losses[name] + own[name] for name in own if name in losses}
    return {**losses, **own, **sums}


@dataclass(frozen=True)
class Output:
    """What a model says of B samples.

    Attributes:
        features: for each modality [B, d], zero where the sample lacks it.
        unimodal: for each modality [B, C], its own ("decoupled") logits by the head's rule, zero where it is missing.
        fused: [B, C], the logits that predict.
    """

    features: Mapping[str, Tensor]
    unimodal: Mapping[str, Tensor]
    fused: Tensor

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.unimodal)

    def detach(self) -> Output:
        """The same values without a graph."""
        return self._each(Tensor.detach)

    def to(self, device: torch.device | str) -> Output:
        """The same output on another device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Output:
        return Output(
            {name: change(value) for name, value in self.features.items()},
            {name: change(value) for name, value in self.unimodal.items()},
            change(self.fused),
        )

    @classmethod
    def concatenate(cls, outputs: Sequence[Output]) -> Output:
        """One output of all samples, in order."""
        if len(outputs) == 1:
            return outputs[0]
        first = outputs[0]
        return cls(
            {name: torch.cat([o.features[name] for o in outputs]) for name in first.features},
            {name: torch.cat([o.unimodal[name] for o in outputs]) for name in first.unimodal},
            torch.cat([o.fused for o in outputs]),
        )
