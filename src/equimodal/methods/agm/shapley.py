"""Of which coalitions the Shapley value of each modality is made.

The Shapley value is the mean, over all orders in which the modalities may join, of what a modality adds when it joins. Up to
6 modalities all orders are taken, which gives exactly w(k) = k! (M - k - 1)! / M!. Above, the rotations of the order and of
its reverse are, in which every modality takes every place equally often; the values still sum to F(all).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["shares"]


def shares(count: int) -> Mapping[tuple[int, ...], Sequence[float]]:
    """For each coalition its factor in the value of each of `count` modalities.

    The coalitions are in the order of their size, so that the one of all modalities comes last; F(∅) is 0 and left out.
    """
    orders = list(_orders(count))
    found: dict[tuple[int, ...], list[int]] = {}
    for order in orders:
        for k, joining in enumerate(order):
            without, joined = (tuple(sorted(order[:size])) for size in (k, k + 1))
            found.setdefault(joined, [0] * count)[joining] += 1
            found.setdefault(without, [0] * count)[joining] -= 1
    del found[()]
    by_size = sorted(found, key=lambda coalition: (len(coalition), coalition))
    return {coalition: [n / len(orders) for n in found[coalition]] for coalition in by_size}


def _orders(count: int) -> Iterable[tuple[int, ...]]:
    first = tuple(range(count))
    if count <= 6:
        return itertools.permutations(first)
    rotations = [first[i:] + first[:i] for i in first]
    return rotations + [order[::-1] for order in rotations]
