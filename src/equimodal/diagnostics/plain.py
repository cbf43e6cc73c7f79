"""Answers of any function of a dictionary of modalities: it is asked once for each coalition."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import Batch
from ..core.evaluation import evaluating
from ..errors import ConfigError, DataError
from .answers import Absence, Answers, Collector
from .coalitions import Plan

__all__ = ["Groups", "ask", "groups", "pairs"]

LEAST = 1e-9
Inputs = Mapping[str, Any]
Groups = Mapping[str, Sequence[str]]
"""For each modality the keys of its inputs: ``{"text": ("input_ids", "attention_mask"), "image": ("pixels",)}``."""


def groups(modalities: Sequence[str] | Groups | None, first: Inputs) -> dict[str, tuple[str, ...]]:
    """The inputs of each modality; by default every input is one.

    Raises:
        ConfigError: an input is not there.
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
    return found


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
        DataError: an answer is not one row of logits for each sample.
        ConfigError: an input has no zero or mean.
    """
    rng = np.random.default_rng(seed)
    found = Collector(plan, absence)
    means = _means(batches, keys) if absence == "mean" else {}
    mode = evaluating(model) if isinstance(model, nn.Module) else contextlib.nullcontext()
    with mode:
        for inputs, target in batches:
            labels = torch.as_tensor(np.asarray(target))
            blank = {m: _blank(inputs, keys[m], absence, means, rng) for m in plan.modalities}
            logits = [
                _logits(model, {**inputs, **_taken(blank, coalition)}, len(labels))
                for coalition in plan.coalitions
            ]
            found.add(torch.stack(logits), labels)
            found.keep({}, {}, {m: torch.ones(len(labels)) for m in plan.modalities})
    return found.answers()


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
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The inputs of a modality that is taken away; those that belong together stay together."""
    order = rng.permutation(len(inputs[keys[0]]))
    if absence == "permute":
        return {key: _rows(inputs[key], order) for key in keys}
    if absence == "mean":
        return {key: _like(inputs[key], means[key]) for key in keys}
    return {key: inputs[key] * 0 for key in keys}


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


def _logits(model: Callable[[dict[str, Any]], Any], inputs: dict[str, Any], count: int) -> Tensor:
    if isinstance(model, nn.Module):
        where = next((p.device for p in model.parameters()), torch.device("cpu"))
        inputs = {k: v.to(where) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    said = model(inputs)
    logits = said if isinstance(said, Tensor) else torch.as_tensor(np.asarray(said))
    if logits.ndim != 2 or len(logits) != count:
        raise DataError(
            f"The model must answer with logits [samples, classes]; for {count} samples it gave {list(logits.shape)}."
        )
    return _finite(logits.cpu())


def _finite(logits: Tensor) -> Tensor:
    """The logs of probabilities that are zero, as forests give them, as those of `LEAST` times the largest."""
    if bool(logits.isnan().any()) or not bool(logits.amax(1).isfinite().all()):
        raise DataError(
            "The model must answer with logits that are numbers: here some are NaN or infinite."
        )
    floor = logits.amax(1, keepdim=True) + math.log(LEAST)
    return torch.where(logits.isneginf(), floor, logits)
