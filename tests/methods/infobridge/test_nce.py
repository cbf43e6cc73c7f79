"""The objective against golden numbers, and against exact integrals of a bivariate Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equimodal.methods.infobridge import nce

POSITIVE, NEGATIVES = 2.0, (0.0, -1.0, 1.0, 0.0, -2.0)

GOLDEN = {
    "prior": (
        (-0.5168135102475447, -0.8964992300564216, -1.4133127403039665),
        0.4035819969,
        (0.16666666666666669, 0.06853347680460559, 0.3521874283517515, 0.16666666666666669, 0.02635373851409286),
    ),
    "none": (
        (-0.1269280110429725, -3.139745747199309, -3.266673758242282),
        0.11920292202211769,
        (0.5, 0.2689414213699951, 0.7310585786300049, 0.5, 0.11920292202211755),
    ),
}  # fmt: skip


def scores() -> tuple[torch.Tensor, torch.Tensor]:
    positive = torch.tensor(POSITIVE, dtype=torch.float64, requires_grad=True)
    negatives = torch.tensor(NEGATIVES, dtype=torch.float64, requires_grad=True)
    return positive, negatives


@pytest.mark.parametrize("margin", ["prior", "none"])
def test_golden_values_and_gradients(margin: nce.Margin) -> None:
    (pull, push, value), up, down = GOLDEN[margin]
    positive, negatives = scores()
    found = nce.log_likelihood(positive, negatives, margin)
    found.backward()
    assert float(found.detach()) == pytest.approx(value, abs=1e-12)
    assert value == pytest.approx(pull + push, abs=1e-12)
    assert positive.grad is not None and negatives.grad is not None
    assert float(positive.grad) == pytest.approx(up, abs=1e-9)
    assert negatives.grad.tolist() == pytest.approx([-d for d in down], abs=1e-12)


def test_bound_is_log_h_plus_log_nu_and_plug_in_is_the_score() -> None:
    positive = torch.tensor(POSITIVE, dtype=torch.float64)
    pull = GOLDEN["prior"][0][0]
    assert float(nce.bound(positive, 5)) == pytest.approx(pull + math.log(5), abs=1e-12)
    assert float(nce.plug_in(positive, 5)) == pytest.approx(POSITIVE, abs=1e-12)
    assert float(nce.plug_in(positive, 5, "none")) == pytest.approx(
        POSITIVE + math.log(5), abs=1e-12
    )


def test_independent_features_feel_no_net_force_with_the_prior_only() -> None:
    for margin, pull, push in (("prior", 5 / 6, 5 / 6), ("none", 1 / 2, 5 / 2)):
        positive = torch.zeros((), dtype=torch.float64, requires_grad=True)
        negatives = torch.zeros(5, dtype=torch.float64, requires_grad=True)
        nce.log_likelihood(positive, negatives, margin).backward()  # type: ignore[arg-type]
        assert float(positive.grad) == pytest.approx(pull, abs=1e-12)  # type: ignore[arg-type]
        assert float(negatives.grad.sum()) == pytest.approx(-push, abs=1e-12)  # type: ignore[union-attr]


def test_cap_stops_the_pull_above_log_nu_and_equals_the_prior_below() -> None:
    positive, negatives = scores()
    value = nce.log_likelihood(positive, negatives, "cap")
    value.backward()
    pull = math.log(1 / 2)  # σ(log 5 - log 5)
    assert float(value.detach()) == pytest.approx(pull + GOLDEN["prior"][0][1], abs=1e-12)
    assert positive.grad is not None and float(positive.grad) == 0.0
    low = torch.tensor(1.0, dtype=torch.float64)
    capped, plain = (nce.log_likelihood(low, negatives, m) for m in ("cap", "prior"))  # type: ignore[arg-type]
    assert float(capped.detach()) == float(plain.detach())


@pytest.mark.parametrize(
    ("rho", "nu", "information", "pull", "push", "bound"),
    [
        (0.0, 5, 0.0, -1.791759, -0.911608, -0.182322),
        (0.5, 5, 0.143841, -1.692420, -0.892063, -0.082982),
        (0.8, 1, 0.510826, -0.535617, -0.583389, -0.535617),
        (0.8, 5, 0.510826, -1.442053, -0.844085, 0.167385),
        (0.8, 50, 0.510826, -3.447333, -0.977619, 0.464690),
        (0.9, 5, 0.830366, -1.233147, -0.800356, 0.376291),
    ],
)
def test_optimal_critic_of_a_bivariate_gaussian_by_quadrature(
    rho: float, nu: int, information: float, pull: float, push: float, bound: float
) -> None:
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    u, v = (torch.from_numpy(grid) for grid in np.meshgrid(points, points, indexing="ij"))
    weight = torch.from_numpy(np.outer(weights, weights))

    def log_ratio(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        quadratic = (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
        return -quadratic - math.log(1 - rho**2) / 2

    def mean(values: torch.Tensor) -> float:
        return float((weight * values).sum())

    joint = log_ratio(u, rho * u + math.sqrt(1 - rho**2) * v)  # (x, y) as they occur together
    apart = log_ratio(u, v)
    # Every anchor with ν copies of one negative: the sum over negatives is then ν times their mean.
    objective = nce.log_likelihood(joint, apart[..., None].expand(*apart.shape, nu))
    assert mean(nce.plug_in(joint, nu)) == pytest.approx(information, abs=2e-6)
    assert mean(nce.bound(joint, nu)) == pytest.approx(bound, abs=2e-6)
    assert mean(nce.bound(joint, nu)) - math.log(nu) == pytest.approx(pull, abs=2e-6)
    assert mean(objective) == pytest.approx(pull + push, abs=4e-6)
    for shift in (-0.1, 0.1):  # it is the optimum: any constant error costs
        worse = nce.log_likelihood(
            joint + shift, (apart + shift)[..., None].expand(*apart.shape, nu)
        )
        assert mean(worse) < mean(objective)
