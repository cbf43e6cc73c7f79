"""Answers of any function of a dictionary of modalities: it is asked once for each coalition, and for each change.

Its answers are logits, or probabilities, of which the logarithms are taken as logits. Which they are is seen: logits whose
rows all are non-negative and sum to 1 do not occur.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import Batch
from ..core.evaluation import evaluating
from ..errors import ConfigError, DataError
from .answers import Absence, Answers, Collector, right
from .coalitions import Plan
from .robustness import STRENGTHS, Rows, Shaken, others

__all__ = ["Groups", "ask", "groups", "pairs", "shake"]

LEAST = 1e-9
ROUNDED = 0.01
"""How far the sum of probabilities may be from 1, of low precision or rounded to two digits."""
Inputs = Mapping[str, Any]
Groups = Mapping[str, Sequence[str]]
"""For each modality the keys of its inputs: ``{"text": ("input_ids", "attention_mask"), "image": ("pixels",)}``."""


def groups(modalities: Sequence[str] | Groups | None, first: Inputs) -> dict[str, tuple[str, ...]]:
    """The inputs of each modality; by default every input is one.

    Raises:
        ConfigError: an input is not there, or is no array.
    """
    given = list(first) if modalities is None else modalities
    named = given if isinstance(given, Mapping) else {m: (m,) for m in given}
    found = {m: tuple(keys) for m, keys in named.items()}
    for modality, keys in found.items():
        for key in keys:
            if key not in first:
                raise ConfigError(
                    f"The modality {modality!r} is to be the input {key!r}, which the batches lack; they have "
                    f"{', '.join(map(repr, first))}."
                )
            if not isinstance(first[key], Tensor | np.ndarray | list | tuple):
                raise ConfigError(
                    f"The input {key!r} is a {type(first[key]).__name__} and no array: name those that are modalities, as in "
                    "diagnose(model, loader, ('image', 'sound'))."
                )
    return found


def _labels(target: Any) -> Tensor:
    """[B]: class ids, on the CPU."""
    try:
        return torch.as_tensor(target if isinstance(target, Tensor) else np.asarray(target)).cpu()
    except TypeError:
        raise DataError(
            "Targets must be class ids, whole numbers from 0 on; here they are no numbers."
        ) from None


@torch.no_grad()
def ask(
    model: Callable[[dict[str, Any]], Any],
    batches: Sequence[tuple[Inputs, Any]],
    keys: Groups,
    plan: Plan,
    absence: Absence,
    seed: int = 0,
) -> Answers:
    """What the function answers; a module is in evaluation mode and gets its inputs on its device.

    Raises:
        DataError: an answer is not one row of logits or probabilities for each sample.
        ConfigError: an input has no zero or mean.
    """
    rng = np.random.default_rng(seed)
    found = Collector(plan, absence)
    means = _means(batches, keys) if absence == "mean" else {}
    pools = _pools(batches, keys, rng) if absence == "permute" else {}
    start = 0
    mode = evaluating(model) if isinstance(model, nn.Module) else contextlib.nullcontext()
    with mode:
        for inputs, target in batches:
            labels = _labels(target)
            here = slice(start, start + len(labels))
            start += len(labels)
            blank = {
                m: pools[m].of(here) if pools else _blank(inputs, keys[m], absence, means)
                for m in plan.modalities
            }
            said = [
                _said(model, {**inputs, **_taken(blank, coalition)}, len(labels))
                for coalition in plan.coalitions
            ]
            if not found.target:  # of the first batch
                found.probabilities = all(map(_are_probabilities, said))
            found.add(torch.stack([_logits(s, found.probabilities) for s in said]), labels)
            found.keep({}, {}, {m: torch.ones(len(labels)) for m in plan.modalities})
            for key in (key for group in keys.values() for key in group):
                if not _is_text(inputs[key]):
                    found.measure(key, torch.as_tensor(inputs[key]))
    return found.answers()


@torch.no_grad()
def shake(
    model: Callable[[dict[str, Any]], Any],
    batches: Sequence[tuple[Inputs, Any]],
    keys: Groups,
    known: Answers,
    rows: Rows,
    seed: int = 0,
) -> Shaken:
    """What the function answers when the inputs of one modality are noisy, or those of another sample of the batch.

    Args:
        model, batches, keys: as for `ask`.
        known: the answers for all N samples.
        rows: the positions among them that are tried, which ascend.
        seed: of the noise, the same at every strength, and of who is given whose input.
    """
    rng = np.random.default_rng(seed)
    names = known.plan.modalities
    noise: dict[str, list[Tensor]] = {
        m: [] for m in names if any(key in known.spread for key in keys[m])
    }
    wrong: dict[str, list[Tensor]] = {m: [] for m in names}
    pools = _pools(batches, keys, rng)
    start = 0
    mode = evaluating(model) if isinstance(model, nn.Module) else contextlib.nullcontext()
    with mode:
        for inputs, target in batches:
            labels = _labels(target)
            count = len(labels)
            every = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + count)]
            here = every - start
            start += count
            if not len(here):
                continue
            kept = {key: _some(values, here, count) for key, values in inputs.items()}
            correct = functools.partial(_correct, model, kept, labels[here].long())
            for m in names:
                wrong[m].append(correct([pools[m].of(every)])[0])
            for m in noise:
                noise[m].append(correct(_noisy(kept, keys[m], known.spread, rng)).T)
    return Shaken(
        known.correct[rows, -1],
        {m: torch.cat(parts).numpy() for m, parts in noise.items()},
        {m: torch.cat(parts).numpy() for m, parts in wrong.items()},
    )


def _some(values: Any, rows: Rows, count: int) -> Any:
    """Rows of an input that has one for each of `count` samples; another stays."""
    if len(rows) == count or not isinstance(values, Sized) or len(values) != count:
        return values
    return _rows(values, rows)


def _correct(
    model: Callable[[dict[str, Any]], Any],
    inputs: Inputs,
    target: Tensor,
    shown: Iterable[Inputs],
) -> Tensor:
    """[K, B]: 1 where the answer is right with each of K other inputs of a modality; of probabilities as of logits."""
    said = [_finite(_said(model, {**inputs, **other}, len(target))) for other in shown]
    return right(torch.stack(said).double(), target)


def _noisy(
    inputs: Inputs, keys: Sequence[str], spread: Mapping[str, Tensor], rng: np.random.Generator
) -> Iterator[Inputs]:
    """A modality's inputs with noise of every strength above 0 on those that take some."""
    drawn = {
        key: rng.standard_normal(tuple(inputs[key].shape)) * spread[key].numpy()
        for key in keys
        if key in spread
    }
    for strength in STRENGTHS[1:]:
        yield {key: inputs[key] + _like(inputs[key], strength * e) for key, e in drawn.items()}


def pairs(data: Iterable[Any]) -> list[tuple[Inputs, Any]]:
    """Batches as (inputs, target): those of this library, or such pairs already.

    Raises:
        DataError: something is neither, a target is missing, or there is nothing.
    """
    found = [_pair(batch) for batch in data]
    if not found:
        raise DataError("There is no sample to diagnose the model on.")
    return found


def _pair(batch: Any) -> tuple[Inputs, Any]:
    if isinstance(batch, Batch):
        if batch.target is None:
            raise DataError("A diagnosis needs a target for every sample.")
        if batch.present:
            raise DataError(
                f"Some samples lack {sorted(batch.present)[0]!r}, of which a plain function is not told: "
                "diagnose it on complete samples."
            )
        return batch.inputs, batch.target
    if isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[0], Mapping):
        return batch[0], batch[1]
    raise DataError(
        "A batch must be (inputs, target), inputs a dictionary from names to arrays; "
        f"here it is a {type(batch).__name__}."
    )


def _taken(blank: Mapping[str, Inputs], coalition: Sequence[str]) -> dict[str, Any]:
    return {k: v for m, found in blank.items() if m not in coalition for k, v in found.items()}


def _blank(
    inputs: Inputs,
    keys: Sequence[str],
    absence: Absence,
    means: Mapping[str, Any],
) -> dict[str, Any]:
    """The inputs of a modality that is taken away."""
    if absence == "mean":
        return {key: _like(inputs[key], means[key]) for key in keys}
    for key in keys:
        if _is_text(inputs[key]):
            raise ConfigError(
                f"The input {key!r} is text, of which there is no zero: choose absence='permute'."
            )
    return {key: inputs[key] * 0 for key in keys}


def _is_text(values: Any) -> bool:
    """A list, or an array that holds no numbers."""
    return isinstance(values, list | tuple) or (
        isinstance(values, np.ndarray) and values.dtype.kind not in "biufc"
    )


@dataclass(frozen=True)
class _Pool:
    """The inputs of a modality of all N samples, and for each sample whose it is given instead of its own."""

    inputs: Inputs
    whose: Rows

    def of(self, rows: Rows | slice) -> dict[str, Any]:
        """The inputs of others for some samples; those that belong together stay together."""
        return {key: _rows(values, self.whose[rows]) for key, values in self.inputs.items()}


def _pools(
    batches: Sequence[tuple[Inputs, Any]], keys: Groups, rng: np.random.Generator
) -> dict[str, _Pool]:
    """For each modality; of all batches, because a batch may hold one sample or one class."""
    count = sum(len(target) for _, target in batches)
    return {
        m: _Pool(
            {key: _joined([inputs[key] for inputs, _ in batches]) for key in group},
            others(np.ones(count, dtype=bool), rng),
        )
        for m, group in keys.items()
    }


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list | tuple):  # texts
        return [text for part in parts for text in part]
    longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    if isinstance(parts[0], Tensor):
        return torch.cat([_padded(part, longest) for part in parts])
    return np.concatenate(
        [
            np.pad(
                part, [(0, 0), *((0, n - k) for n, k in zip(longest, part.shape[1:], strict=True))]
            )
            for part in parts
        ]
    )


def _padded(part: Tensor, sizes: Sequence[int]) -> Tensor:
    """With zeros at the end, where batches were padded to their own longest sample."""
    made = part.new_zeros(len(part), *sizes)
    made[(slice(None), *map(slice, part.shape[1:]))] = part
    return made


def _rows(values: Any, order: np.ndarray[Any, Any]) -> Any:
    if isinstance(values, list | tuple):  # texts
        return [values[i] for i in order]
    return values[torch.from_numpy(order)] if isinstance(values, Tensor) else values[order]


def _means(batches: Sequence[tuple[Inputs, Any]], keys: Groups) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for key in (key for group in keys.values() for key in group):
        parts = [np.asarray(inputs[key]) for inputs, _ in batches]
        if not np.issubdtype(parts[0].dtype, np.floating):
            raise ConfigError(
                f"The input {key!r} has no mean, for it holds {parts[0].dtype}: choose absence='permute'."
            )
        total = np.sum([part.sum(0, dtype=np.float64) for part in parts], axis=0)
        found[key] = total / sum(map(len, parts))
    return found


def _like(values: Any, mean: np.ndarray[Any, Any]) -> Any:
    if isinstance(values, Tensor):
        return torch.as_tensor(mean, dtype=values.dtype, device=values.device).expand_as(values)
    return np.broadcast_to(mean.astype(values.dtype), values.shape)


def _said(model: Callable[[dict[str, Any]], Any], inputs: dict[str, Any], count: int) -> Tensor:
    """[count, C]: the answer as it was given, on the CPU."""
    if isinstance(model, nn.Module):
        where = next((p.device for p in model.parameters()), torch.device("cpu"))
        inputs = {k: v.to(where) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    answer = model(inputs)
    try:
        said = answer if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
    except (TypeError, ValueError):  # a dictionary, a tuple of different things
        raise DataError(
            "The model must answer with logits or probabilities [samples, classes], here with a "
            f"{type(answer).__name__}: give a function that picks them out, as lambda inputs: model(inputs).logits."
        ) from None
    if said.ndim != 2 or len(said) != count:
        raise DataError(
            "The model must answer with logits or probabilities [samples, classes]; "
            f"for {count} samples it gave {list(said.shape)}."
        )
    return said.cpu()


def _are_probabilities(said: Tensor) -> bool:
    return bool((said >= 0).all() and ((said.double().sum(1) - 1).abs() <= ROUNDED).all())


def _logits(said: Tensor, probabilities: bool) -> Tensor:
    """Logits of answers [B, C]."""
    if not probabilities:
        return _finite(said)
    if not _are_probabilities(said):
        raise DataError(
            "The model answers with probabilities for some samples and with something else for others: give logits for all."
        )
    return _finite(said.double().log())


def _finite(logits: Tensor) -> Tensor:
    """The logs of probabilities that are zero, as forests give them, as those of `LEAST` times the largest."""
    if bool(logits.isnan().any()) or not bool(logits.amax(1).isfinite().all()):
        raise DataError(
            "The model must answer with logits that are numbers: here some are NaN or infinite."
        )
    floor = logits.amax(1, keepdim=True) + math.log(LEAST)
    return torch.where(logits.isneginf(), floor, logits)
