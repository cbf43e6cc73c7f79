"""Classification beside its definitions, and the context in which a model is looked at."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equimodal import Balanced
from equimodal.core import TASKS, Batch, Classification, Method, Output, Task, evaluating
from equimodal.core.expression import build
from equimodal.errors import ConfigError, DataError
from equimodal.methods import BY_NAME, Uniform
from fixtures import small
from fixtures.plain import FIRST, TARGET, batches_of, model_of, step_of, tensor, worked_example

TASK = Classification()


def test_golden_confidences() -> None:
    model, batch = worked_example()
    output = model(batch)
    golden = {
        "one": (0.6926770395049779, 0.7861480416478738),
        "two": (0.33462610536057236, 0.2683154674734019),
    }
    for name, wanted in golden.items():
        found = TASK.confidence(output.unimodal[name], TARGET)
        torch.testing.assert_close(found, tensor(*wanted), atol=1e-12, rtol=0)
        loss = TASK.loss(output.unimodal[name], TARGET)
        torch.testing.assert_close(loss, -tensor(*wanted).log(), atol=1e-12, rtol=0)
    found = TASK.confidence(output.fused, TARGET)
    wanted = tensor(0.6444924635500914, 0.7228907207112739)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_correct_is_the_largest_logit() -> None:
    logits = tensor([3, 1, 2], [0, -1, 5], [1, 7, 0])
    assert TASK.correct(logits, torch.tensor([0, 1, 1])).tolist() == [True, False, True]


def test_bfloat16_logits_are_judged_in_single_precision() -> None:
    logits = 3 * torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    low, target = logits.bfloat16(), torch.arange(64) % 6
    for judge in (TASK.confidence, TASK.loss, TASK.mean_loss):
        found = judge(low, target)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, judge(low.float(), target), atol=0, rtol=0)


def test_the_loss_of_the_task_is_the_mean_of_the_fused_prediction() -> None:
    model, batch = model_of(2), batches_of(2, missing=True)[0]
    output = model(batch)
    losses = TASK.losses(output, step_of(model, batch))
    by_hand = [
        math.log(sum(math.exp(g) for g in row)) - row[int(y)]
        for row, y in zip(output.fused.tolist(), batch.target, strict=True)
    ]
    assert set(losses) == {"task"}
    assert losses["task"].item() == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-12)


@pytest.mark.parametrize("change", [Tensor.int, Tensor.float, lambda target: target[:, None]])
def test_targets_that_are_no_class_ids_are_refused(change: Callable[[Tensor], Tensor]) -> None:
    batch = batches_of(2)[0]
    learner = Balanced(model_of(2), Uniform())
    (step,) = learner.steps(Batch(batch.inputs, change(batch.target)), 0)
    with pytest.raises(DataError, match=r"class ids \[B\] of type int64; here torch\..* of shape"):
        learner.losses(learner(step), step)


WEIGHTS = (1.0, 3.0, 0.5)


@pytest.mark.parametrize("weights", [(), WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weights_and_smoothing_are_those_of_their_definition(
    weights: tuple[float, ...], smoothing: float
) -> None:
    logits = tensor([0.3, -1, 2], [1, 1.5, -0.5], [0, 0.2, 0.1], [-2, 0, 1])
    target = torch.tensor([2, 0, 1, 1])
    task, wanted = Classification(weights, smoothing), []
    for row, y in zip(logits.tolist(), target.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(g) for g in row))
        costs = [log_sum - g for g in row]
        smooth = (1 - smoothing) * costs[y] + smoothing * sum(costs) / 3
        wanted.append((weights or (1.0,) * 3)[y] * smooth)
    torch.testing.assert_close(task.loss(logits, target), tensor(*wanted), atol=1e-12, rtol=0)
    assert task.mean_loss(logits, target).item() == pytest.approx(sum(wanted) / 4, abs=1e-12)
    assert task.mean_loss(logits.bfloat16(), target).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weights": (1, -1, 1)}, "a list of numbers of at least 0"),
        ({"class_weights": (1, math.inf, 1)}, "a list of numbers of at least 0"),
        ({"class_weights": (1, math.nan, 1)}, "a list of numbers of at least 0"),
        ({"class_weights": ("a", "b", "c")}, "a list of numbers of at least 0"),
        ({"class_weights": 5}, "a list of numbers of at least 0"),
        (
            {"class_weights": "even"},
            "a list of numbers of at least 0, one per class, or 'balanced'",
        ),
        (
            {"class_weights": "balanced"},
            r"has not seen the training samples: give \.fitted\(counts\)",
        ),
        ({"label_smoothing": 1.0}, "at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "at least 0 and below 1"),
        ({"class_weights": (1, 1)}, "has 2 class weights, and the model tells 3 classes apart"),
    ],
)
def test_weights_and_smoothing_that_cannot_be_are_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Balanced(model_of(2), task=Classification(**options))


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (Classification(), "classification()"),
        (Classification([1, 3, 0]), "classification(class_weights=(1.0, 3.0, 0.0))"),
        (Classification(label_smoothing=0.1), "classification(label_smoothing=0.1)"),
        (Classification("balanced"), "classification(class_weights='balanced')"),
        (small.Smoothed(0.2), "fixtures.small:Smoothed(smoothing=0.2)"),
    ],
)
def test_a_task_says_what_builds_it(task: Task, text: str) -> None:
    assert task.expression() == text
    again = build(text, TASKS, "task", Task)
    assert type(again) is type(task) and vars(again) == vars(task)


def test_balanced_weights_let_classes_count_alike() -> None:
    counts = (5, 2, 1, 0)
    task = Classification("balanced", 0.1).fitted(counts)
    assert isinstance(task, Classification) and task.label_smoothing == 0.1
    assert task.class_weights == (
        0.4,
        1.0,
        2.0,
        2.0,
    )  # 8/(4 N_c); an absent class as one that is there once
    assert (
        Classification((1, 2, 3)).fitted(counts).expression()
        == Classification((1, 2, 3)).expression()
    )


class Priors(Classification):
    def __init__(self, priors: Tensor = FIRST) -> None:
        self.priors = priors


def test_a_task_with_tensors_says_them() -> None:
    assert Priors(torch.tensor([1, 2])).expression() == f"{__name__}:Priors(priors=tensor([1, 2]))"


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_weights_may_be_an_array(make: Callable[[Any], Any]) -> None:
    assert Classification(make([1.0, 3.0, 0.5])).class_weights == WEIGHTS


class Smoothed(Classification):
    """Only `loss` is overridden."""

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target, reduction="none", label_smoothing=0.2)


@pytest.mark.parametrize("missing", [False, True])
def test_a_loss_of_ones_own_is_what_training_minimises(missing: bool) -> None:
    batch = batches_of(2, missing)[0]
    learner = Balanced(model_of(2), Uniform(), task=Smoothed())
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    losses = learner.losses(output, step)
    there = {m: batch.mask(m) for m in batch.modalities}
    smooth = functools.partial(F.cross_entropy, label_smoothing=0.2)
    torch.testing.assert_close(losses["task"], smooth(output.fused, batch.target))
    for m, logits in output.unimodal.items():
        wanted = smooth(logits[there[m]], batch.target[there[m]])
        torch.testing.assert_close(losses[f"uniform/{m}"], wanted)


class Labels(Task):
    """Several labels for each sample, [B, C] of zeros and ones."""

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(prediction, target, reduction="none").mean(1)

    def confidence(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (1 - (prediction.sigmoid() - target).abs()).mean(1)

    def correct(self, prediction: Tensor, target: Tensor) -> Tensor:
        return ((prediction > 0) == target.bool()).all(1)


def test_targets_may_have_an_entry_for_each_class() -> None:
    batch, task = batches_of(2)[0], Labels()
    target = F.one_hot(batch.target, 3).double()
    learner = Balanced(model_of(2), task=task)
    (step,) = learner.steps(Batch(batch.inputs, target), 0)
    output = learner(step)
    found = step.verdicts(output)
    for i, logits in enumerate(output.unimodal.values()):
        assert torch.equal(found.confidence[i], task.confidence(logits, target))
        assert torch.equal(found.correct[i], task.correct(logits, target))


@pytest.mark.parametrize(
    "method",
    ["pmr()", "pmr(accumulate=True)", "recorder(every=1)", "infobridge()", "relearn(every=1)"],
)
def test_methods_that_need_classes_say_so(method: str) -> None:
    batch = batches_of(2)[0]
    batch = Batch(batch.inputs, F.one_hot(batch.target, 3).double(), batch.index)
    made = build(method, BY_NAME, "method", Method)
    learner = Balanced(model_of(2), made, samples=6, epochs=4, task=Labels())
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)

    def train() -> None:
        for epoch in range(4):
            learner.begin_epoch(epoch, [batch], [batch], optimizer)
            (step,) = learner.steps(batch, epoch)
            output = learner(step)
            learner.backward(learner.losses(output, step), output, step)

    with pytest.raises(DataError, match=r"^[a-z]+\(.*\) needs targets that are class ids"):
        train()


class Averaged(Classification):
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target)


def test_a_loss_that_is_averaged_already_is_refused_where_it_would_be_wrong() -> None:
    batch = batches_of(2, missing=True)[0]
    learner = Balanced(model_of(2), Uniform(), task=Averaged())
    (step,) = learner.steps(batch, 0)
    with pytest.raises(ConfigError, match=r"one value for each sample.*reduction='none'"):
        learner.losses(learner(step), step)


def test_outputs_are_joined_and_detached() -> None:
    model, batch = model_of(2), batches_of(2)[0]
    whole = model(batch)
    parts = [model(batch.select([0, 1])), model(batch.select([2, 3, 4, 5]))]
    joined = Output.concatenate(parts)
    for found, wanted in (
        (joined.fused, whole.fused),
        *((joined.features[m], whole.features[m]) for m in batch.modalities),
        *((joined.unimodal[m], whole.unimodal[m]) for m in batch.modalities),
    ):
        torch.testing.assert_close(found, wanted, atol=1e-14, rtol=0)
    assert Output.concatenate([whole]) is whole
    detached = whole.detach()
    assert whole.fused.requires_grad and not detached.fused.requires_grad
    assert not any(
        z.requires_grad for z in (*detached.features.values(), *detached.unimodal.values())
    )
    assert detached.modalities == batch.modalities


def test_evaluating_puts_every_part_back() -> None:
    """Also after an error, and a part that its owner keeps in evaluation mode."""
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2), nn.Linear(2, 2)).double()
    module[1].eval()
    modes = [part.training for part in module.modules()]
    with evaluating(module):
        assert not any(part.training for part in module.modules())
        assert module(FIRST).requires_grad
    assert [part.training for part in module.modules()] == modes
    with pytest.raises(ZeroDivisionError), evaluating(module):
        1 / 0  # noqa: B018
    assert [part.training for part in module.modules()] == modes


def test_an_unlabelled_batch_has_no_loss() -> None:
    model = model_of(1)
    batch = Batch(batches_of(1)[0].inputs)
    with pytest.raises(DataError, match="needs a target for every sample"):
        TASK.losses(model(batch), step_of(model, batch))
