from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from equimodal.data.datasets.avmnist import mnist
from equimodal.data.media.points import bordered, cloud, draw, evenly, perturb


def check(image: np.ndarray, count: int, low: list[float], high: list[float], total: float) -> None:
    points = cloud(bordered(image)).points
    assert len(points) == count
    assert points.min(0) == pytest.approx(low, abs=5e-7)
    assert points.max(0) == pytest.approx(high, abs=5e-7)
    assert np.abs(points).sum() == pytest.approx(total, abs=5e-5)


def test_golden_cloud_of_the_first_digit() -> None:
    image = load_digits().images[0]
    check(image, 7750, [-0.375, -0.371371, -0.505242], [0.375, 0.378629, 0.494758], 5467.3496)


def test_golden_clouds_of_mnist(shared_data: Path) -> None:
    train, test = (mnist(shared_data, part)[0][0] for part in ("train", "test"))
    check(train, 25_700, [-0.15, -0.509436, -0.526946], [0.15, 0.490564, 0.473054], 15285.4708)
    check(test, 19_000, [-0.15, -0.431842, -0.596053], [0.15, 0.368158, 0.403947], 10427.0142)
    first = cloud(bordered(train)).points[0]
    assert first == pytest.approx([0.15, -0.109436, 0.473054], abs=5e-7)


def test_the_cloud_equals_a_slow_reference() -> None:
    image = bordered(np.array([[0, 3, 0], [1, 2, 0], [0, 0, 9]]))
    grid5 = [-0.5, -0.25, 0, 0.25, 0.5]
    grid30 = np.linspace(-3, 3, 30).tolist()
    points, normals = [], []
    for r in range(5):
        for c in range(5):
            if not image[r, c]:
                continue
            for d, normal in ((3, (1, 0, 0)), (-3, (-1, 0, 0))):
                points += [(r + a, c + b, d) for a in grid5 for b in grid5]
                normals += [normal] * 25
            for side, normal in ((-1, (0, 0, 1)), (1, (0, 0, -1))):
                if not image[r + side, c]:
                    points += [(r + side / 2, c + b, a) for a in grid30 for b in grid5]
                    normals += [normal] * 150
            for side, normal in ((-1, (0, -1, 0)), (1, (0, 1, 0))):
                if not image[r, c + side]:
                    points += [(r + b, c + side / 2, a) for a in grid30 for b in grid5]
                    normals += [normal] * 150
    reference = np.array(points)
    ranges = [max(axis) - min(axis) for axis in reference.T]
    longest = ranges.index(max(ranges))
    reference = (reference - reference[:, longest].min()) / ranges[longest]
    reference = reference - reference.mean(0)
    built = cloud(image)
    turned = [(d, c, -r) for r, c, d in reference]
    assert np.array_equal(
        built.points, turned
    )  # to the last bit: figures are compared over versions
    assert np.array_equal(built.normals, normals)


def test_draws() -> None:
    points = np.arange(30.0).reshape(10, 3)
    drawn = draw(points, 10, np.random.default_rng(0))
    assert sorted(drawn[:, 0]) == points[:, 0].tolist()
    assert len(draw(points, 25, np.random.default_rng(0))) == 25
    assert evenly(points, 4)[:, 0].tolist() == [0, 9, 18, 27]


def test_turning_keeps_distances_and_jitter_has_its_deviation() -> None:
    points = np.random.default_rng(1).normal(size=(2000, 3))
    turned = perturb(points, 20, 0, np.random.default_rng(2))
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.linalg.norm(points, axis=1))
    assert not np.allclose(turned, points)
    moved = perturb(points, 0, 0.1, np.random.default_rng(3)) - points
    assert moved.std() == pytest.approx(0.1, rel=0.05)
