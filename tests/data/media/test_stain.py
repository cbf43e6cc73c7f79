"""Stain normalisation against images whose stains are known, and against scikit-learn's sparse coding."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

from equimodal.data.media.stain import SPARSITY, amounts, normalise, stains_of
from equimodal.errors import DataError

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
OTHER = np.array([[0.55, 0.75, 0.37], [0.20, 0.93, 0.30]])


def colours_of(*rows: np.ndarray) -> np.ndarray:
    return np.stack([row / np.linalg.norm(row) for row in rows])


def tissue(colours: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """A picture of 80 x 80 pixels: nuclei, cytoplasm, glass, and a few pixels of both stains."""
    rng = np.random.default_rng(0)
    amount = np.zeros((6400, 2))
    amount[:2500, 0] = rng.uniform(0.4, 1.6, 2500)
    amount[2500:5000, 1] = rng.uniform(0.4, 1.2, 2500)
    amount[5000:5400] = rng.uniform(0.1, 0.8, (400, 2))
    density = scale * amount @ colours
    return (255 * np.exp(-density)).round().astype(np.uint8).reshape(80, 80, 3)


def degrees(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos((first * second).sum(1).clip(-1, 1)))


def test_stains_are_found_again() -> None:
    for colours in (colours_of(HAEMATOXYLIN, EOSIN), colours_of(*OTHER)):
        found = stains_of(tissue(colours))
        assert degrees(found.colours, colours).max() < 4
        assert found.strong == pytest.approx([1.55, 1.15], abs=0.1)


def test_amounts_are_the_minimum() -> None:
    colours = colours_of(HAEMATOXYLIN, EOSIN)
    density = np.random.default_rng(1).uniform(0, 1, (200, 3))
    found = amounts(density, colours, 0.1)
    expected = sparse_encode(
        density, colours, algorithm="lasso_cd", alpha=0.1, positive=True, max_iter=10000
    )
    assert found == pytest.approx(expected, abs=1e-3)
    assert (found >= 0).all() and (found == 0).any()


def test_colours_are_as_good_as_those_of_another_solver() -> None:
    picture = tissue(colours_of(HAEMATOXYLIN, EOSIN))
    density = -np.log(np.maximum(picture, 1).reshape(-1, 3) / 255)
    density = density[density.mean(1) > 0.15]
    other = MiniBatchDictionaryLearning(
        2, alpha=SPARSITY, positive_code=True, positive_dict=True, fit_algorithm="cd",
        transform_algorithm="lasso_cd", random_state=0, max_iter=20, batch_size=256,
    ).fit(density).components_  # fmt: skip

    def objective(colours: np.ndarray) -> float:
        code = amounts(density, colours, SPARSITY)
        return float(0.5 * ((density - code @ colours) ** 2).sum() + SPARSITY * code.sum())

    assert objective(stains_of(picture).colours) <= 1.01 * objective(colours_of(*other))


def test_the_same_tissue_stained_otherwise_becomes_the_same() -> None:
    reference = tissue(colours_of(HAEMATOXYLIN, EOSIN))
    other = tissue(colours_of(*OTHER), scale=0.7)
    before = np.abs(other.astype(float) - reference).mean()
    after = np.abs(normalise(other, stains_of(reference)).astype(float) - reference).mean()
    assert before > 15 and after < 5


def test_glass_has_no_stain() -> None:
    with pytest.raises(DataError, match=r"a.png shows no stained tissue"):
        stains_of(np.full((20, 20, 3), 250, np.uint8), "a.png")
