"""InfoReg beside its golden numbers, and beside plain training that pulls and traces by loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import TOTAL, Gradients, Output, Step
from equimodal.errors import ConfigError
from equimodal.methods import InfoReg, Uniform
from fixtures.plain import (
    CLASSES,
    SIZE,
    Plain,
    batches_of,
    model_of,
    said,
    tensor,
    train,
    worked_example,
)

NOTHING = Gradients({TOTAL: {}}, {})


def noted(method: InfoReg, output: Output | None = None) -> Step:
    """The worked example's step, or that of other logits, with what the method notes."""
    model, batch = worked_example()
    learner = Balanced(model, method)
    size = 2 if output is None else len(output.fused)
    batch = batch if output is None else Batch(
        {m: torch.zeros(size, 2).double() for m in ("one", "two")}, torch.zeros(size, dtype=torch.long)
    )  # fmt: skip
    (step,) = learner.steps(batch, 0)
    method.gradients(NOTHING, learner(step) if output is None else output, step)
    return step


@pytest.mark.parametrize(
    ("gap", "beta"), [("sum", 1.921407090515597), ("mean", 1.4342522310134147)]
)
def test_golden_worked_example(gap: str, beta: float) -> None:
    step = noted(InfoReg(gap=gap))
    assert step.notes["inforeg/beta/one"].item() == pytest.approx(beta, abs=1e-9)
    assert step.notes["inforeg/beta/two"] == 0


@pytest.mark.parametrize(
    ("gap", "size", "p", "beta"),
    [
        ("mean", 1, (0.55, 0.45), 1.0495638534792198),
        ("sum", 2, (0.75, 0.25), 2.034603300511882),
        ("sum", 10, (0.75, 0.25), 2.5821332796971825),
    ],
)
def test_golden_strengths(gap: str, size: int, p: tuple[float, float], beta: float) -> None:
    first, second = (tensor(*[[math.log(q), math.log(1 - q), -math.inf]] * size) for q in p)
    for by, share in ((0.95, 1), ((0.1, 0.95), 0.1 / 0.95), ((0.95, 0.1), 1)):
        step = noted(InfoReg(beta=by, gap=gap), said(first, second))
        assert step.notes["inforeg/beta/one"].item() == pytest.approx(beta * share, abs=1e-9)
        assert step.notes["inforeg/beta/two"] == 0


def test_golden_loss() -> None:
    model, batch = worked_example()
    learner = Balanced(model, InfoReg())
    (step,) = learner.steps(batch, 0)
    losses = learner.losses(learner(step), step)
    assert set(losses) == {"task", "inforeg/one", "inforeg/two"}
    assert sum(losses.values()).item() == pytest.approx(1.8909621447929275, abs=1e-9)


TRACES = [1, 2, 4, 4, 4, 3, 2, 1, 1, 1, 1, 1]
GROWTH = [1, 0.666667, 0.571429, 0.363636, 0.266667, 0.166667, 0.1, 0.047619]
GROWTH += [0.045455, 0.043478, 0, -0.045455]


def test_golden_window() -> None:
    """It closes at epoch 8 and is tested anew in each epoch."""
    model, batch = worked_example()
    learner = Balanced(model, InfoReg())
    learner.begin_epoch(0)
    assert learner.method.k.tolist() == [1, 1]
    for epoch, (trace, k) in enumerate(zip(TRACES, GROWTH, strict=True), start=1):
        learner.method.sums.copy_(tensor(trace, 2 * trace))
        learner.begin_epoch(epoch)
        assert learner.method.k.tolist() == pytest.approx([k, k], abs=5e-7)
        assert not learner.method.sums.any()
        (step,) = learner.steps(batch, epoch)
        learner.method.gradients(NOTHING, learner(step), step)
        assert bool(step.notes["inforeg/beta/one"] > 0) == (epoch < 8)


def test_the_window_opens_again() -> None:
    learner = Balanced(worked_example()[0], InfoReg())
    found = []
    for epoch, trace in enumerate([0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]):
        learner.method.sums.fill_(trace)
        learner.begin_epoch(epoch)
        found.append(learner.method.k[0].item())
    assert found[-2:] == pytest.approx([-1, 8 / 9], abs=1e-12)


def test_no_gradient_closes_the_window() -> None:
    learner = Balanced(worked_example()[0], InfoReg())
    learner.begin_epoch(0)
    learner.begin_epoch(1)
    assert learner.method.k.tolist() == [0, 0]


def test_a_shared_trace_is_that_of_the_strongest() -> None:
    learner = Balanced(worked_example()[0], InfoReg(trace="shared"))
    learner.begin_epoch(0)
    for epoch, (sums, scores) in enumerate(
        [((1, 1), (1, 2)), ((3, 1), (1, 2)), ((1, 0), (2, 1))], 1
    ):
        learner.method.sums.copy_(tensor(*sums))
        learner.method.scores.copy_(tensor(*scores))
        learner.begin_epoch(epoch)
        expected = [1, 1 / 2, 1 / 5][epoch - 1]
        assert learner.method.k.tolist() == pytest.approx([expected] * 2, abs=1e-12)


def test_a_shared_trace_remembers_the_scores_of_the_epoch() -> None:
    model, batch = worked_example()
    learner = Balanced(model, InfoReg(trace="shared"))
    (step,) = learner.steps(batch, 0)
    for _ in range(2):
        learner.method.observe(model(batch), NOTHING, step)
    found = learner.method.scores.tolist()
    assert found == pytest.approx([1.4788250811528516, 0.6029415728339742], abs=1e-12)


def test_three_modalities_are_compared_with_the_mean_of_the_others() -> None:
    three = ("a", "b", "c")
    model = Multimodal({m: nn.Identity() for m in three}, heads.Sum(dict.fromkeys(three, 2), 2))
    learner = Balanced(model.double(), InfoReg())
    (step,) = learner.steps(Batch({m: tensor([0, 0]) for m in three}, torch.tensor([0])), 0)
    unimodal = {
        m: tensor([math.log(p), math.log(1 - p)])
        for m, p in zip(three, (0.9, 0.7, 0.2), strict=True)
    }
    learner.method.gradients(NOTHING, Output(unimodal, unimodal, unimodal["a"]), step)
    found = [step.notes[f"inforeg/beta/{m}"].item() for m in three]
    expected = [0.95 * math.exp(math.tanh(gap)) for gap in (0.45, 0.15)]
    assert found == pytest.approx([*expected, 0], abs=1e-12)


def test_a_tie_holds_nobody_back() -> None:
    even = tensor([1, 0, 0])
    step = noted(InfoReg(), said(even, even * (1 + 1e-16)))
    assert step.notes["inforeg/beta/one"] == step.notes["inforeg/beta/two"] == 0


class Reference(Plain):
    """Scores, pulls and traces, one number at a time."""

    def __init__(self, model: Multimodal) -> None:
        super().__init__(model)
        self.history: dict[str, list[float]] = {m: [0.0] * 10 for m in self.modalities}

    def begin(self, first: bool, threshold: float) -> None:
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.open = {}
        for m, past in self.history.items():
            now, before = sum(past[-10:]) / 10, sum(past[-11:-1]) / 10
            self.open[m] = first or (now > 0 and (now - before) / now > threshold)
        self.trace = dict.fromkeys(self.modalities, 0.0)

    def end(self) -> None:
        for m, trace in self.trace.items():
            self.history[m].append(trace)

    def scores(self, batch: Batch) -> dict[str, float]:
        said: dict[str, list[float]] = {}
        for i in range(SIZE):
            for m, g in self.unimodal(batch, i).items():
                said.setdefault(m, []).append(torch.softmax(g, 0)[batch.target[i]].item())
        return {m: sum(p) / len(p) for m, p in said.items()}

    def loss(self, batch: Batch) -> Tensor:
        own: dict[str, list[Tensor]] = {}
        for i in range(SIZE):
            for m, g in self.unimodal(batch, i).items():
                own.setdefault(m, []).append(-torch.log_softmax(g, 0)[batch.target[i]])
        return self.joint_loss(batch) + sum(sum(each) / len(each) for each in own.values())

    def pulled(self, batch: Batch, beta: float) -> dict[str, Tensor]:
        gradients, scores = self.gradients(self.loss(batch)), self.scores(batch)
        for m, score in scores.items():
            others = [s for n, s in scores.items() if n != m]
            gap = score - sum(others) / len(others) if others else 0.0
            for part in ("weight", "bias"):
                name = f"encoders.{m}.{part}"
                if gap > 0 and self.open[m]:
                    moved = self.parameters[name].detach() - self.start[name]
                    gradients[name] = gradients[name] + beta * math.exp(math.tanh(gap)) * moved
        for m in scores:
            entries = gradients[f"encoders.{m}.weight"].flatten().tolist()
            self.trace[m] += sum(e * e for e in entries) / len(entries)
        return gradients


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain, windows = Reference(model), set()
    for epoch in range(5):
        plain.begin(epoch == 0, threshold=0.2)
        for batch in batches:
            plain.update(plain.pulled(batch, 0.5))
        plain.end()
        windows |= set(plain.open.values())
    assert windows == {True, False} or modalities == 1
    learner = train(InfoReg(beta=0.5, threshold=0.2), model, batches, epochs=5)
    plain.assert_equals(model)
    for i, m in enumerate(plain.modalities):
        found = learner.method.traces[i, -4:].tolist()
        assert found == pytest.approx(plain.history[m][-5:-1], abs=1e-12)


def test_no_beta_is_uniform() -> None:
    free, uniform, batches = model_of(3), model_of(3), batches_of(3, missing=True)
    train(InfoReg(beta=0.0), free, batches, epochs=2)
    train(Uniform(), uniform, batches, epochs=2)
    for name, value in uniform.state_dict().items():
        torch.testing.assert_close(free.state_dict()[name], value, atol=1e-14, rtol=0)


def test_the_first_step_of_an_epoch_is_free_and_a_window_of_epochs_ends() -> None:
    model, (batch,) = model_of(2), batches_of(2, count=1)
    free, uniform = model_of(2), model_of(2)
    train(InfoReg(beta=5.0), free, [batch], epochs=3)  # one step an epoch: nothing has moved
    train(Uniform(), uniform, [batch], epochs=3)
    for name, value in uniform.state_dict().items():
        torch.testing.assert_close(free.state_dict()[name], value, atol=1e-14, rtol=0)
    learner = Balanced(model, InfoReg(beta=5.0).during(0, 1))
    (step,) = learner.steps(batch, 1)
    assert set(learner.losses(learner(step), step)) == {"task"}


def test_batch_norm_is_pulled_but_its_statistics_are_not_and_only_weights_are_traced() -> None:
    encoders = {m: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)) for m in ("one", "two")}
    model = Multimodal(encoders, heads.Linear({"one": 2, "two": 2}, CLASSES)).double()
    encoders["two"][1].bias.requires_grad_(False)
    learner = Balanced(model, InfoReg(beta=1.0))
    learner.begin_epoch(0)
    (step,) = learner.steps(worked_example()[1], 0)
    score = tensor([9, 0, 0], [0, 9, 0])
    with torch.no_grad():
        for p in model.encoders["one"].parameters():
            p.add_(0.5)
    zero = {n: torch.zeros_like(p) for n, p in learner.named_parameters() if p.requires_grad}
    names = {p: n for n, p in learner.named_parameters()}
    found = learner.method.gradients(
        Gradients({TOTAL: zero}, names), said(score, 0 * score), step
    ).rows[TOTAL]
    beta = step.notes["inforeg/beta/one"].item()
    assert beta > 1
    for name, grad in found.items():
        expected = 0.5 * beta if name.startswith("model.encoders.one") else 0.0
        assert grad.flatten().tolist() == pytest.approx([expected] * grad.numel(), abs=1e-12)
    ones = {n: torch.ones_like(v) for n, v in zero.items()}
    learner.method.observe(said(score, score), Gradients({TOTAL: ones}, names), step)
    assert learner.method.sums.tolist() == [
        1,
        1,
    ]  # one weight each; batch norm and biases do not count


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"beta": -1}, "beta"),
        ({"beta": (0.5, -1)}, "beta"),
        ({"gap": "means"}, "mean"),
        ({"trace": "all"}, "own"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        InfoReg(**options)


def test_a_beta_too_many_is_refused() -> None:
    with pytest.raises(ConfigError, match="one for each of m0, m1"):
        Balanced(model_of(2), InfoReg(beta=(1.0, 1.0, 1.0)))
