r"""Where features lie: near those of their class, near those of another modality, spread over the sphere or not.

- Kernel distance: the mean of :math:`\lVert\varphi(x) - \varphi(y)\rVert^2 = 2 - 2 k(x, y)` with the Gaussian kernel
  :math:`k(x, y) = \exp(-\lVert x - y\rVert^2 / 2)` of features of length 1, over pairs of different samples of one class,
  and over pairs of different classes; between 0 and :math:`2 - 2 e^{-2} = 1.73`. Source: the distances of Li et al.,
  "InfoBridge", ICCV 2025, Fig. 3, whose kernel the paper leaves open.
- Alignment: the mean of :math:`\lVert x - y\rVert^2` over the two features of one sample, of length 1; between 0 and 4.
  Uniformity: :math:`\log E \exp(-2 \lVert x - y\rVert^2)` over pairs of samples; 0 where all features point in one
  direction. Source: Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity
  on the hypersphere", ICML 2020.
- Linear CKA by the unbiased estimator of HSIC, about 0 where features are independent whatever their width. Source:
  Kornblith et al., "Similarity of neural network representations revisited", ICML 2019; Song et al., "Feature selection
  via dependence maximization", JMLR 2012, eq. 5.
- Maps: t-SNE. Source: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.

A figure over pairs is no mean over samples, so each sample gets an influence: what the figure loses without it. Leaving
each one out in turn costs no more than the figure itself, and the bootstrap of the influences is its interval (the
jackknife; Efron, 1979). Where figures hardly depend on single samples, as for features that fill the sphere evenly, it is
wider than need be. At most `ROWS` samples are looked at, drawn at random: nothing is quadratic in their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .answers import Answers
from .bootstrap import Bootstrap
from .findings import Cloud, Geometry, Map, Pair
from .intervals import Interval

__all__ = ["cka", "clouds", "geometry", "kernel_distances", "maps", "uniformity"]

Array = NDArray[np.float64]
Classes = NDArray[np.int64]
Figure = tuple[float, Array]
"""A figure of n samples, and [n] the same without each of them; NaN where it is not defined."""

ROWS = 1000
"""The most samples whose pairs are compared."""
POINTS = 600
"""The most points of all maps together."""


def geometry(answers: Answers, *, drawn: bool = False, seed: int = 0) -> Geometry | None:
    """The geometry of what a model made of its modalities; None where its features are not known.

    Args:
        answers: with features.
        drawn: whether maps are drawn too, which takes some seconds.
        seed: of the samples that are looked at, of resamples and of maps.
    """
    if not answers.features:
        return None
    features = {m: z.double().numpy() for m, z in answers.features.items()}
    return Geometry(
        clouds(features, answers.target, answers.present, seed, answers.groups),
        tuple(_pair(a, b, features, answers, seed) for a, b in itertools.combinations(features, 2)),
        maps(answers.features, answers.target, answers.present, seed) if drawn else (),
    )


def clouds(
    features: Mapping[str, Array],
    target: Classes,
    present: Mapping[str, NDArray[np.bool_]],
    seed: int = 0,
    groups: Classes | None = None,
) -> dict[str, Cloud]:
    """For each modality how its own features lie; of the samples that have it, in intervals over groups if there are any."""
    found = {}
    for m, values in features.items():
        rows = _some(present[m], ROWS, seed)
        z = _directions(values[rows])
        figures = [*kernel_distances(z, z, target[rows]), uniformity(z)]
        found[m] = Cloud(*_intervals(figures, seed, _of(groups, rows)))
    return found


def _pair(
    a: str,
    b: str,
    features: Mapping[str, Array],
    answers: Answers,
    seed: int,
) -> Pair:
    """Of two modalities; of the samples that have both."""
    rows = _some(answers.present[a] & answers.present[b], ROWS, seed)
    groups = _of(answers.groups, rows)
    first, second = features[a][rows], features[b][rows]
    alike = cka(first, second)
    if first.shape[1] != second.shape[1]:  # in different spaces nothing is near or far
        return Pair(a, b, None, None, None, *_intervals([alike], seed, groups))
    x, y = _directions(first), _directions(second)
    apart = ((x - y) ** 2).sum(1)
    figures = [*kernel_distances(x, y, answers.target[rows]), _mean(apart), alike]
    return Pair(a, b, *_intervals(figures, seed, groups))


def _of(groups: Classes | None, rows: Classes) -> Classes | None:
    return None if groups is None else groups[rows]


def kernel_distances(x: Array, y: Array, target: Classes) -> tuple[Figure, Figure]:
    """Mean squared distance in the space of the kernel, within and between classes.

    Args:
        x, y: [n, d], features of length 1 of one modality and of another, or twice of the same.
        target: [n].
    """
    distance = 2 - 2 * np.exp(-_squared(x, y) / 2)
    same = (target[:, None] == target).astype(np.float64)
    return _over_pairs(distance, same), _over_pairs(distance, 1 - same)


def uniformity(x: Array) -> Figure:
    """Logarithm of the mean Gaussian potential (t = 2) of features [n, d] of length 1."""
    whole, without = _over_pairs(np.exp(-2 * _squared(x, x)), np.ones((len(x), len(x))))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log(whole)), np.log(without)


def cka(x: Array, y: Array) -> Figure:
    """Linear centred kernel alignment of features [n, d] and [n, e]; n of at least 5."""
    if len(x) < 5:
        return _undefined(len(x))
    first, second = _gram(x), _gram(y)
    pairs = ((first, second), (first, first), (second, second))
    both, one, other = (_hsic(*grams) for grams in pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, *without = (
            part / np.sqrt(p * q) for part, p, q in zip(both, one, other, strict=True)
        )
    return float(whole), np.asarray(without[0])


def maps(
    features: Mapping[str, Tensor],
    target: Classes,
    present: Mapping[str, NDArray[np.bool_]],
    seed: int = 0,
) -> tuple[Map, ...]:
    """Features of length 1 in the plane: all modalities in one map if they are equally wide, else a map for each."""
    rows = {m: _some(present[m], POINTS // len(features), seed) for m in features}
    shown = {m: _directions(z.double().numpy()[rows[m]]) for m, z in features.items()}
    together = len({z.shape[1] for z in shown.values()}) == 1
    groups = [tuple(shown)] if together else [(m,) for m in shown]
    found = (_map(group, rows, shown, target, seed) for group in groups)
    return tuple(one for one in found if one is not None)


def _map(
    group: tuple[str, ...],
    rows: Mapping[str, NDArray[np.int64]],
    shown: Mapping[str, Array],
    target: Classes,
    seed: int,
) -> Map | None:
    """None where there is nothing to tell apart."""
    from sklearn.manifold import TSNE

    points = np.concatenate([shown[m] for m in group])
    if len(points) < 5 or not np.ptp(points, axis=0).any():
        return None
    known = TSNE(
        perplexity=min(30.0, (len(points) - 1) / 3),
        max_iter=500,
        init="pca" if points.shape[1] > 1 else "random",
        random_state=seed,
    )
    x, y = known.fit_transform(points).astype(np.float64).round(2).T
    return Map(
        tuple(m for m in group for _ in rows[m]),
        tuple(int(i) for m in group for i in rows[m]),
        tuple(int(c) for m in group for c in target[rows[m]]),
        tuple(x.tolist()),
        tuple(y.tolist()),
    )


# Figures over pairs.


def _some(there: NDArray[np.bool_], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the samples that are there, in order."""
    rows = np.flatnonzero(there)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def _directions(values: Array) -> Array:
    """Rows of length 1; zero stays zero."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 0, length, 1.0)


def _squared(x: Array, y: Array) -> Array:
    """[n, n]: squared distances of all rows."""
    apart: Array = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.maximum(apart, 0.0)


def _mean(values: Array) -> Figure:
    if len(values) < 2:
        return _undefined(len(values))
    return float(values.mean()), (values.sum() - values) / (len(values) - 1)


def _over_pairs(values: Array, counts: Array) -> Figure:
    """Mean of a table [n, n] over the pairs of different samples that count."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, without = (
            total / count
            for total, count in zip(_sums(values * counts), _sums(counts), strict=True)
        )
    return float(whole), np.asarray(without)


def _sums(table: Array) -> tuple[Array, Array]:
    """Over pairs of different samples, and [n] the same without each sample."""
    table = table - np.diag(np.diag(table))
    total = table.sum()
    return total, total - table.sum(0) - table.sum(1)


def _gram(x: Array) -> Array:
    """[n, n] with an empty diagonal; HSIC does not depend on where the origin is, but rounding does."""
    x = x - x.mean(0)
    table: Array = x @ x.T
    np.fill_diagonal(table, 0.0)
    return table


def _hsic(k: Array, m: Array) -> tuple[Array, Array]:
    """Of two such tables, up to a factor that cancels in CKA; and [n] the same without each sample."""
    n = len(k)
    product, rows, others = (k * m).sum(0), k.sum(0), m.sum(0)
    whole = _unbiased(n, product.sum(), rows.sum(), others.sum(), rows @ others)
    crossed = rows @ others - rows * others - m @ rows - k @ others + product
    without = _unbiased(
        n - 1, product.sum() - 2 * product, rows.sum() - 2 * rows, others.sum() - 2 * others, crossed
    )  # fmt: skip
    return whole, without


def _unbiased(n: int, product: Array, total: Array, other: Array, crossed: Array) -> Array:
    """N (n - 3) times the estimate from tr KL, 1'K1, 1'L1 and 1'KL1."""
    return product + total * other / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)


def _undefined(count: int) -> Figure:
    return float("nan"), np.full(count, np.nan)


def _intervals(figures: list[Figure], seed: int, groups: Classes | None) -> list[Interval | None]:
    """The intervals of figures of the same n samples, or of the groups that these are of; None where one is not defined with or without a sample."""
    known = [i for i, (whole, without) in enumerate(figures)
             if len(without) and np.isfinite([whole, *without]).all()]  # fmt: skip
    found: list[Interval | None] = [None] * len(figures)
    if known and (groups is None or len(np.unique(groups)) > 1):
        n = len(figures[0][1])
        influence = [(n - 1) * (without.mean() - without) for _, without in figures]
        values = [figures[i][0] + influence[i] for i in known]
        bootstrap = Bootstrap(n, seed, groups=groups)
        for i, interval in zip(known, bootstrap.means(np.stack(values, 1)), strict=True):
            found[i] = interval
    return found
