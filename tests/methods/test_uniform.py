"""Uniform beside its golden numbers, and beside plain training that adds every modality's own loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import Losses
from equimodal.methods import Uniform
from fixtures.plain import (
    FIRST,
    SECOND,
    TARGET,
    Plain,
    batches_of,
    model_of,
    names,
    tensor,
    train,
    worked_example,
)

LOSS = 1.8909621447929275
PARTS = {
    "task": 0.381894682706181,
    "uniform/one": 0.3039007885075831,
    "uniform/two": 1.2051666735791633,
}
BY_FEATURE = {
    "one": tensor(
        [-0.387521675646883, 0.27530882129804773], [0.06911316255651809, -0.24548061882042616]
    ),
    "two": tensor(
        [-0.2552203577723341, 0.15440412935551975], [0.1714783405004867, -0.3329185654071754]
    ),
}
BY_WEIGHT = tensor(
    [-0.33141524847246534, 0.3145937813769442, 0.3429566810009734, -0.5104407155446682],
    [0.27530882129804773, -0.4909612376408523, -0.5043969059076621, 0.4096244871278538],
    [0.05610642717441767, 0.17636745626390804, 0.16144022490668872, 0.10081622841681434],
)
BY_BIAS = tensor(-0.170801196163844, -0.03247210815109335, 0.2032733043149374)


def close(found: Tensor | None, wanted: Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def stepped(method: Method, model: Multimodal, batch: Batch) -> Losses:
    learner = Balanced(model, method)
    (step,) = learner.steps(batch, epoch=0)
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return {name: value.detach() for name, value in losses.items()}


def test_golden_worked_example() -> None:
    model, _ = worked_example()
    one, two = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    losses = stepped(Uniform(), model, Batch({"one": one, "two": two}, TARGET))
    assert set(losses) == set(PARTS)
    for name, value in PARTS.items():
        assert losses[name].item() == pytest.approx(value, abs=1e-12)
    assert sum(losses.values()).item() == pytest.approx(LOSS, abs=1e-12)
    close(one.grad, BY_FEATURE["one"])
    close(two.grad, BY_FEATURE["two"])
    close(model.head.linear.weight.grad, BY_WEIGHT)
    close(model.head.linear.bias.grad, BY_BIAS)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_loss_is_linear_in_its_weight(weight: float) -> None:
    losses = stepped(Uniform(weight), *worked_example())
    own = PARTS["uniform/one"] + PARTS["uniform/two"]
    assert sum(losses.values()).item() == pytest.approx(PARTS["task"] + weight * own, abs=1e-12)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    """Each modality's own loss is the mean over the samples that have it."""

    def loss(plain: Plain, batch: Batch) -> Tensor:
        total = plain.joint_loss(batch)
        for m in names(modalities):
            own = [
                -logits[m].log_softmax(0)[batch.target[i]]
                for i in range(len(batch))
                if m in (logits := plain.unimodal(batch, i))
            ]
            total = total + 1.5 * sum(own) / max(len(own), 1)
        return total

    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Plain(model)
    for batch in batches * 2:
        plain.update(plain.gradients(loss(plain, batch)))
    train(Uniform(1.5), model, batches, epochs=2)
    plain.assert_equals(model)


def test_without_weight_it_is_joint_training_bit_for_bit() -> None:
    batches = batches_of(2, missing=True)
    found, wanted = model_of(2), model_of(2)
    train(Uniform(weight=0.0), found, batches, epochs=2)
    train(Method(), wanted, batches, epochs=2)
    assert all(map(torch.equal, found.state_dict().values(), wanted.state_dict().values()))


@pytest.mark.parametrize("named", [False, True])
def test_a_modality_that_nobody_has_adds_nothing(named: bool) -> None:
    """Whether the batch says so of each sample, or does not have the modality at all."""
    model, whole = worked_example()
    nobody = torch.zeros(2, dtype=torch.bool)
    lacking = (
        Batch(whole.inputs, TARGET, present={"two": nobody})
        if named
        else Batch({"one": FIRST}, TARGET)
    )
    losses = stepped(Uniform(), model, lacking)
    assert losses["uniform/two"] == 0
    assert losses["uniform/one"] == losses["task"]


def test_auxiliary_heads_leave_the_joint_one_alone() -> None:
    """The joint layer receives the gradient of the joint loss only, and the classifiers only their own."""
    torch.manual_seed(0)
    widths = {"one": 2, "two": 2}
    model = Multimodal({m: nn.Identity() for m in widths}, heads.Auxiliary(widths, 3)).double()
    plain, batch = worked_example()
    model.head.fusion.load_state_dict(plain.head.state_dict())
    stepped(Uniform(), model, batch)
    stepped(Method(), plain, batch)
    close(model.head.fusion.linear.weight.grad, plain.head.linear.weight.grad)
    for name, features in batch.inputs.items():
        layer = model.head.own[name]
        residual = layer(features).softmax(1) - nn.functional.one_hot(TARGET, 3)
        close(layer.weight.grad, (residual.T @ features / 2).detach())
