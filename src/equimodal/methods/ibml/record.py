r"""What the modalities said of each sample in the previous epoch: the memory of BIO and of TCM, a store each.

Of each modality m and sample i are kept $\pi_{m,i} = \mathrm{softmax}(g_{m,i})[y_i]$ and whether $g_{m,i}$ was right:
an array [M, N] of the previous epoch, and one that this epoch fills, so that a sample that is met twice in an epoch is
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

__all__ = ["Record", "agreed", "known_to_be_zero", "presence", "scores"]


class Record(nn.Module):
    """What each modality said of each sample: π and correctness of the previous epoch, and those of the present one as it goes.

    One number holds both, π where the prediction was right and -π where it was wrong: a step has many small tensors, and
    each operation on one costs the same.

    Args:
        who: the method that keeps it, for the sentence of a refusal.
        modalities: their names, in the order of the rows.
        data: of which it needs N.
        like: a parameter of the model, whose precision the record has.

    Raises:
        ConfigError: the number of samples is not known, or a batch has no index.
        DataError: a batch's index is not in 0..N-1 (looked at on the CPU only: an accelerator would have to be waited for).
    """

    said: Tensor  # [M, N]
    said_now: Tensor

    def __init__(self, who: str, modalities: Sequence[str], data: DataInfo, like: Tensor) -> None:
        super().__init__()
        self.who, self.modalities = who, tuple(modalities)
        self.samples = data.need_samples(who)
        self._checked: Tensor | None = None
        shape = len(self.modalities), self.samples
        for name in ("said", "said_now"):
            perfect = torch.ones(shape, dtype=torch.promote_types(like.dtype, torch.float32))
            self.register_buffer(name, perfect)

    def turn(self) -> None:
        """A new epoch begins: what this one said becomes what the previous one said."""
        self.said.copy_(self.said_now)

    def read(self, batch: Batch) -> Tensor:
        """[M, B]: π in the previous epoch, with the sign bit (π may be 0) where the prediction was wrong."""
        return self.said.index_select(1, self._index(batch))

    def write(self, output: Output, step: Step) -> None:
        """What a step's output says of its samples; modalities that it or the sample lacks are left as they are."""
        index = distributed.gather(self._index(step.batch))
        everyone = tuple(output.unimodal) == self.modalities and distributed.processes() == 1
        complete = everyone and step.batch.complete(self.modalities)
        now = self._judged(output, step) if complete else self._judged_where_present(output, step)
        now = agreed(now, index)
        if not complete:
            now = torch.where(now.isnan(), self.said_now.index_select(1, index), now)
        self.said_now.index_copy_(1, index, now)

    def _judged(self, output: Output, step: Step) -> Tensor:
        """[modalities of the output, B]: π where a prediction is right, -π where it is wrong."""
        verdicts = step.verdicts(output)
        confidence = verdicts.confidence.to(self.said.dtype)
        return torch.where(verdicts.correct, confidence, -confidence)

    def _judged_where_present(self, output: Output, step: Step) -> Tensor:
        """[M, samples of all processes]: the same, NaN where there is no prediction."""
        there = [self.modalities.index(m) for m in output.unimodal]
        judged = self.said.new_full((len(self.modalities), len(step.batch)), torch.nan)
        judged[there] = self._judged(output, step)
        judged.masked_fill_(~presence(step.batch, self.modalities), torch.nan)
        return distributed.gather(judged.T).T

    def _index(self, batch: Batch) -> Tensor:
        index = batch.index
        if index is not None and index is self._checked:  # a step reads and writes by the same
            return index
        if index is None:
            raise ConfigError(
                f"{self.who} keeps a record per sample, but the batch does not say which samples it has: "
                "give Batch(..., index=...)."
            )
        if index.device.type == "cpu" and len(index):
            numbers = index.tolist()
            low, high = min(numbers), max(numbers)
            if low < 0 or high >= self.samples:
                raise DataError(
                    f"{self.who} keeps a record of {self.samples} samples, 0 to {self.samples - 1}, but a batch has "
                    f"index {low} to {high}: say Balanced(..., samples=N) with the right N."
                )
        self._checked = index
        return index


def agreed(values: Tensor, index: Tensor) -> Tensor:
    """[M, B]: the values of the last occurrence wherever a sample occurs, so that the order of writing does not matter.

    Args:
        values: [M, B].
        index: [B], the samples.
    """
    if _distinct(index):
        return values
    order = index.sort(stable=True)
    return values[:, order.indices[torch.searchsorted(order.values, index, right=True) - 1]]


def _distinct(index: Tensor) -> bool:
    """Whether it is known without waiting for an accelerator that no sample occurs twice."""
    return index.device.type == "cpu" and len(set(index.tolist())) == len(index)


def known_to_be_zero(value: Tensor) -> bool:
    """Whether a number [], the same in all processes, is 0; where it takes waiting for an accelerator, no."""
    return value.device.type == "cpu" and not bool(value)


def presence(batch: Batch, modalities: Sequence[str]) -> Tensor:
    """[M, B] booleans: which samples have which modality."""
    return torch.stack([batch.mask(m) for m in modalities])


def scores(confidence: Tensor, modalities: Sequence[str], batch: Batch) -> tuple[Tensor, Tensor]:
    r"""ρ_m [M] and its mean over the modalities [], over the global batch (eq. 13).

    ρ_m is B times the mean of π over the samples that have m, which is the sum where all have it. A modality that no
    sample has is put at the mean of the others, where it is neither lazy nor strong.

    Args:
        confidence: [M, B], π.
        modalities: whose they are.
        batch: the samples.
    """
    if distributed.processes() == 1 and batch.complete(modalities):
        rho = confidence.sum(1)
        return rho, rho.mean()
    present = presence(batch, modalities)
    size = present.new_full(present.shape[:1], present.shape[1], dtype=torch.long)
    kept = confidence.masked_fill(~present, 0).sum(1), present.sum(1), size
    sums, counts, size = distributed.sum(torch.stack([x.to(confidence.dtype) for x in kept]))
    rho = size * sums / counts.clamp(min=1)
    there = counts > 0
    mean = rho.sum() / there.sum().clamp(min=1)
    return torch.where(there, rho, mean), mean
