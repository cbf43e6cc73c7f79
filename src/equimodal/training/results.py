"""What a run came to: the figures of `results.json`, and a run that is read again."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import __version__
from ..core import Balanced, Batch, Output
from ..data.splits import Splits
from ..errors import CheckpointError
from ..models import Multimodal
from . import checkpoint
from .evaluate import Evaluation, Predictions, batches, collect, probed, score
from .folder import RunFolder
from .fused_weights import fit_weights, fuse, is_sum
from .groups import effective_samples
from .settings import Settings
from .statistics import Figures

__all__ = [
    "Best",
    "Run",
    "brief",
    "figures",
    "fusion_weights",
    "provenance",
    "read_run",
    "train_figures",
]


@dataclass(frozen=True)
class Run:
    """A trained model and what is known of it.

    Attributes:
        learner: model and method, with the selected weights, in evaluation mode.
        settings: resolved.
        results: as in `results.json`.
        history: the lines of `metrics.jsonl`.
        folder: where the run is kept, or None.
    """

    learner: Balanced
    settings: Settings
    results: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = ()
    folder: Path | None = None

    @property
    def model(self) -> Multimodal:
        return self.learner.model

    @torch.no_grad()
    def predict(self, batch: Batch) -> Output:
        """What the trained model says, with the fitted fusion where the run keeps it; `learner.predict` says it without."""
        output, weights = self.learner.predict(batch), fusion_weights(self.results)
        if weights is None:
            return output
        return replace(output, fused=fuse(output.unimodal, weights, batch.present))


@dataclass(frozen=True)
class Best:
    """The epoch whose fused prediction is worth most on the data that selects; the first on a tie."""

    epoch: int
    worth: float


def read_run(learner: Balanced, settings: Settings, folder: RunFolder) -> Run:
    """A run from its folder; the learner receives the selected weights.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged or of another model.
    """
    snapshot = checkpoint.read(folder.checkpoint)
    if snapshot is None:
        raise CheckpointError(f"{folder.path} has no checkpoint yet: train it first.")
    tensors = snapshot.part("best") or snapshot.part("learner")
    checkpoint.load_module(learner, tensors, folder.checkpoint)
    results = folder.read_json(folder.results) if folder.results.exists() else {}
    history = (
        folder.metrics.read_text(encoding="utf-8").splitlines() if folder.metrics.exists() else []
    )
    return Run(learner.eval(), settings, results, tuple(map(json.loads, history)), folder.path)


def figures(
    learner: Balanced, data: Splits, said: Predictions, settings: Settings
) -> dict[str, Any]:
    """Test and validation, and the fusion that was fitted on validation.

    Args:
        learner: with the selected weights.
        data: what it was trained on.
        said: its predictions on test.
        settings: of the run.
    """
    size = settings.batch_size
    groups = data.test.groups
    test = score(said, learner.task, groups).figures()
    if settings.probe:
        for name, right in probed(learner, data.train, data.test, size).items():
            of = None if groups is None else groups[said.index[said.present[name]]].numpy()
            test["modalities"][name] |= _of_probe(right, of)
    asked = collect(learner, batches(data.val, size)) if len(data.val) else None
    fusion = _fitted_fusion(learner, asked, settings.fit_fusion, data.val.groups)
    test["fitted"] = None
    if fusion is not None:
        fitted = replace(said, fused=fuse(said.unimodal, fusion["weights"], said.present))
        test["fitted"] = score(fitted, learner.task, groups).figures()["fused"]
    val = None if asked is None else score(asked, learner.task, data.val.groups).figures()
    return {"test": test, "val": val, "fusion": fusion}


def _of_probe(
    right: NDArray[np.bool_], groups: NDArray[np.int64] | None
) -> dict[str, float | None]:
    if not len(right):  # nothing to learn from, or nobody to ask
        return {"probe": None, "probe_effective_samples": None}
    worth = effective_samples(right, groups)
    return {"probe": float(right.mean()), "probe_effective_samples": worth}


def _fitted_fusion(
    learner: Balanced, val: Predictions | None, choice: str, groups: torch.Tensor | None
) -> dict[str, Any] | None:
    """None where it is off, or there is nothing to fit or to fit on."""
    if choice == "off" or val is None or not is_sum(learner.model, learner.method):
        return None
    of = None if groups is None else groups[val.index].numpy()
    found = fit_weights(val.unimodal, val.target, val.present, learner.task, of)
    return found.figures(kept=choice == "on" or found.better)


def fusion_weights(results: Mapping[str, Any]) -> dict[str, float] | None:
    """The fitted weights that a run predicts with; None where its fused logits are left as they are."""
    fusion = results.get("fusion")
    return dict(fusion["weights"]) if fusion and fusion["kept"] else None


def provenance(
    learner: Balanced,
    settings: Settings,
    history: Sequence[Mapping[str, Any]],
    best: Best | None,
) -> dict[str, Any]:
    """How the figures came about: what was trained, which epoch was selected and by what."""
    selected = best.epoch if best and settings.select == "best" else history[-1]["epoch"]
    return {
        "train": _over_training(history),
        "epoch": selected,
        "epochs": len(history),
        "select": settings.select,
        "select_by": settings.criterion,
        "protocol": settings.protocol,
        "selected_on": settings.selected_on,
        "data": settings.data,
        "method": settings.method,
        "seed": settings.seed,
        "modalities": list(learner.model.modalities),
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "versions": _versions(),
    }


def train_figures(figures: Figures) -> dict[str, Any]:
    """Of an epoch's training, as in `metrics.jsonl`."""
    return {
        "accuracy": figures.accuracy,
        "discrepancy_ratio": finite(figures.discrepancy_ratio),
        "share": {name: finite(value) for name, value in figures.share.items()},
        "notes": {name: finite(value) for name, value in figures.notes.items()},
    }


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def brief(found: Evaluation) -> dict[str, Any]:
    """Of an epoch's validation, as in `metrics.jsonl`."""
    return {
        "accuracy": found.fused.accuracy,
        "balanced_accuracy": found.fused.balanced_accuracy,
        "cross_entropy": found.fused.cross_entropy,
        "modalities": {name: finite(s.accuracy) for name, s in found.decoupled.items()},
        "losses": {name: finite(s.cross_entropy) for name, s in found.decoupled.items()},
    }


def _over_training(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of imbalance, averaged over all training steps (IBML, Table 4); epochs have equally many."""
    lines = [line["train"] for line in history]
    return {
        "discrepancy_ratio": _mean([line["discrepancy_ratio"] for line in lines]),
        "share": {
            name: _mean([line["share"][name] for line in lines]) for name in lines[0]["share"]
        },
        "accuracy": lines[-1]["accuracy"],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _versions() -> dict[str, str]:
    return {
        "equimodal": __version__,
        "torch": str(torch.__version__),
        "python": ".".join(map(str, sys.version_info[:3])),
    }
