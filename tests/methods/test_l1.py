"""The penalty on weights: its gradient in closed form, whom it reaches, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal import Balanced, Batch, Multimodal, heads, methods
from equimodal.core import Method
from equimodal.errors import ConfigError


def gradients(
    method: Method, parts: int = 1, without: str = "", head: type[heads.Head] = heads.Linear
) -> dict[str, torch.Tensor]:
    """Of two linear encoders, after one step on six samples in so many micro-batches."""
    torch.manual_seed(1)
    encoders = {name: nn.Linear(3, 2).double() for name in ("genes", "slide")}
    encoders["slide"].bias.requires_grad_(False)
    model = Multimodal(encoders, head({"genes": 2, "slide": 2}, 4).double())
    learner = Balanced(model, method, samples=6, epochs=3)
    names = [name for name in encoders if name != without]
    inputs = {name: torch.randn(6, 3).double() for name in names}
    batch = Batch(inputs, torch.tensor([0, 1, 2, 3, 0, 1]))
    micro = [batch.select(rows.tolist()) for rows in torch.arange(6).chunk(parts)]
    for step in learner.steps(micro if parts > 1 else batch, 0, 0, 1):
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
    return {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_adds_the_sign_of_each_weight_once_whatever_the_micro_batches(parts: int) -> None:
    torch.manual_seed(1)
    genes, slide = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    plain, found = gradients(methods.Joint()), gradients(methods.L1(0.25), parts)
    assert plain.keys() == found.keys()
    signs = {
        "genes.weight": genes.weight.sign(),
        "genes.bias": genes.bias.sign(),
        "slide.weight": slide.weight.sign(),
    }
    for name, gradient in found.items():
        sign = next((s for end, s in signs.items() if name.endswith(end)), torch.zeros(()))
        torch.testing.assert_close(gradient, plain[name] + 0.25 * sign.double())


def test_reaches_only_the_encoders_that_are_named_and_absent_ones_too() -> None:
    plain, found = gradients(methods.Joint()), gradients(methods.L1(0.25, "genes"))
    changed = {name for name in plain if not torch.equal(plain[name], found[name])}
    assert {name.rpartition("genes.")[2] for name in changed} == {"weight", "bias"}
    alone = gradients(methods.L1(0.25, ["genes"]), without="genes")
    bias = next(gradient for name, gradient in alone.items() if name.endswith("genes.bias"))
    torch.testing.assert_close(bias.abs(), torch.full_like(bias, 0.25))


def test_a_phase_that_trains_one_encoder_penalises_that_one() -> None:
    found = gradients(methods.MLA() + methods.L1(0.25), head=heads.Shared)
    plain = gradients(methods.MLA(), head=heads.Shared)
    torch.manual_seed(1)
    genes = nn.Linear(3, 2).double()
    (name,) = (n for n in found if n.endswith("genes.weight"))
    # Two phases, of which one trains it: once, not twice.
    torch.testing.assert_close(found[name], plain[name] + 0.25 * genes.weight.sign())


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: methods.L1(-1.0), "weight must be at least 0; here -1.0"),
        (lambda: methods.L1(float("nan")), "weight must be at least 0"),
        (
            lambda: gradients(methods.L1(modalities="gens")),
            "no modality 'gens'; did you mean 'genes'?",
        ),
    ],
)
def test_what_cannot_be(build: object, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build()  # type: ignore[operator]
    assert says in str(refused.value)
