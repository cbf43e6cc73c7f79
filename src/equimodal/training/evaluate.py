"""What a trained model says of data it has not learned from: accuracies, calibration, linear probes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import Balanced, Batch, Task
from ..data.dataset import Dataset
from ..data.loader import Loader
from ..errors import DataError
from ..models import Multimodal
from .groups import effective_samples
from .place import place

__all__ = [
    "Answers",
    "Evaluation",
    "Features",
    "Predictions",
    "Score",
    "ask",
    "balanced_accuracy",
    "calibration_error",
    "collect",
    "evaluate",
    "extract",
    "probe",
    "probed",
]

Data = Dataset | Iterable[Batch]
PROBE_ROWS = 10_000
"""The most training rows that a linear probe is fitted on."""


@dataclass(frozen=True)
class Answers:
    """Logits of N samples, whatever their classes may be, on the CPU.

    Attributes:
        fused: [N, C].
        unimodal: for each modality [N, C], zero where it is missing.
        present: for each modality [N] booleans.
        index: [N] positions in the data set.
    """

    fused: Tensor
    unimodal: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    index: Tensor


@dataclass(frozen=True)
class Predictions(Answers):
    """Logits of N samples whose classes are known, on the CPU.

    Attributes:
        target: [N] class ids.
    """

    target: Tensor


@dataclass(frozen=True)
class Score:
    """How good one prediction is; NaN where no sample has the modality.

    Attributes:
        accuracy: fraction right.
        balanced_accuracy: mean over the classes that there are of the fraction of their samples that are right.
        cross_entropy: the task's loss, in nats.
        calibration_error: see `calibration_error`.
        samples: that it was measured on.
        effective_samples: how many independent ones its accuracy is worth, see `groups.effective_samples`.
    """

    accuracy: float
    balanced_accuracy: float
    cross_entropy: float
    calibration_error: float
    samples: int
    effective_samples: float

    def figures(self) -> dict[str, float | None]:
        """As in `results.json`; what could not be measured is None."""
        return {
            "accuracy": _known(self.accuracy),
            "balanced_accuracy": _known(self.balanced_accuracy),
            "cross_entropy": _known(self.cross_entropy),
            "calibration_error": _known(self.calibration_error),
            "effective_samples": self.effective_samples,
        }


@dataclass(frozen=True)
class Evaluation:
    """A model on a data set.

    Attributes:
        fused: of the fused logits, on all samples.
        decoupled: for each modality of its unimodal logits, on the samples that have it.
        confusion: [C, C] counts, true class by row, predicted class by column.
        groups: how many groups its samples are of; None where each stands by itself.
    """

    fused: Score
    decoupled: Mapping[str, Score]
    confusion: Tensor
    groups: int | None = None

    def figures(self) -> dict[str, Any]:
        """As in `results.json`; what could not be measured is None."""
        modalities: dict[str, dict[str, Any]] = {}
        for name, score in self.decoupled.items():
            known: dict[str, Any] = score.figures()
            accuracy = known.pop("accuracy")
            modalities[name] = {"decoupled": accuracy, **known, "samples": score.samples}
        return {
            "fused": self.fused.figures(),
            "modalities": modalities,
            "samples": self.fused.samples,
            "groups": self.groups,
            "confusion": self.confusion.tolist(),
        }


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def evaluate(
    model: Balanced | Multimodal, data: Dataset | Iterable[Batch], batch_size: int = 256
) -> Evaluation:
    """Accuracy, cross-entropy and calibration error, fused and for each modality, in evaluation mode.

    Args:
        model: a learner, or a model alone.
        data: a data set, or its batches.
        batch_size: of a data set; the figures do not depend on it.

    Raises:
        DataError: there is no sample, or one has no target.
    """
    learner = _learner(model)
    groups = data.groups if isinstance(data, Dataset) else None
    return score(collect(learner, batches(data, batch_size)), learner.task, groups)


def _learner(model: Balanced | Multimodal) -> Balanced:
    return model if isinstance(model, Balanced) else Balanced(model)


def batches(data: Dataset | Iterable[Batch], batch_size: int) -> Iterable[Batch]:
    """The batches of a data set in its order, never augmented; batches stay what they are."""
    if not isinstance(data, Dataset):
        return data
    return Loader(data.seen(augment=False), batch_size, shuffle=False)


def collect(learner: Balanced, data: Iterable[Batch]) -> Predictions:
    """The predictions on all batches, and their targets.

    Raises:
        DataError: there is no sample, or one has no target; or what should be a batch is none.
    """
    target: list[Tensor] = []
    found = ask(learner, _noting(data, target))
    return Predictions(
        found.fused, found.unimodal, found.present, found.index, torch.cat(target).cpu()
    )


def _noting(data: Iterable[Batch], target: list[Tensor]) -> Iterator[Batch]:
    """The same batches, whose targets are appended to the list."""
    for batch in data:
        if isinstance(batch, Batch):
            if batch.target is None:
                raise DataError("Evaluation needs a target for every sample.")
            target.append(batch.target)
        yield batch


@torch.no_grad()
def ask(learner: Balanced, data: Iterable[Batch]) -> Answers:
    """What a model says of all batches, one after another; the device is asked once, at the end.

    Raises:
        DataError: there is no sample, or what should be a batch is none.
    """
    like = next(learner.parameters())
    modalities = learner.model.modalities
    fused, index = [], []
    unimodal: dict[str, list[Tensor]] = {m: [] for m in modalities}
    present: dict[str, list[Tensor]] = {m: [] for m in modalities}
    seen = 0
    for batch in data:
        if not isinstance(batch, Batch):
            raise DataError(
                f"Evaluation is given Batch(inputs, target), here a {type(batch).__name__}."
            )
        index.append(torch.arange(seen, seen + len(batch)) if batch.index is None else batch.index)
        seen += len(batch)
        output = learner.predict(place(batch, like.device, like.dtype))
        fused.append(output.fused)
        for m in modalities:
            unimodal[m].append(output.unimodal[m])
            present[m].append(batch.mask(m))
    if not seen:
        raise DataError("There is no sample to evaluate on.")
    return Answers(
        torch.cat(fused).cpu(),
        {m: torch.cat(parts).cpu() for m, parts in unimodal.items()},
        {m: torch.cat(parts).cpu() for m, parts in present.items()},
        torch.cat(index).cpu(),
    )


def score(predictions: Predictions, task: Task, groups: Tensor | None = None) -> Evaluation:
    """The figures of predictions.

    Args:
        predictions: of N samples of a data set.
        task: what is learned.
        groups: of all samples of the data set, if several are of one.
    """
    classes, target = predictions.fused.shape[1], predictions.target
    pairs = target * classes + predictions.fused.argmax(1)
    of = None if groups is None else groups[predictions.index]
    return Evaluation(
        _score(predictions.fused, target, of, task),
        {
            m: _score(logits[there], target[there], None if of is None else of[there], task)
            for m, logits in predictions.unimodal.items()
            for there in [predictions.present[m]]
        },
        torch.bincount(pairs, minlength=classes**2).reshape(classes, classes),
        None if of is None else len(of.unique()),
    )


def _score(logits: Tensor, target: Tensor, groups: Tensor | None, task: Task) -> Score:
    logits = logits.double()
    right = task.correct(logits, target).double()
    return Score(
        float(right.mean()),
        balanced_accuracy(right, target),
        float(task.loss(logits, target).mean()),
        calibration_error(logits.softmax(1), target),
        len(target),
        effective_samples(right.numpy(), None if groups is None else groups.numpy()),
    )


def balanced_accuracy(right: Tensor, target: Tensor) -> float:
    """Mean over the classes that there are of the fraction of their samples that are right; NaN of no sample.

    Args:
        right: [N], 1 or True where a prediction is right.
        target: [N] class ids.
    """
    counts = torch.bincount(target)
    hits = torch.bincount(target, weights=right.double())
    return float((hits / counts)[counts > 0].mean())


def calibration_error(probabilities: Tensor, target: Tensor, bins: int = 15) -> float:
    """Expected calibration error: Σ_b (n_b / N) |accuracy_b − confidence_b| over equal bins (lower, upper].

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, eq. 3.

    Args:
        probabilities: [N, C].
        target: [N].
        bins: of the confidence, the largest probability.
    """
    if not len(target):
        return float("nan")
    confidence, said = probabilities.double().max(1)
    where = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = (said == target).double() - confidence
    return float(torch.zeros(bins, dtype=gap.dtype).index_add(0, where, gap).abs().sum() / len(gap))


# Linear probes.


@dataclass(frozen=True)
class Features:
    """Evaluation-mode features [n, d] and targets [n] of the samples that have a modality, on the CPU."""

    values: Tensor
    target: Tensor


@torch.no_grad()
def extract(learner: Balanced, data: Iterable[Batch]) -> dict[str, Features]:
    """The features of each modality."""
    like = next(learner.parameters())
    found: dict[str, list[Tensor]] = {m: [] for m in learner.model.modalities}
    target: dict[str, list[Tensor]] = {m: [] for m in learner.model.modalities}
    for batch in data:
        if batch.target is None:
            raise DataError("A linear probe needs a target for every sample.")
        features = learner.predict(place(batch, like.device, like.dtype)).features
        for m, values in features.items():
            mask = batch.mask(m)
            found[m].append(values[mask.to(values.device)].cpu())
            target[m].append(batch.target[mask].cpu())
    return {m: Features(torch.cat(found[m]), torch.cat(target[m])) for m in found}


def probe(
    model: Balanced | Multimodal,
    train: Data,
    test: Data,
    *,
    batch_size: int = 256,
    rows: int = PROBE_ROWS,
    seed: int = 0,
) -> dict[str, float]:
    """For each modality the test accuracy of a linear classifier on its frozen features.

    Logistic regression with C = 1 on standardised evaluation-mode training features, at most `rows` of them, drawn at
    random; only samples that have the modality. NaN where train or test has none.
    """
    found = probed(_learner(model), train, test, batch_size, rows, seed)
    return {m: float(right.mean()) if len(right) else float("nan") for m, right in found.items()}


def probed(
    learner: Balanced,
    train: Data,
    test: Data,
    batch_size: int,
    rows: int = PROBE_ROWS,
    seed: int = 0,
) -> dict[str, NDArray[np.bool_]]:
    """For each modality whether the classifier of `probe` is right of each test sample that has it; of none without train."""
    known = extract(learner, batches(train, batch_size))
    asked = extract(learner, batches(test, batch_size))
    return {m: _probed(known[m], asked[m], rows, seed) for m in known}


def _probed(known: Features, asked: Features, rows: int, seed: int) -> NDArray[np.bool_]:
    if not len(known.target) or not len(asked.target):
        return np.zeros(0, dtype=np.bool_)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(known.target))[:rows])
    features, target = known.values.double().numpy()[chosen], known.target.numpy()[chosen]
    said = np.full(len(asked.target), target[0])
    if len(np.unique(target)) > 1:
        said = classified(features, target, asked.values.double().numpy())
    right: NDArray[np.bool_] = said == asked.target.numpy()
    return right


def classified(
    features: NDArray[np.float64], target: NDArray[np.int64], asked: NDArray[np.float64]
) -> NDArray[np.int64]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    with warnings.catch_warnings():  # nearly converged is good enough for an accuracy
        warnings.simplefilter("ignore", ConvergenceWarning)
        said: NDArray[np.int64] = classifier.fit(features, target).predict(asked)
    return said
