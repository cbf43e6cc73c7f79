"""Evaluation against scikit-learn and against slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import Tensor

from equimodal.core import Balanced, Batch, Method, Output, Step
from equimodal.errors import DataError
from equimodal.training.evaluate import (
    balanced_accuracy,
    calibration_error,
    collect,
    evaluate,
    probe,
)
from fixtures import small


def slow_calibration(probabilities: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for b in range(15):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, target, strict=True)
            if b / 15 < row.max() <= (b + 1) / 15
        ]
        if inside:
            confidence, right = np.mean(np.array(inside, dtype=float), axis=0)
            total += len(inside) / len(target) * abs(confidence - right)
    return total


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_figures(modalities: int, missing: float) -> None:
    data, model = small.splits(modalities, missing).test, small.model(modalities).double().eval()
    found = evaluate(model, data, batch_size=7)
    batch = data.fetch(range(len(data)))
    output = model(batch)
    checked = {"": (output.fused, torch.ones(len(data), dtype=torch.bool))} | {
        m: (output.unimodal[m], batch.mask(m)) for m in model.modalities
    }
    for name, (logits, here) in checked.items():
        score = found.decoupled[name] if name else found.fused
        p = logits.softmax(1).detach().numpy()[here]
        truth = batch.target.numpy()[here]
        assert score.accuracy == accuracy_score(truth, p.argmax(1))
        assert score.cross_entropy == pytest.approx(log_loss(truth, p, labels=range(3)), abs=1e-12)
        assert score.calibration_error == pytest.approx(slow_calibration(p, truth), abs=1e-12)
        assert score.samples == here.sum()
        balanced = np.mean([(p[truth == c].argmax(1) == c).mean() for c in set(truth.tolist())])
        assert score.balanced_accuracy == pytest.approx(balanced, abs=1e-12)
    truth, said = batch.target.numpy(), output.fused.argmax(1).numpy()
    assert found.confusion.tolist() == confusion_matrix(truth, said).tolist()


def test_balanced_accuracy_is_over_the_classes_that_there_are() -> None:
    right, target = torch.tensor([True, False, True]), torch.tensor([0, 0, 2])
    assert balanced_accuracy(right, target) == (1 / 2 + 1) / 2


def test_calibration_by_hand() -> None:
    p = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.0, 1.0]])
    # 0.8 with one of two right, 0.6 wrong, 1.0 right: (2·|0.5-0.8| + 0.6 + 0) / 4
    assert calibration_error(p, torch.tensor([0, 1, 0, 1])) == pytest.approx(0.3, abs=1e-7)


def test_batches_do_not_matter_and_the_mode_is_kept() -> None:
    data, model = small.splits(missing=0.3).test, small.model(dropout=0.5, norm=True)
    model.train()
    whole, parts = evaluate(model, data, 24), evaluate(model, data, 5)
    assert whole.fused.accuracy == parts.fused.accuracy
    assert whole.fused.cross_entropy == pytest.approx(parts.fused.cross_entropy, abs=1e-6)
    assert model.training


def test_a_method_may_change_the_prediction() -> None:
    class Negated(Method):
        def outputs(self, output: Output, step: Step) -> Output:
            return Output(output.features, output.unimodal, -output.fused)

    data, model = small.splits().test, small.model()
    plain, negated = (
        collect(Balanced(model), [data.fetch(range(24))]),
        evaluate(Balanced(model, Negated()), data),
    )
    assert negated.fused.accuracy == accuracy_score(plain.target, plain.fused.argmin(1))


def test_a_modality_that_nobody_has() -> None:
    batch = small.splits().test.fetch(range(24))
    alone = Batch(batch.inputs, batch.target, None, {"b": torch.zeros(24, dtype=torch.bool)})
    found = evaluate(small.model(), [alone])
    assert math.isnan(found.decoupled["b"].accuracy)
    assert found.figures()["modalities"]["b"]["decoupled"] is None
    assert found.decoupled["a"].samples == 24


def test_no_sample_and_no_target_are_refused() -> None:
    batch = small.splits().test.fetch(range(24))
    with pytest.raises(DataError, match="no sample"):
        evaluate(small.model(), [])
    with pytest.raises(DataError, match="is given Batch.*here a tuple"):
        evaluate(small.model(), [(batch.inputs, batch.target)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="needs a target"):
        evaluate(small.model(), [Batch(batch.inputs)])


def features(model: torch.nn.Module, data: object, m: str) -> tuple[np.ndarray, np.ndarray]:
    batch = data.fetch(range(len(data)))
    here = batch.mask(m)
    with torch.no_grad():
        z: Tensor = model.encoders[m](batch.inputs[m])
    return z.numpy()[here], batch.target.numpy()[here]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_probe(missing: float) -> None:
    data, model = small.splits(2, missing), small.model(dropout=0.5).double().eval()
    found = probe(model.train(), data.train, data.test, batch_size=7)
    model.eval()
    for m in model.modalities:
        x, y = features(model, data.train, m)
        mean, scale = x.mean(0), np.where(x.std(0) > 0, x.std(0), 1)
        direct = LogisticRegression(C=1.0, max_iter=1000).fit((x - mean) / scale, y)
        x_test, y_test = features(model, data.test, m)
        assert found[m] == direct.score((x_test - mean) / scale, y_test)


def test_probe_reads_at_most_so_many_rows() -> None:
    data, model = small.splits(train=400), small.model()
    few = [probe(model, data.train, data.test, rows=4, seed=s)["a"] for s in range(8)]
    assert len(set(few)) > 1  # other rows, other probe
    assert probe(model, data.train, data.test, rows=400) == probe(model, data.train, data.test)


def test_probe_of_one_class_says_that_class() -> None:
    data = small.splits()
    only = data.train.subset((data.train.targets == 1).nonzero().squeeze(1))
    assert probe(small.model(), only, data.test) == {"a": 1 / 3, "b": 1 / 3}
