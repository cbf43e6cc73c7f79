"""What `equimodal diagnose` has found of runs, from their `diagnosis.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..figures import Series, matrix, points
from ..page import Figure, Section, Side
from .front import together
from .intervals import Interval
from .record import Record, named

__all__ = [
    "by_run",
    "decomposition",
    "diagnosed",
    "names_of",
    "potential",
    "series_of",
    "use_figures",
]

Values = Mapping[str, Any]

ABSENCE = {
    "missing": "the model is told that the others are missing",
    "zero": "zeros in place of the others",
    "mean": "the mean over the test samples in place of the others",
    "permute": "the others taken from other samples",
}


def diagnosed(runs: Sequence[Record]) -> list[Record]:
    """The runs that have been diagnosed and have several modalities."""
    return [run for run in together(runs) if run.diagnosis and len(run.modalities) > 1]


def potential(runs: Sequence[Record]) -> Section | None:
    """What each modality could give; None where no run was diagnosed on its training data."""
    shown = [run for run in diagnosed(runs) if any(any(p.values()) for p in _of(run, "potential"))]
    if not shown:
        return None
    accuracies = {
        "probe, trained alone": lambda run, m: _potential(run, m).get("alone_probe"),
        "probe, in this model": lambda run, m: _potential(run, m).get("probe"),
        "logits, trained alone": lambda run, m: _potential(run, m).get("alone"),
        "logits, in this model": lambda run, m: _use(run, m).get("decoupled"),
    }
    differences = {
        "under-trained": lambda run, m: _potential(run, m).get("gap"),
        "unused": lambda run, m: _potential(run, m).get("unused"),
        "adds to the others": lambda run, m: (
            _potential(run, m).get("alone_adds") or _potential(run, m).get("adds")
        ),
    }
    return Section(
        "Potential",
        [
            _by_modality(
                "What each modality holds",
                "What lies to the right of the model's own logits is held by a modality and not given.",
                "Test accuracy on the samples that have the modality, with 95% Wilson intervals over test samples. Probe: "
                "logistic regression on the frozen features of the encoder in this model, or of the same encoder trained alone.",
                shown,
                accuracies,
                "test accuracy",
            ),
            _by_modality(
                "What is lost, and whether it matters",
                "Balancing can help a modality that is under-trained or unused and adds to the others; one that adds nothing "
                "it cannot help. What touches zero may be nothing.",
                "Differences of accuracies on the same test samples with 95% bootstrap intervals. Under-trained: probe of the "
                "encoder trained alone less probe here. Unused: probe less own logits. Adds: what its features (of the encoder trained alone, where "
                "there is one) add to a probe of all others'.",
                shown,
                differences,
                "points of accuracy",
            ),
        ],
        "How much each modality could give, against what it gives.",
    )


def _by_modality(
    title: str,
    see: str,
    how: str,
    runs: Sequence[Record],
    wanted: Mapping[str, Callable[[Record, str], Values | None]],
    axis: str,
) -> Figure:
    """A row per modality and run, a marker per figure."""
    rows = [(name, run) for name in names_of(runs) for run in runs if name in run.modalities]
    labels = [named(name, run, runs, " · ") for name, run in rows]
    series = [series_of(what, [of(run, name) for name, run in rows]) for what, of in wanted.items()]
    kept = [one for one in series if any(value is not None for value in one.values)]
    return points(title, see, how, labels, kept, axis=axis)


def use_figures(runs: Sequence[Record]) -> list[Any]:
    """Subsets, Shapley values, what is lost without a modality, interactions, classes."""
    shown = diagnosed(runs)
    if not shown:
        return []
    names = names_of(shown)
    shares = [
        by_run(f"Shapley values of {what}", _SHAPLEY, f"{_MEAN} of {what} {_ORDERS.format(_nothing(shown))}",
                shown, [(m, partial(_share, m, key)) for m in names], axis, form)
        for what, key, axis, form in (
            ("accuracy", "shapley_accuracy", "accuracy", ".1%"),
            ("log-likelihood", "shapley_log_likelihood", "nats", ".2f"),
        )
    ]  # fmt: skip
    pairs = list(
        dict.fromkeys((i["first"], i["second"]) for run in shown for i in _of(run, "interactions"))
    )
    return [
        _subsets(shown),
        Side(shares),
        _by_modality(
            "Without it, and by it only",
            "A modality that is missed little and gives much by itself is replaced by the others.",
            "Without it: what accuracy loses when the modality is taken away. By it only: what it gains by this modality only over "
            f"{_nothing(shown)}; {_absence(shown)}; 95% bootstrap intervals.",
            shown,
            {
                "lost without it": lambda run, m: _use(run, m).get("leave_one_out"),
                "gained by it only": lambda run, m: _use(run, m).get("add_one_in"),
            },
            "points of accuracy",
        ),
        by_run(
            "Interactions",
            "Above zero: together they give more than the sum of what each gives; below: they overlap.",
            "Shapley interaction of accuracy of each pair, with 95% bootstrap intervals.",
            shown,
            [(f"{a} · {b}", partial(_interaction, (a, b))) for a, b in pairs],
            "points of accuracy",
            ".1%",
        ),
        Side([_by_class(run, len(shown) > 1) for run in shown if len(run.classes) <= 40]),
    ]


_SHAPLEY = "How the model's success over knowing nothing is divided among its modalities; about zero: this one gains it nothing."
_MEAN = "Share of each modality"
_ORDERS = "over {}: the mean over all orders of what it adds to those before it; 95% bootstrap intervals over test samples."


def _subsets(runs: Sequence[Record]) -> Figure:
    groups = list(
        dict.fromkeys(
            tuple(s["modalities"]) for run in runs for s in _of(run, "subsets") if s["modalities"]
        )
    )
    rows = [(" + ".join(group), partial(_subset, group)) for group in groups]
    return by_run(
        "Every subset of modalities",
        "What a modality adds is the step from a set without it to the set with it.",
        f"Test accuracy of the model when it sees these modalities only; {_absence(runs)}; 95% Wilson intervals.",
        runs,
        rows,
        "test accuracy",
        ".1%",
    )


def by_run(
    title: str,
    see: str,
    how: str,
    runs: Sequence[Record],
    rows: Sequence[tuple[str, Callable[[Record], Values | None]]],
    axis: str,
    form: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A row per category, a marker per run."""
    series = [series_of(run.name, [of(run) for _, of in rows]) for run in runs]
    labels = [label for label, _ in rows]
    return points(title, see, how, labels, series, axis=axis, form=form, limits=limits)


def _by_class(run: Record, several: bool) -> Figure:
    values = []
    for m in run.modalities:
        of = _use(run, m).get("by_class", {})
        values.append([(of.get(label) or {}).get("value") for label in run.classes])
    return matrix(
        f"Share by class, {run.name}" if several else "Share by class",
        "Classes that rest on one modality alone fail with it.",
        f"Shapley value of accuracy on the test samples of each class, over {_nothing([run])}.",
        run.modalities,
        run.classes,
        values,
        form=".0%",
        diverging=True,
    )


def decomposition(runs: Sequence[Record]) -> list[Figure]:
    """What pairs of modalities' predictions say of the class: together, each alone, only both."""
    shown = [run for run in diagnosed(runs) if (run.diagnosis or {}).get("information")]
    parts = {
        run.name: {(d["first"], d["second"]): d for d in _decompositions(run)} for run in shown
    }
    pairs = list(dict.fromkeys(pair for of in parts.values() for pair in of))
    if not pairs:
        return []
    rows = []
    for a, b in pairs:
        where = "" if len(pairs) == 1 else f"{a} · {b}: "
        for key, label in (
            ("redundant", "redundant"), ("unique_first", f"only {a}"),
            ("unique_second", f"only {b}"), ("synergistic", "synergistic"),
        ):  # fmt: skip
            rows.append((where + label, partial(_part, parts, (a, b), key)))
    return [
        by_run(
            "Redundant, unique, synergistic",
            "Unique information is what balancing can protect; what is redundant the other modality says as well.",
            "Partial information decomposition of the class over the modalities' predicted classes, with 95% bootstrap "
            "intervals over test samples.",
            shown,
            rows,
            "nats",
            ".2f",
        )
    ]


# Values.


def series_of(name: str, found: Sequence[Values | None]) -> Series:
    """Intervals as they stand in a diagnosis, under one name."""
    known = [None if values is None else Interval(**values) for values in found]
    return Series(
        name,
        [None if i is None else i.value for i in known],
        [None if i is None else i.low for i in known],
        [None if i is None else i.high for i in known],
    )


def names_of(runs: Sequence[Record]) -> list[str]:
    """The modalities of all runs."""
    return list(dict.fromkeys(name for run in runs for name in run.modalities))


def _of(run: Record, part: str) -> Sequence[Values]:
    found = (run.diagnosis or {}).get(part) or ()
    return list(found.values()) if isinstance(found, Mapping) else found


def _use(run: Record, modality: str) -> Values:
    found: Values = (run.diagnosis or {})["use"].get(modality, {})
    return found


def _potential(run: Record, modality: str) -> Values:
    found: Values = (run.diagnosis or {})["potential"].get(modality, {})
    return found


def _share(modality: str, key: str, run: Record) -> Values | None:
    return _use(run, modality).get(key)


def _part(
    parts: Mapping[str, Mapping[tuple[str, str], Values]],
    pair: tuple[str, str],
    key: str,
    run: Record,
) -> Values | None:
    return parts[run.name].get(pair, {}).get(key)


def _subset(group: tuple[str, ...], run: Record) -> Values | None:
    return next(
        (s["accuracy"] for s in _of(run, "subsets") if tuple(s["modalities"]) == group), None
    )


def _interaction(pair: tuple[str, str], run: Record) -> Values | None:
    return next(
        (i["accuracy"] for i in _of(run, "interactions") if (i["first"], i["second"]) == pair), None
    )


def _decompositions(run: Record) -> Sequence[Values]:
    found: Sequence[Values] = (run.diagnosis or {})["information"]["decomposition"]
    return found


def _nothing(runs: Sequence[Record]) -> str:
    """What a model without any modality is taken to say."""
    kinds = {(run.diagnosis or {}).get("absence") for run in runs}
    told = "knowing only how frequent the classes are"
    asked = "what the model says with all of them taken away"
    if kinds == {"missing"}:
        return told
    return f"{told}, or {asked}" if "missing" in kinds else asked


def _absence(runs: Sequence[Record]) -> str:
    kinds = dict.fromkeys(str((run.diagnosis or {}).get("absence")) for run in runs)
    return ", or ".join(ABSENCE.get(kind, kind) for kind in kinds)
