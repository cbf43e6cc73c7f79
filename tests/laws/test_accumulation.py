"""A host that updates after every second batch gets the sum of what the method made of each batch's gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equimodal.core import Step
from equimodal.testing import Training, World, maker
from fixtures.zoo import ALL

WORLD = World.of(2, batches=4, epochs=2)


class Accumulating:
    """Nothing is zeroed between batches; with `zeros`, gradients are zeroed in place instead of being taken away."""

    def __init__(self, zeros: bool = False) -> None:
        self.zeros = zeros

    def __call__(self, training: Training, steps: list[Step]) -> None:
        for step in steps:
            backward(training, step)
            if step.number % 2:
                training.optimizer.step()
                training.optimizer.zero_grad(set_to_none=not self.zeros)


class Summing:
    """The same by hand: the gradient of each batch by itself, added up outside."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def __call__(self, training: Training, steps: list[Step]) -> None:
        parameters = dict(training.learner.named_parameters())
        for step in steps:
            training.optimizer.zero_grad()
            backward(training, step)
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    before = self.sums.get(name)
                    self.sums[name] = parameter.grad if before is None else before + parameter.grad
            if step.number % 2:
                for name, parameter in parameters.items():
                    parameter.grad = self.sums.get(name)
                training.optimizer.step()
                self.sums.clear()


def backward(training: Training, step: Step) -> None:
    output = training.learner(step)
    training.learner.backward(training.learner.losses(output, step), output, step)


# Where there are several updates per batch, a zero is not the same as no gradient: momentum goes on.
IN_PLACE = [(method, True) for method in ("ogm_ge()", "mmpareto()", "uniform() + recorder()")]


@pytest.mark.parametrize(("method", "zeros"), [*((method, False) for method in ALL), *IN_PLACE])
def test_gradients_of_several_batches_add_up(method: str, zeros: bool) -> None:
    wanted = Training(maker(method)(), WORLD).advance(host=Summing()).state()
    found = Training(maker(method)(), WORLD).advance(host=Accumulating(zeros)).state()
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, atol=1e-12, rtol=0)
