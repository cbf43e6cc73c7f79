"""The verdict in words.

Every sentence carries the figures that it rests on; a difference is called one only if its interval excludes zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .findings import Diagnosis, Potential, Sentence
from .intervals import Interval

__all__ = ["MATTERS", "Case", "behind", "case", "reach", "verdict"]

FEWEST = 30
"""Test samples, or groups of them, that a verdict needs: of fewer, intervals by resampling are far too short."""

MATTERS = 0.02
"""Two points of accuracy: what could not be more is not worth a method."""

Case = Literal["helps", "cannot", "used", "open"]


def verdict(found: Diagnosis) -> tuple[Sentence, ...]:
    """Which modality is lazy, by how much, whether balancing can help, and what to try first."""
    if len(found.modalities) == 1:
        return (Sentence("balance", "There is one modality, so nothing to balance."),)
    count, what = (found.samples, "samples") if found.groups is None else (found.groups, "groups")
    if count < FEWEST:
        said = f"{count} test {what} are too few for a verdict: give at least {FEWEST}."
        return (Sentence("balance", said),)
    if found.chance == 1:
        said = "All test samples are of one class, so that no verdict can be had: give some of every class."
        return (Sentence("balance", said),)
    # Of what does no better than chance nobody is the weaker part.
    if found.accuracy.low <= found.chance:
        return tuple(_no_better(found))
    weak = behind(found)
    if weak:
        return tuple(sentence for w in weak for sentence in _about(found, w))
    # They may all be left behind alike.
    alike = [m for m in found.modalities if case(found, m) == "helps"]
    said = "No modality contributes less than the others beyond doubt"
    said += ", but not all give what they hold." if alike else ": there is no imbalance to repair."
    shares = {f"Shapley {m}": found.use[m].shapley_accuracy for m in found.modalities}
    return (Sentence("balance", said, shares), *(s for m in alike for s in _could(found, m)))


@dataclass(frozen=True)
class Weak:
    """A modality, one that contributes more, and by how much (Shapley values of accuracy)."""

    name: str
    strong: str
    behind: Interval


def behind(found: Diagnosis) -> list[Weak]:
    """The modalities that contribute less than the strongest one, beyond doubt."""
    strong = max(found.modalities, key=lambda m: found.use[m].shapley_accuracy.value)
    weak = [
        Weak(m, strong, found.differences[f"{strong} - {m}"])
        for m in found.modalities
        if m != strong
    ]
    return [w for w in weak if w.behind.positive]


def case(found: Diagnosis, modality: str) -> Case:
    """Whether balancing can help a weak modality.

    ``helps``: it holds more than it gives (its encoder is under-trained, or its features say more than its prediction),
    and what it holds is new beside the others. ``used``: what it holds is new, and it gives it. ``cannot``: it is not seen
    to hold anything new, and either what it does not give or what it could add is less than two points beyond doubt.
    ``open``: the figures do not tell.
    """
    held = found.potential[modality]
    adds = _first(held.alone_adds, held.adds)
    if adds is None:
        return "open"
    known = [figure for figure in (held.gap, held.unused) if figure is not None]
    if adds.positive:
        return "helps" if any(figure.positive for figure in known) else "used"
    gives_all = bool(known) and all(figure.high < MATTERS for figure in known)
    return "cannot" if adds.high < MATTERS or gives_all else "open"


def reach(found: Diagnosis, modality: str) -> tuple[str, Interval] | None:
    """The most that a modality reaches by itself, if nothing shows that it knows the class.

    Nothing does if it is no better than guessing both in probes and trained alone, as far as these are known, adds nothing to
    the others' features, and can be left out without a loss. None if something does, or neither was measured.
    """
    held = found.potential[modality]
    by_itself = {
        "a linear probe of its features": held.probe,
        "a linear probe of its encoder trained alone": held.alone_probe,
        "the modality trained alone": held.alone,
    }
    known = {how: figure for how, figure in by_itself.items() if figure is not None}
    beside = (_first(held.alone_adds, held.adds), found.use[modality].leave_one_out)
    if any(figure.low > found.chance for figure in known.values()) or not known:
        return None
    if any(figure is not None and figure.positive for figure in beside):
        return None
    return max(known.items(), key=lambda item: item[1].value)


def _no_better(found: Diagnosis) -> Iterator[Sentence]:
    """Of a model whose accuracy is not shown to be above that of always naming the most frequent class."""
    figures = {"accuracy": found.accuracy}
    seen = [c for c in found.classes if any(use.by_class.get(c) for use in found.use.values())]
    guessing = 1 / max(len(seen), 1)
    if found.balanced is not None and found.balanced.low > guessing:
        yield Sentence(
            "balance",
            f"The model tells the classes apart, its balanced accuracy being {found.balanced.text()}% where guessing has "
            f"{100 * guessing:.1f}%; but its accuracy ({_percent(found.accuracy)}) is not shown to be above that of always naming "
            f"the most frequent class ({100 * found.chance:.1f}%), so that contributions to accuracy do not say which modality gives less.",
            {**figures, "balanced": found.balanced},
        )
        return
    yield Sentence(
        "balance",
        f"The model is not shown to do better than always naming the most frequent class ({100 * found.chance:.1f}%), "
        "so that nothing can be said of what its modalities give.",
        figures,
    )
    held = [said for m in found.modalities for said in _holds(m, found.potential[m])]
    yield from held
    if held:
        yield Sentence(
            "balance",
            "Whether balancing can help is seen only once the model as a whole does better: train it longer first, or at another "
            "learning rate.",
        )


def _about(found: Diagnosis, weak: Weak) -> Iterator[Sentence]:
    """Lazy is only who could give more; one that knows nothing is not."""
    m, use, most = weak.name, found.use[weak.name], reach(found, weak.name)
    said, evidence = f"{m!r} is the weaker one", {}
    if case(found, m) == "helps":
        said = f"{m!r} is lazy"
    elif most is not None:
        how, figure = most
        said, evidence = (
            f"{m!r} is uninformative as far as can be seen, for even {how} is not better than guessing the most frequent class "
            f"({_percent(figure)} against {100 * found.chance:.1f}%)",
            {"reach": figure},
        )
    yield Sentence(
        m,
        f"{said}: it gives {_points(use.shapley_accuracy)} of accuracy, {_points(weak.behind)} less than {weak.strong!r}.",
        {"shapley": use.shapley_accuracy, "behind": weak.behind, **evidence},
    )
    yield from _could(found, m)


def _could(found: Diagnosis, m: str) -> Iterator[Sentence]:
    held = found.potential[m]
    yield from _holds(m, held)
    yield _can_help(found, m, held)


def _holds(m: str, held: Potential) -> Iterator[Sentence]:
    if held.gap is not None and held.alone_probe is not None and held.gap.positive:
        yield Sentence(
            m,
            f"The encoder of {m!r} is under-trained: trained alone, its features reach {_percent(held.alone_probe)} in a "
            f"linear probe, {_points(held.gap)} more than here.",
            {"gap": held.gap, "alone_probe": held.alone_probe},
        )
    if held.unused is not None and held.probe is not None and held.unused.positive:
        yield Sentence(
            m,
            f"The features of {m!r} hold more than its prediction uses: a linear probe reaches {_percent(held.probe)}, "
            f"{_points(held.unused)} more than its own logits.",
            {"unused": held.unused, "probe": held.probe},
        )


def _can_help(found: Diagnosis, m: str, held: Potential) -> Sentence:
    adds = _first(held.alone_adds, held.adds)
    evidence = {} if adds is None else {"adds": adds}
    unfinished = _unfinished(found)
    whose = "of its encoder trained alone" if held.alone_adds is not None else "of this model"
    match case(found, m):
        case "helps":
            assert adds is not None
            said = (
                f"Balancing {'may' if unfinished else 'can'} help: the features {whose} add {_points(adds)} to those of the other "
                "modalities."
            ) + (
                f" But {unfinished}: it may have been trained too little, which comes first."
                if unfinished
                else _advice(found)
            )
        case "cannot":
            assert adds is not None
            said = (
                f"Balancing cannot help: {m!r} is not seen to carry anything new, for the features {whose} add "
                f"{_points(adds)} to those of the other modalities. Nothing here speaks against joint training."
            )
            if held.alone_adds is None:
                said += " Diagnose again with the modality trained alone (--train-alone, in Python alone=...) to be sure of its encoder."
        case "used":
            assert adds is not None
            said = (
                f"What {m!r} holds is new ({_points(adds)}) and the model uses it: it is weaker, not neglected. "
                "Balancing has little to repair."
            )
        case "open":
            said = f"Whether balancing can help {m!r} is open: " + (
                "its features are not known here; give training data of a model with features (train=...)."
                if adds is None
                else f"its features add {_points(adds)} to the others', which may be nothing; "
                "more test samples would tell."
            )
    return Sentence("balance", said, evidence)


def _advice(found: Diagnosis) -> str:
    """What to try: no method that the model was trained with, and none where that is not known."""
    if not found.method:
        return ""
    used = set(re.findall(r"[a-z]\w*(?=\()", found.method))
    ibml, uniform = bool(used & {"ibml", "bio"}), "uniform" in used
    if ibml and uniform:
        return f" It was trained with '{found.method}' already; which other method does better, only a comparison can tell."
    if ibml:
        return f" It was trained with '{found.method}'; beside it try 'uniform()', which is often as good."
    said = " Try 'ibml()' (where the data have no sample index, \"bio(scores='current')\")"
    return f"{said}." if uniform else f"{said}, and beside it 'uniform()', which is often as good."


def _unfinished(found: Diagnosis) -> str:
    """What shows that the model as a whole gives less than it could, not one modality beside the others; "" if nothing does."""
    held = found.potential
    alone = [held[m].alone for m in found.modalities]
    if all(figure is not None and figure.low > found.accuracy.high for figure in alone):
        return f"each modality trained alone is above the whole model ({_percent(found.accuracy)})"
    if found.trained is None:
        return ""
    for m in found.modalities:
        probe = held[m].probe
        if probe is not None and probe.low > found.trained.high:
            return (
                f"the model is right on {_percent(found.trained)} of its own training samples only, fewer than a linear probe of "
                f"the features of {m!r} reaches on test samples ({_percent(probe)})"
            )
    return ""


def _first(*figures: Interval | None) -> Interval | None:
    return next((figure for figure in figures if figure is not None), None)


def _points(figure: Interval) -> str:
    return f"{figure.text()} points"


def _percent(figure: Interval) -> str:
    return f"{100 * figure.value:.1f}%"
