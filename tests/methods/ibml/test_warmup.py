"""The warm-up's table, other lengths, and its refusals."""

from __future__ import annotations

import pytest
from torch import nn

from equimodal import Balanced, Multimodal, heads
from equimodal.errors import ConfigError
from equimodal.methods import Warmup


def rates(method: Warmup, epochs: int) -> list[float]:
    model = Multimodal({"a": nn.Identity()}, heads.Linear({"a": 2}, classes=2))
    learner = Balanced(model, method, epochs=epochs)
    return [learner.rate(epoch) for epoch in range(epochs)]


def test_a_hundred_epochs() -> None:
    found = rates(Warmup(), 100)
    ramp = [1.0 + 0.5 * i for i in range(18)]  # epochs 1 to 18: 1, 1.5, ..., 9.5
    assert found == [1.0, *ramp, *[10.0] * 17, *[1.0] * 35, *[0.1] * 29]
    assert (found[10], found[18], found[19], found[35], found[36]) == (5.5, 9.5, 10.0, 10.0, 1.0)
    assert (found[70], found[71]) == (1.0, 0.1)


def test_it_is_the_codes_schedule_one_epoch_later() -> None:
    def code(epoch: int) -> float:  # evaluated at the end of an epoch, for the next one
        if epoch < 35:
            return min(epoch / 2 + 1, 10)
        return 1 if epoch < 70 else 0.1

    assert rates(Warmup(), 100)[1:] == [code(epoch) for epoch in range(99)]


def test_other_lengths_are_stretched() -> None:
    assert rates(Warmup(), 10) == [1, 5.5, 10, 10, 1, 1, 1, 1, 0.1, 0.1]
    assert rates(Warmup(), 200)[:8] == [1, 1, 1, 1.25, 1.5, 1.75, 2, 2.25]
    assert rates(Warmup(), 1) == [1]


def test_peak_and_decay() -> None:
    found = rates(Warmup(peak=3.0, decay=False), 100)
    assert max(found) == 3.0
    assert found[71:] == [1.0] * 29
    assert (Warmup().own_schedule, Warmup(decay=False).own_schedule) == (True, False)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="peak"):
        Warmup(peak=0.5)
    model = Multimodal({"a": nn.Identity()}, heads.Linear({"a": 2}, classes=2))
    with pytest.raises(ConfigError, match="epochs=N"):
        Balanced(model, Warmup())
