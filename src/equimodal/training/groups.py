"""What samples of one group are worth: those of one patient may be right together and wrong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["effective_samples", "mean_spread", "worth"]

Array = NDArray[np.float64]


def mean_spread(values: Array, groups: NDArray[np.int64] | None = None) -> float:
    """The standard error of the mean of values [N] of which those of one group may vary together; infinite of one group.

    Source: Field and Welsh, "Bootstrapping clustered data", Journal of the Royal Statistical Society B 2007.

    Args:
        values: [N].
        groups: [N] codes; None where each sample stands by itself.
    """
    codes = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(codes, values - values.mean())
    units = len(sums)
    if units < 2:
        return float("inf")
    return float(np.sqrt((sums @ sums) * units / (units - 1)) / len(values))


def effective_samples(
    right: NDArray[np.float64] | NDArray[np.bool_], groups: NDArray[np.int64] | None = None
) -> float:
    """How many independent samples would leave the mean of these answers as uncertain: N where each stands by itself.

    An answer in between 0 and 1 is right by chance (of classes that tie) or in expectation, and varies less. No group is worth more than its
    samples, and of answers that are all the same, whose spread is not seen, each group is worth one.

    Source: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data", Survey Methodology 1998.

    Args:
        right: [N] in [0, 1].
        groups: [N] codes of what samples are of, such as the patient; None where each stands by itself.
    """
    right = np.asarray(right, dtype=np.float64)
    if not len(right) or (groups is None and _whole(right)):
        return float(len(right))
    apart = len(right) if groups is None else len(np.unique(groups))
    if np.ptp(right) == 0 or apart == 1:
        return float(apart)
    value = float(right.mean())
    together = max(mean_spread(right, groups) ** 2, float(right.var()) / len(right))
    return value * (1 - value) / together


def _whole(right: Array) -> bool:
    return bool(((right == 0) | (right == 1)).all())


def worth(figures: Mapping[str, Any], samples: int, of: str = "") -> float:
    """How many independent samples an accuracy of `results.json` stands for; a file of an older version does not say it.

    Args:
        figures: what holds the accuracy.
        samples: it is measured on.
        of: ``"probe_"`` for that of the linear probe.
    """
    known: float = figures.get(f"{of}effective_samples", samples)
    return known
