"""The learning rate of each epoch, against PyTorch's own schedulers."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR

from equimodal.core import Balanced, Method
from equimodal.errors import ConfigError
from equimodal.training.fit import fit
from equimodal.training.schedule import FACTORS, make_optimizer, resolve_schedule, set_rate
from equimodal.training.settings import Settings
from fixtures import small


class Halving(Method):
    """A schedule of its own."""

    own_schedule = True

    def rate(self, rate: float, epoch: int) -> float:
        return rate * 0.5**epoch


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, epochs: int) -> list[float]:
    found = []
    for _ in range(epochs):
        found += scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    return found


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)


@pytest.mark.parametrize("epochs", [1, 3, 10, 20])
def test_factors(epochs: int) -> None:
    cosine = rates(CosineAnnealingLR(sgd(), epochs), epochs)
    assert [0.3 * FACTORS["cosine"](e, epochs) for e in range(epochs)] == pytest.approx(cosine)
    assert {FACTORS["none"](e, epochs) for e in range(epochs)} == {1.0}


def test_step_is_a_tenth_from_70_percent_on() -> None:
    assert [0.3 * FACTORS["step"](e, 20) for e in range(20)] == pytest.approx(
        rates(StepLR(sgd(), step_size=14), 20)
    )


def test_the_rate_is_schedule_times_method() -> None:
    """As `LambdaLR` with the product would set it; seen in the metrics of a run."""
    run = fit(
        small.model(), small.splits(), Halving(), epochs=4, batch_size=8, lr=0.3, schedule="none"
    )
    assert [line["lr"] for line in run.history] == rates(LambdaLR(sgd(), lambda e: 0.5**e), 4)


def test_set_rate_reaches_every_group() -> None:
    optimizer = sgd()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))]})
    set_rate(optimizer, 0.07)
    assert [group["lr"] for group in optimizer.param_groups] == [0.07, 0.07]


def test_a_method_with_its_own_schedule() -> None:
    assert resolve_schedule("auto", Method()) == "step"
    assert resolve_schedule("auto", Halving().during(1, 2) + Method()) == "none"
    assert resolve_schedule("cosine", Method()) == "cosine"
    assert resolve_schedule("none", Halving()) == "none"
    with pytest.raises(ConfigError, match=r"Halving.*own.*schedule='step' would decay twice"):
        resolve_schedule("step", Halving())


def test_the_method_learns_too() -> None:
    class Weighted(Method):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

    learner = Balanced(small.model(), Weighted())
    optimizer = make_optimizer(learner, Settings(data="x", optimizer="adamw", weight_decay=0.3))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(learner.method.weight) in held
    assert optimizer.defaults["weight_decay"] == 0.3


def test_nothing_to_learn_is_refused() -> None:
    model = small.model().requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter that learns"):
        fit(model, small.splits(), "joint()", epochs=1, batch_size=8)
