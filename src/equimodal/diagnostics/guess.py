"""What can be said of a sample of which no modality is known: how frequent the classes are.

This is what a coalition of nobody says, and any coalition of which a sample has no modality. It is no even guess, 1 / C: where
classes are of unequal size, a model that always names the largest one would seem to owe what this one is above 1 / C to its
modalities, to each as often as it is there, and a good model as much of what it knows. Against the frequencies, modalities
are credited with what they tell of the sample, and the Shapley values of log-likelihood add up to H(Y) less the cross-entropy,
the bound of information.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .intervals import normal_point

__all__ = ["guess"]

Array = NDArray[np.float64]


def guess(target: NDArray[np.int64], classes: int) -> tuple[Array, Array]:
    """How often a guess is right on a sample of each class, and its log-likelihood, in nats; both [C].

    The most frequent class is named; of those that may be it, as far as the samples tell, each as often: otherwise chance would
    choose one among classes of equal size, and the guess would seem better than it is on other samples.

    Args:
        target: [N] class ids, at least one.
        classes: C.

    >>> guess(np.array([0] * 90 + [1] * 10), 2)[0].tolist()
    [1.0, 0.0]
    >>> guess(np.array([0] * 52 + [1] * 48), 2)[0].tolist()
    [0.5, 0.5]
    """
    counts = np.bincount(target, minlength=classes).astype(np.float64)
    most = counts.max()
    # Of two counts of a multinomial, the difference has at most the variance of their sum.
    may_be = (most - counts) ** 2 <= normal_point() ** 2 * (most + counts)
    with np.errstate(divide="ignore"):  # no sample is of a class that has none
        return may_be / may_be.sum(), np.log(counts / len(target))
