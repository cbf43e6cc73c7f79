"""AGM beside its golden numbers, and beside plain training that scales the gradient of each Shapley value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, Output, heads
from equimodal.core import TOTAL, Classification, DataInfo, Gradients, Padded, Step
from equimodal.errors import ConfigError
from equimodal.methods import AGM, MMCosine, Uniform
from equimodal.models.heads import Head
from fixtures.plain import (
    CLASSES,
    SIZE,
    Plain,
    batches_of,
    model_of,
    step_of,
    tensor,
    train,
    worked_example,
)

NOTHING = Gradients({TOTAL: {}}, {})


class Table(Head):
    """A fusion that is a list of logits: of both modalities, of the first, of the second."""

    additive = False

    def __init__(self) -> None:
        super().__init__({"one": 1, "two": 1}, 3)
        self.logits = nn.Parameter(tensor([2, 0, 1], [1.5, 0.2, 0], [0.3, 0.1, 0.9]))

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        first, second = (bool(z.any()) for z in features.values())
        fused = self.logits[0 if first and second else 1 if first else 2][None]
        return dict.fromkeys(features, fused), fused


def table(**options: float) -> tuple[Balanced, Step]:
    model = Multimodal({"one": nn.Identity(), "two": nn.Identity()}, Table()).double()
    learner = Balanced(model, AGM(**options))
    (step,) = learner.steps(Batch({"one": tensor([1]), "two": tensor([1])}, torch.tensor([0])), 0)
    return learner, step


def kappas(learner: Balanced, step: Step) -> list[float]:
    learner(step)
    return [step.notes[f"agm/kappa/{m}"].item() for m in learner.model.modalities]


@pytest.mark.parametrize(
    ("alpha", "kappa"),
    [
        (1.0, [0.2550316359252069, 1.7814210739454703]),
        (1.5, [0.1287926517460437, 2.3776606946335845]),
    ],
)
def test_golden_first_step(alpha: float, kappa: list[float]) -> None:
    learner, step = table(alpha=alpha)
    output = learner(step)
    torch.testing.assert_close(
        output.unimodal["one"], tensor([1.6, 0.05, 0.05]), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(
        output.unimodal["two"], tensor([0.4, -0.05, 0.95]), atol=1e-12, rtol=0
    )
    assert output.fused[0].tolist() == [2, 0, 1]
    losses = [step.notes[f"agm/loss/{m}"].item() for m in ("one", "two")]
    assert losses == pytest.approx([0.3538180302016822, 1.215174184811604], abs=1e-12)
    assert kappas(learner, step) == pytest.approx(kappa, abs=1e-12)


@pytest.mark.parametrize(
    ("alpha", "kappa"),
    [
        (1.0, [0.41705257690517655, 1.281115839735885]),
        (1.5, [0.2693309193069301, 1.4500487433313014]),
    ],
)
def test_golden_later_step(alpha: float, kappa: list[float]) -> None:
    learner, step = table(alpha=alpha)
    learner.method.running.copy_(tensor(0.8, 1.2))
    learner.method.steps.fill_(3)
    assert kappas(learner, step) == pytest.approx(kappa, abs=1e-12)


def test_each_coalition_receives_its_part_of_the_gradient() -> None:
    learner, step = table(alpha=1.0)
    output = learner(step)
    first, second = kappas(learner, step)
    learner.backward(learner.losses(output, step), output, step)
    gradient = tensor(2, 0, 1).softmax(0) - tensor(1, 0, 0)
    omega = [(first + second) / 2, (first - second) / 2, (second - first) / 2]
    expected = torch.stack([w * gradient for w in omega])
    torch.testing.assert_close(learner.model.head.logits.grad, expected, atol=1e-14, rtol=0)


def test_golden_worked_example() -> None:
    model, batch = worked_example()
    learner = Balanced(model, AGM())
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    assert kappas(learner, step) == pytest.approx(
        [0.2316057612884387, 1.8111186356166187], abs=1e-12
    )
    for m, own in model(batch).unimodal.items():  # zeros pass through: φ is the b/M rule's logits
        torch.testing.assert_close(output.unimodal[m], own, atol=1e-15, rtol=0)


def prepared(modalities: int, **options: float) -> AGM:
    method = AGM(**options)
    method.prepare(model_of(modalities), DataInfo(CLASSES, Classification()))
    return method


@pytest.mark.parametrize(
    ("kappa", "omega"),
    [
        ([1.5, 0.7], {"m0": 0.4, "m1": -0.4, "m0 m1": 1.1}),
        (
            [1.5, 0.7, 1.1],
            {
                "m0": 0.2,
                "m1": -0.2,
                "m2": 0,
                "m0 m1": 0,
                "m0 m2": 0.2,
                "m1 m2": -0.2,
                "m0 m1 m2": 1.1,
            },
        ),
    ],
)
def test_golden_weights_of_coalitions(kappa: list[float], omega: dict[str, float]) -> None:
    method = prepared(len(kappa))
    found = (tensor(*kappa) @ method.shares).tolist()
    named = {" ".join(sorted(s)): w for s, w in zip(method.coalitions, found, strict=True)}
    assert named == pytest.approx(omega, abs=1e-12)


def logits_with(loss: float) -> Tensor:
    """Two logits whose first class has this cross-entropy."""
    return tensor([-math.log(math.exp(loss) - 1), 0])


def additive(losses: list[float]) -> tuple[Multimodal, Batch]:
    names = [f"m{i}" for i in range(len(losses))]
    head = heads.Sum(dict.fromkeys(names, 2), 2).double()
    with torch.no_grad():
        for linear in head.linears.values():
            linear.weight.copy_(torch.eye(2))
            linear.bias.zero_()
    model = Multimodal({m: nn.Identity() for m in names}, head)
    inputs = {m: logits_with(loss) for m, loss in zip(names, losses, strict=True)}
    return model, Batch(inputs, torch.tensor([0]))


def test_golden_three_modalities() -> None:
    model, batch = additive([0.5, 1, 1.5])
    learner = Balanced(model, AGM(alpha=0.5))
    (step,) = learner.steps(batch, 0)
    ratios = [2.117000016612675, 1, 0.4723665527410147]
    expected = [math.exp(0.5 * (1 - r)) for r in ratios]
    assert kappas(learner, step) == pytest.approx(expected, abs=1e-12)


def test_golden_running_mean() -> None:
    method, found = prepared(2), []
    model = model_of(2)
    for loss in (1, 0.4, 0.7):
        said = {"m0": logits_with(loss), "m1": logits_with(2)}
        batch = Batch({m: tensor([0]) for m in said}, torch.tensor([0]))
        method.observe(Output(said, said, said["m0"]), NOTHING, step_of(model, batch))
        found.append(method.running.tolist())
    assert [pair[0] for pair in found] == pytest.approx([1, 0.7, 0.7], abs=1e-12)
    assert [pair[1] for pair in found] == pytest.approx([2, 2, 2], abs=1e-12)


class Reference(Plain):
    """F(S) by definition, Shapley values by the factorial formula, the gradient of each scaled by κ."""

    def answer(self, batch: Batch, i: int, chosen: set[str]) -> Tensor:
        there = self.present(batch, i)
        if not chosen & set(there):
            return torch.zeros(CLASSES, dtype=torch.float64)
        logits = self.parameters["head.linear.bias"]
        for m in there:
            x = batch.inputs[m][i]
            logits = logits + self.logits(m, self.feature(m, x if m in chosen else 0 * x))
        return logits

    def responses(self, batch: Batch, i: int) -> dict[str, Tensor]:
        there = self.present(batch, i)
        count, found = len(there), {}
        for m in there:
            others = [n for n in there if n != m]
            value = torch.zeros(CLASSES, dtype=torch.float64)
            for k in range(count):
                weight = math.factorial(k) * math.factorial(count - k - 1) / math.factorial(count)
                for chosen in itertools.combinations(others, k):
                    gain = self.answer(batch, i, {*chosen, m}) - self.answer(batch, i, {*chosen})
                    value = value + weight * gain
            found[m] = value
        return found

    def mean_losses(self, responses: list[dict[str, Tensor]], batch: Batch) -> dict[str, float]:
        found = {}
        for m in self.modalities:
            each = [
                -math.log(max(r[m].softmax(0)[y].item(), 1e-8))
                for r, y in zip(responses, batch.target, strict=True)
                if m in r
            ]
            if each:
                found[m] = sum(each) / len(each)
        return found


def ahead(losses: dict[str, float], m: str, among: dict[str, float]) -> float:
    others = [losses[n] for n in among if n != m and n in losses]
    return math.exp(sum(others) / len(others) - losses[m]) if others and m in losses else 1.0


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Reference(model)
    history: dict[str, list[float]] = {m: [] for m in plain.modalities}
    for batch in batches * 2:
        responses = [plain.responses(batch, i) for i in range(SIZE)]
        now = plain.mean_losses(responses, batch)
        past = {m: sum(h) / len(h) for m, h in history.items() if h}
        total = torch.zeros((), dtype=torch.float64)
        for i, response in enumerate(responses):
            fused = torch.zeros(CLASSES, dtype=torch.float64)
            for m, value in response.items():
                kappa = math.exp(0.8 * min(ahead(past, m, now) - ahead(now, m, now), 10.0))
                fused = fused + kappa * value + (1 - kappa) * value.detach()
            total = total - fused.log_softmax(0)[batch.target[i]] / SIZE
        plain.update(plain.gradients(total))
        for m, value in now.items():
            history[m].append(value)
    learner = train(AGM(alpha=0.8), model, batches, epochs=2)
    plain.assert_equals(model)
    means = [sum(h) / len(h) for h in history.values()]
    assert learner.method.running.tolist() == pytest.approx(means, abs=1e-10)


def noisy(seed: int = 0) -> Multimodal:
    """Encoders and a head that behave differently in training."""
    torch.manual_seed(seed)
    encoders = {
        m: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU()) for m in ("m0", "m1")
    }
    return Multimodal(encoders, heads.Linear({"m0": 3, "m1": 3}, CLASSES)).double()


def test_masked_passes_leave_statistics_and_modes_alone() -> None:
    batches = batches_of(2)
    balanced, joint = noisy(), noisy()
    frozen = balanced.encoders["m1"][1].eval()  # its owner keeps it in evaluation mode
    joint.encoders["m1"][1].eval()
    train(AGM(alpha=0.0), balanced, batches, epochs=1)
    train(Method(), joint, batches, epochs=1)
    assert not frozen.training
    assert balanced.encoders["m0"][1].training
    for name, value in joint.state_dict().items():
        assert torch.equal(balanced.state_dict()[name], value), name


def test_masked_passes_use_running_statistics_or_those_of_training() -> None:
    model, (batch,) = noisy(), batches_of(2, count=1)
    for encoder in model.encoders.values():
        encoder[1].momentum = 0.0  # so that the passes of this test do not change the statistics
    step = step_of(model, batch)
    features = model(batch).features
    silent = {m: model.eval().encode(m, Batch({m: 0 * batch.inputs[m][:1]})) for m in features}
    heard = {m: model.encode(m, batch) for m in features}
    model.train()
    for mode, seen in (("train", features), ("eval", heard)):
        learner = Balanced(model, AGM(masked=mode))
        output = learner(step)
        first = model.head({"m0": seen["m0"], "m1": silent["m1"].expand(SIZE, -1)}, batch)[1]
        second = model.head({"m0": silent["m0"].expand(SIZE, -1), "m1": seen["m1"]}, batch)[1]
        expected = (output.fused - second + first) / 2
        torch.testing.assert_close(output.unimodal["m0"], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_alpha_zero_is_joint_training_bit_for_bit(modalities: int, missing: bool) -> None:
    balanced, joint = model_of(modalities), model_of(modalities)
    batches = batches_of(modalities, missing)
    train(AGM(alpha=0.0), balanced, batches, epochs=2)
    train(Method(), joint, batches, epochs=2)
    assert all(torch.equal(p, joint.get_parameter(n)) for n, p in balanced.named_parameters())


def test_coefficients_end_with_the_window() -> None:
    """The published code keeps the last ones."""
    batches = batches_of(2)
    model = model_of(2)
    learner = train(AGM(alpha=2.0).during(0, 1), model, batches, epochs=1)
    joint = model_of(2)
    joint.load_state_dict(model.state_dict())
    other = Balanced(joint, Method())
    for one in (learner, other):
        (step,) = one.steps(batches[0], 1)
        output = one(step)
        one.backward(one.losses(output, step), output, step)
        assert "agm/kappa/m0" not in step.notes
    for name, p in model.named_parameters():
        grad = p.grad if p.grad is not None else torch.zeros_like(p)
        assert torch.equal(grad, joint.get_parameter(name).grad), name
    assert learner.method.method.steps.tolist() == [4, 4]  # it remembers


@pytest.mark.parametrize("modalities", [4, 8])
def test_responses_sum_to_the_fused_logits(modalities: int) -> None:
    model, (batch,) = model_of(modalities), batches_of(modalities, missing=True, count=1)
    output = Balanced(model, AGM()).predict(batch)
    total = torch.stack(list(output.unimodal.values())).sum(0)
    torch.testing.assert_close(total, output.fused, atol=1e-12, rtol=0)
    for m, phi in output.unimodal.items():
        assert not phi[~batch.mask(m)].any()


def test_in_the_common_case_orders_give_the_factorial_weights() -> None:
    method = prepared(4)
    for chosen, shares in zip(method.coalitions, method.shares.T.tolist(), strict=True):
        inside, outside = (math.factorial(n) for n in (len(chosen) - 1, len(chosen)))
        for m, share in zip(("m0", "m1", "m2", "m3"), shares, strict=True):
            gain = inside * math.factorial(4 - len(chosen)) / 24
            loss = 0 if len(chosen) == 4 else outside * math.factorial(3 - len(chosen)) / 24
            assert share == pytest.approx(gain if m in chosen else -loss, abs=1e-15)


def test_the_cap_bounds_the_coefficients() -> None:
    model, batch = additive([0.1, 9.0])
    learner = Balanced(model, AGM(alpha=3.0, cap=0.5))
    learner.method.running.copy_(tensor(5.0, 0.0))
    learner.method.steps.fill_(1)
    (step,) = learner.steps(batch, 0)
    assert kappas(learner, step)[1] == pytest.approx(math.exp(1.5), abs=1e-12)


class Lengths(nn.Module):
    """Reads sequences of different lengths: sum and length."""

    def forward(self, value: Padded) -> Tensor:
        there = torch.arange(value.values.shape[1]) < value.lengths[:, None]
        return torch.stack([(value.values * there).sum(1), value.lengths.double()], 1)


def test_zeros_of_a_sequence_keep_its_length() -> None:
    torch.manual_seed(0)
    head = heads.Linear({"words": 2, "other": 2}, 3)
    model = Multimodal({"words": Lengths(), "other": nn.Identity()}, head).double()
    values = Padded(tensor([1, 2, 3], [4, 5, 0]), torch.tensor([3, 2]))
    other = tensor([1, 0], [0, 1])
    output = Balanced(model, AGM()).predict(Batch({"words": values, "other": other}))
    z, zero = tensor([6, 3], [9, 2]), tensor([0, 3], [0, 2])
    weight, bias = head.linear.weight, head.linear.bias
    first = z @ weight[:, :2].T + bias
    second = zero @ weight[:, :2].T + other @ weight[:, 2:].T + bias
    expected = (output.fused - second + first) / 2
    torch.testing.assert_close(output.unimodal["words"], expected.detach(), atol=1e-12, rtol=0)


def test_it_composes_with_unimodal_losses() -> None:
    model = model_of(2)
    train(AGM() + Uniform(), model, batches_of(2, missing=True), epochs=2)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"agm\(alpha=-1"):
        AGM(alpha=-1.0)
    with pytest.raises(ConfigError, match=r"agm\(masked='off'\)"):
        AGM(masked="off")
    for chain in (lambda: AGM() + MMCosine(), lambda: MMCosine() + AGM().during(0, 3)):
        with pytest.raises(ConfigError, match="leave one of them out"):
            chain()
