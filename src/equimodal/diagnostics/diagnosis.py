"""From a model and its data to a diagnosis."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..core import Balanced, Batch
from ..data.dataset import Dataset
from ..errors import ConfigError, DataError, nearest
from ..models import Multimodal
from ..training.evaluate import batches
from . import own, plain
from .answers import Absence, Answers
from .bootstrap import RESAMPLES, Bootstrap
from .coalitions import Plan, plan
from .conditional import conditional as shared
from .findings import Diagnosis, Information, Interaction, Potential, Subset, Use
from .geometry import geometry
from .information import decomposition, distribution, entropy, lower_bound, most_to_know, pointwise
from .intervals import Interval, balanced, rate
from .potential import Probes, probes
from .robustness import BATCH, SAMPLES, Shaken, robustness, selected, some
from .verdict import verdict

__all__ = ["diagnose"]

Array = NDArray[np.float64]
Model = Balanced | Multimodal | Callable[[dict[str, Any]], Any]
Data = Dataset | Iterable[Any]

PROBABILITIES = "The model answers with probabilities (no number is below 0, each row sums to 1): their logarithms stand for logits."
APART = (-1.0, 1.0)
"""How far apart two answers can be that are right or wrong, and what a modality can add to one."""


def diagnose(
    model: Model,
    loader: Data,
    modalities: Sequence[str] | plain.Groups | None = None,
    *,
    train: Data | None = None,
    alone: Mapping[str, Balanced | Multimodal] | None = None,
    absence: Absence | None = None,
    classes: Sequence[str] | None = None,
    shaken: int = SAMPLES,
    maps: bool = False,
    conditional: bool = False,
    seed: int = 0,
) -> Diagnosis:
    """How much a model uses each modality, how much each could give, and what to do; all with 95% intervals.

    Args:
        model: a learner or model of this library, or any function (also a module) of a dictionary from names to arrays
            that gives logits [B, C], or probabilities, which are seen to be such.
        loader: test data: a data set, its batches, or for a function pairs (inputs, target).
        modalities: names of the function's inputs that count as modalities; or for each modality the names of its
            inputs, where it has several. A model of this library knows its own.
        train: training data; linear probes of the frozen features then say how much each modality could give.
        alone: for each modality (or some) a model that was trained on it alone.
        absence: how a modality is taken away, see `answers`; by default ``missing``, of a function ``permute``.
        classes: their names; by default those of the data set, or numbers.
        shaken: samples, at most, on which noise and wrong inputs are tried, which needs the model again; 0: none.
        maps: whether features are also drawn in the plane (t-SNE, some seconds).
        conditional: also estimate what features share beyond the label, which takes some seconds and needs `train`.
        seed: of permutations, noise and resamples.

    Raises:
        EquimodalError: something is not as described.
    """
    if conditional and train is None:
        raise ConfigError(
            "What features share beyond the label is learned: give training data (train=...)."
        )
    if absence not in (None, *get_args(Absence)):
        raise ConfigError(
            f"There is no absence {absence!r}; {nearest(str(absence), get_args(Absence))}"
        )
    # Both are read more than once, and a loader that shuffles would give another order each time.
    loader = loader if isinstance(loader, Dataset) else list(loader)
    if alone and train is not None and not isinstance(train, Dataset):
        train = list(train)
    if isinstance(model, Balanced | Multimodal):
        learner = _learner(model)
        _check(learner, modalities, alone)
        test = _ask(learner, loader, absence or "missing", seed)
        rows = some(len(test), shaken, seed)
        tried = own.shake(learner, selected(loader, rows), test, seed) if len(rows) else None
        known = None if train is None else _ask(learner, train, None, seed)
        others = _alone(alone or {}, loader, train, seed)
    else:
        if train is not None or alone:
            raise ConfigError(
                "The features of a plain function are not known, so it can be neither probed nor compared with models "
                "trained alone: leave out train and alone."
            )
        if absence == "missing":
            raise ConfigError(
                "A plain function is not told which modalities are missing: choose absence='zero', 'mean' or 'permute'."
            )
        found = plain.pairs(batches(loader, BATCH) if isinstance(loader, Dataset) else loader)
        keys = plain.groups(modalities, found[0][0])
        chosen = plan(tuple(keys), seed)
        test = plain.ask(model, found, keys, chosen, absence or "permute", seed)
        rows = some(len(test), shaken, seed)
        tried = plain.shake(model, found, keys, test, rows, seed) if len(rows) else None
        known, others = None, {}
    test, known = _grouped(test, loader), known and _grouped(known, train)
    if tried is not None and test.groups is not None:
        tried = replace(tried, groups=test.groups[rows])
    names = _classes(classes, loader, test)
    method = _method(model) if isinstance(model, Balanced) else ""
    return conclude(
        test,
        names,
        known,
        others,
        tried,
        maps=maps,
        conditional=conditional,
        seed=seed,
        method=method,
    )


def conclude(
    test: Answers,
    classes: Sequence[str],
    train: Answers | None = None,
    alone: Mapping[str, tuple[Answers, Answers | None]] | None = None,
    shaken: Shaken | None = None,
    *,
    maps: bool = False,
    conditional: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    method: str = "",
) -> Diagnosis:
    """The diagnosis of answers: everything after the model was asked."""
    bootstrap = Bootstrap(len(test), seed, resamples, groups=test.groups)
    probed = None if train is None or not test.features else probes(train, test, seed=seed)
    names = test.plan.modalities
    shapley = test.correct @ test.plan.shapley.T  # [N, M]
    accuracy = _sure(_rate(test, test.correct[:, -1]))
    pairs = list(itertools.combinations(names, 2))
    made = Diagnosis(
        modalities=names,
        classes=tuple(classes),
        samples=len(test),
        absence=test.absence,
        chance=float(np.bincount(test.target).max() / len(test)),
        accuracy=accuracy,
        subsets=_subsets(test, bootstrap),
        use=_use(test, shapley, classes, bootstrap),
        potential=_potential(test, train, probed, alone or {}, bootstrap, seed),
        differences=_differences(names, shapley, bootstrap),
        interactions=tuple(
            Interaction(a, b, _interaction(test, a, b, bootstrap)) for a, b in pairs
        ),
        information=_information(test, pairs, bootstrap) if test.unimodal else None,
        geometry=geometry(test, drawn=maps, seed=seed),
        robustness=robustness(test, shaken),
        remarks=(PROBABILITIES,) if test.probabilities else (),
        balanced=balanced(test.correct[:, -1], test.target, test.groups),
        trained=None if train is None else _rate(train, train.correct[:, -1]),
        method=method,
        groups=None if test.groups is None else len(np.unique(test.groups)),
    )
    if conditional and train is not None and made.information is not None:
        found = shared(train, test, pairs, seed)
        made = replace(made, information=replace(made.information, conditional=found))
    return replace(made, verdict=verdict(made))


# Parts.


def _subsets(test: Answers, bootstrap: Bootstrap) -> tuple[Subset, ...]:
    right, log_p = (
        [_rate(test, column) for column in test.correct.T],
        bootstrap.means(test.log_likelihood),
    )
    if test.absence == "missing" and not test.plan.coalitions[0]:
        level = float(test.correct[:, 0].mean())  # what the others are measured against
        right[0] = Interval(level, level, level)
    return tuple(
        Subset(coalition, _sure(right[i]), _sure(log_p[i]))
        for i, coalition in enumerate(test.plan.coalitions)
    )


def _interaction(test: Answers, first: str, second: str, bootstrap: Bootstrap) -> Interval:
    values = test.correct @ test.plan.interaction(first, second)
    return _sure(bootstrap.mean(values, within=(-2.0, 2.0)))


def _use(
    test: Answers, shapley: Array, classes: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Use]:
    plan, names = test.plan, test.plan.modalities
    shares = bootstrap.means(shapley, within=APART)
    reach = most_to_know(test.target)  # others that mislead can double what it is worth
    of_sample = test.log_likelihood @ plan.shapley.T
    log_shares = bootstrap.means(of_sample)
    lost, gained = (
        bootstrap.means(test.correct @ np.stack([of(m) for m in names]).T, within=APART)
        for of in (plan.leave_one_out, plan.add_one_in)
    )
    error = plan.sampling_error(test.correct.mean(0))
    member = np.eye(len(classes))[test.target]  # [N, C]
    found = {}
    for i, m in enumerate(names):
        of_class = bootstrap.means(np.repeat(shapley[:, [i]], len(classes), 1), member, APART)
        found[m] = Use(
            _sure(shares[i]),
            _sure(log_shares[i]),
            _sure(lost[i]),
            _sure(gained[i]),
            _decoupled(test, m),
            dict(zip(classes, of_class, strict=True)),
            float(error[i]),
            distribution(of_sample[:, i], -2 * reach, 2 * reach),
        )
    return found


def _decoupled(test: Answers, modality: str) -> Interval | None:
    if modality not in test.unimodal:
        return None
    return _rate(test, _own(test, modality), test.present[modality])


def _own(test: Answers, modality: str) -> Array:
    """[N]: 1 where a modality's own logits are right."""
    said = test.unimodal[modality].argmax(1).numpy()
    right: Array = (said == test.target).astype(np.float64)
    return right


def _differences(names: Sequence[str], shapley: Array, bootstrap: Bootstrap) -> dict[str, Interval]:
    return {
        f"{a} - {b}": _sure(bootstrap.mean(shapley[:, i] - shapley[:, j], within=APART))
        for (i, a), (j, b) in itertools.permutations(enumerate(names), 2)
    }


def _potential(
    test: Answers,
    train: Answers | None,
    probed: Probes | None,
    alone: Mapping[str, tuple[Answers, Answers | None]],
    bootstrap: Bootstrap,
    seed: int,
) -> dict[str, Potential]:
    best = _best_probes(test, train, alone, seed) if alone else None
    found = {}
    for m in test.plan.modalities:
        there = test.present[m]
        apart = functools.partial(bootstrap.mean, weight=there.astype(np.float64), within=APART)
        figures: dict[str, Interval | None] = {}
        if probed is not None:
            figures["probe"] = _rate(test, probed.alone[m], there)
            figures["unused"] = apart(probed.alone[m] - _own(test, m))
            adds = probed.adds(m)
            figures["adds"] = None if adds is None else bootstrap.mean(adds, within=APART)
        if m in alone:
            figures["alone"] = _rate(test, alone[m][0].correct[:, -1], there)
        if best is not None and m in alone:
            figures["alone_probe"] = _rate(test, best.alone[m], there)
            if probed is not None:
                figures["gap"] = apart(best.alone[m] - probed.alone[m])
            adds = best.adds(m)
            figures["alone_adds"] = None if adds is None else bootstrap.mean(adds, within=APART)
        found[m] = Potential(**figures)
    return found


def _best_probes(
    test: Answers,
    train: Answers | None,
    alone: Mapping[str, tuple[Answers, Answers | None]],
    seed: int,
) -> Probes | None:
    """Probes where each modality has the features of the model trained on it alone, if there is one."""
    if train is None or any(known is None for _, known in alone.values()):
        return None
    asked = {m: there.features[m] for m, (there, _) in alone.items()}
    known = {m: there.features[m] for m, (_, there) in alone.items() if there is not None}
    return probes(
        replace(train, features={**train.features, **known}),
        replace(test, features={**test.features, **asked}),
        seed=seed,
    )


def _information(
    test: Answers, pairs: Sequence[tuple[str, str]], bootstrap: Bootstrap
) -> Information:
    rows, target, fused = np.arange(len(test)), test.target, test.log_likelihood[:, -1]
    reach = most_to_know(target)
    modalities, said, spread, retained = {}, {}, {}, {}
    for m, logits in test.unimodal.items():
        there = test.present[m]
        said[m] = logits.argmax(1).numpy()
        if not there.any():
            continue
        log_p = logits.double().log_softmax(1).numpy()[rows, target][there]
        modalities[m] = lower_bound(log_p, target[there], test.classes, bootstrap.of(there))
        own = pointwise(log_p, target[there])
        spread[m] = distribution(own, -2 * reach, reach)
        both_know = own + fused[there]  # the mean is I(X; Y) + I(Z; Y) - H(Y)
        retained[m] = distribution(both_know, -2 * reach, reach)
    parts = []
    for a, b in pairs:
        both = test.present[a] & test.present[b]
        if both.any():
            found = decomposition(
                (a, b),
                (said[a][both], said[b][both]),
                target[both],
                test.classes,
                bootstrap.of(both),
            )
            parts += [] if found is None else [found]
    shares = np.bincount(target, minlength=test.classes) / len(test)
    return Information(
        float(entropy(shares)),
        modalities,
        lower_bound(fused, target, test.classes, bootstrap),
        tuple(parts),
        spread,
        distribution(pointwise(fused, target), -2 * reach, reach),
        retained,
    )


def _rate(
    answers: Answers, right: Array, there: NDArray[np.bool_] | None = None
) -> Interval | None:
    """The accuracy of answers [N], or of those that count, with the interval that their groups leave."""
    rows = np.ones(len(right), dtype=bool) if there is None else there
    return rate(right[rows], None if answers.groups is None else answers.groups[rows])


def _sure(figure: Interval | None) -> Interval:
    assert figure is not None, "there are samples"
    return figure


# Asking.


def _method(learner: Balanced) -> str:
    """The method as expression; "" where it is somebody's own and does not say its options."""
    try:
        return learner.method.expression()
    except ConfigError:
        return ""


def _learner(model: Balanced | Multimodal) -> Balanced:
    return model if isinstance(model, Balanced) else Balanced(model)


def _ask(learner: Balanced, data: Data, absence: Absence | None, seed: int) -> Answers:
    """The answers of all coalitions; without an absence only those of the whole model, and its features."""
    names = learner.model.modalities
    whole = Plan(names, (names,), np.zeros((1, len(names), 1)))
    chosen = whole if absence is None else plan(names, seed)
    return own.ask(learner, batches(data, BATCH), chosen, absence or "missing", seed)


def _grouped(answers: Answers, data: Data | None) -> Answers:
    """The answers with the groups of their samples, where the data know them."""
    groups = data.groups if isinstance(data, Dataset) else None
    return answers if groups is None else replace(answers, groups=groups.numpy())


def _alone(
    models: Mapping[str, Balanced | Multimodal], test: Data, train: Data | None, seed: int
) -> dict[str, tuple[Answers, Answers | None]]:
    return {
        m: (
            _ask(_learner(model), _only(test, m), None, seed),
            None if train is None else _ask(_learner(model), _only(train, m), None, seed),
        )
        for m, model in models.items()
    }


def _only(data: Data, modality: str) -> Iterable[Batch]:
    for batch in batches(data, BATCH):
        present = {m: mask for m, mask in batch.present.items() if m == modality}
        yield Batch({modality: batch.inputs[modality]}, batch.target, batch.index, present)


def _check(
    learner: Balanced,
    modalities: Sequence[str] | plain.Groups | None,
    alone: Mapping[str, Balanced | Multimodal] | None,
) -> None:
    known = learner.model.modalities
    if modalities is not None and tuple(modalities) != known:
        raise ConfigError(
            f"The model's modalities are {', '.join(known)}: leave out modalities={tuple(modalities)!r}."
        )
    for m, model in (alone or {}).items():
        if m not in known or _learner(model).model.modalities != (m,):
            raise ConfigError(
                f"alone[{m!r}] must be a model of the modality {m!r} alone, and {m!r} one of {', '.join(known)}."
            )


def _classes(given: Sequence[str] | None, data: Data, test: Answers) -> tuple[str, ...]:
    found = given if given is not None else (data.classes if isinstance(data, Dataset) else None)
    names = tuple(map(str, range(test.classes) if found is None else found))
    if len(names) != test.classes:
        raise ConfigError(f"There are {len(names)} names of classes, but {test.classes} logits.")
    if len(test.target) and int(test.target.max()) >= test.classes:
        raise DataError(
            f"A target is {int(test.target.max())}, but the model tells {test.classes} classes apart, from 0 on."
        )
    return names
