"""Information beside closed forms: Gaussians whose features share a known amount, and tables of a few samples."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import equimodal
from equimodal import Batch, Multimodal, heads
from equimodal.diagnostics.answers import Answers
from equimodal.diagnostics.coalitions import plan
from equimodal.diagnostics.conditional import PER_CLASS, Conditional, _others, conditional
from equimodal.diagnostics.information import distribution, pointwise
from equimodal.errors import ConfigError

CORRELATIONS = torch.tensor([0.0, 0.5, 0.8, 0.9])
WIDTH = 2
TRUTH = -WIDTH / 2 * float(torch.log(1 - CORRELATIONS**2).mean())


def gaussians(count: int, seed: int, correlations: Tensor = CORRELATIONS) -> Answers:
    """Features of two modalities that a class shifts, and whose correlation it sets."""
    draw = torch.Generator().manual_seed(seed)
    target = torch.randint(4, (count,), generator=draw)
    first, noise = torch.randn(2, count, WIDTH, generator=draw)
    rho = correlations[target][:, None]
    features = {"a": first, "b": rho * first + (1 - rho**2).sqrt() * noise}
    features = {m: z + 2 * target[:, None] for m, z in features.items()}
    game, there = plan(tuple(features)), np.ones(count, dtype=bool)
    silent = np.zeros((count, len(game.coalitions)))
    present = dict.fromkeys(features, there)
    return Answers(game, "missing", silent, silent, target.numpy(), 4, {}, features, present)


def shared(train: Answers, test: Answers) -> Conditional:
    [found] = conditional(train, test, [("a", "b")])
    return found


@pytest.fixture(scope="module")
def train() -> Answers:
    return gaussians(3000, 0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less training, where less than the whole truth is asked."""
    monkeypatch.setattr("equimodal.diagnostics.conditional.STEPS", 75)


def test_what_gaussians_share_beyond_the_class(train: Answers) -> None:
    found = shared(train, gaussians(3000, 1))
    assert found.estimate.value == pytest.approx(TRUTH, rel=0.15)
    assert found.bound.low < found.bound.value < found.estimate.value
    assert 0.7 * TRUTH < found.bound.value < TRUTH
    assert found.cap == math.log(32) and found.samples == 3000


def test_a_shared_class_is_not_shared_information(hasty: None) -> None:
    nothing = torch.zeros(4)
    found = shared(gaussians(1500, 2, nothing), gaussians(1500, 3, nothing))
    assert abs(found.estimate.value) < 0.05
    assert found.bound.value < 0.01


def test_the_bound_never_exceeds_its_cap(hasty: None) -> None:
    copies = torch.ones(4)  # infinitely much
    found = shared(gaussians(1500, 4, copies), gaussians(120, 5, copies))
    assert 1 < found.bound.value <= found.cap < math.log(32)


def test_classes_of_few_samples_say_nothing(train: Answers) -> None:
    assert conditional(train, gaussians(4 * PER_CLASS // 2, 6), [("a", "b")]) == ()
    assert conditional(gaussians(4 * PER_CLASS // 2, 7), train, [("a", "b")]) == ()


def test_others_are_of_the_same_class_and_all_different() -> None:
    target = torch.tensor([0, 1, 0, 0, 1, 0, 1, 1])
    for i, row in enumerate(_others(target, 3, 0).tolist()):
        assert len({i, *row}) == 4
        assert {int(target[j]) for j in row} == {int(target[i])}


def test_samples_of_one_group_are_drawn_together(hasty: None, train: Answers) -> None:
    one = gaussians(600, 4)
    alone, apart, together = (
        shared(train, replace(one, groups=groups)).estimate
        for groups in (None, np.arange(600), np.arange(600) // 20)
    )
    assert alone == apart
    assert together.value == alone.value and together.high != alone.high


def test_a_diagnosis_has_it_where_it_is_asked_for(hasty: None) -> None:
    class Same(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, values: Tensor) -> Tensor:
            return self.gain * values

    def batch(seed: int) -> Batch:
        of = gaussians(600, seed)
        return Batch(of.features, torch.from_numpy(of.target))

    model = Multimodal({"a": Same(), "b": Same()}, heads.Linear({"a": 2, "b": 2}, 4))
    found = equimodal.diagnose(model, [batch(1)], train=[batch(0)], conditional=True)
    assert found.information is not None
    [pair] = found.information.conditional
    assert (pair.first, pair.second) == ("a", "b") and pair.estimate.low > 0
    assert type(found).from_dict(found.to_dict()) == found
    assert "shared beyond the class" in found.text() and "a · b" in found.text()
    with pytest.raises(ConfigError, match="give training data"):
        equimodal.diagnose(model, [batch(1)], conditional=True)


def test_information_of_each_sample() -> None:
    target = np.array([0, 0, 0, 1])
    p = np.array([0.75, 0.5, 1.0, 0.75])
    shares = np.array([0.75, 0.75, 0.75, 0.25])
    found = pointwise(np.log(p), target)
    assert found == pytest.approx(np.log(p / shares))
    spread = distribution(found, -2 * math.log(4), math.log(4))
    assert (spread.low, spread.high) == (-2 * math.log(4), math.log(4))
    assert sum(spread.counts) == 4 and spread.below == 0.25
    assert spread.quantiles == pytest.approx(np.quantile(found, [0.05, 0.25, 0.5, 0.75, 0.95]))
    # What lies beyond the bins is counted in the outer ones.
    wide = distribution(np.array([-99.0, 99.0]), -2.0, 1.0)
    assert wide.counts[0] == wide.counts[-1] == 1 and sum(wide.counts) == 2


def test_spreads_of_a_diagnosis_have_the_bounds_as_means() -> None:
    draw = torch.Generator().manual_seed(0)
    target = torch.arange(90) % 3
    inputs = {m: torch.randn(90, 2, generator=draw) for m in ("a", "b")}
    there = torch.rand(90, generator=draw) < 0.7
    model = Multimodal(
        {m: torch.nn.Linear(2, 2) for m in inputs}, heads.Linear(dict.fromkeys(inputs, 2), 3)
    )
    batch = Batch(inputs, target, present={"a": there})
    found = equimodal.diagnose(model, [batch]).information
    assert found is not None and found.pointwise_fused is not None
    assert found.conditional == ()
    assert sum(found.pointwise["a"].counts) == sum(found.retained["a"].counts) == int(there.sum())
    said = equimodal.Balanced(model).predict(batch)
    shares = torch.bincount(target[there]) / there.sum()
    rows = itertools.compress(range(90), there.tolist())
    own, both = [], []
    for i in rows:
        y = target[i]
        own.append(float(said.unimodal["a"][i].log_softmax(0)[y] - shares[y].log()))
        both.append(own[-1] + float(said.fused[i].log_softmax(0)[y]))
    assert np.mean(own) == pytest.approx(found.modalities["a"].value, abs=1e-6)
    for values, spread in ((own, found.pointwise["a"]), (both, found.retained["a"])):
        assert np.median(values) == pytest.approx(spread.quantiles[2], abs=1e-6)
        edges = np.linspace(spread.low, spread.high, len(spread.counts) + 1)
        assert spread.counts[-2] == sum(edges[-3] <= v < edges[-2] for v in values)
