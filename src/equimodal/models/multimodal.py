"""A model of several modalities: one encoder each, and a head that fuses their features."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.batch import Batch, Input
from ..core.evaluation import evaluating
from ..core.modules import require_initialised
from ..core.output import Output
from ..core.step import Phase
from ..errors import ConfigError, nearest
from .heads import Head

__all__ = ["Multimodal"]


class Multimodal(nn.Module):
    """One encoder per modality and a head.

    An encoder is any module that takes a modality's input [B, ...] and returns features [B, d]. It runs only on the
    rows that have the modality, so a missing one reaches no batch norm, no statistic and no gradient.

    Args:
        encoders: for each modality its encoder; their order is the order of the modalities.
        head: turns features into unimodal and fused logits.

    Raises:
        ConfigError: head and encoders do not name the same modalities, or the head is none.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], head: Head) -> None:
        super().__init__()
        if not isinstance(head, Head):
            raise ConfigError(
                f"The head is a {type(head).__name__}; give one of equimodal.heads, or a subclass of heads.Head."
            )
        for part in (head, *encoders.values()):
            require_initialised(part)
        if list(encoders) != list(head.widths):
            raise ConfigError(
                f"The encoders are for {list(encoders)} but the head is for {list(head.widths)}: "
                "name the same modalities in the same order."
            )
        for name in encoders:
            # Of the fused prediction are the names of columns and figures beside those of the modalities.
            taken = name in dir(nn.ModuleDict()) or str(name).split("_")[0] in ("fused", "fitted")
            if not name or not isinstance(name, str) or "." in name or taken:
                raise ConfigError(f"A modality cannot be called {name!r}: choose another name.")
        self.encoders = nn.ModuleDict(encoders)
        self.head = head

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoders)

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.head.classes

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that features and records of this model have: the head's, where it has any."""
        return next(itertools.chain(self.head.parameters(), self.parameters()), torch.zeros(()))

    def encode(self, modality: str, batch: Batch) -> Tensor:
        """[B, d]: features of one modality, zero where a sample lacks it.

        Raises:
            ConfigError: the encoder's features are not what the head was made for, or the batch calls its inputs otherwise.
        """
        count = batch.count(modality)
        if count == 0:
            self._refuse_other_name(modality, batch)
            return self._zeros(modality, batch)
        if batch.complete([modality]):
            return self._encoded(modality, batch.inputs[modality], count)
        assert batch.rows is not None
        rows = batch.rows[modality]
        found = self._encoded(modality, batch.inputs[modality][rows], count)
        return self._zeros(modality, batch).to(found.dtype).index_copy(0, rows, found)

    def _encoded(self, modality: str, values: Input, count: int) -> Tensor:
        encoder = self.encoders[modality]
        with _running_statistics(encoder, count == 1):
            features: Tensor = encoder(values)
        wanted = (count, self.head.widths[modality])
        if not isinstance(features, Tensor) or features.shape != wanted:
            tensor = isinstance(features, Tensor)
            what = f"features {list(features.shape)}" if tensor else f"a {type(features).__name__}"
            raise ConfigError(
                f"The encoder of {modality!r} returns {what} of {count} samples, "
                f"but the head expects [B, {wanted[1]}]."
            )
        return features

    def _refuse_other_name(self, modality: str, batch: Batch) -> None:
        """Of a modality that the batch does not name, beside one that the model does not."""
        unknown = [name for name in batch.inputs if name not in self.encoders]
        if modality not in batch.inputs and unknown:
            raise ConfigError(
                f"The model has no modality {unknown[0]!r}, which a batch has in place of {modality!r}; "
                f"{nearest(unknown[0], self.modalities)}"
            )

    @torch.no_grad()
    def _speak(self, modality: str, batch: Batch) -> Tensor:
        """Features of a frozen encoder, in evaluation mode so that its running statistics stay as they are."""
        with evaluating(self.encoders[modality]):
            return self.encode(modality, batch)

    def _zeros(self, modality: str, batch: Batch) -> Tensor:
        return self.like.new_zeros(len(batch), self.head.widths[modality])

    def forward(self, batch: Batch, phase: Phase | None = None) -> Output:
        """The output of a batch; a phase says which encoders learn, which speak without gradient, and which are skipped."""
        if not isinstance(batch, Batch):
            raise ConfigError(
                f"The model is given a Batch, here a {type(batch).__name__}: "
                "make one, as in Batch({'image': images, 'sound': sounds})."
            )
        phase = phase or Phase(train=self.modalities)
        features = {}
        for modality in self.modalities:
            if modality in phase.train:
                features[modality] = self.encode(modality, batch)
            elif modality in phase.frozen:
                features[modality] = self._speak(modality, batch)
        unimodal, fused = self.head(features, batch)
        return Output(features, unimodal, fused)


@contextlib.contextmanager
def _running_statistics(encoder: nn.Module, used: bool) -> Iterator[None]:
    """Batch norm by its running statistics: one sample alone has no statistics of a batch."""
    norms = (
        [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.training] if used else []
    )
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
