"""Answers of a model of this library: encoders run once, and the head is asked once for each coalition.

Where an input is changed, only its own encoder runs again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core import Balanced, Batch, Input, Output, Padded, Phase, Step
from ..core.evaluation import evaluating
from ..errors import ConfigError, DataError
from ..models.encoders import Table
from ..training.place import place
from .answers import Absence, Answers, Collector, right
from .coalitions import Coalition, Plan
from .robustness import STRENGTHS, Rows, Shaken, others

__all__ = ["ask", "shake"]

Features = Mapping[str, Tensor]
Strangers = Mapping[str, tuple[Tensor, Tensor]]


@torch.no_grad()
def ask(
    learner: Balanced, data: Iterable[Batch], plan: Plan, absence: Absence, seed: int = 0
) -> Answers:
    """What the learner answers, in evaluation mode.

    In evaluation mode a sample's features depend on its own input only, so features stand for inputs: those of a zero or
    mean input are one vector, and permuted features are those of permuted inputs.

    Raises:
        DataError: there is no sample, or one has no target; or what should be a batch is none, or lacks an input.
        ConfigError: a modality has no zero or mean input.
    """
    like = next(learner.parameters())
    found = Collector(plan, absence)
    checked = (_checked(batch, learner.model.modalities) for batch in data)
    batches = checked if absence == "missing" else list(checked)
    with evaluating(learner):
        blanks = _blanks(learner, batches, absence)
        encoded: Iterator[Features] = iter(())
        strange: Iterator[Strangers] = iter(())
        # Partners may be in any batch: then all features come before the first answer.
        if absence == "permute":
            known = [_encode(learner, place(b, like.device, like.dtype)) for b in batches]
            encoded, strange = iter(known), _strangers(learner, known, batches, seed)
        for batch in batches:
            placed = place(batch, like.device, like.dtype)
            features = next(encoded, None) or _encode(learner, placed)
            _ask(learner, placed, features, found, blanks, next(strange, {}))
    if not found.target:
        raise DataError("There is no sample to diagnose the model on.")
    return found.answers()


def _checked(batch: Batch, modalities: Sequence[str]) -> Batch:
    if not isinstance(batch, Batch):
        raise DataError(
            f"A model of this library is diagnosed on Batch(inputs, target), here on a {type(batch).__name__}."
        )
    if batch.target is None:
        raise DataError("A diagnosis needs a target for every sample.")
    for m in modalities:
        if m not in batch.inputs:
            raise DataError(
                f"A batch has no input {m!r}, but {', '.join(map(repr, batch.inputs))}: where no sample has it, give zeros and "
                f"say so, as in Batch(..., present={{{m!r}: torch.zeros({len(batch)})}})."
            )
    return batch


def _encode(learner: Balanced, batch: Batch) -> Features:
    return {m: learner.model.encode(m, batch) for m in learner.model.modalities}


def _ask(
    learner: Balanced,
    batch: Batch,
    features: Features,
    found: Collector,
    blanks: Mapping[str, Tensor],
    strange: Strangers,
) -> None:
    modalities = learner.model.modalities
    assert batch.target is not None
    masks = {m: batch.mask(m) for m in modalities}
    whole = _speak(learner, batch, features, masks)

    def answer(coalition: Coalition) -> Tensor:
        if len(coalition) == len(modalities):
            return whole.fused
        away = [m for m in modalities if m not in coalition]
        if found.absence == "missing":
            if not coalition:  # whatever it says then, see `Collector.answers`
                return torch.zeros_like(whole.fused)
            absent = {m: torch.zeros_like(masks[m]) for m in away}
            return _missing(learner, batch, features, {**masks, **absent})
        if found.absence == "permute":
            shown = {m: strange[m][0] for m in away}
            there = {m: strange[m][1] for m in away}
        else:
            shown = {m: torch.where(masks[m][:, None], blanks[m], 0.0) for m in away}
            there = {}
        return _speak(learner, batch, {**features, **shown}, {**masks, **there}).fused

    found.add(torch.stack([answer(s) for s in found.plan.coalitions]), batch.target)
    found.keep(whole.unimodal, features, masks)
    for m in modalities:
        values = _values(batch.inputs[m], masks[m])
        found.measure(m, _numbers(learner.model.encoders[m], values))


def _strangers(
    learner: Balanced, features: Sequence[Features], batches: Iterable[Batch], seed: int
) -> Iterator[Strangers]:
    """For each batch and modality the features [B, d] of other samples, of any batch, and [B] whether these have it."""
    like, names = next(learner.parameters()), learner.model.modalities
    masks = [{m: batch.mask(m).to(like.device) for m in names} for batch in batches]
    sizes = [len(batch) for batch in batches]
    rng, everyone = np.random.default_rng(seed), np.ones(sum(sizes), dtype=bool)
    whose = {m: torch.from_numpy(others(everyone, rng)).to(like.device) for m in names}
    whole = {
        m: (torch.cat([of[m] for of in features]), torch.cat([of[m] for of in masks]))
        for m in names
        if sizes
    }
    for rows in torch.arange(sum(sizes), device=like.device).split(sizes):
        chosen = {m: whose[m][rows] for m in names}
        yield {m: (whole[m][0][chosen[m]], whole[m][1][chosen[m]]) for m in names}


def _values(values: Input, there: Tensor) -> Tensor:
    """The rows of an input that are there, of sequences without their padding: [b, ...], or [steps, ...]."""
    if isinstance(values, Padded):
        steps = torch.arange(values.values.shape[1], device=there.device)
        real = (steps < values.lengths[:, None].to(there.device)) & there[:, None]
        return values.values[real]
    return values[there]


def _numbers(encoder: nn.Module, values: Tensor) -> Tensor:
    """The values without the ids of a table's categories: what does not vary takes no noise, and integers none at all."""
    count = _categories(encoder)
    if not count:
        return values
    numbers = values[:, :-count]
    return torch.cat([numbers, 0 * values[:, -count:]], 1) if numbers.shape[1] else values.long()


def _categories(encoder: nn.Module) -> int:
    """How many entries of an input are ids of categories; they are the last ones."""
    tables = (part for part in encoder.modules() if isinstance(part, Table))
    return next((table.columns - table.numbers for table in tables), 0)


@torch.no_grad()
def shake(
    learner: Balanced, data: Iterable[tuple[Rows, Batch]], known: Answers, seed: int = 0
) -> Shaken:
    """What the learner answers when one input is noisy, or that of another sample.

    A sample that lacks the modality stays as it is.

    Args:
        learner: in evaluation mode.
        data: positions among the N samples, and the samples.
        known: the answers for all N.
        seed: of the noise, the same at every strength, and of who is given whose input.
    """
    like, names = next(learner.parameters()), learner.model.modalities
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    whose = {m: others(known.present[m], rng) for m in names}
    whole: list[NDArray[np.float64]] = []
    noise: dict[str, list[Tensor]] = {m: [] for m in names if m in known.spread}
    wrong: dict[str, list[Tensor]] = {m: [] for m in names}
    with evaluating(learner):
        for rows, batch in data:
            batch = place(batch, like.device, like.dtype)
            features = {m: known.features[m][rows].to(like.device) for m in names}
            correct = functools.partial(_correct, learner, batch, features)
            for m in names:
                wrong[m].append(correct(m, [known.features[m][whose[m][rows]].to(like.device)])[0])
            for m in noise:
                noisy = _noisy(batch, m, known.spread[m], generator)
                noise[m].append(correct(m, [learner.model.encode(m, b) for b in noisy]).T)
            whole.append(known.correct[rows, -1])
    return Shaken(
        np.concatenate(whole),
        {m: torch.cat(parts).numpy() for m, parts in noise.items()},
        {m: torch.cat(parts).numpy() for m, parts in wrong.items()},
    )


def _correct(
    learner: Balanced,
    batch: Batch,
    features: Mapping[str, Tensor],
    modality: str,
    shown: Sequence[Tensor],
) -> Tensor:
    """[K, B]: 1 where the answer is right with each of K features [B, d] in place of a modality's own."""
    masks = {m: batch.mask(m) for m in features}
    said = [_speak(learner, batch, {**features, modality: z}, masks).fused for z in shown]
    assert batch.target is not None
    return right(torch.stack(said).double().cpu(), batch.target.cpu())


def _noisy(
    batch: Batch, modality: str, spread: Tensor, generator: torch.Generator
) -> Iterable[Batch]:
    """The batch with noise of every strength above 0 on one input."""
    given = batch.inputs[modality]
    values = given.values if isinstance(given, Padded) else given
    drawn = torch.randn(values.shape, generator=generator).to(values) * spread.to(values)
    for strength in STRENGTHS[1:]:
        shown = values + strength * drawn
        noisy = replace(given, values=shown) if isinstance(given, Padded) else shown
        yield batch.with_inputs({**batch.inputs, modality: noisy})


def _missing(
    learner: Balanced,
    batch: Batch,
    features: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
) -> Tensor:
    """[B, C]: fused logits; zeros for samples that have nothing left, of which a head may say anything, also NaN."""
    anything = torch.stack(list(masks.values())).any(0)
    fused = _speak(learner, batch, features, masks).fused
    return torch.where(anything[:, None], fused, torch.zeros_like(fused))


def _speak(
    learner: Balanced,
    batch: Batch,
    features: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
) -> Output:
    """Head and method on these features of samples that have these modalities."""
    modalities = learner.model.modalities
    known = Batch({m: batch.inputs[m] for m in modalities}, batch.target, batch.index, dict(masks))
    features = {m: z * masks[m].to(z.dtype)[:, None] for m, z in features.items()}
    unimodal, fused = learner.model.head(features, known)
    phase = Phase(train=modalities)
    step = Step(
        known, phase, learner.model, learner.task, max(int(learner.begun), 0), seed=learner.seed
    )
    return learner.method.outputs(Output(features, unimodal, fused), step)


def _blanks(learner: Balanced, data: Iterable[Batch], absence: Absence) -> dict[str, Tensor]:
    """For each modality the features [d] of its zero or mean input; nothing for other kinds of absence."""
    if absence in ("missing", "permute"):
        return {}
    like = next(learner.parameters())
    found = {}
    for m in learner.model.modalities:
        total, count = None, 0
        ids = _categories(learner.model.encoders[m]) > 0
        for batch in data:
            values = batch.inputs[m]
            if isinstance(values, Padded) or not values.is_floating_point() or ids:
                raise ConfigError(
                    f"The modality {m!r} has no {absence} input: choose the absence 'missing' or 'permute'."
                )
            values = values[batch.mask(m)].double()
            total = values.sum(0) if total is None else total + values.sum(0)
            count += len(values)
        if total is None:
            continue
        blank = total / max(count, 1) if absence == "mean" else torch.zeros_like(total)
        shown = blank[None].to(like.device, like.dtype)
        found[m] = learner.model.encode(m, Batch({m: shown}))[0]
    return found
