"""Joint training: the worked example by its golden numbers, and the failure that balancing answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads, methods
from equimodal.core import Output
from fixtures.plain import (
    FIRST,
    SECOND,
    TARGET,
    Plain,
    batches_of,
    model_of,
    step_of,
    tensor,
    train,
    worked_example,
)

LOSS = 0.381894682706181
BY_FEATURE = {
    "one": tensor(
        [-0.19548479354826065, 0.160022742901648], [0.05845606463873007, -0.13855463964436304]
    ),
    "two": tensor(
        [-0.08887688411247716, 0.07114585878917083], [0.04925267607077327, -0.08930196357358976]
    ),
}
BY_WEIGHT = tensor(
    [-0.1777537682249543, 0.19701070428309309, 0.09850535214154654, -0.1777537682249543],
    [0.160022742901648, -0.2771092792887261, -0.13855463964436304, 0.160022742901648],
    [0.017731025323306344, 0.08009857500563294, 0.04004928750281647, 0.017731025323306344],
)
BY_BIAS = tensor(-0.07924841608340777, 0.02146810325728496, 0.057780312826122816)


def close(found: Tensor | None, wanted: Tensor, tolerance: float = 1e-12) -> None:
    assert found is not None
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)


def stepped(model: Multimodal, batch: Batch) -> tuple[Output, dict[str, Tensor]]:
    """Output and losses of one step of joint training, its gradients in place."""
    learner = Balanced(model)
    (step,) = learner.steps(batch, epoch=0)
    output = learner(step)
    losses = learner.losses(output, step)
    for value in (*output.features.values(), *output.unimodal.values()):
        if not value.is_leaf:
            value.retain_grad()
    learner.backward(losses, output, step)
    return output, dict(losses)


def test_golden_worked_example() -> None:
    model, _ = worked_example()
    one, two = FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()
    _, losses = stepped(model, Batch({"one": one, "two": two}, TARGET))
    close(losses["task"].detach(), tensor(LOSS).squeeze())
    close(one.grad, BY_FEATURE["one"])
    close(two.grad, BY_FEATURE["two"])
    close(model.head.linear.weight.grad, BY_WEIGHT)
    close(model.head.linear.bias.grad, BY_BIAS)


def test_every_modality_receives_the_same_residual() -> None:
    """IBML eq. 2: no modality sees its own error."""
    output, _ = stepped(*worked_example())
    residual = (output.fused.softmax(1) - nn.functional.one_hot(TARGET, 3)) / len(TARGET)
    for logits in output.unimodal.values():
        close(logits.grad, residual.detach())


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Plain(model)
    for batch in batches * 2:
        plain.update(plain.gradients(plain.joint_loss(batch)))
    train(Method(), model, batches, epochs=2)
    plain.assert_equals(model)


def test_concatenation_and_summation_are_one_class_of_functions() -> None:
    """Equal predictions from equal weights; under SGD the M biases of the sum move M times as far."""
    model, batch = worked_example()
    total = Multimodal(
        {"one": nn.Identity(), "two": nn.Identity()}, heads.Sum({"one": 2, "two": 2}, 3)
    ).double()
    with torch.no_grad():
        for name, layer in total.head.linears.items():
            layer.weight.copy_(model.head.weight(name))
            layer.bias.copy_(model.head.linear.bias / 2)
    (first, _), (second, _) = stepped(model, batch), stepped(total, batch)
    close(second.fused.detach(), first.fused.detach())
    moved = sum(layer.bias.grad for layer in total.head.linears.values())
    close(moved, 2 * BY_BIAS)


def test_joint_is_the_method_that_changes_nothing() -> None:
    assert methods.BY_NAME["joint"] is Method
    assert methods.Joint is Method
    assert Method().expression() == "joint()"
    model, batch = worked_example()
    step = step_of(model, batch)
    output, losses = model(batch), {"task": torch.ones(())}
    assert Method().inputs(batch, step) is batch
    assert Method().outputs(output, step) is output
    assert Method().losses(losses, output, step) is losses
