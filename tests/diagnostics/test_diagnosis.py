"""Diagnoses of models whose truth is known by construction: hand-made logits, plain functions, small trained models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equimodal
from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.cli import main
from equimodal.core.expression import build
from equimodal.data import Arrays, load
from equimodal.diagnostics import Absence, Bootstrap, Diagnosis, Interval, Potential
from equimodal.diagnostics.form import tables
from equimodal.diagnostics.information import decompose, decomposition
from equimodal.diagnostics.run import read_diagnosis
from equimodal.diagnostics.verdict import case, reach, verdict
from equimodal.errors import ConfigError, DataError
from equimodal.methods import BY_NAME
from equimodal.training.run import train
from equimodal.training.settings import Settings


class Shown(nn.Module):
    """Its features are its input, larger or smaller, so that a model of it has known logits."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, values: Tensor) -> Tensor:
        return self.gain * values


def model(*gains: float) -> Multimodal:
    """The sum of its inputs [B, 3], each times a gain, as logits."""
    names = [f"m{i + 1}" for i in range(len(gains))]
    head = heads.Sum(dict.fromkeys(names, 3), classes=3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.eye(3) if parameter.ndim == 2 else torch.zeros(3))
    return Multimodal({n: Shown(g) for n, g in zip(names, gains, strict=True)}, head)


def sample(rates: tuple[float, ...], count: int, seed: int) -> Batch:
    """Inputs that are noise, or with probability `rate` show the label."""
    rng = np.random.default_rng(seed)
    target = rng.integers(3, size=count)
    inputs = {}
    for i, rate in enumerate(rates):
        values = rng.normal(size=(count, 3))
        values[np.arange(count), target] += 4.0 * (rng.random(count) < rate)
        inputs[f"m{i + 1}"] = torch.tensor(values, dtype=torch.float32)
    return Batch(inputs, torch.tensor(target))


def about(found: Diagnosis) -> str:
    return " ".join(sentence.text for sentence in found.verdict)


def test_figures_are_those_of_the_coalitions() -> None:
    batch = sample((0.8, 0.4), 400, 0)
    found = equimodal.diagnose(
        model(1.0, 1.0), [batch.select(slice(0, 150)), batch.select(slice(150, 400))]
    )
    first, second = (batch.inputs[m].double() for m in ("m1", "m2"))
    right = [
        (logits.argmax(1) == batch.target).double().mean().item()
        for logits in (first, second, first + second)
    ]
    said = {s.modalities: s.accuracy.value for s in found.subsets}
    assert said == pytest.approx(
        {(): 1 / 3, ("m1",): right[0], ("m2",): right[1], ("m1", "m2"): right[2]}
    )
    one = ((right[0] - 1 / 3) + (right[2] - right[1])) / 2
    assert found.use["m1"].shapley_accuracy.value == pytest.approx(one)
    assert found.use["m1"].leave_one_out.value == pytest.approx(right[2] - right[1])
    alone, other, both = (
        logits.log_softmax(1).gather(1, batch.target[:, None]).squeeze(1).numpy()
        for logits in (first, second, first + second)
    )
    frequent = np.log(np.bincount(batch.target)[batch.target] / 400)  # what is known with nobody
    each = (alone - frequent + both - other) / 2  # of every sample, over the two orders
    spread, its = found.use["m1"].by_sample, found.use["m2"].by_sample
    assert spread.quantiles == pytest.approx(np.quantile(each, (0.05, 0.25, 0.5, 0.75, 0.95)))
    rarest = -np.log(np.bincount(batch.target).min() / 400)
    assert (spread.low, spread.high) == pytest.approx((-2 * rarest, 2 * rarest))
    assert its.quantiles[2] == pytest.approx(np.median(both - frequent - each))
    assert spread.below == (each < 0).mean() > 0 and sum(spread.counts) == 400
    assert found.use["m1"].shapley_log_likelihood.value == pytest.approx(each.mean())
    assert found.interactions[0].accuracy.value == pytest.approx(
        right[2] - right[0] - right[1] + 1 / 3
    )
    entropy = torch.bincount(batch.target).double() / 400
    bound = -(entropy * entropy.log()).sum() - nn.functional.cross_entropy(first, batch.target)
    assert found.information.modalities["m1"].value == pytest.approx(bound.item(), abs=1e-6)


@pytest.mark.parametrize("count", [250, 1500])
@pytest.mark.parametrize("alone", [False, True])
def test_pure_noise_is_uninformative_and_cannot_be_balanced(count: int, alone: bool) -> None:
    only = Multimodal({"m2": Shown(1.0)}, heads.Linear({"m2": 3}, 3))
    found = equimodal.diagnose(
        model(1.0, 1.0),
        [sample((0.8, 0.0), count, 1)],
        train=[sample((0.8, 0.0), 1500, 2)],
        alone={"m2": only} if alone else None,
    )
    assert "'m2' is uninformative as far as can be seen" in about(found)
    assert "lazy" not in about(found) and "Balancing can help" not in about(found)
    assert count < 1000 or "Balancing cannot help" in about(found)
    held, reached = found.potential["m2"], found.verdict[0].evidence["reach"]
    known = [f for f in (held.probe, held.alone_probe, held.alone) if f is not None]
    assert len(known) == (3 if alone else 1) and reached == max(known, key=lambda f: f.value)


def test_noise_of_a_rare_class_is_not_better_than_guessing_the_frequent_one() -> None:
    """A probe of noise is right in 80% of such samples, far above one in three."""

    def skewed(count: int, seed: int) -> Batch:
        batch = sample((0.9, 0.0), 6 * count, seed)
        frequent = torch.flatten((batch.target == 0).nonzero())[: 8 * count // 10]
        rest = torch.flatten((batch.target > 0).nonzero())[: count - len(frequent)]
        return batch.select(torch.cat([frequent, rest]).tolist())

    found = equimodal.diagnose(model(1.0, 1.0), [skewed(1000, 1)], train=[skewed(1000, 2)])
    assert found.potential["m2"].probe.value > 0.75
    assert "'m2' is uninformative" in about(found)


def test_what_is_worth_something_only_beside_another_is_not_called_uninformative() -> None:
    """Two signs whose product is the class: by itself each says nothing."""

    class Product(nn.Module):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return torch.stack([-inputs["a"] * inputs["b"], inputs["a"] * inputs["b"]], 1)

    signs = 2.0 * torch.randint(2, (400, 2), generator=torch.Generator().manual_seed(0)) - 1
    pairs = [({"a": signs[:, 0], "b": signs[:, 1]}, (signs.prod(1) > 0).long())]
    found = equimodal.diagnose(Product(), pairs)
    low = Interval(0.5, 0.45, 0.55)
    probed = replace(found, potential={m: Potential(probe=low, adds=low) for m in "ab"})
    none = replace(found.use["a"], leave_one_out=Interval(0.0, -0.05, 0.05))
    assert reach(probed, "a") is None
    of = {m: Potential(probe=low, adds=_between(-0.01, 0.01)) for m in "ab"}
    assert reach(replace(found, potential=of), "a") is None  # without it accuracy falls
    assert reach(replace(found, potential=of, use={"a": none}), "a") is not None


def test_without_a_figure_of_what_it_holds_a_modality_is_only_the_weaker_one() -> None:
    found = equimodal.diagnose(model(1.0, 1.0), [sample((0.8, 0.0), 900, 1)])
    assert "'m2' is the weaker one" in about(found) and "is open" in about(found)
    assert "lazy" not in about(found) and "uninformative" not in about(found)


def test_a_lazy_modality_is_named_and_can_be_helped() -> None:
    # It shows the label, but upside down to the head, and hardly heard.
    found = equimodal.diagnose(
        model(1.0, -0.005), [sample((0.6, 0.6), 1500, 3)], train=[sample((0.6, 0.6), 1500, 4)]
    )
    assert "'m2' is lazy" in about(found) and "Balancing can help" in about(found)
    assert "The features of 'm2' hold more than its prediction uses" in about(found)
    assert found.verdict[0].evidence["behind"].positive


def test_what_is_advised_without_an_index_needs_none() -> None:
    batch = sample((0.6, 0.6), 1500, 3)
    lazy = Balanced(model(1.0, -0.005))
    found = equimodal.diagnose(lazy, [batch], train=[sample((0.6, 0.6), 1500, 4)])
    (advised,) = re.findall(r'no sample index, "(.*?)"\)', about(found))
    learner = Balanced(model(1.0, 1.0), build(advised, BY_NAME, "method"))
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)


@pytest.fixture(scope="module")
def lazy() -> Diagnosis:
    """Of a model whose second modality is hardly heard, trained with who knows what."""
    return equimodal.diagnose(
        model(1.0, -0.005), [sample((0.6, 0.6), 600, 3)], train=[sample((0.6, 0.6), 600, 4)]
    )


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("joint()", {"ibml()", "bio(scores='current')", "uniform()"}),
        ("ogm_ge(alpha=0.3) + recorder()", {"ibml()", "bio(scores='current')", "uniform()"}),
        ("uniform(weight=0.5)", {"ibml()", "bio(scores='current')"}),
        ("ibml()", {"uniform()"}),
        ("bio().during(1, 90) + warmup()", {"uniform()"}),
        ("bio() + uniform()", set()),
        ("", set()),
    ],
)
def test_no_method_is_advised_that_the_model_was_trained_with(
    lazy: Diagnosis, method: str, named: set[str]
) -> None:
    said = [s.text for s in verdict(replace(lazy, method=method)) if "Balancing can help" in s.text]
    assert len(said) == 1
    advised = re.split("[Tt]ry ", said[0])[1:]
    assert {name for text in advised for name in re.findall(r"\w+\(.*?\)", text)} == named


def test_the_method_of_a_learner_is_known() -> None:
    data = [sample((0.6, 0.6), 60, 3)]
    learner = Balanced(model(1.0, 1.0), build("ibml()", BY_NAME, "method"), samples=60, epochs=9)
    assert equimodal.diagnose(learner, data).method == "ibml()"
    assert equimodal.diagnose(model(1.0, 1.0), data).method == ""


def test_no_method_is_advised_where_more_training_may_be_missing(lazy: Diagnosis) -> None:
    found = replace(lazy, method="joint()", trained=_between(0.3, 0.4))
    assert "right on 35.0% of its own training samples only, fewer than a linear" in about_of(found)
    assert "Try" not in about_of(found) and "Balancing may help" in about_of(found)
    best = {m: replace(held, alone=_between(0.9, 0.95)) for m, held in lazy.potential.items()}
    found = replace(lazy, method="joint()", potential=best)
    assert "each modality trained alone is above the whole model" in about_of(found)
    best["m2"] = replace(best["m2"], alone=None)
    assert "Try 'ibml()'" in about_of(replace(found, potential=best))


def about_of(found: Diagnosis) -> str:
    return about(replace(found, verdict=verdict(found)))


def test_of_a_model_that_always_names_one_class_no_modality_is_the_weaker_one() -> None:
    """Its bias answers, also for samples that have one modality of three."""
    label = (torch.arange(400) % 10 == 0).long()
    learner = Multimodal(
        {m: nn.Linear(4, 8) for m in "abc"}, heads.Linear(dict.fromkeys("abc", 8), classes=2)
    )
    with torch.no_grad():
        for name, parameter in learner.head.named_parameters():
            bias = torch.tensor([3.0, -3.0])
            parameter.copy_(bias if "bias" in name else 0 * parameter)
    drawn = torch.Generator().manual_seed(0)
    inputs = {m: torch.randn(400, 4, generator=drawn) for m in "abc"}
    there = {m: torch.rand(400, generator=drawn) < 0.6 for m in "bc"}
    batch = Batch(inputs, label, torch.arange(400), there)
    for known in (None, [batch]):
        found = equimodal.diagnose(learner, [batch], train=known)
        (said,) = found.verdict
        assert "not shown to do better than always naming the most frequent class" in said.text
        for m in "abc":
            assert abs(found.use[m].shapley_accuracy.value) < 1e-12
            assert all(abs(share.value) < 1e-12 for share in found.use[m].by_class.values())
        assert found.balanced.value == 0.5


def test_a_good_model_of_rare_classes_is_not_called_no_better_than_guessing() -> None:
    """It names rare classes readily, so that it is right less often than the most frequent class is there."""
    batch = sample((1.0, 1.0), 20_000, 5)
    frequent = torch.flatten((batch.target == 0).nonzero())[:1000]
    rare = torch.flatten((batch.target > 0).nonzero())[:100]
    batch = batch.select(torch.cat([frequent, rare]).tolist())
    batch.inputs["m1"][:, 1:] += 5.0
    found = equimodal.diagnose(model(0.5, 0.5), [batch])
    said = (0.5 * (batch.inputs["m1"] + batch.inputs["m2"])).argmax(1)
    recalls = [(said[batch.target == c] == c).double().mean().item() for c in range(3)]
    assert found.accuracy.value < found.chance and found.balanced.value > 0.8
    assert found.balanced.value == pytest.approx(np.mean(recalls))
    (sentence,) = found.verdict
    assert "tells the classes apart" in sentence.text and "guessing has 33.3%" in sentence.text
    assert sentence.evidence["balanced"] == found.balanced
    assert (
        f"Balanced accuracy, the mean over the classes: {100 * np.mean(recalls):.1f} ±"
        in found.text()
    )


def test_a_weaker_modality_that_gives_all_it_has_is_not_called_lazy() -> None:
    found = equimodal.diagnose(
        model(1.0, 1.0), [sample((0.9, 0.4), 1500, 11)], train=[sample((0.9, 0.4), 1500, 12)]
    )
    assert "'m2' is the weaker one" in about(found) and "weaker, not neglected" in about(found)
    assert "lazy" not in about(found)


def test_modalities_that_are_left_behind_alike_are_not_called_balanced() -> None:
    # Both show the label; of the third class the head hardly hears.
    deaf = Balanced(model(1.0, 1.0))
    with torch.no_grad():
        for parameter in deaf.model.head.parameters():
            if parameter.ndim == 2:
                parameter[2] *= 0.2
    found = equimodal.diagnose(
        deaf, [sample((0.8, 0.8), 1500, 9)], train=[sample((0.8, 0.8), 1500, 10)]
    )
    assert "is lazy" not in about(found) and "no imbalance to repair" not in about(found)
    for m in ("m1", "m2"):
        assert f"The features of {m!r} hold more than its prediction uses" in about(found)
    assert about(found).count("Balancing can help") == 2


def test_features_that_hold_more_than_a_model_no_better_than_guessing_gives() -> None:
    # Both show the label, upside down to the head.
    found = equimodal.diagnose(
        model(-1.0, -1.0), [sample((0.6, 0.6), 1500, 9)], train=[sample((0.6, 0.6), 1500, 10)]
    )
    assert about(found).startswith("The model is not shown to do better than always naming")
    for m in ("m1", "m2"):
        assert f"The features of {m!r} hold more than its prediction uses" in about(found)
    assert "train it longer first" in about(found) and "lazy" not in about(found)


def test_balanced_modalities_are_left_alone() -> None:
    found = equimodal.diagnose(model(1.0, 1.0), [sample((0.6, 0.6), 600, 5)])
    assert "there is no imbalance to repair" in about(found)


def test_under_training_is_the_gap_to_the_encoder_trained_alone() -> None:
    test, known = sample((0.7, 0.7), 900, 6), sample((0.7, 0.7), 900, 7)
    lost = model(1.0, 0.0)  # the second encoder says nothing at all
    alone = model(1.0, 1.0)
    only = Multimodal({"m2": alone.encoders["m2"]}, heads.Linear({"m2": 3}, 3))
    found = equimodal.diagnose(lost, [test], train=[known], alone={"m2": only})
    held = found.potential["m2"]
    headers, rows = tables(found)[0]
    cells = dict(zip(headers, rows[2], strict=True))  # of m2
    shown = {
        "trained\nalone": held.alone,
        "probe,\ntrained alone": held.alone_probe,
        "probe": held.probe,
    }
    for name, figure in shown.items():
        assert cells[name].startswith(f"{100 * figure.value:.1f} ±")
    lost = -100 * found.use["m2"].leave_one_out.value
    assert cells["change\nwithout it"].startswith(f"{lost:.1f} ±")
    assert held.gap.positive and held.gap.value == pytest.approx(
        held.alone_probe.value - held.probe.value
    )
    assert "The encoder of 'm2' is under-trained" in about(found) and "Balancing can help" in about(
        found
    )


@pytest.mark.parametrize("absence", ["missing", "zero", "mean", "permute"])
def test_every_kind_of_absence(absence: str) -> None:
    batch = sample((0.8, 0.4), 300, 8)
    found = equimodal.diagnose(model(1.0, 1.0), [batch], absence=absence)
    said = {s.modalities: s.accuracy.value for s in found.subsets}
    first, second = batch.inputs["m1"], batch.inputs["m2"]
    shown = {"missing": 0 * second, "zero": 0 * second, "mean": second.mean(0)}
    if absence in shown:
        expected = ((first + shown[absence]).argmax(1) == batch.target).float().mean().item()
        assert said["m1",] == pytest.approx(expected)
    else:
        assert said["m1",] < said["m1", "m2"]
    assert found.absence == absence


@pytest.mark.parametrize("size", [1, 7, 60])
def test_a_permuted_input_is_that_of_any_other_sample_whatever_the_batches(size: int) -> None:
    """Also of batches of one sample, and of data that are sorted by class."""
    batch = sample((3.0, 0.0), 60, 5)
    batch = batch.select(batch.target.argsort().tolist())
    parts = [batch.select(range(i, min(i + size, 60))) for i in range(0, 60, size)]
    whole = equimodal.diagnose(model(1.0, 1.0), [batch], absence="permute")
    found = equimodal.diagnose(model(1.0, 1.0), parts, absence="permute")
    assert found.use["m1"].shapley_accuracy.value > 0.3
    for m in ("m1", "m2"):
        assert found.use[m].shapley_accuracy.value == pytest.approx(
            whole.use[m].shapley_accuracy.value
        )
    pairs = [({m: v.numpy() for m, v in b.inputs.items()}, b.target.numpy()) for b in parts]
    plain = equimodal.diagnose(lambda x: x["m1"] + x["m2"], pairs, ("m1", "m2"))
    assert plain.use["m1"].shapley_accuracy.value > 0.3
    robust = plain.robustness
    assert robust is not None and found.robustness is not None


@pytest.mark.parametrize("absence", ["missing", "permute"])
def test_each_sample_is_encoded_once(absence: Absence) -> None:
    learner, seen = model(1.0, 1.0), [0]

    def count(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[0] += len(inputs[0])

    learner.encoders["m2"].register_forward_pre_hook(count)
    batch = sample((0.8, 0.4), 60, 3)
    parts = [batch.select(range(i, i + 20)) for i in range(0, 60, 20)]
    equimodal.diagnose(learner, parts, absence=absence, shaken=0)
    assert seen == [60]


def test_loaders_that_shuffle_are_read_once() -> None:
    everything = sample((0.8, 0.4), 200, 3)
    data = Arrays(everything.inputs, everything.target, "abc")
    learner = model(1.0, 0.2)

    class Shuffled:
        """In another order each time, as a DataLoader with shuffle=True."""

        def __init__(self) -> None:
            self.rng = np.random.default_rng(0)

        def __iter__(self) -> Iterator[Batch]:
            order = self.rng.permutation(200)
            return iter([data.fetch(order[:100]), data.fetch(order[100:])])

    alone = {"m1": model(1.0)}
    still = equimodal.diagnose(learner, data, train=data, alone=alone)
    moved = equimodal.diagnose(learner, Shuffled(), train=Shuffled(), alone=alone)
    here, there = (d.potential["m1"].alone_probe for d in (still, moved))
    assert here is not None and there is not None
    assert here.value == pytest.approx(there.value, abs=0.05)
    assert still.robustness is not None and moved.robustness is not None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ([0, 3], "whole numbers from 0 to 2, .* 0 to 3"),
        ([-1, 0], "whole numbers from 0 to 2, .* -1 to 0"),
        ([[0], [1]], r"shape \(2, 1\)"),
        ([0.5, 1.0], "float64"),
        (["a", "b"], "here they are no numbers"),
    ],
)
def test_targets_that_are_no_classes(target: list[object], said: str) -> None:
    pairs = [({"a": np.eye(3)[:2]}, np.array(target))]
    with pytest.raises(DataError, match=said):
        equimodal.diagnose(lambda x: x["a"], pairs)


@pytest.mark.parametrize(
    ("adds", "unused", "wanted"),
    [
        ((-0.073, 0.223), (-0.05, 0.2), "open"),  # of few samples: nothing is known
        ((-0.073, 0.223), (-0.01, 0.015), "cannot"),  # it gives all that it holds
        ((-0.01, 0.015), (-0.05, 0.2), "cannot"),  # there is nothing to gain
        ((0.05, 0.1), (-0.05, 0.2), "used"),
        ((0.05, 0.1), (0.01, 0.2), "helps"),
    ],
)
def test_what_is_not_known_is_no_evidence(
    adds: tuple[float, float], unused: tuple[float, float], wanted: str
) -> None:
    data = sample((0.8, 0.4), 60, 3)
    found = equimodal.diagnose(model(1.0, 0.2), [data], train=[data])
    held = replace(
        found.potential["m2"],
        adds=_between(*adds),
        unused=_between(*unused),
        alone_adds=None,
        gap=None,
    )
    assert case(replace(found, potential={**found.potential, "m2": held}), "m2") == wanted


def _between(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high)


@pytest.mark.parametrize("made", [list, np.array])
def test_texts_are_exchanged_and_have_no_zero(made: Callable[[list[str]], object]) -> None:
    target = np.arange(60) % 3
    texts, other = made([f"{'abc'[i]} word" for i in target]), np.zeros((60, 3))
    pairs = [({"text": texts, "other": other}, target)]

    def reads(inputs: dict[str, Any]) -> object:
        return np.eye(3)[["abc".index(text[0]) for text in inputs["text"]]] + inputs["other"]

    found = equimodal.diagnose(reads, pairs)
    assert found.use["text"].shapley_accuracy.value > 0.4
    assert found.use["other"].shapley_accuracy.value == 0
    for absence, said in (("zero", "is text, of which there is no zero"), ("mean", "has no mean")):
        with pytest.raises(ConfigError, match=said):
            equimodal.diagnose(reads, pairs, absence=absence)


def test_few_samples_and_no_skill_are_no_verdict() -> None:
    few = equimodal.diagnose(model(1.0, 1.0), [sample((0.8, 0.4), 20, 8)])
    assert [s.text for s in few.verdict] == [
        "20 test samples are too few for a verdict: give at least 30."
    ]
    whole = sample((0.8, 0.4), 200, 8)
    alike = whole.select(whole.target.eq(1).nonzero().squeeze(1).tolist())
    one_class = equimodal.diagnose(model(1.0, 1.0), [alike])
    assert about(one_class).startswith("All test samples are of one class, so that no verdict")
    blind = equimodal.diagnose(model(1.0, 1.0), [sample((0.0, 0.0), 200, 8)])
    assert "not shown to do better than always naming the most frequent class" in about(blind)


def test_samples_of_one_group_are_drawn_together() -> None:
    """What is said of every sample twice is known no better than once."""
    batch = sample((0.8, 0.4), 200, 9)
    twice = np.repeat(np.arange(200), 2)

    inputs, target = {m: v[twice] for m, v in batch.inputs.items()}, batch.target[twice]
    data = Arrays(inputs, target, "abc", groups=twice)
    learner = model(1.0, 1.0)
    once = equimodal.diagnose(learner, Arrays(batch.inputs, batch.target, "abc"))
    alone = equimodal.diagnose(learner, Arrays(inputs, target, "abc"))
    found = equimodal.diagnose(learner, data)
    assert found.groups == 200 and "400 samples of 200 groups;" in found.text()
    assert once.groups is None and "200 samples;" in once.text()

    def widths(of: Diagnosis) -> Any:
        known = [of.accuracy, of.balanced, of.use["m1"].shapley_accuracy, of.use["m1"].decoupled]
        known += [of.differences["m1 - m2"], of.information.fused]
        known += [of.geometry.pairs[0].alignment, of.geometry.pairs[0].cka]
        known += [of.geometry.clouds["m1"].between]
        known += [of.robustness.missing_any.accuracy[5], of.robustness.wrong["m1"].accuracy[0]]
        return np.array([figure.high - figure.low for figure in known])

    assert widths(found) == pytest.approx(widths(once), rel=0.1)
    assert (widths(alone) < 0.8 * widths(once)).all()
    few = equimodal.diagnose(learner, Arrays(inputs, target, "abc").subset(range(50)))
    assert not about(few).startswith("25 test")
    assert about_of(replace(few, groups=25)).startswith("25 test groups are too few")


def test_a_plain_function_is_as_the_model_that_it_wraps() -> None:
    batch = sample((0.8, 0.4), 300, 9)
    ours = equimodal.diagnose(model(1.0, 1.0), [batch], absence="zero")
    pairs = [({m: v.numpy() for m, v in batch.inputs.items()}, batch.target.numpy())]
    theirs = equimodal.diagnose(lambda x: x["m1"] + x["m2"], pairs, ("m1", "m2"), absence="zero")
    assert theirs.use["m1"].shapley_accuracy == ours.use["m1"].shapley_accuracy
    assert theirs.information is None and theirs.potential["m1"].probe is None
    # Inputs that belong to one modality go together; another input stays.
    more = [({**x, "scale": np.ones(300)}, y) for x, y in pairs]
    grouped = equimodal.diagnose(
        lambda x: x["m1"] * x["scale"][:, None] + x["m2"], more, {"a": ["m1", "m2"]}, absence="zero"
    )
    assert grouped.use["a"].shapley_accuracy.value == pytest.approx(ours.accuracy.value - 1 / 3)


def test_refusals_are_sentences() -> None:
    pairs = [({"a": np.ones((2, 2))}, np.zeros(2, dtype=int))]
    with pytest.raises(ConfigError, match="lack; they have 'a'"):
        equimodal.diagnose(lambda x: x["a"], pairs, ("b",))
    with pytest.raises(DataError, match=r"gave \[4\]"):
        equimodal.diagnose(lambda x: x["a"].ravel(), pairs)
    with pytest.raises(ConfigError, match="choose absence='zero'"):
        equimodal.diagnose(lambda x: x["a"], pairs, absence="missing")
    with pytest.raises(ConfigError, match="no absence 'nul'; known are mean, missing, permute"):
        equimodal.diagnose(lambda x: x["a"], pairs, absence="nul")  # type: ignore[arg-type]
    for answer, kind in (({"logits": 1}, "dict"), (([1.0], [2.0, 3.0]), "tuple")):
        with pytest.raises(DataError, match=rf"here with a {kind}: give a function"):
            equimodal.diagnose(lambda x, answer=answer: answer, pairs)
    with pytest.raises(ConfigError, match="The input 'count' is a int and no array"):
        equimodal.diagnose(lambda x: x["a"], [({**pairs[0][0], "count": 3}, pairs[0][1])])
    with pytest.raises(DataError, match="no sample"):
        equimodal.diagnose(model(1.0), [])
    with pytest.raises(DataError, match="diagnosed on Batch.*here on a tuple"):
        equimodal.diagnose(model(1.0), pairs)
    one = sample((1.0,), 4, seed=0)
    with pytest.raises(DataError, match=r"no input 'm2', but 'm1'.*present=\{'m2': torch.zeros\(4"):
        equimodal.diagnose(model(1.0, 1.0), [one])
    with pytest.raises(DataError, match="a target for every sample"):
        equimodal.diagnose(model(1.0), [Batch(one.inputs)])
    with pytest.raises(DataError, match="This is not a diagnosis"):
        Diagnosis.from_dict({"modalities": ["a"]})


def test_forms_are_whole_and_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    names = (evil, "b & c")
    base = model(1.0, 0.1)
    renamed = Multimodal(
        dict(zip(names, base.encoders.values(), strict=True)), heads.Sum(dict.fromkeys(names, 3), 3)
    )
    batch = sample((0.8, 0.4), 200, 10)
    shown = Batch(dict(zip(names, batch.inputs.values(), strict=True)), batch.target)
    found = equimodal.diagnose(Balanced(renamed), [shown], classes=[evil, "y", "z"])
    again = Diagnosis.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert "<img" not in found._repr_html_() and "&lt;img" in found._repr_html_()
    assert evil in found.text() and "95%" in found.text()


def test_the_bootstrap_spreads_as_the_mean_does() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 2))
    bootstrap = Bootstrap(2000)
    first, both = bootstrap.means(np.column_stack([values[:, 0], values.sum(1)]))
    assert first.value == pytest.approx(values[:, 0].mean())
    assert first.high - first.value == pytest.approx(
        1.96 * values[:, 0].std() / 2000**0.5, rel=0.08
    )
    assert both.high - both.value == pytest.approx(1.96 * values.sum(1).std() / 2000**0.5, rel=0.08)
    assert bootstrap.mean(values[:, 0], np.zeros(2000)) is None
    half = np.arange(2000) < 500
    assert bootstrap.mean(values[:, 0], half).value == pytest.approx(values[:500, 0].mean())
    assert Interval(1, -1, 3).differs is False and Interval(1, 0.5, 3).differs


def test_decomposition_of_known_tables() -> None:
    copy, xor = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    unique = np.zeros((2, 2, 2))
    for a in range(2):
        copy[a, a, a] = 1 / 2
        for b in range(2):
            xor[a, b, a ^ b] = 1 / 4
            unique[a, b, a] = 1 / 4
    bit = np.log(2)
    found = decompose(np.stack([copy, xor, unique]))
    assert np.allclose(found, [[bit, 0, 0, 0], [0, 0, 0, bit], [0, bit, 0, 0]])


def test_a_table_that_is_not_filled_is_not_decomposed() -> None:
    said = (np.zeros(159, dtype=int), np.zeros(159, dtype=int))
    assert decomposition(("a", "b"), said, said[0], 2, Bootstrap(159)) is None
    rows = np.arange(160) % 2
    found = decomposition(("a", "b"), (rows, 0 * rows), rows, 2, Bootstrap(160))
    assert found.redundant == found.unique_second == found.synergistic == Interval(0, 0, 0)
    assert found.unique_first.low < np.log(2) < found.unique_first.high + 0.02


def test_modalities_are_trained_alone_as_the_run_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data="synthetic(count=2, samples=(200, 50, 100))", epochs=4, select="last")
    train(settings.changed(method="warmup()", head="gated()"), tmp_path / "run")
    own = train(settings.changed(method="joint()", modalities=("m2",)), tmp_path / "own")
    asked = ["diagnose", str(tmp_path / "run"), "--train-alone"]
    assert main([*asked, "--alone", str(tmp_path / "own")]) == 0
    assert [path.name for path in (tmp_path / "run" / "alone").iterdir()] == ["m1"]
    assert main(asked) == 0
    alone = tmp_path / "run" / "alone" / "m2"
    made = json.loads((alone / "results.json").read_text())
    assert made["test"] == own.results["test"]  # joint, the default head, the default schedule
    found = read_diagnosis(tmp_path / "run")
    assert found.potential["m2"].alone.value == own.results["test"]["fused"]["accuracy"]
    before = (alone / "results.json").stat().st_mtime_ns
    assert main(asked) == 0
    assert (alone / "results.json").stat().st_mtime_ns == before
    train(settings.changed(epochs=2), tmp_path / "run", overwrite=True)
    assert main(asked) == 0  # what is there belongs to another run
    assert Settings.from_toml(alone / "config.toml").epochs == 2


def test_redundancy_is_that_of_dit() -> None:
    pid = pytest.importorskip("dit.pid", reason="dit is not installed")
    import dit

    table = np.random.default_rng(3).dirichlet(np.ones(12)).reshape(2, 3, 2)
    outcomes = ["".join(map(str, at)) for at in np.ndindex(*table.shape)]
    theirs = pid.PID_WB(dit.Distribution(outcomes, table.ravel().tolist()))
    ours = decompose(table) / np.log(2)
    nodes = [((0,), (1,)), ((0,),), ((1,),), ((0, 1),)]
    assert np.allclose(ours, [theirs.get_pi(node) for node in nodes], atol=1e-6)


def test_a_run_is_diagnosed_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data="synthetic(count=2, samples=(200, 50, 100))", epochs=1)
    train(settings, tmp_path / "run")
    train(settings.changed(modalities=("m1",)), tmp_path / "alone")
    capsys.readouterr()
    assert main(["diagnose", str(tmp_path / "run"), "--alone", str(tmp_path / "alone")]) == 0
    assert "m1 + m2" in capsys.readouterr().out
    stored = json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    found = Diagnosis.from_dict(stored)
    assert found.potential["m1"].alone is not None and found.potential["m2"].alone is None
    assert found.classes == tuple(load("synthetic", count=2).classes)
    assert main(["diagnose", str(tmp_path / "run"), "--format", "json"]) == 0
    assert Diagnosis.from_dict(json.loads(capsys.readouterr().out)).modalities == ("m1", "m2")
    assert main(["diagnose", str(tmp_path / "run"), "--alone", str(tmp_path / "run")]) == 2
    assert "was trained on m1, m2" in capsys.readouterr().err
    assert main(["diagnose", str(tmp_path)]) == 2
