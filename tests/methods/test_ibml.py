"""IBML beside a slow reference that follows the paper sample by sample, its expression, and its neutral setting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core.expression import build
from equimodal.errors import ConfigError
from equimodal.methods import BIO, BY_NAME, IBML, TCM, Uniform, Warmup

N, C, D, B = 10, 3, 4, 4
EPOCHS, RATE, STRENGTH = 6, 0.5, 3.0


def problem(modalities: int) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Inputs [N, D], of which each modality says less than the one before; labels; initial weights."""
    generator = torch.Generator().manual_seed(modalities)
    draw = {"generator": generator, "dtype": torch.float64}
    target = torch.arange(N) % C
    pattern = torch.randn(C, D, **draw)
    inputs = {
        f"m{i}": pattern[target] * (2.0 - i) / 2 + 0.6 * torch.randn(N, D, **draw)
        for i in range(modalities)
    }
    weights = {f"E{m}": 0.5 * torch.randn(2, D, **draw) for m in inputs}
    weights |= {f"W{m}": 0.5 * torch.randn(C, 2, **draw) for m in inputs} | {
        "b": torch.zeros(C).double()
    }
    return inputs, target, weights


def library(method: Method, modalities: int) -> tuple[Balanced, list[Batch]]:
    inputs, target, weights = problem(modalities)
    encoders = {m: nn.Linear(D, 2, bias=False).double() for m in inputs}
    head = heads.Linear(dict.fromkeys(inputs, 2), classes=C).double()
    with torch.no_grad():
        for m, encoder in encoders.items():
            encoder.weight.copy_(weights[f"E{m}"])
        head.linear.weight.copy_(torch.cat([weights[f"W{m}"] for m in inputs], 1))
        head.linear.bias.copy_(weights["b"])
    learner = Balanced(Multimodal(encoders, head), method, samples=N, epochs=EPOCHS)
    rows = [torch.tensor(r) for r in ([7, 2, 5, 0], [1, 9, 3, 8], [4, 6])]
    batches = [Batch({m: x[r] for m, x in inputs.items()}, target[r], r) for r in rows]
    return learner, batches


def train(learner: Balanced, batches: list[Batch]) -> list[float]:
    optimizer = torch.optim.SGD(learner.parameters(), lr=RATE)
    totals = []
    for epoch in range(EPOCHS):
        learner.begin_epoch(epoch)
        optimizer.param_groups[0]["lr"] = RATE * learner.rate(epoch)
        for i, batch in enumerate(batches):
            (step,) = learner.steps(batch, epoch, i, len(batches))
            output = learner(step)
            losses = learner.losses(output, step)
            learner.backward(losses, output, step)
            optimizer.step()
            optimizer.zero_grad()
            totals.append(sum(value.item() for value in losses.values()))
    return totals


class Reference:
    """IBML with Python numbers, lists and dicts; only the gradients of its scalar loss are autograd's."""

    def __init__(self, learner: Balanced, modalities: int, peak: float) -> None:
        self.learner, self.peak = learner, peak  # asked for nothing but its random draws
        inputs, _, weights = problem(modalities)
        self.names = list(inputs)
        self.weights = {k: v.clone().requires_grad_() for k, v in weights.items()}
        self.before: dict[tuple[str, int], tuple[float, bool]] = {}
        self.now: dict[tuple[str, int], tuple[float, bool]] = {}
        self.noised = self.lazy = 0

    def train(self, batches: list[Batch]) -> list[float]:
        totals = []
        for epoch in range(EPOCHS):
            self.before, self.now = self.now or self.before, {}
            balance = 1 <= epoch < 0.9 * EPOCHS
            for i, batch in enumerate(batches):
                totals.append(self.step(batch, epoch, i, balance))
        return totals

    def scores(self, index: list[int]) -> dict[str, float]:
        return {m: sum(self.before.get((m, i), (1.0, True))[0] for i in index) for m in self.names}

    def noise(self, batch: Batch, epoch: int, number: int) -> dict[str, list[Tensor]]:
        index = batch.index.tolist()
        rho = self.scores(index)
        (step,) = self.learner.steps(batch, epoch, number, 3)
        found = {}
        for m in self.names:
            rows = list(batch.inputs[m])
            a = len(self.names) * rho[m] / sum(rho.values())
            p = min(a, STRENGTH) / STRENGTH
            numbers = [x for row in rows for x in row.tolist()]
            mean = sum(numbers) / len(numbers)
            s = math.sqrt(sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1))
            generator = step.at(1).generator(f"tcm/{m}", per_process=True)  # TCM is second of three
            u = torch.rand(len(rows), generator=generator, dtype=torch.float64).tolist()
            right = [self.before.get((m, i), (1.0, True))[1] for i in index]
            chosen = [j for j in range(len(rows)) if a > 1 and right[j] and u[j] < p]
            e = torch.randn(len(chosen), D, generator=generator, dtype=torch.float64)
            for j, own in zip(chosen, e, strict=True):
                rows[j] = rows[j] + s * own
                self.noised += 1
            found[m] = rows
        return found

    def step(self, batch: Batch, epoch: int, number: int, balance: bool) -> float:
        index, target = batch.index.tolist(), batch.target.tolist()
        inputs = {m: list(batch.inputs[m]) for m in self.names}
        if balance:
            inputs = self.noise(batch, epoch, number)
        rho = self.scores(index)
        mean = sum(rho.values()) / len(rho)
        lazy = [m for m in self.names if balance and rho[m] < mean]
        self.lazy += len(lazy)
        loss = torch.zeros((), dtype=torch.float64)
        for j, (i, y) in enumerate(zip(index, target, strict=True)):
            own = {}
            for m in self.names:
                w = self.weights
                own[m] = w[f"W{m}"] @ (w[f"E{m}"] @ inputs[m][j]) + w["b"] / len(self.names)
                odds = [math.exp(v) for v in own[m].tolist()]
                self.now[m, i] = odds[y] / sum(odds), max(odds) == odds[y]
            fused = sum(own.values())
            loss = loss + max(len(lazy), 1) * (fused.exp().sum().log() - fused[y]) / len(index)
            for m in lazy:
                loss = loss + (own[m].exp().sum().log() - own[m][y]) / len(index)
        self.update(loss, epoch)
        return loss.item()

    def update(self, loss: Tensor, epoch: int) -> None:
        q = 100 * epoch / EPOCHS
        factor = (
            1.0 if q < 1 else min((q - 1) / 2 + 1, self.peak) if q < 36 else 1.0 if q < 71 else 0.1
        )
        names = list(self.weights)
        for name, g in zip(
            names, torch.autograd.grad(loss, list(self.weights.values())), strict=True
        ):
            self.weights[name] = (self.weights[name] - RATE * factor * g).detach().requires_grad_()


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_slow_reference(modalities: int) -> None:
    learner, batches = library(IBML(strength=STRENGTH, peak=1.5), modalities)
    reference = Reference(library(IBML(strength=STRENGTH), modalities)[0], modalities, 1.5)
    expected = reference.train(batches)
    assert train(learner, batches) == pytest.approx(expected, abs=1e-10)
    head = torch.cat([reference.weights[f"W{m}"] for m in reference.names], 1)
    torch.testing.assert_close(learner.model.head.linear.weight, head, atol=1e-10, rtol=0)
    if modalities > 1:  # the comparison has seen noise and lazy modalities
        assert reference.noised > 5
        assert reference.lazy > 5


def test_for_two_modalities_it_is_joint_plus_the_lazy_ones_own_loss() -> None:
    learner, batches = library(BIO(scores="current"), 2)
    (step,) = learner.steps(batches[0], 0)
    output = learner(step)
    losses = learner.losses(output, step)
    uniform = Uniform().losses(learner.task.losses(output, step), output, step)
    lazy = min(output.modalities, key=lambda m: float(step.notes[f"bio/rho/{m}"]))
    total = uniform["task"] + uniform[f"uniform/{lazy}"]
    assert sum(losses.values()).item() == pytest.approx(total.item(), abs=1e-15)


def test_neutral_settings_are_joint() -> None:
    joint, batches = library(Method(), 3)
    train(joint, batches)
    for method in (BIO, TCM, Warmup, IBML):
        expression = str(method.neutral).split(" = ")[0]
        learner, _ = library(build(expression, BY_NAME, "method", Method), 3)
        train(learner, batches)
        for ours, theirs in zip(joint.model.parameters(), learner.model.parameters(), strict=True):
            assert torch.equal(ours, theirs), expression


def test_it_is_the_sum_of_its_components() -> None:
    whole, batches = library(IBML(), 2)
    parts = build("(bio() + tcm()).during(1, 0.9) + warmup()", BY_NAME, "method", Method)
    assert train(whole, batches) == train(library(parts, 2)[0], batches)


def test_expression_keeps_its_name_in_a_chain() -> None:
    text = "ibml(strength=40.0, noise='shared') + uniform()"
    method = build(text, BY_NAME, "method", Method)
    assert method.expression() == text
    assert [type(leaf) for leaf in method.leaves()] == [BIO, TCM, Warmup, Uniform]
    assert IBML().expression() == "ibml()"


def test_a_window_in_the_text_of_its_ablations_can_be_read() -> None:
    for text in (
        "bio().during(1, 0.9) + warmup()",
        "(bio() + tcm()).during(1, 0.9)",
        "tcm().during(1, 0.9)",
    ):
        assert build(text, BY_NAME, "method", Method).expression() == text


def test_it_needs_the_length_of_the_run_and_the_samples() -> None:
    model = library(IBML(), 2)[0].model
    with pytest.raises(ConfigError, match="epochs=N"):
        Balanced(model, IBML(), samples=N)
    with pytest.raises(ConfigError, match="samples=N"):
        Balanced(model, IBML(), epochs=EPOCHS)


@pytest.mark.parametrize("labels", [[0, 0], [2, 2]])
def test_a_batch_without_some_class_and_of_one_is_finite(labels: list[int]) -> None:
    learner, batches = library(IBML(strength=STRENGTH), 2)
    first = batches[0]
    small = first.select([0, 1])
    batch = Batch(small.inputs, torch.tensor(labels), small.index)
    assert all(math.isfinite(total) for total in train(learner, [batch, first.select([2])]))


def test_the_records_are_in_the_checkpoint() -> None:
    learner, batches = library(IBML(strength=STRENGTH), 2)
    train(learner, batches)
    copy, _ = library(IBML(strength=STRENGTH), 2)
    copy.load_state_dict(learner.state_dict())
    outputs = []
    for each in (learner, copy):
        each.begin_epoch(EPOCHS)
        (step,) = each.steps(batches[0], 1)
        outputs.append(each(step).fused)
    assert torch.equal(*outputs)
