"""The figures of an epoch, summed on the device: nothing is read from it during a step."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import distributed
from ..core import Losses, Output, Step

__all__ = ["Figures", "Statistics", "discrepancy"]


def discrepancy(rho: Tensor) -> Tensor:
    """The discrepancy ratio of ρ [M]: ρ_first / ρ_second of two, max ρ / min ρ of more; NaN, for one modality has none.

    Source: Peng et al., "Balanced multimodal learning via on-the-fly gradient modulation", CVPR 2022, eq. 8; for more
    than two modalities our reading.
    """
    if len(rho) == 1:
        return torch.full_like(rho[0], math.nan)
    if len(rho) > 2:
        return rho.max() / rho.min()
    return rho[0] / rho[1]


@dataclass(frozen=True)
class Figures:
    """What an epoch came to so far.

    Attributes:
        loss: each named loss, mean over updates.
        accuracy: of the fused prediction on training batches as they were seen.
        discrepancy_ratio: mean over batches, see `discrepancy`.
        share: for each modality its share of Σ ρ.
        notes: each number that a method noted (`Step.note`), mean over the batches in which it did, as this process saw it.
        bad_step: the first step whose loss was not finite, or None.
        suspects: which losses and modalities were not finite.
    """

    loss: Mapping[str, float]
    accuracy: float
    discrepancy_ratio: float
    share: Mapping[str, float]
    notes: Mapping[str, float]
    bad_step: int | None
    suspects: tuple[str, ...]


class Statistics:
    """Sums over the steps of an epoch.

    ρ_m of a batch is B times the mean confidence of modality m (probability of the true class under its unimodal
    logits, as they were in training) over the samples of the global batch that have m. A batch in which some modality
    is missing everywhere does not enter the ratio. The device is asked by `read` alone.
    """

    def __init__(self, modalities: tuple[str, ...], device: torch.device) -> None:
        self.modalities = modalities
        self.device = device
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.seen = 0
        self.updates: Counter[str] = Counter()
        self.correct = self._zeros()
        self.ratio, self.ratio_batches = self._zeros(), self._zeros()
        # First row: sums; second row: the first step that was not finite.
        self.rho = self._sums_and_firsts(len(self.modalities))
        self.losses: dict[tuple[str, ...], Tensor] = {}
        self.notes: dict[tuple[str, ...], Tensor] = {}  # first row: sums; second row: numbers
        self._open_batch()

    def _open_batch(self) -> None:
        self._values: dict[str, Tensor] = {}
        self._confidence: dict[str, Tensor] = dict.fromkeys(self.modalities, self._zeros())
        self._count: Counter[str] = Counter()
        self._noted: Mapping[str, Tensor] = {}

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _sums_and_firsts(self, width: int) -> Tensor:
        return torch.stack([self._zeros(width), self._zeros(width) + math.inf])

    @torch.no_grad()
    def add(self, output: Output, losses: Losses, step: Step) -> None:
        """One micro-batch of one phase."""
        for name, value in losses.items():
            known = self._values.get(name)
            self._values[name] = value.detach() if known is None else known + value.detach()
            self.updates[name] += step.last
        self._noted = step.notes  # one mapping for all steps of a batch
        self.correct += step.task.correct(output.fused, step.target).sum()
        self.seen += len(step.batch)
        self._count[""] += len(step.batch)
        for modality, logits in output.unimodal.items():
            confidence = step.task.confidence(logits.detach(), step.target)
            if modality in step.batch.present:
                confidence = confidence.masked_fill(~step.batch.present[modality], 0.0)
            self._confidence[modality] = self._confidence[modality] + confidence.sum()
            self._count[modality] += step.batch.count(modality)

    @torch.no_grad()
    def close(self, number: int) -> None:
        """All phases and micro-batches of a batch are done; `number` counts batches over the whole run."""
        totals = torch.stack(list(self._confidence.values()))
        counts = torch.tensor([self._count[name] for name in ("", *self.modalities)])
        counts = counts.to(totals, non_blocking=True)
        message = distributed.sum(torch.cat([totals, counts]))
        totals, samples, there = message.split([len(totals), 1, len(totals)])
        rho = totals * (samples / there.clamp(min=1))
        whole = there.all()
        self.ratio += torch.where(whole, discrepancy(rho), 0)
        self.ratio_batches += whole
        _accumulate(self.rho, rho, number)
        names = tuple(self._values)
        values = torch.stack([value.double() for value in self._values.values()])
        if names not in self.losses:
            self.losses[names] = self._sums_and_firsts(len(names))
        _accumulate(self.losses[names], values, number)
        self._keep_notes()
        self._open_batch()

    def _keep_notes(self) -> None:
        noted = {n: v for n, v in self._noted.items() if v.ndim == 0 and not n.startswith("loss/")}
        if noted:
            values = torch.stack([value.double() for value in noted.values()])
            held = self.notes.setdefault(tuple(noted), self._zeros(2, len(noted)))
            held += torch.stack([values, torch.ones_like(values)])

    def read(self) -> Figures:
        """The figures over all processes; the only place that asks the device."""
        seen, correct = distributed.sum(
            torch.stack([self.correct.new_tensor(self.seen), self.correct])
        ).tolist()
        loss: Counter[str] = Counter()
        firsts: list[tuple[float, str]] = []
        for names, held in self.losses.items():
            total = (distributed.sum(held[0]) / distributed.processes()).tolist()
            loss.update(dict(zip(names, total, strict=True)))
            firsts += _firsts(held, [f"loss {name!r}" for name in names])
        firsts += _firsts(self.rho, [f"modality {name!r}" for name in self.modalities])
        first = min(step for step, _ in firsts)
        rho = self.rho[0].tolist()
        ratio, ratio_batches = torch.stack([self.ratio, self.ratio_batches]).tolist()
        everything = sum(rho)
        return Figures(
            {name: total / max(self.updates[name], 1) for name, total in loss.items()},
            correct / max(seen, 1),
            ratio / ratio_batches if ratio_batches else math.nan,
            {
                m: r / everything if everything else math.nan
                for m, r in zip(self.modalities, rho, strict=True)
            },
            self._read_notes(),
            int(first) if math.isfinite(first) else None,
            tuple(name for step, name in firsts if math.isfinite(step) and step == first),
        )

    def _read_notes(self) -> dict[str, float]:
        totals: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for names, held in self.notes.items():
            sums, numbers = held.tolist()
            totals.update(dict(zip(names, sums, strict=True)))
            counts.update(dict(zip(names, numbers, strict=True)))
        return {name: total / counts[name] for name, total in totals.items()}

    def state(self) -> dict[str, Tensor]:
        """All sums by name, for a checkpoint between two batches."""
        counts = {"seen": self.seen} | {
            f"updates/{name}": count for name, count in self.updates.items()
        }
        sums = {
            "correct": self.correct,
            "ratio": self.ratio,
            "ratio_batches": self.ratio_batches,
            "rho": self.rho,
        }
        losses = {f"losses/{json.dumps(names)}": held for names, held in self.losses.items()}
        notes = {f"notes/{json.dumps(names)}": held for names, held in self.notes.items()}
        return sums | losses | notes | {name: torch.tensor(count) for name, count in counts.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.clear()
        self.seen = int(state["seen"])
        self.correct, self.ratio, self.ratio_batches, self.rho = (
            state[name].to(self.device) for name in ("correct", "ratio", "ratio_batches", "rho")
        )
        for name, value in state.items():
            kind, _, names = name.partition("/")
            if kind == "updates":
                self.updates[names] = int(value)
            if kind == "losses":
                self.losses[tuple(json.loads(names))] = value.to(self.device)
            if kind == "notes":
                self.notes[tuple(json.loads(names))] = value.to(self.device)


def _accumulate(held: Tensor, values: Tensor, number: int) -> None:
    """Add values [K] to the sums, and remember for each the first step at which it was not finite."""
    held[0] += values
    held[1].clamp_(max=torch.where(values.isfinite(), math.inf, float(number)))


def _firsts(held: Tensor, names: list[str]) -> list[tuple[float, str]]:
    """For each name the first step, in any process, at which it was not finite."""
    steps = distributed.gather(held[1:]).amin(0).tolist()
    return list(zip(steps, names, strict=True))
