"""OGM-GE beside its golden numbers and beside plain training that damps by loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import TOTAL, Gradients, Method, Output, Step
from equimodal.errors import ConfigError
from equimodal.methods import OGMGE
from fixtures.plain import (
    SIZE,
    Plain,
    batches_of,
    model_of,
    said,
    step_of,
    tensor,
    train,
    worked_example,
)

NOTHING = Gradients({TOTAL: {}}, {})


def noted(method: OGMGE, output: Output, step: Step, name: str) -> float:
    method.gradients(NOTHING, output, step)
    return step.notes[f"ogm_ge/{name}"].item()


@pytest.mark.parametrize(
    ("alpha", "k"),
    [(0.1, 0.8374267869336369), (0.3, 0.5441295764415066), (0.8, 0.1351616497279382)],
)
def test_golden_coefficients(alpha: float, k: float) -> None:
    model, batch = worked_example()
    output = said(tensor([2, 0, 0], [0, 1, 0]), tensor([0.5, 0, 0], [0, 0.2, 0]))
    step = step_of(model, batch)
    assert noted(OGMGE(alpha), output, step, "k/one") == pytest.approx(k, abs=1e-9)
    assert step.notes["ogm_ge/ratio/one"].item() == pytest.approx(1.6402863658447218, abs=1e-9)
    assert step.notes["ogm_ge/ratio/two"].item() == pytest.approx(0.609649644612522, abs=1e-9)
    assert step.notes["ogm_ge/k/two"] == 1


@pytest.mark.parametrize(
    ("alpha", "k"),
    [(0.1, 0.7595342494442366), (0.3, 0.3733959493795934), (0.8, 0.03874666864608489)],
)
def test_golden_worked_example(alpha: float, k: float) -> None:
    model, batch = worked_example()
    step = step_of(model, batch)
    assert noted(OGMGE(alpha), model(batch), step, "k/one") == pytest.approx(k, abs=1e-9)
    assert step.notes["ogm_ge/ratio/one"].item() == pytest.approx(2.452683888095506, abs=1e-9)


def test_the_jump_at_the_tie() -> None:
    """Just above a ratio of 1, k is 1 - tanh α; at a tie nobody is damped."""
    model, batch = worked_example()
    even = tensor([1, 0, 0], [0, 1, 0])
    for alpha, k in ((0.1, 0.9003320053750442), (0.3, 0.7086873875484091)):
        above = said(even * (1 + 1e-7), even)
        assert noted(OGMGE(alpha), above, step_of(model, batch), "k/one") == pytest.approx(
            k, abs=1e-6
        )
        tied = step_of(model, batch)
        assert noted(OGMGE(alpha), said(even, even), tied, "k/one") == 1
        assert tied.notes["ogm_ge/k/two"] == 1


def test_three_modalities_are_compared_with_the_mean_of_the_others() -> None:
    def logits(p: float) -> torch.Tensor:  # of which the first class has probability p
        return tensor([math.log(p), math.log(1 - p)])

    three = ("a", "b", "c")
    model = Multimodal({m: nn.Identity() for m in three}, heads.Sum(dict.fromkeys(three, 2), 2))
    batch = Batch({m: tensor([0, 0]) for m in three}, torch.tensor([0]))
    unimodal = {"a": logits(0.9), "b": logits(0.6), "c": logits(0.3)}
    step = step_of(model, batch)
    OGMGE(0.3).gradients(NOTHING, Output(unimodal, unimodal, unimodal["a"]), step)
    ratios = [step.notes[f"ogm_ge/ratio/{m}"].item() for m in three]
    assert ratios == pytest.approx([2, 1, 0.4], abs=1e-12)
    ks = [step.notes[f"ogm_ge/k/{m}"].item() for m in three]
    assert ks == pytest.approx([1 - math.tanh(0.6), 1, 1], abs=1e-12)


def reference_k(plain: Plain, batch: Batch, alpha: float) -> dict[str, float]:
    """The damping of each modality, from sums of probabilities over the samples that have it."""
    score, count = dict.fromkeys(plain.modalities, 0.0), dict.fromkeys(plain.modalities, 0)
    for i in range(SIZE):
        for m, g in plain.unimodal(batch, i).items():
            values = g.detach().tolist()
            score[m] += math.exp(values[batch.target[i]]) / sum(math.exp(v) for v in values)
            count[m] += 1
    mean = {m: score[m] / count[m] for m in plain.modalities if count[m]}
    found = {}
    for m in plain.modalities:
        others = [mean[n] for n in mean if n != m]
        ratio = mean[m] / (sum(others) / len(others)) if m in mean and others else 0.0
        found[m] = 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0
    return found


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain, damped = Plain(model), 0
    for batch in batches * 2:
        factors = reference_k(plain, batch, 0.7)
        gradients = plain.gradients(plain.joint_loss(batch))
        for m, k in factors.items():
            if f"encoders.{m}.weight" in gradients:
                gradients[f"encoders.{m}.weight"] *= k
            damped += k < 1
        plain.update(gradients)
    assert damped > 0 or modalities == 1
    train(OGMGE(alpha=0.7, noise=False), model, batches, epochs=2)
    plain.assert_equals(model)


def one_step(method: Method, model: Multimodal, batch: Batch) -> tuple[Balanced, Step]:
    learner = Balanced(model, method)
    learner.begin_epoch(3)
    (step,) = learner.steps(batch, 3, 2, 5)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    return learner, step


def test_noise_has_the_unbiased_std_of_each_unscaled_tensor() -> None:
    (batch,) = batches_of(2, count=1)
    with_noise, without, joint = model_of(2), model_of(2), model_of(2)
    _, step = one_step(OGMGE(0.7), with_noise, batch)
    one_step(OGMGE(0.7, noise=False), without, batch)
    one_step(Method(), joint, batch)
    generator = step.generator("ogm_ge")
    for name, parameter in with_noise.named_parameters():
        plain = without.get_parameter(name).grad
        if not name.startswith("encoders") or parameter.ndim < 2:
            assert torch.equal(parameter.grad, plain), name
            continue
        entries = joint.get_parameter(name).grad.flatten().tolist()
        mean = sum(entries) / len(entries)
        std = math.sqrt(sum((e - mean) ** 2 for e in entries) / (len(entries) - 1))
        draw = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        torch.testing.assert_close(parameter.grad, plain + draw * (std + 1e-8), atol=1e-12, rtol=0)


def convolutional() -> Multimodal:
    torch.manual_seed(0)
    encoders = {
        m: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
        for m in ("one", "two")
    }
    return Multimodal(encoders, heads.Linear({"one": 3, "two": 3}, 3)).double()


@pytest.mark.parametrize(
    ("conv_only", "noisy"), [(True, {"0.weight"}), (False, {"0.weight", "3.weight"})]
)
def test_which_parameters_are_modulated(conv_only: bool, noisy: set[str]) -> None:
    images = torch.randn(
        2, 5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    batch = Batch({"one": images[0], "two": images[1]}, torch.tensor([0, 1, 2, 0, 1]))
    changed, joint = convolutional(), convolutional()
    one_step(OGMGE(0.0, conv_only=conv_only), changed, batch)  # α = 0: what changes has noise
    one_step(Method(), joint, batch)
    found = {
        name
        for name, p in changed.named_parameters()
        if not torch.equal(p.grad, joint.get_parameter(name).grad)
    }
    assert found == {f"encoders.{m}.{name}" for m in ("one", "two") for name in noisy}


def test_a_parameter_of_two_encoders_is_damped_once_by_the_mean() -> None:
    shared = nn.Linear(2, 2, bias=False)
    head = heads.Linear({"one": 2, "two": 2}, 3)
    model = Multimodal({"one": shared, "two": shared}, head).double()
    _, batch = worked_example()
    learner, step = one_step(OGMGE(0.5, noise=False), model, batch)
    damped = shared.weight.grad.clone()
    learner.zero_grad()
    one_step(Method(), model, batch)
    mean = (step.notes["ogm_ge/k/one"] + step.notes["ogm_ge/k/two"]) / 2
    assert mean < 1
    torch.testing.assert_close(damped, shared.weight.grad * mean, atol=1e-14, rtol=0)


def test_frozen_and_single_entry_parameters_are_left_alone() -> None:
    _, batch = worked_example()
    narrow = Batch({"one": batch.inputs["one"][:, :1], "two": batch.inputs["two"]}, batch.target)
    encoders = {"one": nn.Linear(1, 1), "two": nn.Linear(2, 2)}
    model = Multimodal(encoders, heads.Linear({"one": 1, "two": 2}, 3)).double()
    encoders["two"].weight.requires_grad_(False)
    one_step(OGMGE(), model, narrow)
    assert encoders["two"].weight.grad is None
    assert torch.isfinite(encoders["one"].weight.grad).all()


def test_alpha_zero_without_noise_is_joint_training_bit_for_bit() -> None:
    balanced, joint = model_of(3), model_of(3)
    train(OGMGE(alpha=0.0, noise=False), balanced, batches_of(3), epochs=2)
    train(Method(), joint, batches_of(3), epochs=2)
    assert all(torch.equal(p, joint.get_parameter(n)) for n, p in balanced.named_parameters())


def test_scores_are_those_of_all_micro_batches() -> None:
    whole, parts = model_of(2), model_of(2)
    (batch,) = batches_of(2, count=1)
    one_step(OGMGE(0.7, noise=False), whole, batch)
    learner = Balanced(parts, OGMGE(0.7, noise=False))
    for step in learner.steps([batch.select(slice(0, 2)), batch.select(slice(2, SIZE))], 0):
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
    for name, p in parts.named_parameters():
        torch.testing.assert_close(p.grad, whole.get_parameter(name).grad, atol=1e-12, rtol=0)


def test_adam_is_warned_of() -> None:
    model = model_of(2)
    learner = Balanced(model, OGMGE())
    adam = torch.optim.AdamW(learner.parameters())
    with pytest.warns(UserWarning, match="Adam"):
        learner.begin_epoch(0, optimizer=adam)


def test_a_negative_alpha_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ogm_ge\(alpha=-1"):
        OGMGE(alpha=-1.0)


def test_bfloat16_scores_are_counted_in_float32() -> None:
    model, batch = worked_example()
    many = Batch({m: x.repeat(600, 1) for m, x in batch.inputs.items()}, batch.target.repeat(600))
    output = model(many)
    low = Output(
        *(
            {m: x.bfloat16() for m, x in part.items()}
            for part in (output.features, output.unimodal)
        ),
        output.fused,
    )
    ratio = noted(OGMGE(), low, step_of(model, many), "ratio/one")
    assert ratio == pytest.approx(2.452683888095506, rel=5e-3)
