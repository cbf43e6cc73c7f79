"""What each modality could give: linear probes of frozen features, of all of them and of all but one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..training.evaluate import PROBE_ROWS, classified
from .answers import Answers

__all__ = ["Probes", "probes"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Probes:
    """Which of N test samples linear classifiers on frozen features get right.

    Attributes:
        alone: for each modality [N], 1 where right; counts only where the modality is present.
        together: [N], on the features of all modalities.
        without: for each modality [N], on the features of all others; nothing for a single modality.
    """

    alone: Mapping[str, Array]
    together: Array
    without: Mapping[str, Array]

    def adds(self, modality: str) -> Array | None:
        """[N]: what a modality's features add to those of all others."""
        return self.together - self.without[modality] if modality in self.without else None


def probes(train: Answers, test: Answers, rows: int = PROBE_ROWS, seed: int = 0) -> Probes:
    """Logistic regression (C = 1) on standardised features of at most `rows` training samples.

    A missing modality has zero features; alone it is learned from the samples that have it.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:rows])
    names = tuple(test.features)

    def right(members: Sequence[str], own: bool) -> Array:
        known = _features(train, members)[chosen]
        target = train.target[chosen]
        if own:
            there = train.present[members[0]][chosen]
            known, target = known[there], target[there]
        return _right(known, target, _features(test, members), test.target)

    alone = {m: right([m], True) for m in names}
    if len(names) == 1:
        return Probes(alone, alone[names[0]], {})
    others = {m: [other for other in names if other != m] for m in names}
    without = {
        m: alone[rest[0]]
        if len(rest) == 1 and _complete(train, test, rest[0])
        else right(rest, False)
        for m, rest in others.items()
    }
    return Probes(alone, right(names, False), without)


def _complete(train: Answers, test: Answers, modality: str) -> bool:
    return bool(train.present[modality].all() and test.present[modality].all())


def _features(answers: Answers, members: Sequence[str]) -> Array:
    return np.concatenate([answers.features[m].double().numpy() for m in members], 1)


def _right(
    known: Array, target: NDArray[np.int64], asked: Array, truth: NDArray[np.int64]
) -> Array:
    if not len(target):
        return np.zeros(len(truth))
    if len(np.unique(target)) == 1:
        right = truth == target[0]
    else:
        right = classified(known, target, asked) == truth
    found: Array = right.astype(np.float64)
    return found
