"""ARL beside its golden numbers, and beside plain training that counts reliance and entropy by loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import Step
from equimodal.errors import ConfigError
from equimodal.methods import ARL
from fixtures.plain import (
    CLASSES,
    FIRST,
    INPUTS,
    SECOND,
    SIZE,
    TARGET,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    tensor,
    train,
    worked_example,
)

PAST = 6  # an epoch after the start


def backward(
    method: Method, model: Multimodal, batch: Batch, epoch: int = PAST
) -> tuple[dict[str, Tensor], Step]:
    learner = Balanced(model, method)
    (step,) = learner.steps(batch, epoch)
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return losses, step


def test_golden_worked_example() -> None:
    model, _ = worked_example()
    z = [FIRST.clone().requires_grad_(), SECOND.clone().requires_grad_()]
    losses, step = backward(ARL(), model, Batch({"one": z[0], "two": z[1]}, TARGET))
    assert sum(losses.values()).item() == pytest.approx(6.245769562880322, abs=1e-12)
    scales = [step.notes[f"arl/scale/{m}"].item() for m in ("one", "two")]
    assert scales == pytest.approx([1.3306293129541074, 1.6693706870458926], abs=1e-12)
    expected = [
        tensor([-0.8889626300913724, 0.5928003555156953], [0.14386573858312315, -0.5712818613003987]),
        tensor([-0.7260885832887285, 0.4133601259178589], [0.5746959632238751, -1.0420038476683284]),
    ]  # fmt: skip
    for found, wanted in zip(z, expected, strict=True):
        torch.testing.assert_close(found.grad, wanted, atol=1e-12, rtol=0)
    weight = tensor(
        [-0.7408814928035339, 0.7151475998835218, 1.1493919264477501, -1.452177166577457],
        [0.5928003555156953, -1.1425637226007974, -1.6166998108922035, 1.1394487092065875],
        [0.14808113728783862, 0.4274161227172755, 0.4673078844444535, 0.3127284573708696],
    )
    bias = tensor(-0.6068445169080721, -0.4772007107276043, 1.0840452276356767)[:]
    torch.testing.assert_close(model.head.linear.weight.grad, weight, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.head.linear.bias.grad, bias, atol=1e-12, rtol=0)


def reference_scales(
    plain: Plain, batch: Batch, temperature: float, strength: float
) -> dict[str, float]:
    reliance, entropy = {}, {}
    for m in plain.modalities:
        spoken = []
        for i in range(SIZE):
            if m in plain.present(batch, i):
                g = plain.logits(m, plain.feature(m, batch.inputs[m][i]))
                spoken.append((g + plain.parameters["head.linear.bias"]).tolist())
        if not spoken:
            continue
        reliance[m] = sum(abs(v) for row in spoken for v in row) / len(spoken)
        surprise = 0.0
        for row in spoken:
            total = sum(math.exp(v) for v in row)
            surprise -= sum(math.exp(v) / total * math.log(math.exp(v) / total) for v in row)
        entropy[m] = surprise / len(spoken)
    known = list(reliance)
    if len(known) < 2:
        return dict.fromkeys(known, 1.0)
    d = {m: reliance[m] / sum(reliance.values()) for m in known}
    h = {m: max(entropy[m] / sum(entropy.values()), 0.3) for m in known}
    w = {m: (1 / h[m]) / sum(1 / h[n] for n in known) for m in known}
    drive = {}
    for m in known:
        others = [d[n] for n in known if n != m]
        drive[m] = math.exp(temperature * sum(others) / len(others) * w[m])
    return {m: 1 + strength * drive[m] / sum(drive.values()) for m in known}


def reference_loss(plain: Plain, batch: Batch, gamma: float) -> Tensor:
    loss = plain.joint_loss(batch)
    for m in plain.modalities:
        having = [i for i in range(SIZE) if m in plain.present(batch, i)]
        for i in having:
            g = plain.logits(m, plain.feature(m, batch.inputs[m][i]))
            g = g + plain.parameters["head.linear.bias"]
            loss = loss - gamma * torch.log_softmax(g, 0)[batch.target[i]] / len(having)
    return loss


@pytest.mark.parametrize("by_gamma", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool, by_gamma: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain, unequal = Plain(model), 0.0
    for epoch in range(3):
        for batch in batches:
            gamma = 2.0 if epoch > 0 else 1.0
            found = plain.gradients(reference_loss(plain, batch, gamma))
            scales = reference_scales(plain, batch, 8.0, gamma if by_gamma else 1.0)
            for m, scale in scales.items() if epoch > 0 else ():
                for part in ("weight", "bias"):
                    found[f"encoders.{m}.{part}"] *= scale
            unequal = max(unequal, max(scales.values()) - min(scales.values()))
            plain.update(found)
    assert unequal > 0.05 or modalities == 1
    method = ARL(gamma=2.0, temperature=8.0, start=0, scale_by_gamma=by_gamma)
    train(method, model, batches, epochs=3)
    plain.assert_equals(model)


def test_the_scales_are_used() -> None:
    """In the published code they are computed and only printed, and both encoders get the same factor."""
    (batch,) = batches_of(2, count=1)
    scaled, plain = model_of(2), model_of(2)
    _, step = backward(ARL(start=5), scaled, batch)
    backward(ARL(start=PAST), plain, batch)  # not yet started: γ is 1
    first, second = (step.notes[f"arl/scale/m{i}"] for i in (0, 1))
    assert first + second == pytest.approx(3, abs=1e-12)
    assert abs(first - second) > 0.05
    reference = model_of(2)
    backward(ARL(start=5, temperature=0.0), reference, batch)  # all scales 1.5
    for m, scale in (("m0", first), ("m1", second)):
        for name, p in scaled.encoders[m].named_parameters():
            wanted = reference.encoders[m].get_parameter(name).grad / 1.5 * scale
            torch.testing.assert_close(p.grad, wanted, atol=1e-12, rtol=0)
    assert not torch.equal(plain.encoders["m0"].weight.grad, scaled.encoders["m0"].weight.grad)


def test_split_bias_without_scales_is_the_joint_loss_plus_the_unimodal_ones() -> None:
    model, (batch,) = model_of(3), batches_of(3, count=1)
    losses, _ = backward(ARL(gamma=2.5, bias="split"), model, batch)
    said = Balanced(model, Method()).predict(batch)
    for m, g in said.unimodal.items():
        wanted = 2.5 * nn.functional.cross_entropy(g, batch.target)
        assert losses[f"arl/{m}"].item() == pytest.approx(wanted.item(), abs=1e-12)


def test_four_modalities_are_told_apart_by_their_entropy() -> None:
    """The published floor of 0.3 would be above every share."""
    model, (batch,) = model_of(4), batches_of(4, count=1)
    with torch.no_grad():
        for i, encoder in enumerate(model.encoders.values()):
            encoder.weight.mul_(10.0 ** (1 - i))
    _, step = backward(ARL(floor=0.3), model, batch)
    scales = torch.stack([step.notes[f"arl/scale/m{i}"] for i in range(4)])
    _, same = backward(ARL(floor=0.9), model, batch)
    capped = torch.stack([same.notes[f"arl/scale/m{i}"] for i in range(4)])
    torch.testing.assert_close(scales, capped, atol=0, rtol=0)  # both are min(floor, 0.9 / M)
    _, low = backward(ARL(floor=0.0), model, batch)
    assert abs(low.notes["arl/scale/m0"] - scales[0]) > 1e-3


def test_a_parameter_of_two_encoders_is_scaled_once_by_the_mean() -> None:
    (batch,) = batches_of(2, count=1)
    shared = nn.Linear(INPUTS, WIDTH).double()
    head = heads.Linear({"m0": WIDTH, "m1": WIDTH}, CLASSES).double()
    model = Multimodal({"m0": shared, "m1": shared}, head)
    _, step = backward(ARL(), model, batch)
    found = shared.weight.grad.clone()
    model.zero_grad()
    backward(ARL(scale_by_gamma=True, gamma=0.0), model, batch)  # nothing scaled, no own losses
    joint = shared.weight.grad.clone()
    model.zero_grad()
    backward(ARL(temperature=0.0), model, batch)
    mean = sum(step.notes[f"arl/scale/m{i}"] for i in (0, 1)) / 2
    assert mean.item() == pytest.approx(1.5, abs=1e-12)
    torch.testing.assert_close(found, shared.weight.grad, atol=1e-12, rtol=0)
    assert not torch.equal(found, joint)


def test_bfloat16_statistics_are_counted_in_float32() -> None:
    model, batch = worked_example()
    many = Batch({m: x.repeat(600, 1) for m, x in batch.inputs.items()}, batch.target.repeat(600))
    low = Batch({m: x.bfloat16() for m, x in many.inputs.items()}, many.target)
    _, step = backward(ARL(), model.bfloat16(), low)
    assert step.notes["arl/scale/one"].item() == pytest.approx(1.3306293129541074, rel=5e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gamma": -1.0}, r"arl\(gamma=-1"),
        ({"temperature": -1.0}, r"arl\(temperature=-1"),
        ({"floor": 1.0}, r"arl\(floor=1"),
        ({"bias": "half"}, "'full' or 'split'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ARL(**options)
