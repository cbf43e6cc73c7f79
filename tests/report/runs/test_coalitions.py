"""Sets of modalities: against the model itself with the others missing, and against all orders one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from equimodal.core import Batch
from equimodal.models import Multimodal, heads
from equimodal.report.runs.coalitions import accuracy, adds, coalitions, likelihood, shapley
from equimodal.report.runs.information import bound, entropy
from equimodal.report.runs.record import Said

NAMES = ("a", "b", "c")
CLASSES = 4


def model() -> Multimodal:
    torch.manual_seed(3)
    encoders = {name: nn.Linear(5, 6) for name in NAMES}
    return Multimodal(encoders, heads.Sum(dict.fromkeys(NAMES, 6), CLASSES)).double().eval()


def data(present: dict[str, torch.Tensor]) -> Batch:
    draw = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(50, 5, generator=draw, dtype=torch.float64) for name in NAMES}
    return Batch(inputs, torch.arange(50) % CLASSES, torch.arange(50), present)


@pytest.fixture(scope="module")
def there() -> torch.Tensor:
    return torch.rand(50, generator=torch.Generator().manual_seed(2)) > 0.3


@pytest.fixture(scope="module")
def said(there: torch.Tensor) -> Said:
    """What the model says; some samples lack the first modality."""
    batch = data({"a": there})
    with torch.no_grad():
        output = model()(batch)
    unimodal = {name: z.softmax(1).numpy().copy() for name, z in output.unimodal.items()}
    unimodal["a"][~there.numpy()] = np.nan
    return Said(np.arange(50), batch.target.numpy(), output.fused.softmax(1).numpy(), unimodal)


def test_a_set_says_what_the_model_says_without_the_others(said: Said, there: torch.Tensor) -> None:
    assert adds(said)
    for group in coalitions(NAMES):
        none = torch.zeros(50, dtype=torch.bool)
        present = {name: none if name not in group else ~none for name in NAMES}
        present["a"] = present["a"] & there
        with torch.no_grad():
            logits = model()(data(present)).fused.numpy()
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        rows = np.arange(50)
        some = np.ptp(logits, axis=1) > 0  # rows with no modality at all tie everywhere
        log_p = np.log(p[rows, said.target])
        assert np.allclose(likelihood(said, group)[some], log_p[some], atol=1e-10)
        frequent = np.log(np.bincount(said.target)[said.target] / 50)  # known with nobody
        assert np.allclose(likelihood(said, group)[~some], frequent[~some])
        right = logits.argmax(1) == said.target
        assert np.array_equal(accuracy(said, group)[some], right[some].astype(float))
        assert np.all(accuracy(said, group)[~some] == 1 / CLASSES)


def test_one_modality_is_decoupled(said: Said) -> None:
    """Also where the head shares its bias among those that are there."""
    torch.manual_seed(4)
    encoders = {name: nn.Linear(5, 6) for name in NAMES}
    linear = Multimodal(encoders, heads.Linear(dict.fromkeys(NAMES, 6), CLASSES)).double().eval()
    with torch.no_grad():
        output = linear(data({}))
    p = {name: z.softmax(1).numpy() for name, z in output.unimodal.items()}
    found = replace(said, fused=output.fused.softmax(1).numpy(), modalities=p)
    assert adds(found)
    two = output.unimodal["a"] + output.unimodal["c"]
    right = (two.argmax(1).numpy() == found.target).astype(float)
    assert np.array_equal(accuracy(found, ("a", "c")), right)
    for name in NAMES:
        assert np.array_equal(accuracy(found, (name,)), found.right(name).astype(float))


def test_shapley_values_are_means_over_all_orders(said: Said) -> None:
    for value in (accuracy, likelihood):
        found = shapley(said, value)
        for name in NAMES:
            steps = []
            for order in permutations(NAMES):
                before = order[: order.index(name)]
                group = tuple(n for n in NAMES if n in before)
                more = tuple(n for n in NAMES if n in before or n == name)
                steps.append(value(said, more) - value(said, group))
            per_sample = np.mean(steps, axis=0)
            assert found[name].value == pytest.approx(per_sample.mean(), abs=1e-12)
            half = 1.959963984540054 * per_sample.std(ddof=1) / math.sqrt(50)
            assert found[name].high - found[name].value == pytest.approx(half, abs=1e-12)
        whole = (value(said, NAMES) - value(said, ())).mean()
        assert sum(one.value for one in found.values()) == pytest.approx(whole, abs=1e-12)


def test_a_head_that_does_not_add_is_seen(said: Said) -> None:
    assert not adds(replace(said, fused=said.fused[:, ::-1]))
    assert not adds(replace(said, modalities={"a": said.modalities["a"]}))


def test_a_bound_is_the_entropy_less_the_cross_entropy() -> None:
    target = np.arange(60) % 3
    p = np.full((60, 3), 0.1)
    p[np.arange(60), target] = 0.8
    half = p.copy()
    half[::2] = np.nan
    said = Said(np.arange(60), target, p, {"m": half, "none": np.full((60, 3), np.nan)})
    assert entropy(said) == pytest.approx(math.log(3))
    found = bound(said, "fused")
    assert found is not None and found.value == pytest.approx(math.log(3) + math.log(0.8))
    assert bound(said, "m") is not None and bound(said, "none") is None
