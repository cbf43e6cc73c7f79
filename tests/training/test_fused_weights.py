"""Fitted fusion: closed cases, a search over a grid, what is noise and what is not."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

from equimodal.data import Loader
from equimodal.errors import ConfigError, DataError
from equimodal.models import Multimodal, heads
from equimodal.training.evaluate import collect
from equimodal.training.fit import fit
from equimodal.training.fused_weights import FittedFusion, fit_weights, fuse
from fixtures import small

FLOAT = torch.float64


def objective(theta: np.ndarray, logits: np.ndarray, target: np.ndarray) -> float:
    """Written out in numpy."""
    fused = np.tensordot(np.exp(theta), logits, 1)
    highest = fused.max(1)
    normaliser = highest + np.log(np.exp(fused - highest[:, None]).sum(1))
    right = fused[np.arange(len(target)), target]
    return float((normaliser - right).mean() + np.square(theta).sum() / len(target))


def problem(
    samples: int = 400, classes: int = 4, noise: tuple[float, ...] = (0.0, 6.0)
) -> tuple[dict[str, Tensor], Tensor]:
    """Calibrated logits, and over some of them noise that says nothing."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (samples,), generator=draw)
    logits = {}
    for i, scale in enumerate(noise):
        signal = 2.0 * torch.nn.functional.one_hot(target, classes)
        seen = signal + torch.randn(samples, classes, generator=draw, dtype=FLOAT) * 2**0.5
        wrong = scale * torch.randn(samples, classes, generator=draw, dtype=FLOAT)
        logits[f"m{i}"] = (wrong if scale else seen).to(FLOAT)
    return logits, target


def test_weights_are_the_minimum_of_the_objective() -> None:
    logits, target = problem(120, noise=(0.0, 1.0, 0.0))
    found = fit_weights(logits, target)
    stacked = np.stack([g.numpy() for g in logits.values()])
    theta = np.log(list(found.weights.values()))
    oracle = scipy.optimize.minimize(
        objective,
        np.zeros(3),
        (stacked, target.numpy()),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000},
    )
    np.testing.assert_allclose(theta, oracle.x, atol=1e-5)


def test_no_point_of_a_grid_is_better() -> None:
    logits, target = problem(60)
    stacked = np.stack([g.numpy() for g in logits.values()])
    weights = fit_weights(logits, target).weights
    best = objective(np.log(list(weights.values())), stacked, target.numpy())
    grid = np.linspace(-5, 2, 15)
    assert best <= min(
        objective(np.array(p), stacked, target.numpy()) for p in itertools.product(grid, grid)
    )


def test_one_modality_right_by_a_known_margin() -> None:
    """CE = log(1 + exp(-w a)) for every sample, so that θ solves a w σ(-w a) = 2 θ / N."""
    samples, margin = 50, 1.5
    target = torch.arange(samples) % 2
    logits = margin * torch.nn.functional.one_hot(target, 2).to(FLOAT)

    def slope(theta: float) -> float:
        pull = margin * math.exp(theta)
        return 2 * theta / samples - pull * scipy.special.expit(-pull)

    truth = math.exp(scipy.optimize.brentq(slope, 0, 5))
    assert fit_weights({"only": logits}, target).weights["only"] == pytest.approx(truth, rel=1e-7)


def test_logits_that_say_nothing_are_left_alone() -> None:
    """The same logit for all classes has no gradient: θ = 0."""
    target = torch.arange(30) % 3
    flat = torch.ones(30, 1, dtype=FLOAT) * torch.ones(3, dtype=FLOAT)
    found = fit_weights({"flat": flat}, target)
    assert found.weights == {"flat": 1.0}
    assert not found.better


def test_cross_entropy_is_convex_in_the_weights() -> None:
    logits, target = problem(80)
    draw = np.random.default_rng(0)

    def loss(weights: np.ndarray) -> float:
        fused = fuse(logits, dict(zip(logits, weights, strict=True)))
        return float(torch.nn.functional.cross_entropy(fused, target))

    for _ in range(50):
        left, right = draw.exponential(2, (2, 2))
        assert loss((left + right) / 2) <= (loss(left) + loss(right)) / 2 + 1e-12


def test_noise_loses_its_weight() -> None:
    logits, target = problem(noise=(0.0, 6.0))
    found = fit_weights(logits, target)
    assert found.weights["m1"] < 0.05
    assert found.weights["m0"] == pytest.approx(1.0, abs=0.2)
    assert found.better
    fitted = (fuse(logits, found.weights).argmax(1) == target).double().mean()
    plain = (sum(logits.values()).argmax(1) == target).double().mean()
    assert fitted > plain + 0.2


def test_where_nothing_is_wrong_the_weights_are_not_kept() -> None:
    logits, target = problem(2000, noise=(0.0, 0.0))
    assert not fit_weights(logits, target).better


def test_the_gain_is_that_of_samples_left_out() -> None:
    logits, target = problem(43, noise=(0.0, 2.0))
    part = np.random.default_rng(0).permutation(43) % 10
    falls = np.zeros(43)
    for number in range(10):
        others, here = part != number, part == number
        weights = fit_weights({m: g[others] for m, g in logits.items()}, target[others]).weights
        held = {m: g[here] for m, g in logits.items()}
        before, after = (
            torch.nn.functional.cross_entropy(fused, target[here], reduction="none")
            for fused in (sum(held.values()), fuse(held, weights))
        )
        falls[here] = before - after
    found = fit_weights(logits, target)
    assert found.gain == pytest.approx(falls.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(scipy.stats.sem(falls), rel=1e-6)


def test_groups_are_left_out_whole() -> None:
    """Of every sample ten times nothing more is known than of it once."""
    logits, target = problem(25, noise=(0.0, 0.0))
    rows = np.repeat(np.arange(25), 10)
    many = {m: g[rows] for m, g in logits.items()}
    part = np.random.default_rng(0).permutation(25) % 10
    falls = np.zeros(25)
    for number in range(10):
        others = np.flatnonzero(part[rows] != number)
        weights = fit_weights({m: g[others] for m, g in many.items()}, target[rows][others]).weights
        before, after = (
            torch.nn.functional.cross_entropy(fused, target, reduction="none").numpy()
            for fused in (sum(logits.values()), fuse(logits, weights))
        )
        falls = np.where(part == number, before - after, falls)
    found = fit_weights(many, target[rows], groups=rows + 3)
    assert found.gain == pytest.approx(falls.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(scipy.stats.sem(falls), rel=1e-6)
    assert found.weights == fit_weights(many, target[rows]).weights


def test_few_samples_of_calibrated_logits_seldom_keep_weights() -> None:
    """On the samples that they are fitted on they seem to help in every second draw."""
    logits, target = problem(12 * 25, noise=(0.0, 0.0))
    draws = torch.arange(12 * 25).split(12)
    kept = [fit_weights({m: g[d] for m, g in logits.items()}, target[d]).better for d in draws]
    assert sum(kept) < 0.35 * len(draws)


def test_missing_modalities_say_nothing() -> None:
    logits, target = problem(100)
    present = {"m1": torch.rand(100, generator=torch.Generator().manual_seed(3)) < 0.5}
    hidden = {"m0": logits["m0"], "m1": torch.where(present["m1"][:, None], logits["m1"], 0)}
    assert fit_weights(logits, target, present) == fit_weights(hidden, target)
    torch.testing.assert_close(
        fuse(logits, {"m0": 2.0, "m1": 1.0}, present)[~present["m1"]],
        2 * logits["m0"][~present["m1"]],
    )


def test_one_sample_is_never_enough() -> None:
    logits, target = problem(1)
    found = fit_weights(logits, target)
    assert not found.better
    assert found.figures(kept=False)["standard_error"] is None


def test_weights_that_are_not_kept_are_one() -> None:
    found = FittedFusion({"a": 0.1, "b": 2.0}, 0.1, 0.2, 10)
    assert found.figures(kept=found.better)["weights"] == {"a": 1.0, "b": 1.0}
    assert found.figures(kept=True)["weights"] == {"a": 0.1, "b": 2.0}


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="at least one validation sample"):
        fit_weights({"a": torch.zeros(0, 3)}, torch.zeros(0, dtype=torch.long))
    with pytest.raises(DataError, match="finite"):
        fit_weights({"a": torch.full((2, 3), math.nan)}, torch.tensor([0, 1]))


# In a run.

OPTIONS = {"epochs": 2, "batch_size": 8, "lr": 0.1, "probe": False}


def test_a_run_reports_fitted_beside_fused() -> None:
    data, model = small.splits(missing=0.2), small.model()
    run = fit(model, data, "uniform()", fit_fusion="on", **OPTIONS)
    val, test = (
        collect(run.learner, Loader(part, 8, shuffle=False)) for part in (data.val, data.test)
    )
    found = fit_weights(val.unimodal, val.target, val.present)
    assert run.results["fusion"] == found.figures(kept=True)
    right = fuse(test.unimodal, found.weights).argmax(1) == test.target
    assert run.results["test"]["fitted"]["accuracy"] == float(right.double().mean())
    plain = test.fused.argmax(1) == test.target
    assert run.results["test"]["fused"]["accuracy"] == float(plain.double().mean())


def test_off_leaves_everything_else_as_it_is() -> None:
    runs = [
        fit(small.model(), small.splits(), "uniform()", fit_fusion=choice, **OPTIONS)
        for choice in ("on", "off")
    ]
    on, off = ({**run.results, "seconds": 0} for run in runs)
    assert on.pop("fusion") is not None and off.pop("fusion") is None
    assert on["test"].pop("fitted") is not None and off["test"].pop("fitted") is None
    assert on == off


def test_what_is_no_sum_is_not_fitted_and_refused_when_asked_for() -> None:
    data = small.splits()
    film = heads.FiLM({"a": 6, "b": 6}, len(small.CLASSES))
    model = Multimodal(dict(small.model().encoders), film)
    assert fit(model, data, "joint()", **OPTIONS).results["fusion"] is None
    with pytest.raises(ConfigError, match=r"fit_fusion='on' weighs the modalities of a sum"):
        fit(model, data, "joint()", fit_fusion="on", **OPTIONS)
    with pytest.raises(ConfigError, match=r"mmcosine\(\) with this head"):
        fit(small.model(), data, "mmcosine()", fit_fusion="on", **OPTIONS)


def test_weights_that_do_not_help_enough_are_not_used(tmp_path: Path) -> None:
    """After ten epochs the model is calibrated: weights of other samples do not help."""
    options = {**OPTIONS, "epochs": 10, "lr": 0.05, "select": "last"}
    run = fit(small.model(), small.splits(), "uniform()", out=tmp_path / "run", **options)
    fusion, test = run.results["fusion"], run.results["test"]
    assert fusion["gain"] < fusion["standard_error"] and not fusion["kept"]
    assert fusion["weights"] == {"a": 1.0, "b": 1.0} != fusion["fitted"]
    assert test["fitted"] == pytest.approx(test["fused"])
    columns = pq.read_table(tmp_path / "run/predictions.parquet").column_names
    assert not [name for name in columns if "fitted" in name]
