"""Synthetic modalities with known unique, shared and redundant information.

The label is Y = (S, U_1, ..., U_M): one shared symbol and one unique symbol per modality, all uniform and independent.
Modality m sees S and U_m through two symmetric channels of known error, and shows the pair of symbols that it sees as one
of K well-separated prototypes plus Gaussian noise. K makes the modality harder to learn; its information stays the same.
Since prototypes can be told apart, the information in the vectors is that in the seen symbols, which `Truth` enumerates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ConfigError
from ..about import About
from ..arrays import non_negative
from ..dataset import Arrays
from ..draws import numpy_generator
from ..splits import Splits

__all__ = ["ABOUT", "Truth", "load", "truth"]

SEPARATION = 3.5  # least half distance of two prototypes in deviations: they are confused in fewer than 1 of 4,000 cases

ABOUT = About(
    task="one shared symbol and one of each modality",
    classes="shared · unique ^ count (default 16)",
    modalities={"m1 ... mM": "(32,)"},
    split="4,000 / 500 / 2,000, or any",
    files="",
    licence="CC0",
)


@dataclass(frozen=True)
class Truth:
    """What the modalities know of the label, exactly. Informations in nats.

    A missing modality says nothing; who is missing is independent of the label, and never all of them.

    Attributes:
        shared: size A of the shared symbol's alphabet.
        unique: size B of each unique symbol's alphabet.
        shared_error, unique_error: for each modality, with which probability it sees another symbol than the true one
            (any other alike).
        missing: for each modality the probability that a sample lacks it, before samples that lack all are drawn anew.
    """

    shared: int
    unique: int
    shared_error: tuple[float, ...]
    unique_error: tuple[float, ...]
    missing: tuple[float, ...]

    @property
    def modalities(self) -> tuple[int, ...]:
        return tuple(range(len(self.missing)))

    @property
    def entropy(self) -> float:
        """H(Y)."""
        return math.log(self.shared) + len(self.missing) * math.log(self.unique)

    def patterns(self) -> list[tuple[tuple[int, ...], float]]:
        """Which modalities are present, and how often: all subsets but the empty one."""
        rates = np.array(self.missing)
        masks = np.array(list(itertools.product([True, False], repeat=len(rates)))[:-1])
        weights = np.where(masks, 1 - rates, rates).prod(1)
        chosen = (tuple(np.flatnonzero(mask).tolist()) for mask in masks)
        return list(zip(chosen, (weights / weights.sum()).tolist(), strict=True))

    def information(self, modalities: Sequence[int] | None = None) -> float:
        """I(X_m, m in `modalities`; Y), over all modalities if none are named."""
        subset = self.modalities if modalities is None else modalities
        return sum(
            weight * self._complete(sorted(set(present) & set(subset)))
            for present, weight in self.patterns()
        )

    def unique_information(self, modality: int) -> float:
        """I(X_m; Y | all other modalities): what only this one knows."""
        others = [m for m in self.modalities if m != modality]
        return self.information() - self.information(others)

    def shared_information(self, modality: int) -> float:
        """What one modality knows of the shared symbol, I(X_m; S)."""
        seen = sum(weight for present, weight in self.patterns() if modality in present)
        return seen * self._of_shared([modality])

    def redundancy(self, first: int, second: int) -> float:
        """I(X_i; Y) + I(X_j; Y) - I(X_i, X_j; Y): what both know (co-information)."""
        alone = self.information([first]) + self.information([second])
        return alone - self.information([first, second])

    def conditional(self, first: int, second: int) -> float:
        """I(X_i; X_j | Y) of two modalities that are there: 0, for their channels err independently."""
        table = self._table([first, second])
        return (
            _entropy(table, (0, 1))
            + _entropy(table, (0, 2))
            - _entropy(table)
            - _entropy(table, (0,))
        )

    def accuracy(self, modalities: Sequence[int] | None = None) -> float:
        """The best accuracy that is possible from these modalities."""
        subset = self.modalities if modalities is None else modalities
        return sum(
            weight * self._best(sorted(set(present) & set(subset)))
            for present, weight in self.patterns()
        )

    def _complete(self, subset: Sequence[int]) -> float:
        """I(X; Y) where all of the subset are present."""
        return self._of_shared(subset) + sum(self._of_unique(m) for m in subset)

    def _of_shared(self, subset: Sequence[int]) -> float:
        table = self._table(subset)
        seen = tuple(range(1, table.ndim))
        return _entropy(table, (0,)) + _entropy(table, seen) - _entropy(table)

    def _of_unique(self, modality: int) -> float:
        table = channel(self.unique, self.unique_error[modality]) / self.unique
        return _entropy(table, (0,)) + _entropy(table, (1,)) - _entropy(table)

    def _table(self, subset: Sequence[int]) -> NDArray[np.float64]:
        """p(S, what each of the subset sees of it): [A, A, ..., A]."""
        table = np.full(self.shared, 1 / self.shared)
        for number, modality in enumerate(subset):
            seen = channel(self.shared, self.shared_error[modality])
            table = table[..., None] * seen.reshape(self.shared, *[1] * number, self.shared)
        return table

    def _best(self, subset: Sequence[int]) -> float:
        best = float(self._table(subset).max(0).sum())
        for modality in self.modalities:
            seen = channel(self.unique, self.unique_error[modality]).max()
            best *= float(seen) if modality in subset else 1 / self.unique
        return best


def channel(size: int, error: float) -> NDArray[np.float64]:
    """[size, size]: p(seen | true) of a symmetric channel."""
    if size == 1:  # nothing to confuse
        return np.ones((1, 1))
    off = error / (size - 1)
    return np.full((size, size), off) + (1 - error - off) * np.eye(size)


def _entropy(table: NDArray[np.float64], axes: tuple[int, ...] | None = None) -> float:
    """H of the named axes of a joint table, all of them by default."""
    others = () if axes is None else tuple(i for i in range(table.ndim) if i not in axes)
    p = table.sum(others).ravel()
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def load(
    root: str | Path | None = None,
    *,
    count: int = 3,
    modalities: Sequence[str] = (),
    shared: int = 2,
    unique: int = 2,
    shared_error: float | Sequence[float] = 0.2,
    unique_error: float | Sequence[float] = 0.1,
    prototypes: int | Sequence[int] = 4,
    noise: float | Sequence[float] = 0.5,
    missing: float | Sequence[float] = 0.0,
    dim: int = 32,
    samples: Sequence[int] = (4_000, 500, 2_000),
    seed: int = 0,
) -> Splits:
    """M modalities whose information about the label is known; see `truth` for the figures.

    Every option that takes several values takes one for each modality, or a single one for all.

    Args:
        root: accepted as for all sets; nothing is read from it.
        count: M, the number of modalities, which are named m1, m2, ...
        modalities: some of them; all by default.
        shared: size of the shared symbol's alphabet; 1 for nothing shared.
        unique: size of each unique symbol's alphabet; 1 for nothing unique.
        shared_error, unique_error: probability of seeing another symbol than the true one.
        prototypes: K, how many vectors stand for the same pair of symbols; more are harder to learn.
        noise: standard deviation around a prototype, whose coordinates have deviation 1.
        missing: probability that a sample lacks the modality; in all parts, train included.
        dim: length of a vector.
        samples: of train, validation and test.
        seed: of every draw.

    Raises:
        ConfigError: an option cannot be, or the prototypes are too close for the noise.
    """
    facts = truth(
        count=count,
        shared=shared,
        unique=unique,
        shared_error=shared_error,
        unique_error=unique_error,
        missing=missing,
    )
    kinds = _each("prototypes", prototypes, count)
    sigmas = _each("noise", noise, count)
    if min(kinds) < 1 or dim < 1 or len(samples) != 3 or min(samples) < 1:
        raise ConfigError("synthetic needs prototypes, dim and three samples of at least 1.")
    non_negative(noise=min(sigmas))
    centres = [
        _prototypes(m, shared * unique, int(kinds[m]), dim, sigmas[m], seed) for m in range(count)
    ]
    train, val, test = (
        _part(facts, centres, sigmas, part, number, seed)
        for part, number in zip(("train", "val", "test"), samples, strict=True)
    )
    names = tuple(modalities) or train.modalities
    return Splits(
        "synthetic",
        train,
        val,
        test,
        recipe={
            "count": count,
            "modalities": names,
            "shared": shared,
            "unique": unique,
            "shared_error": facts.shared_error,
            "unique_error": facts.unique_error,
            "prototypes": tuple(int(k) for k in kinds),
            "noise": sigmas,
            "missing": facts.missing,
            "dim": dim,
            "samples": tuple(samples),
            "seed": seed,
        },
        encoders=dict.fromkeys(train.modalities, f"mlp(inputs={dim}, hidden=(128,), width=64)"),
        training={"batch_size": 64, "epochs": 20},
    ).only(names)


def truth(
    *,
    count: int = 3,
    shared: int = 2,
    unique: int = 2,
    shared_error: float | Sequence[float] = 0.2,
    unique_error: float | Sequence[float] = 0.1,
    missing: float | Sequence[float] = 0.0,
) -> Truth:
    """The exact informations of `load` with the same options.

    Raises:
        ConfigError: an option cannot be.
    """
    sizes = (count, shared, unique)
    if (
        not all(isinstance(size, int) for size in sizes)
        or min(sizes) < 1
        or shared * unique**count < 2
    ):
        raise ConfigError(
            "synthetic needs count, shared and unique, whole numbers of at least 1, and a label of two classes "
            f"or more; here count={count}, shared={shared}, unique={unique}."
        )
    options = {"shared_error": shared_error, "unique_error": unique_error, "missing": missing}
    each = {name: _each(name, value, count) for name, value in options.items()}
    for name, values in each.items():
        if not all(0 <= value < 1 for value in values):
            raise ConfigError(f"{name} must be at least 0 and below 1; here {values}.")
    return Truth(shared, unique, **each)


def _each(name: str, value: ArrayLike, count: int) -> tuple[float, ...]:
    try:
        return tuple(np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)).tolist())
    except ValueError as error:
        raise ConfigError(
            f"{name} must be one number or {count}, one for each modality; here {np.asarray(value).tolist()}."
        ) from error


def _prototypes(
    modality: int, pairs: int, kinds: int, dim: int, noise: float, seed: int
) -> NDArray[np.float64]:
    """[pairs of symbols, K, dim]."""
    from scipy.spatial.distance import pdist

    rng = numpy_generator(seed, "prototypes", modality)
    vectors = rng.standard_normal((pairs * kinds, dim))
    nearest_two = pdist(vectors).min() if len(vectors) > 1 else math.inf
    if nearest_two < 2 * SEPARATION * noise:
        raise ConfigError(
            f"With {kinds} prototypes of {dim} dimensions the noise of modality m{modality + 1} can be at most "
            f"{nearest_two / (2 * SEPARATION):.2g}, else they cannot be told apart; here it is {noise}."
        )
    return vectors.reshape(pairs, kinds, dim)


def _part(
    facts: Truth,
    prototypes: Sequence[NDArray[np.float64]],
    noise: Sequence[float],
    part: str,
    number: int,
    seed: int,
) -> Arrays:
    def rng(purpose: str, modality: int = 0) -> np.random.Generator:
        return numpy_generator(seed, purpose, part, modality)

    shared = rng("shared").integers(facts.shared, size=number)
    target, inputs = shared, {}
    for m, centres in enumerate(prototypes):
        own = rng("unique", m).integers(facts.unique, size=number)
        target = target * facts.unique + own
        seen = _through(shared, facts.shared, facts.shared_error[m], rng("shared error", m))
        seen_own = _through(own, facts.unique, facts.unique_error[m], rng("unique error", m))
        kind = rng("kind", m).integers(centres.shape[1], size=number)
        shown = centres[seen * facts.unique + seen_own, kind]
        values = shown + noise[m] * rng("noise", m).standard_normal(shown.shape)
        inputs[f"m{m + 1}"] = values.astype(np.float32)
    return Arrays(inputs, target, _classes(facts), present=_present(facts, rng("missing"), number))


def _through(
    symbols: NDArray[np.int64], size: int, error: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The symbols after a symmetric channel."""
    # One draw of two numbers for each sample: the first samples are the same however many are asked for.
    chance, other = rng.random((len(symbols), 2)).T
    shift = 1 + np.floor(other * (size - 1)).astype(np.int64)
    wrong = (chance < error) & (size > 1)
    return np.where(wrong, (symbols + shift) % size, symbols)


def _present(facts: Truth, rng: np.random.Generator, number: int) -> dict[str, NDArray[np.bool_]]:
    patterns, weights = zip(*facts.patterns(), strict=True)
    drawn = np.searchsorted(np.cumsum(weights)[:-1], rng.random(number), side="right")
    table = np.array([[m in pattern for m in facts.modalities] for pattern in patterns])
    return {f"m{m + 1}": table[drawn, m] for m in facts.modalities}


def _classes(facts: Truth) -> list[str]:
    symbols = [range(facts.shared), *[range(facts.unique)] * len(facts.missing)]
    return ["-".join(map(str, label)) for label in itertools.product(*symbols)]
