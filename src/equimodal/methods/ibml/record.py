r"""What the modalities said of each sample in the previous epoch: the memory of BIO and of TCM, a store each.

Of each modality m and sample i are kept $\pi_{m,i} = \mathrm{softmax}(g_{m,i})[y_i]$ and whether $g_{m,i}$ was right:
two arrays [M, N] of the previous epoch, and two that this epoch fills, so that a sample that is met twice in an epoch is
judged the same both times. Predictions are those of the training forward, in training mode and on whatever input the
encoders saw. Before its first epoch a sample counts as predicted perfectly (π = 1, correct), so that in epoch 0 all
scores tie; a sample that an epoch leaves out keeps what is known of it.

With several processes every process writes the rows of all, so that the stores are the same everywhere at any time. If a
sampler repeats a sample within a batch, its last occurrence counts, in the order of the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ... import distributed
from ...core import Batch, DataInfo, Output, Step
from ...errors import ConfigError, DataError

__all__ = ["Record", "presence", "scores"]


class Record(nn.Module):
    """π [M, N] and correctness [M, N] of the previous epoch, and those of the present one as it goes.

    Args:
        who: the method that keeps it, for the sentence of a refusal.
        modalities: their names, in the order of the rows.
        data: of which it needs N.
        like: a parameter of the model, whose precision the record has.

    Raises:
        ConfigError: the number of samples is not known, or a batch has no index.
        DataError: a batch's index is not in 0..N-1 (looked at on the CPU only: an accelerator would have to be waited for).
    """

    confidence: Tensor
    correct: Tensor
    confidence_now: Tensor
    correct_now: Tensor

    def __init__(self, who: str, modalities: Sequence[str], data: DataInfo, like: Tensor) -> None:
        super().__init__()
        self.who, self.modalities = who, tuple(modalities)
        self.samples = data.need_samples(who)
        shape = len(self.modalities), self.samples
        dtype = torch.promote_types(like.dtype, torch.float32)
        for when in ("", "_now"):
            self.register_buffer(f"confidence{when}", torch.ones(shape, dtype=dtype))
            self.register_buffer(f"correct{when}", torch.ones(shape, dtype=torch.bool))

    def turn(self) -> None:
        """A new epoch begins: what this one said becomes what the previous one said."""
        self.confidence.copy_(self.confidence_now)
        self.correct.copy_(self.correct_now)

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """π and correctness in the previous epoch, both [M, B]."""
        index = self._index(batch)
        return self.confidence[:, index], self.correct[:, index]

    def write(self, output: Output, step: Step) -> None:
        """What a step's output says of its samples; modalities that it or the sample lacks are left as they are."""
        index = distributed.gather(self._index(step.batch))
        order = index.sort(stable=True)
        last = order.indices[torch.searchsorted(order.values, index, right=True) - 1]
        # One message, and the same values wherever a sample occurs: then the order of writing does not matter.
        rows = distributed.gather(self._said(output, step).flatten(1))[last]
        confidence, correct, there = rows.unflatten(1, (3, -1)).permute(1, 2, 0).unbind()  # [M, B]
        for store, now in (self.confidence_now, confidence), (self.correct_now, correct.bool()):
            store.index_copy_(1, index, torch.where(there.bool(), now, store[:, index]))

    def _said(self, output: Output, step: Step) -> Tensor:
        """[B, 3, M]: π, whether it was right, and whether there was a prediction at all."""
        nothing = output.fused.new_zeros(())
        logits = [output.unimodal.get(m, nothing.expand_as(output.fused)) for m in self.modalities]
        # All modalities at once: a step has many small tensors, and each operation on one costs the same.
        said, target = torch.cat(logits), step.target.repeat(len(logits))
        there = presence(step.batch, self.modalities)
        if len(output.unimodal) < len(self.modalities):
            spoke = [m in output.unimodal for m in self.modalities]
            there = there & torch.tensor(spoke, device=there.device)[:, None]
        columns = step.task.confidence(said, target), step.task.correct(said, target)
        rows = [column.view(len(logits), -1).to(self.confidence.dtype) for column in columns]
        return torch.stack([*rows, there.to(self.confidence.dtype)]).permute(2, 0, 1)

    def _index(self, batch: Batch) -> Tensor:
        index = batch.index
        if index is None:
            raise ConfigError(
                f"{self.who} keeps a record per sample, but the batch does not say which samples it has: "
                "give Batch(..., index=...)."
            )
        if index.device.type == "cpu" and len(index):
            low, high = (int(bound) for bound in index.aminmax())
            if low < 0 or high >= self.samples:
                raise DataError(
                    f"{self.who} keeps a record of {self.samples} samples, 0 to {self.samples - 1}, but a batch has "
                    f"index {low} to {high}: say Balanced(..., samples=N) with the right N."
                )
        return index


def presence(batch: Batch, modalities: Sequence[str]) -> Tensor:
    """[M, B] booleans: which samples have which modality."""
    return torch.stack([batch.mask(m) for m in modalities])


def scores(confidence: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    r"""ρ_m [M] and its mean over the modalities [], over the global batch (eq. 13).

    ρ_m is B times the mean of π over the samples that have m, which is the sum where all have it. A modality that no
    sample has is put at the mean of the others, where it is neither lazy nor strong.

    Args:
        confidence: [M, B], π.
        present: [M, B] booleans.
    """
    size = torch.full_like(present[:, 0], present.shape[1], dtype=torch.long)
    kept = confidence.masked_fill(~present, 0).sum(1), present.sum(1), size
    sums, counts, size = distributed.sum(torch.stack([x.to(confidence.dtype) for x in kept]))
    rho = size * sums / counts.clamp(min=1)
    there = counts > 0
    mean = rho.sum() / there.sum().clamp(min=1)
    return torch.where(there, rho, mean), mean
