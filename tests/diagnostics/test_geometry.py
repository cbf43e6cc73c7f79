"""Figures of features beside closed forms on the circle, double loops, and what must not change them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import ive

from equimodal.diagnostics import Interval
from equimodal.diagnostics import geometry as module
from equimodal.diagnostics.answers import Answers
from equimodal.diagnostics.coalitions import plan
from equimodal.diagnostics.geometry import (
    cka,
    clouds,
    geometry,
    kernel_distances,
    maps,
    uniformity,
)

Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def unit(values: Array) -> Array:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def circle(count: int) -> Array:
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def answers(features: dict[str, Array], target: Array, **present: Array) -> Answers:
    """Of a model of which nothing but its features matters."""
    n, nothing = len(target), np.zeros((len(target), 2 ** len(features)))
    there = {m: present.get(m, np.ones(n)).astype(bool) for m in features}
    known = {m: torch.tensor(z) for m, z in features.items()}
    return Answers(plan(list(features)), "missing", nothing, nothing, target, 3, {}, known, there)


# Closed forms. On the circle E exp(c cos) = I_0(c), and equal steps integrate it exactly.


def test_uniformity_of_the_circle() -> None:
    n = 200
    others = (n * ive(0, 4) - 1) / (n - 1)  # without the pairs of a point and itself
    assert uniformity(circle(n))[0] == pytest.approx(np.log(others), abs=1e-12)


def test_kernel_distances_on_the_circle() -> None:
    n = 120
    x, target = np.tile(circle(n), (2, 1)), np.repeat([0, 1], n)
    within, between = kernel_distances(x, x, target)
    assert between[0] == pytest.approx(2 - 2 * ive(0, 1), abs=1e-12)
    assert within[0] == pytest.approx((2 - 2 * ive(0, 1)) * n / (n - 1), abs=1e-12)
    opposite = kernel_distances(x[[0, 0]], -x[[0, 0]], target[[0, 0]])[0]
    assert opposite[0] == pytest.approx(2 - 2 * np.exp(-2))


# Slow references.


def pairs_of(n: int) -> list[tuple[int, int]]:
    return list(itertools.permutations(range(n), 2))


def slow_distance(x: Array, y: Array, target: Array, same: bool) -> float:
    found = []
    for i, j in pairs_of(len(x)):
        if (target[i] == target[j]) == same:
            found.append(2 - 2 * np.exp(-sum((a - b) ** 2 for a, b in zip(x[i], y[j], strict=True)) / 2))  # fmt: skip
    return float(np.mean(found))


def slow_uniformity(x: Array) -> float:
    return float(np.log(np.mean([np.exp(-2 * np.sum((x[i] - x[j]) ** 2)) for i, j in pairs_of(len(x))])))  # fmt: skip


def slow_hsic(x: Array, y: Array) -> float:
    """The U-statistic over all ordered quadruples of different samples, from the definition of HSIC."""
    k, m = x @ x.T, y @ y.T
    found = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i, j, q, r in itertools.permutations(range(len(x)), 4)
    ]
    return float(np.mean(found))


def slow_cka(x: Array, y: Array) -> float:
    return slow_hsic(x, y) / np.sqrt(slow_hsic(x, x) * slow_hsic(y, y))


def test_figures_and_what_they_are_without_each_sample() -> None:
    x, y, target = unit(draw(8, 3)), unit(draw(8, 3, seed=1)), np.arange(8) % 2
    wide = np.concatenate([2 + 3 * x, draw(8, 2, seed=2)], 1)
    within, between = kernel_distances(x, y, target)
    figures: list[tuple[tuple[float, Array], Callable[[Array], float]]] = [
        (within, lambda r: slow_distance(x[r], y[r], target[r], True)),
        (between, lambda r: slow_distance(x[r], y[r], target[r], False)),
        (uniformity(x), lambda r: slow_uniformity(x[r])),
        (cka(wide, y), lambda r: slow_cka(wide[r], y[r])),
    ]
    everyone = np.arange(8)
    for (whole, without), slow in figures:
        assert whole == pytest.approx(slow(everyone))
        assert without == pytest.approx([slow(np.delete(everyone, i)) for i in range(8)])


def test_intervals_are_as_wide_as_figures_spread() -> None:
    """Over 150 draws of 60 samples; their spread is known to about 6%."""
    found = []
    for seed in range(150):
        x = draw(60, 3, seed=seed) + np.array([1.5, 0, 0])
        both = {"a": x, "b": x + draw(60, 3, seed=1000 + seed)}
        known = geometry(answers(both, np.arange(60) % 2))
        assert known is not None
        [pair] = known.pairs
        found.append([known.clouds["a"].uniformity, pair.between, pair.alignment, pair.cka])
    for figures in zip(*found, strict=True):
        spread = np.std([figure.value for figure in figures])
        reach = np.mean([figure.high - figure.value for figure in figures]) / 1.96
        assert reach == pytest.approx(spread, rel=0.2)


# What CKA is.


def test_cka_knows_no_rotation_scale_or_origin() -> None:
    x = draw(50, 6)
    turn = np.linalg.qr(draw(6, 6, seed=1))[0]
    assert cka(x, x)[0] == pytest.approx(1)
    assert cka(x, 0.01 * x @ turn + 100)[0] == pytest.approx(1)
    other = x[:, :2] + draw(50, 2, seed=2)
    assert cka(other, x @ turn)[0] == pytest.approx(cka(other, x)[0])
    assert cka(x, x @ np.diag([9.0, 1, 1, 1, 1, 1]))[0] < 0.9


def test_cka_of_wide_independent_features_is_about_zero() -> None:
    found = [cka(draw(40, 400, seed=i), draw(40, 400, seed=99 + i))[0] for i in range(20)]
    assert abs(np.mean(found)) < 0.01  # the biased estimate is above 0.9


# Samples and modalities.


def test_samples_that_lack_a_modality_are_left_out() -> None:
    first, second, target = draw(40, 3), draw(40, 3, seed=1), np.arange(40) % 3
    there = np.arange(40) % 4 > 0
    part = geometry(answers({"a": first[there], "b": second[there]}, target[there]))
    second[~there] = 1e9
    whole = geometry(answers({"a": first, "b": second}, target, b=there))
    assert whole is not None and part is not None
    assert whole.pairs == part.pairs and whole.clouds["b"] == part.clouds["b"]
    assert whole.clouds["a"] != part.clouds["a"]


def test_alignment_is_that_of_the_two_features_of_a_sample() -> None:
    x = draw(30, 2)
    quarter = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    known = geometry(answers({"a": x, "b": 7 * x, "c": quarter}, np.arange(30) % 2))
    assert known is not None
    found = {(p.first, p.second): p.alignment for p in known.pairs}
    assert found["a", "b"].value == pytest.approx(0, abs=1e-12)
    assert found["a", "c"].value == pytest.approx(2)


def test_what_is_not_defined_is_none() -> None:
    target = np.arange(20) % 2
    known = geometry(answers({"a": draw(20, 3), "b": draw(20, 4)}, target))
    assert known is not None
    [pair] = known.pairs
    assert (pair.within, pair.between, pair.alignment) == (None, None, None)
    assert isinstance(pair.cka, Interval)  # of any widths
    alone = geometry(answers({"a": draw(20, 3)}, 0 * target))
    assert alone is not None and alone.pairs == () and alone.clouds["a"].between is None
    few = geometry(answers({"a": draw(3, 3), "b": draw(3, 3)}, target[:3], b=np.zeros(3)))
    assert few is not None
    assert set(vars(few.clouds["b"]).values()) == {None} and few.pairs[0].cka is None
    dead = geometry(answers({"a": np.zeros((20, 3)), "b": draw(20, 3)}, target), drawn=True)
    assert dead is not None
    assert dead.pairs[0].cka is None and dead.clouds["a"].uniformity == Interval(0, 0, 0)
    assert geometry(answers({}, target)) is None


def test_no_more_pairs_than_of_so_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 50)
    x, there = draw(100_000, 2), np.ones(100_000, bool)
    found = clouds({"a": x}, np.arange(100_000) % 2, {"a": there})["a"].uniformity
    few = clouds({"a": x[:50]}, np.arange(50) % 2, {"a": there[:50]})["a"].uniformity
    assert found.high - found.low == pytest.approx(few.high - few.low, rel=0.5)
    assert found.low < uniformity(circle(1000))[0] < found.high  # they are other samples


# Maps.


def test_one_map_where_widths_are_equal_else_one_each() -> None:
    target = np.arange(60) % 3
    there = {"a": np.ones(60, bool), "b": target != 2}
    place = 5 * np.eye(3)[target]
    features = {m: torch.tensor(place + 0.3 * draw(60, 3, seed=i)) for i, m in enumerate("ab")}
    [one] = maps(features, target, there)
    assert one.modality == ("a",) * 60 + ("b",) * 40
    assert one.sample == (*range(60), *np.flatnonzero(target != 2).tolist())
    assert one.target == tuple(target[list(one.sample)].tolist())
    where = np.stack([one.x, one.y], 1)
    apart = ((where[:, None] - where) ** 2).sum(2) + np.diag(np.full(100, np.inf))
    assert (np.array(one.target)[apart.argmin(1)] == one.target).all()
    assert maps(features, target, there) == (one,)
    wider = {**features, "b": torch.cat([features["b"], features["b"]], 1)}
    assert [set(m.modality) for m in maps(wider, target, there)] == [{"a"}, {"b"}]


def test_maps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS", 40)
    features = {m: torch.tensor(draw(900, 3, seed=i)) for i, m in enumerate("ab")}
    target, there = np.arange(900) % 3, dict.fromkeys("ab", np.ones(900, bool))
    assert len(maps(features, target, there)[0].x) == 40


def test_of_one_group_there_is_no_interval() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    target, there = np.arange(40) % 2, np.ones(40, dtype=bool)
    for groups, known in ((np.arange(40) // 20, True), (np.zeros(40, dtype=int), False)):
        found = clouds({"a": x}, target, {"a": there}, groups=groups)["a"]
        assert (found.uniformity is not None) is known
