"""DGL beside its golden numbers, and beside plain training with two separate gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.errors import ConfigError
from equimodal.methods import DGL, MMCosine
from fixtures.plain import (
    CLASSES,
    FIRST,
    SECOND,
    SIZE,
    TARGET,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    names,
    tensor,
    train,
    worked_example,
)


def backward(method: Method, model: Multimodal, batch: Batch) -> dict[str, Tensor]:
    """One step's losses, detached; the gradients stay in the parameters."""
    learner = Balanced(model, method)
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return {name: loss.detach() for name, loss in losses.items()}


def test_golden_worked_example() -> None:
    model, _ = worked_example()
    z = [FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()]
    losses = backward(DGL(alpha=4.0), model, Batch({"one": z[0], "two": z[1]}, TARGET))
    assert sum(losses.values()).item() == pytest.approx(6.245769562880322, abs=1e-12)
    expected = [
        tensor(
            [-0.6934778365431118, 0.43277761261404735], [0.08540967394439308, -0.4327272216560356]
        ),
        tensor(
            [-0.6372116991762513, 0.3422142671286881], [0.5254432871531017, -0.9527018840947387]
        ),
    ]
    for found, wanted in zip(z, expected, strict=True):
        torch.testing.assert_close(found.grad, wanted, atol=1e-12, rtol=0)
    weight = tensor(
        [-0.1777537682249543, 0.19701070428309309, 0.09850535214154654, -0.1777537682249543],
        [0.16002274290164803, -0.2771092792887261, -0.13855463964436304, 0.16002274290164803],
        [0.017731025323306344, 0.08009857500563294, 0.04004928750281647, 0.017731025323306344],
    )
    bias = tensor(-0.07924841608340777, 0.021468103257284987, 0.057780312826122816)[:]
    torch.testing.assert_close(model.head.linear.weight.grad, weight, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.head.linear.bias.grad, bias, atol=1e-12, rtol=0)


def unimodal_loss(plain: Plain, batch: Batch, bias: str) -> Tensor:
    """The sum over modalities of the mean cross-entropy of those samples that have it."""
    total = torch.zeros((), dtype=torch.float64)
    for m in plain.modalities:
        having = [i for i in range(SIZE) if m in plain.present(batch, i)]
        for i in having:
            parts = 1 if bias == "full" else len(plain.present(batch, i))
            logits = plain.logits(m, plain.feature(m, batch.inputs[m][i]))
            logits = logits + plain.parameters["head.linear.bias"] / parts
            total = total - (logits[batch.target[i]] - logits.exp().sum().log()) / len(having)
    return total


@pytest.mark.parametrize("bias", ["full", "split"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training_with_two_backwards(
    modalities: int, missing: bool, bias: str
) -> None:
    """The single backward equals the published two, of which each one's other half is thrown away."""
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Plain(model)
    for batch in batches * 2:
        own = plain.gradients(3.0 * unimodal_loss(plain, batch, bias))
        joint = plain.gradients(plain.joint_loss(batch))
        kept = {name: grad for name, grad in own.items() if name.startswith("encoders")}
        kept |= {name: grad for name, grad in joint.items() if name.startswith("head")}
        plain.update(kept)
    train(DGL(alpha=3.0, bias=bias), model, batches, epochs=2)
    plain.assert_equals(model)


@pytest.mark.parametrize(
    "head", [heads.Sum, heads.Shared, heads.Cosine, heads.Auxiliary], ids=lambda h: h.__name__
)
def test_the_fused_loss_trains_the_head_alone_whatever_the_head(head: type[heads.Head]) -> None:
    (batch,) = batches_of(3, count=1)
    cut, joint = model_of(3), model_of(3)
    torch.manual_seed(1)
    cut.head = head(dict.fromkeys(names(3), WIDTH), CLASSES).double()
    joint.head = head(dict.fromkeys(names(3), WIDTH), CLASSES).double()
    joint.head.load_state_dict(cut.head.state_dict())
    backward(DGL(alpha=0.0), cut, batch)
    backward(Method(), joint, batch)
    for name, p in cut.named_parameters():
        wanted = joint.get_parameter(name).grad
        if name.startswith("encoders"):
            assert not p.grad.any() and wanted.any()
        elif wanted is not None:
            torch.testing.assert_close(p.grad, wanted, atol=1e-14, rtol=0)


def test_values_are_those_of_the_model() -> None:
    model, (batch,) = model_of(2), batches_of(2, missing=True, count=1)
    said, plain = Balanced(model, DGL()).predict(batch), Balanced(model, Method()).predict(batch)
    assert torch.equal(said.fused, plain.fused)
    assert all(torch.equal(g, plain.unimodal[m]) for m, g in said.unimodal.items())


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dgl\(alpha=-1"):
        DGL(alpha=-1.0)
    with pytest.raises(ConfigError, match="'full' or 'split'"):
        DGL(bias="half")
    with pytest.raises(ConfigError, match="evaluates the model's own head"):
        DGL() + MMCosine()
