"""What two modalities' features share beyond the label: I(Z_i; Z_j | Y), by InfoBridge's critic.

A critic learns on training features to tell pairs of one sample from pairs of two samples of the same class, and is read
on test features. Two readings stand side by side:

- the *estimate*, the plug-in E[f] over the pairs of one sample, which the optimal critic makes exact; ours is neither
  optimal nor sure to err on one side;
- a *lower bound* that holds whatever the critic, E[log f-odds of the own partner among K others of its class]; it cannot
  exceed its *cap* log(K + 1), so that a bound near the cap says only that there is at least so much.

Source: C. Li et al., "InfoBridge", ICCV 2025, eqs 1 to 9, with our readings (`equimodal.methods.infobridge`); the bound:
van den Oord et al., "Representation learning with contrastive predictive coding", arXiv 1807.03748, within classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..methods._memory import Nothing
from ..methods._samples import Samples
from ..methods.infobridge.context import Label
from ..methods.infobridge.critic import Critics, Perceptron
from ..methods.infobridge.estimator import Estimator
from .answers import Answers
from .bootstrap import Bootstrap
from .intervals import Interval

__all__ = ["Conditional", "conditional"]

PER_CLASS = 20
"""The fewest samples of a class, in training and in test, whose pairs are told apart."""

ROWS = 10_000  # of training and of test, at most
WIDTH = 32  # principal components of a modality's features, at most
DIM = 32  # of the critic's projections
STEPS, BATCH, NEGATIVES = 250, 256, 5
RATE, DECAY = 5e-3, 1e-3
CHECKED = 25  # steps between two looks at the samples that are held out, a fifth of training
OTHERS = 31  # K


@dataclass(frozen=True)
class Conditional:
    """I(Z_first; Z_second | Y) of test features, in nats, over the classes with enough samples.

    Attributes:
        first, second: the modalities.
        estimate: the critic's plug-in; it may lie on either side of the truth.
        bound: a lower bound, which cannot exceed `cap`.
        cap: log(K + 1).
        samples: of test that it was read on.
    """

    first: str
    second: str
    estimate: Interval
    bound: Interval
    cap: float
    samples: int


def conditional(
    train: Answers, test: Answers, pairs: Sequence[tuple[str, str]], seed: int = 0
) -> tuple[Conditional, ...]:
    """Of each pair for which most test samples are of classes with at least `PER_CLASS` samples of both modalities.

    Args:
        train, test: with features.
        pairs: of modalities.
        seed: of the critic, its batches, and the resamples.
    """
    names = tuple(dict.fromkeys(m for pair in pairs for m in pair))
    if not pairs or any(m not in test.features for m in names):
        return ()
    known, asked = _samples(train, names, seed), _samples(test, names, seed)
    known, asked = _reduced(known, asked)
    found = {pair: _kept(known, asked, pair) for pair in pairs}
    groups = None if test.groups is None else test.groups[_rows(test, seed)]
    kept = {
        pair: rows
        for pair, rows in found.items()
        if len(rows) and (groups is None or len(np.unique(groups[rows.numpy()])) > 1)
    }
    if not kept:
        return ()
    estimator = _trained(known, list(kept), test.classes, seed)
    return tuple(_read(estimator, asked, pair, rows, seed, groups) for pair, rows in kept.items())


def _rows(answers: Answers, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(len(answers))[:ROWS])


def _samples(answers: Answers, names: Sequence[str], seed: int) -> Samples:
    rows = _rows(answers, seed)
    at = torch.from_numpy(rows)
    return Samples(
        {m: answers.features[m][at].double() for m in names},
        {m: torch.from_numpy(answers.present[m][rows]) for m in names},
        torch.from_numpy(answers.target[rows]),
        torch.arange(len(rows)),
    )


def _reduced(known: Samples, asked: Samples) -> tuple[Samples, Samples]:
    """The leading principal components, scaled to unit variance: of training, and the same of test."""
    both: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for m, z in known.features.items():
        there = z[known.present[m]]
        mean = there.mean(0) if len(there) else torch.zeros(z.shape[1], dtype=z.dtype)
        values, vectors = torch.linalg.eigh((there - mean).T @ (there - mean) / max(len(there), 1))
        values, vectors = values.flip(0)[:WIDTH], vectors.flip(1)[:, :WIDTH]
        living = values > 1e-6 * values.max()
        turn = vectors * torch.where(living, values.clamp(min=1e-300).rsqrt(), 0)
        for found, of in zip(both, (known, asked), strict=True):
            found[m] = ((of.features[m] - mean) @ turn).float()
    return replace(known, features=both[0]), replace(asked, features=both[1])


def _kept(known: Samples, asked: Samples, pair: tuple[str, str]) -> Tensor:
    """The rows of test whose class has enough samples with both modalities; none where these are less than half."""
    there = asked.both(pair)
    classes = int(torch.cat([known.target, asked.target]).max()) + 1
    learned = torch.bincount(known.target[known.both(pair)], minlength=classes)
    shown = torch.bincount(asked.target[there], minlength=classes)
    enough = (learned >= PER_CLASS) & (shown >= PER_CLASS)
    rows = (there & enough[asked.target]).nonzero().squeeze(1)
    return rows if 2 * len(rows) >= int(there.sum()) else rows[:0]


def _trained(
    known: Samples, pairs: Sequence[tuple[str, str]], classes: int, seed: int
) -> Estimator:
    """The critics of all pairs as they were when they told held-out samples best."""
    widths = {m: z.shape[1] for m, z in known.features.items()}
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        critics = Critics(widths, DIM, lambda: Perceptron(DIM, classes))
    critics.pairs = tuple(pairs)
    estimator = Estimator(
        critics, Label(classes), Nothing(widths), "same_context", NEGATIVES, "prior"
    )
    order = torch.randperm(len(known), generator=draw)
    held, rest = order[: len(order) // 5], order[len(order) // 5 :]
    optimizer = torch.optim.AdamW(critics.parameters(), RATE, weight_decay=DECAY)
    best, kept = -math.inf, copy.deepcopy(critics.state_dict())
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        rows = rest[torch.randint(len(rest), (BATCH,), generator=draw)]
        optimizer.zero_grad()
        loss = -_objective(estimator, known, rows, draw)
        loss.backward()
        optimizer.step()
        if (step + 1) % CHECKED == 0:
            with torch.no_grad():
                found = float(_objective(estimator, known, held, torch.Generator().manual_seed(1)))
            if found > best:
                best, kept = found, copy.deepcopy(critics.state_dict())
    critics.load_state_dict(kept)
    return estimator


def _objective(
    estimator: Estimator, samples: Samples, rows: Tensor, draw: torch.Generator
) -> Tensor:
    """[]: of NCE, the mean over anchors that have a negative, summed over pairs."""
    terms = estimator(_at(samples, rows), slice(0, len(rows)), draw)
    each = [
        torch.where(t.valid, t.objective, 0).sum() / t.valid.sum().clamp(min=1)
        for t in terms.values()
    ]
    return torch.stack(each).sum()


def _at(samples: Samples, rows: Tensor) -> Samples:
    def chosen(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: v[rows] for m, v in values.items()}

    return Samples(
        chosen(samples.features), chosen(samples.present), samples.target[rows], samples.index[rows]
    )


@torch.no_grad()
def _read(
    estimator: Estimator,
    asked: Samples,
    pair: tuple[str, str],
    rows: Tensor,
    seed: int,
    groups: NDArray[np.int64] | None,
) -> Conditional:
    some = _at(asked, rows)
    classes = torch.bincount(some.target)
    others = _others(some.target, min(OTHERS, int(classes[classes > 0].min()) - 1), seed)
    mine = torch.arange(len(rows))[:, None]
    keys = torch.cat([mine, others], 1)
    mine = mine.expand_as(keys)
    scores = estimator.critics(
        pair, some.features, some.target, torch.stack([mine, keys]), torch.stack([keys, mine])
    ).double()  # [2, n, 1 + K], both directions
    count = keys.shape[1]
    bound = (scores[..., 0] - scores.logsumexp(-1) + math.log(count)).mean(0)
    values = torch.stack([scores[..., 0].mean(0), bound], 1).numpy()
    of = None if groups is None else groups[rows.numpy()]
    estimate, lower = Bootstrap(len(rows), seed, groups=of).means(values)
    assert estimate is not None
    assert lower is not None
    return Conditional(*pair, estimate, lower, math.log(count), len(rows))


def _others(target: Tensor, count: int, seed: int) -> Tensor:
    """[n, K]: other samples of the same class, all different: the next ones in a random order of the class."""
    rng = np.random.default_rng(seed)
    labels = target.numpy()
    found: NDArray[np.int64] = np.zeros((len(labels), count), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        places = np.arange(len(members))[:, None] + 1 + np.arange(count)
        found[members] = members[places % len(members)]
    return torch.from_numpy(found)
