"""What is left of accuracy when modalities are missing, noisy, or those of another sample.

- **Missing**: each modality of a sample is away with probability r, independently of the others; where chance would take
  all of them, one stays, each as often (the rule of `ModalityDropout`). What the model says with every coalition is known
  for every sample, so its accuracy at a rate is an expectation over coalitions and nothing is drawn. Of more than six
  modalities not every coalition was asked; those of a size that were stand for all of this size.
- **Noise**: Gaussian, of so many standard deviations of the input over the data: of each entry of a vector and each
  channel (last axis) of a sequence, of all values together where an input has more axes. Inputs that are no floating
  numbers have none, and the ids of categories in a row of a table stay as they are: an id near another means nothing.
- **Wrong**: with probability r the input is that of another sample.

Noise and wrong inputs are tried on at most `SAMPLES` samples, drawn at random: they need the model again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import Batch
from ..data.dataset import Dataset
from ..training.evaluate import batches
from .answers import Answers
from .coalitions import Plan
from .findings import Curve, Robustness
from .intervals import rate

__all__ = [
    "BATCH",
    "RATES",
    "SAMPLES",
    "STRENGTHS",
    "Shaken",
    "chances",
    "missing",
    "others",
    "robustness",
    "selected",
    "some",
]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

RATES = tuple(k / 10 for k in range(10))
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
SAMPLES = 1000
BATCH = 256


@dataclass(frozen=True)
class Shaken:
    """What a model said of n samples when one of their inputs was not as it should be; 1 where right.

    Attributes:
        whole: [n], with everything as it is.
        noise: for each modality [n, K], a column per strength above 0; nothing where its input takes no noise.
        wrong: for each modality [n], with the input of another sample.
        groups: [n] codes of what these samples are of, where several are of one.
    """

    whole: Array
    noise: Mapping[str, Array]
    wrong: Mapping[str, Array]
    groups: Rows | None = None


def robustness(answers: Answers, shaken: Shaken | None) -> Robustness:
    """Curves of accuracy, with intervals.

    Args:
        answers: of all coalitions that were asked.
        shaken: what was said of noise and wrong inputs, where they were tried.
    """
    names = answers.plan.modalities
    there = np.stack([answers.present[m] for m in names], 1)
    groups = [*((m,) for m in names), names]
    values = [missing(answers.plan, answers.correct, there, group) for group in groups]
    *alone, together = (_curve(RATES, of, answers.groups) for of in values)
    missed = dict(zip(names, alone, strict=True))
    if shaken is None:
        return Robustness(missed, together, {}, {}, 0, answers.plan.exact)
    noise = [np.column_stack([shaken.whole, right]) for right in shaken.noise.values()]
    noisy = dict(
        zip(shaken.noise, (_curve(STRENGTHS, of, shaken.groups) for of in noise), strict=True)
    )
    rates = np.array(RATES)
    mixed = [np.outer(shaken.whole, 1 - rates) + np.outer(w, rates) for w in shaken.wrong.values()]
    return Robustness(
        missed,
        together,
        {m: noisy.get(m) for m in names},
        dict(zip(shaken.wrong, (_curve(RATES, of, shaken.groups) for of in mixed), strict=True)),
        len(shaken.whole),
        answers.plan.exact,
    )


def missing(plan: Plan, values: Array, there: NDArray[np.bool_], away: Sequence[str]) -> Array:
    """[N, R]: for each sample the expected value at each of `RATES`.

    Args:
        plan: S coalitions of M modalities.
        values: [N, S] of each sample, such as whether the answer is right.
        there: [N, M], what samples have to begin with.
        away: the modalities that may be missing.
    """
    found = np.empty((len(values), len(RATES)))
    patterns, which = np.unique(there, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        rows = which.ravel() == i
        found[rows] = values[rows] @ chances(plan, pattern, away).T
    return found


def chances(plan: Plan, there: NDArray[np.bool_], away: Sequence[str]) -> Array:
    """[R, S]: how probable each coalition is at each of `RATES`, for a sample that has these modalities [M]."""
    from scipy.stats import binom

    members = np.array([[m in s for m in plan.modalities] for s in plan.coalitions])
    may = np.isin(plan.modalities, list(away)) & there
    left, count = (members & may).sum(1), int(may.sum())
    chance = binom.pmf(np.arange(count + 1), count, 1 - np.array(RATES)[:, None])
    if count and not (there & ~may).any():  # never all
        chance[:, 1] += chance[:, 0]
        chance[:, 0] = 0
    possible = (members | may | ~there).all(1)  # what may not be missing is there
    undisturbed = (members | there).all(1)  # what the sample lacks is not taken away once more
    found = np.zeros((len(RATES), len(members)))
    for size in range(count + 1):
        fit = possible & (left == size)
        fit = fit & undisturbed if (fit & undisturbed).any() else fit
        found[:, fit] = chance[:, [size]] / fit.sum()
    return found


def _curve(at: Sequence[float], values: Array, groups: Rows | None) -> Curve:
    """Of answers [n, K], a column for each strength."""
    known = (rate(column, groups) for column in values.T)
    return Curve(tuple(at), tuple(figure for figure in known if figure is not None))


# What asking needs.


def some(count: int, most: int, seed: int) -> Rows:
    """At most so many of N samples, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def others(there: NDArray[np.bool_], rng: np.random.Generator) -> Rows:
    """[N]: for each sample another one that has the modality too; itself if it lacks it, or nobody else has it."""
    found = np.arange(len(there))
    order = rng.permutation(np.flatnonzero(there))
    found[order] = np.roll(order, 1)
    return found


def selected(data: Dataset | Iterable[Batch], rows: Rows) -> Iterator[tuple[Rows, Batch]]:
    """The samples at these positions, which ascend, batch by batch; a data set reads no others."""
    if isinstance(data, Dataset):
        read = batches(data.subset(torch.from_numpy(rows)), BATCH)
        yield from zip(np.split(rows, range(BATCH, len(rows), BATCH)), read, strict=True)
        return
    start = 0
    for batch in data:
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))]
        if len(here):
            yield here, batch.select((here - start).tolist())
        start += len(batch)
