"""What `recorder()` has seen of each epoch: gradients, confidences, mapping errors, over-fitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..figures import Series, lines, matrix
from ..page import Figure
from .record import FUSED, Record, named

__all__ = ["overfitting", "recorded"]

MOST_CLASSES = 40

Numbers = list[float | None]


def recorded(runs: Sequence[Record]) -> list[list[Figure]]:
    """Groups of figures, each with a figure for each run that was trained with a recorder."""
    watched = [run for run in runs if any(line.get("recorded") for line in run.history)]
    kinds = (_norms, _cosines, _confidence, _mapping, _ratios)
    found = [[kind(run, runs) for run in watched] for kind in kinds]
    return [[figure for figure in group if figure is not None] for group in found]


def _norms(run: Record, runs: Sequence[Record]) -> Figure | None:
    return _curves(
        named("Gradient of each encoder", run, runs),
        "A modality whose gradient dies while another's goes on has been left behind.",
        "Norm of the gradient of the encoder's parameters as the optimiser saw it, mean over the recorded batches of an "
        "epoch.",
        run,
        {m: _each(run, m, "gradient_norm") for m in run.modalities},
        axis="norm",
    )


def _cosines(run: Record, runs: Sequence[Record]) -> Figure | None:
    return _curves(
        named("Own against joint gradient", run, runs),
        "Near 1 the joint loss asks of a modality what it needs by itself; below 0 it asks for the opposite.",
        "Cosine between the gradients of the modality's own loss and of the fused loss with respect to its features, mean "
        "over the recorded batches of an epoch.",
        run,
        {m: _each(run, m, "cosine") for m in run.modalities},
        axis="cosine",
        level=0,
        form=".2f",
    )


def _mapping(run: Record, runs: Sequence[Record]) -> Figure | None:
    told = _told(run)
    pairs = dict.fromkeys(
        (p["from"], p["to"]) for one in told for p in one.get("mapping_error", ())
    )
    found = _known({f"{a} → {b}": [_error(one, a, b) for one in told] for a, b in pairs})
    which = f", {next(iter(found))}" if len(found) == 1 else ""  # one curve has no legend
    return _curves(
        named(f"Mapping error{which}", run, runs),
        "The lower, the more of one modality's features another's tell; at 1 they have nothing in common that is linear.",
        "Share of the variance of the second modality's features that the best linear map of the first's leaves, over the "
        "recorded batches of an epoch.",
        run,
        found,
        axis="share unexplained",
        form=".2f",
    )


def _error(told: Mapping[str, Any], first: str, second: str) -> float | None:
    pairs = told.get("mapping_error", ())
    return next((p["error"] for p in pairs if (p["from"], p["to"]) == (first, second)), None)


def _confidence(run: Record, runs: Sequence[Record]) -> Figure | None:
    """The first and the last epoch side by side, a row for each modality."""
    if len(run.classes) > MOST_CLASSES:
        return None
    known = [
        (int(line["epoch"]) + 1, line["recorded"]) for line in run.history if "recorded" in line
    ]
    ends = [known[0], known[-1]] if len(known) > 1 else known
    rows, values = [], []
    for name in [*run.modalities, *([FUSED] if len(run.modalities) > 1 else [])]:
        for epoch, told in ends:
            said = told["fused"] if name == FUSED else told["modalities"].get(name, {})
            rows.append(f"{name}, epoch {epoch}")
            values.append(said.get("confidence", [None] * len(run.classes)))
    return matrix(
        named("Confidence in each class", run, runs),
        "Classes that a modality is still unsure of at the end, and another was sure of from the start, are where it was "
        "left behind.",
        "Mean probability that the modality's own logits gave to the true class (column), in the recorded training batches "
        "of the first and of the last epoch.",
        rows,
        run.classes,
        values,
        form=".0%",
    )


def _ratios(run: Record, runs: Sequence[Record]) -> Figure | None:
    return _curves(
        named("Over-fitting to generalisation", run, runs),
        "A modality whose curve lies higher pays more over-fitting for each step forward, and should be trained less.",
        "How much the gap between validation and training loss has grown since the first epoch, over how much the "
        "validation loss has fallen (Wang, Tran and Feiszli, CVPR 2020); none where it has not fallen.",
        run,
        {name: overfitting(run, name) for name in (*run.modalities, FUSED)},
        axis="ratio",
        form=".2f",
    )


def overfitting(run: Record, name: str) -> Numbers:
    """For each epoch |ΔO / ΔG| since the first, of a modality or of the fused prediction.

    O is the loss on validation less that in training, G the loss on validation. None in the first epoch, where a loss is
    not known, and where validation is no better than in the first epoch.

    Source: W. Wang, D. Tran, M. Feiszli, "What makes training multi-modal classification networks hard?", CVPR 2020, eq. 1.
    """
    losses = [_losses(line, name) for line in run.history]
    found: Numbers = []
    for seen, held in losses:
        first_seen, first_held = losses[0]
        if None in (seen, held, first_seen, first_held) or held >= first_held:
            found.append(None)
        else:
            gain = first_held - held
            found.append(abs(((held - seen) - (first_held - first_seen)) / gain))
    return found


def _losses(line: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    """In training and on validation."""
    told, val = line.get("recorded") or {}, line.get("val") or {}
    if name == FUSED:
        return told.get("fused", {}).get("loss"), val.get("cross_entropy")
    return (
        told.get("modalities", {}).get(name, {}).get("loss"),
        val.get("losses", {}).get(name),
    )


def _told(run: Record) -> list[Mapping[str, Any]]:
    """Of each epoch."""
    return [line.get("recorded") or {} for line in run.history]


def _each(run: Record, modality: str, figure: str) -> Numbers:
    return [told.get("modalities", {}).get(modality, {}).get(figure) for told in _told(run)]


def _curves(
    title: str, see: str, how: str, run: Record, found: Mapping[str, Numbers], **form: Any
) -> Figure | None:
    """A curve for each name that has values; None where none has any."""
    known = _known(found)
    if not known:
        return None
    epochs = [float(line["epoch"]) + 1 for line in run.history]
    series = [Series(name, values) for name, values in known.items()]
    return lines(title, see, how, epochs, series, x_axis="epoch", **form)


def _known(found: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Those that have values."""
    return {name: v for name, v in found.items() if any(x is not None for x in v)}
