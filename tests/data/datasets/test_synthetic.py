from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from equimodal import data
from equimodal.data.datasets.synthetic import Truth, truth
from equimodal.errors import ConfigError

CASES = [
    truth(),
    truth(count=2, shared=3, unique=2, shared_error=[0.1, 0.4], unique_error=[0, 0.3]),
    truth(count=2, shared=2, unique=3, missing=[0.25, 0.5]),
    truth(count=3, shared=2, unique=1, shared_error=[0.05, 0.2, 0.45], missing=[0, 0.1, 0.3]),
    truth(count=1, shared=1, unique=4, unique_error=0.2),
]


def joint(facts: Truth, subset: tuple[int, ...]) -> dict[tuple[object, object], float]:
    """p(Y, X) by going through every outcome of every symbol, error and absence."""
    size, own = facts.shared, facts.unique

    def flip(seen: int, true: int, error: float, size: int) -> float:
        if size == 1:
            return 1.0
        return 1 - error if seen == true else error / (size - 1)

    present = [p for p in itertools.product([True, False], repeat=len(facts.missing)) if any(p)]
    weights = [
        math.prod(1 - r if here else r for here, r in zip(p, facts.missing, strict=True))
        for p in present
    ]
    table: dict[tuple[object, object], float] = defaultdict(float)
    labels = itertools.product(range(size), *[range(own)] * len(facts.missing))
    pairs = list(itertools.product(range(size), range(own)))
    for label in labels:
        p_label = 1 / (size * own ** len(facts.missing))
        for mask, weight in zip(present, weights, strict=True):
            for seen in itertools.product(pairs, repeat=len(subset)):
                p = p_label * weight / sum(weights)
                for m, (s, u) in zip(subset, seen, strict=True):
                    p *= flip(s, label[0], facts.shared_error[m], size)
                    p *= flip(u, label[1 + m], facts.unique_error[m], own)
                shown = tuple(x if mask[m] else None for m, x in zip(subset, seen, strict=True))
                # Which of the others are there says nothing of the label.
                table[label, shown] += p
    return table


def mutual(table: dict[tuple[object, object], float]) -> float:
    left: dict[object, float] = defaultdict(float)
    right: dict[object, float] = defaultdict(float)
    for (y, x), p in table.items():
        left[y] += p
        right[x] += p
    return sum(p * math.log(p / left[y] / right[x]) for (y, x), p in table.items() if p > 0)


@pytest.mark.parametrize("facts", CASES)
def test_informations_equal_brute_force(facts: Truth) -> None:
    for size in range(1, len(facts.modalities) + 1):
        for subset in itertools.combinations(facts.modalities, size):
            table = joint(facts, subset)
            assert facts.information(subset) == pytest.approx(mutual(table), abs=1e-10)
            best: dict[object, float] = defaultdict(float)
            for (_, x), p in table.items():
                best[x] = max(best[x], p)
            assert facts.accuracy(subset) == pytest.approx(sum(best.values()), abs=1e-10)


@pytest.mark.parametrize("facts", CASES)
def test_terms_add_up(facts: Truth) -> None:
    assert facts.information() <= facts.entropy + 1e-12
    for m in facts.modalities:
        unique, whole = facts.unique_information(m), facts.information([m])
        assert -1e-12 <= unique <= whole + 1e-12
        own = whole - facts.shared_information(m)
        assert unique >= own - 1e-12  # what it alone is told of, at least
    for i, j in itertools.combinations(facts.modalities, 2):
        assert facts.redundancy(i, j) >= -1e-12
        assert facts.conditional(i, j) == pytest.approx(0, abs=1e-12)


def test_closed_form_of_a_binary_channel() -> None:
    facts = truth(count=2, shared=2, unique=1, shared_error=0.1)
    h = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert facts.information([0]) == pytest.approx(math.log(2) - h, abs=1e-12)
    crossed = 0.1 * 0.9 * 2  # two such channels in a row: I(X_1; X_2)
    h2 = -(crossed * math.log(crossed) + (1 - crossed) * math.log(1 - crossed))
    assert facts.redundancy(0, 1) == pytest.approx(math.log(2) - h2, abs=1e-12)


def test_the_generator_has_the_information_it_states() -> None:
    options = {
        "count": 2,
        "shared": 2,
        "unique": 2,
        "unique_error": [0.05, 0.3],
        "missing": [0, 0.3],
    }
    facts = truth(**options)  # type: ignore[arg-type]
    splits = data.load("synthetic", prototypes=3, noise=0.2, samples=(40_000, 1, 1), **options)
    batch = splits.train.fetch(range(40_000))
    seen = [
        _decode(batch.inputs[name].numpy(), batch.mask(name).numpy()) for name in splits.modalities
    ]  # type: ignore
    labels = batch.target.tolist()  # type: ignore[union-attr]
    for subset in ((0,), (1,), (0, 1)):
        pairs = zip(labels, zip(*(seen[m] for m in subset), strict=True), strict=True)
        counts = Counter(pairs)
        table = {key: n / 40_000 for key, n in counts.items()}
        assert mutual(table) == pytest.approx(facts.information(subset), abs=0.02)  # type: ignore[arg-type]


def _decode(values: np.ndarray, here: np.ndarray) -> list[int]:
    """The prototype of each row: the first row that is near, -1 where the modality is missing."""
    codes = np.full(len(values), -1)
    centre = 0
    while (open_ := here & (codes < 0)).any():
        first = values[np.flatnonzero(open_)[0]]
        near = open_ & (np.linalg.norm(values - first, axis=1) < 2 * 0.2 * math.sqrt(2 * 32))
        codes[near] = centre
        centre += 1
    assert centre == 12  # 4 pairs of symbols, 3 prototypes each
    return codes.tolist()


def test_samples_do_not_depend_on_how_many_are_asked_for() -> None:
    many, few = (data.load("synthetic", samples=(n, 5, 5), missing=0.3).train for n in (200, 100))
    assert many.subset(range(100)).fingerprint() == few.fingerprint()


def test_missing_modalities_appear_in_train_and_never_all() -> None:
    splits = data.load("synthetic", missing=[0.6, 0.6, 0.6])
    masks = [splits.train.present[name] for name in splits.modalities]
    assert (masks[0] | masks[1] | masks[2]).all()
    expected = (0.6 - 0.6**3) / (1 - 0.6**3)
    assert splits.train.missing["m2"] == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"unique_error": [0.1, 0.2]}, "unique_error must be one number or 3"),
        ({"shared_error": 1.0}, "below 1"),
        ({"count": 0}, "at least 1"),
        ({"shared": 1, "unique": 1}, "two classes"),
        ({"unique": (4, 2)}, "whole numbers"),
        ({"noise": 5.0}, "cannot be told apart"),
        ({"prototypes": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        data.load("synthetic", **options)
