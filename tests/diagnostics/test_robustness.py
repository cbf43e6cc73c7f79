"""Curves of accuracy beside enumeration, closed forms of noise, and inputs that are certain to be wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom
from torch import Tensor, nn

import equimodal
from equimodal import Batch, Multimodal, heads
from equimodal.core import Balanced, Padded
from equimodal.data import Arrays
from equimodal.diagnostics import Curve, Diagnosis, own
from equimodal.diagnostics.coalitions import plan
from equimodal.diagnostics.robustness import RATES, STRENGTHS, chances, missing, others, selected
from equimodal.diagnostics.spread import Spread
from equimodal.errors import ConfigError
from equimodal.models.encoders import Frozen, Table


class Same(nn.Module):
    """Its features are its input, of a sequence the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, values: Tensor | Padded) -> Tensor:
        shown = values.values[:, 0] if isinstance(values, Padded) else values
        return self.one * shown


def model(*names: str, classes: int) -> Multimodal:
    """The sum of its inputs [B, C] as logits."""
    head = heads.Sum(dict.fromkeys(names, classes), classes=classes)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.eye(classes) if parameter.ndim == 2 else 0 * parameter)
    return Multimodal({name: Same() for name in names}, head)


def values(curve: Curve | None) -> list[float]:
    assert curve is not None
    return [figure.value for figure in curve.accuracy]


# Missing.


def by_enumeration(
    value: dict[tuple[str, ...], float],
    here: list[str],
    lacks: list[str],
    away: list[str],
    r: float,
) -> float:
    """One sample: every set of its modalities, one after another."""
    total = 0.0
    for size in range(len(here) + 1):
        for left in itertools.combinations(here, size):
            if any(m not in left for m in here if m not in away):
                continue
            p = 1.0
            for m in here:
                if m in away:
                    p *= 1 - r if m in left else r
            stays = [left] if left or not here else [(m,) for m in here]
            for kept in stays:
                seen = tuple(m for m in "abc" if m in kept or m in lacks)
                total += p * value[seen] / len(stays)
    return total


@pytest.mark.parametrize("away", ["a", "c", "abc"])
def test_missing_rates_are_expectations_over_coalitions(away: str) -> None:
    asked = plan("abc")
    rng = np.random.default_rng(0)
    there = np.array(list(itertools.product([True, False], repeat=3)) * 2)
    said = rng.random((16, 8))
    found = missing(asked, said, there, list(away))
    for i, row in enumerate(there):
        here = [m for m, on in zip("abc", row, strict=True) if on]
        lacks = [m for m in "abc" if m not in here]
        value = dict(zip(asked.coalitions, said[i], strict=True))
        expected = [by_enumeration(value, here, lacks, list(away), r) for r in RATES]
        assert found[i] == pytest.approx(expected), here


def test_of_many_modalities_those_that_were_asked_stand_for_their_size() -> None:
    names = [f"m{i}" for i in range(8)]
    asked = plan(names, permutations=8)
    members = np.array([[m in s for m in names] for s in asked.coalitions])
    assert len(members) < 2**8
    for lacking in (0, 3):
        there = np.arange(8) >= lacking
        count = 8 - lacking
        size = (members & there).sum(1)
        known = [binom.pmf(np.arange(count + 1), count, 1 - r) @ np.arange(count + 1) ** 2 + r**count
                 for r in RATES]  # fmt: skip
        assert chances(asked, there, names) @ size**2 == pytest.approx(known)
        one = chances(asked, there, ["m5"])
        assert one @ size == pytest.approx([count - r for r in RATES])


def test_curves_begin_at_the_accuracy_and_lead_to_the_single_modalities() -> None:
    rng = np.random.default_rng(1)
    target = torch.tensor(rng.integers(3, size=300))
    inputs = {m: torch.tensor(rng.normal(size=(300, 3)), dtype=torch.float32) for m in "ab"}
    inputs["a"][torch.arange(300), target] += 2
    found = equimodal.diagnose(model("a", "b", classes=3), [Batch(inputs, target)])
    shown = found.robustness
    single = {s.modalities: s.accuracy.value for s in found.subsets}
    assert values(shown.missing["a"])[9] == pytest.approx(
        0.1 * found.accuracy.value + 0.9 * single["b",]
    )
    r = 0.7
    expected = (1 - r) ** 2 * found.accuracy.value + (r * (1 - r) + r**2 / 2) * (
        single["a",] + single["b",]
    )
    assert values(shown.missing_any)[7] == pytest.approx(expected)
    assert shown.missing_any.accuracy[0] == found.accuracy
    assert shown.exact and shown.samples == 300


# Noise: labels of -1 and 1 as the input, so that the noise of s deviations is passed with probability Φ(1 / s).


def expected() -> list[float]:
    return [1.0, *(float(ndtr(1 / s)) for s in STRENGTHS[1:])]


def test_noise_of_a_plain_function() -> None:
    label = np.arange(4000) % 2
    sign = (2.0 * label - 1)[:, None]
    parts = [({"x": 5 * sign[rows], "y": label[rows], "z": ["a"] * 2000}, label[rows])
             for rows in (slice(0, 2000), slice(2000, 4000))]  # fmt: skip

    def said(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return inputs["x"] * [[-1, 1]]

    found = equimodal.diagnose(said, parts, ("x", "y", "z"), shaken=4000).robustness
    assert values(found.noise["x"]) == pytest.approx(expected(), abs=0.025)  # three standard errors
    assert found.noise["y"] is None and found.noise["z"] is None  # integers, texts
    assert values(found.wrong["y"]) == pytest.approx([1.0] * 10)
    fewer = equimodal.diagnose(said, parts, ("x", "y", "z"), shaken=100).robustness
    assert fewer.samples == 100 and values(fewer.noise["x"])[0] == 1.0
    none = equimodal.diagnose(said, parts, ("x", "y", "z"), shaken=0).robustness
    assert none.samples == 0 and none.noise == {} and none.missing.keys() == {"x", "y", "z"}


@pytest.mark.parametrize("padded", [False, True])
def test_noise_of_a_model_of_this_library(padded: bool) -> None:
    """The difference of two logits that are each ±1/2: the same closed form with the noise of two."""
    label = torch.arange(4000) % 2
    shown = torch.stack([0.5 - label, label - 0.5], 1)
    ids = torch.zeros(4000, 2, dtype=torch.long)
    steps = Padded(torch.stack([shown, torch.full_like(shown, 50.0)], 1), torch.ones(4000).long())
    batch = Batch({"x": steps if padded else shown, "ids": ids}, label)  # behind the end: 50
    found = equimodal.diagnose(model("x", "ids", classes=2), [batch], shaken=4000).robustness
    passed = [1.0, *(float(ndtr(2**0.5 / s)) for s in STRENGTHS[1:])]
    assert values(found.noise["x"]) == pytest.approx(passed, abs=0.025)
    assert found.noise["ids"] is None


def test_categories_take_no_noise_and_have_no_zero() -> None:
    """The class is the category, the number beside it is nothing; the third modality has categories alone."""
    label = torch.arange(400) % 4
    ids = label[:, None].float()
    rows = torch.cat([torch.randn(400, 1, generator=torch.Generator().manual_seed(0)), ids], 1)
    encoders = {"row": Frozen(Table(1, (4,))), "number": Table(1), "ids": Table(0, (4,))}
    learner = Multimodal(encoders, heads.Linear(dict.fromkeys(encoders, 64), classes=4))
    batch = Batch({"row": rows, "number": rows[:, :1], "ids": ids}, label)
    answers = own.ask(Balanced(learner), [batch], plan(tuple(encoders)), "missing")
    assert answers.spread["row"].tolist() == pytest.approx(
        [float(rows[:, 0].std(correction=0)), 0.0]
    )
    assert answers.spread.keys() == {"row", "number"}
    found = equimodal.diagnose(learner, [batch])
    assert found.robustness.noise["ids"] is None and found.robustness.noise["row"] is not None
    assert "No noise is added to ids, texts and other integers, as of ids." in found.text()
    for absence in ("zero", "mean"):
        with pytest.raises(ConfigError, match=f"'row' has no {absence} input: choose"):
            equimodal.diagnose(learner, [batch], absence=absence)
    assert equimodal.diagnose(learner, [batch], absence="permute").absence == "permute"


def test_samples_that_lack_a_modality_stay_as_they_are() -> None:
    rng = np.random.default_rng(2)
    target = torch.tensor(rng.integers(3, size=200))
    there = torch.tensor(rng.random(200) < 0.5)
    inputs = {m: torch.tensor(rng.normal(size=(200, 3)), dtype=torch.float32) for m in "ab"}
    learner, batch = model("a", "b", classes=3), Batch(inputs, target, present={"a": there})
    known = own.ask(Balanced(learner), [batch], plan("ab"), "missing")
    shaken = own.shake(Balanced(learner), selected([batch], np.arange(200)), known)
    kept = ~there.numpy()
    assert (shaken.noise["a"][kept] == shaken.whole[kept, None]).all()
    assert (shaken.wrong["a"][kept] == shaken.whole[kept]).all()
    assert (shaken.noise["a"][~kept] != shaken.whole[~kept, None]).any()
    assert (shaken.wrong["a"][~kept] != shaken.whole[~kept]).any()


# Wrong inputs: where every sample has a class of its own, that of another is never right.


def test_the_input_of_another_sample_is_always_wrong() -> None:
    label = torch.arange(60)
    shown = torch.eye(60)
    nothing = torch.zeros(60, 60)
    found = equimodal.diagnose(
        model("a", "b", classes=60), [Batch({"a": shown, "b": nothing}, label)], absence="zero"
    ).robustness
    assert values(found.wrong["a"]) == pytest.approx([1 - r for r in RATES])
    assert values(found.wrong["b"]) == pytest.approx([1.0] * 10)
    theirs = equimodal.diagnose(
        lambda inputs: inputs["a"] + inputs["b"],
        [({"a": shown[rows], "b": nothing[rows]}, label[rows]) for rows in label.split(20)],
        shaken=40,
    ).robustness
    assert values(theirs.wrong["a"]) == pytest.approx([1 - r for r in RATES])
    assert theirs.samples == 40


def test_others_have_the_modality_too() -> None:
    there = np.arange(50) % 3 > 0
    whose = others(there, np.random.default_rng(0))
    assert there[whose[there]].all() and (whose != np.arange(50))[there].all()
    assert sorted(whose.tolist()) == list(range(50))
    assert (whose == np.arange(50))[~there].all()


# Inputs.


def test_a_data_set_and_its_batches_give_the_same_samples() -> None:
    data = Arrays({"a": torch.arange(600.0)[:, None]}, torch.arange(600) % 2, ["x", "y"])
    rows = np.sort(np.random.default_rng(0).permutation(600)[:300])
    parts = [data.fetch(range(start, min(start + 70, 600))) for start in range(0, 600, 70)]
    for given in (data, parts):
        found = list(selected(given, rows))
        assert np.concatenate([here for here, _ in found]).tolist() == rows.tolist()
        assert torch.cat([b.inputs["a"] for _, b in found])[:, 0].tolist() == rows.tolist()


def test_batches_that_can_be_read_once_are_enough() -> None:
    batch = Batch({"a": torch.eye(3).repeat(9, 1)}, torch.arange(27) % 3)
    once = (batch.select(slice(start, start + 9)) for start in (0, 9, 18))
    found = equimodal.diagnose(model("a", classes=3), once)
    assert found.robustness.samples == 27
    assert values(found.robustness.missing_any) == pytest.approx(
        [1.0] * 10
    )  # the only one never is missing


def test_spreads() -> None:
    rng = np.random.default_rng(3)
    vectors = torch.tensor(rng.normal(5, [1.0, 10.0], size=(400, 2)))
    images = torch.tensor(rng.normal(size=(400, 1, 4, 2))) + torch.tensor([0.0, 100.0])
    for whole, axes, width in ((vectors, (0,), 2), (images, None, 1)):
        spread = Spread()
        for part in whole.split(150):
            spread.add(part)
        assert spread.deviation().tolist() == pytest.approx(whole.numpy().std(axes).reshape(-1))
        assert spread.deviation().shape == (width,)
    spread = Spread()
    for part in (vectors[:, :1], vectors):
        spread.add(part)
    together = torch.cat([vectors[:, 0], vectors.ravel()]).numpy()
    assert spread.deviation().tolist() == pytest.approx([together.std()])


def test_a_diagnosis_from_before_there_was_robustness_can_be_read() -> None:
    batch = Batch({"a": torch.eye(3).repeat(9, 1)}, torch.arange(27) % 3)
    stored = equimodal.diagnose(model("a", classes=3), [batch]).to_dict()
    assert "missing in" in Diagnosis.from_dict(stored).text()
    old = {k: v for k, v in stored.items() if k not in ("geometry", "robustness")}
    again = Diagnosis.from_dict(old)
    assert again.geometry is again.robustness is None and "missing in" not in again.text()
