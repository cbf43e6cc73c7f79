"""ReconBoost beside its golden numbers, and beside plain training of its stages sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import Losses, Step
from equimodal.errors import ConfigError
from equimodal.methods import ReconBoost
from fixtures.plain import (
    CLASSES,
    FIRST,
    FLOAT,
    MOMENTUM,
    RATE,
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

HIDDEN = 5


def step_in(
    method: ReconBoost, model: Multimodal, batch: Batch, epoch: int
) -> tuple[Balanced, Step, Losses]:
    learner = Balanced(model, method)
    learner.begin_epoch(epoch, optimizer=torch.optim.SGD(learner.parameters()))
    (step,) = learner.steps(batch, epoch)
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return learner, step, losses


def test_golden_boosting() -> None:
    """The first modality's second turn: stage 2, against the second one."""
    model, _ = worked_example()
    z = FIRST.clone().requires_grad_()
    batch = Batch({"one": z, "two": SECOND}, TARGET)
    learner, step, losses = step_in(ReconBoost(alpha=0.0), model, batch, epoch=16)
    assert (step.phase.train, step.phase.frozen) == (("one",), ("two",))
    assert set(losses) == {"reconboost/one"}
    assert losses["reconboost/one"].item() == pytest.approx(0.4752627705771204, abs=1e-12)
    expected = tensor(
        [-0.2986412855169541, 0.17928422018863927], [0.016808675126406325, -0.16864666726421298]
    )
    torch.testing.assert_close(z.grad, expected, atol=1e-12, rtol=0)
    assert learner.method.r.grad is None
    own = nn.functional.cross_entropy(
        learner(step).unimodal["one"], TARGET, reduction="none"
    ).detach()
    weights = tensor(1.555124631546476, 1.5772281775088661)
    assert losses["reconboost/one"].item() == pytest.approx(
        (weights * own).mean().item(), abs=1e-12
    )


def test_golden_first_stage_has_no_others() -> None:
    model, batch = worked_example()
    learner, step, losses = step_in(ReconBoost(), model, batch, epoch=0)
    assert (step.phase.train, step.phase.frozen) == (("one",), ())
    own = nn.functional.cross_entropy(learner(step).unimodal["one"], TARGET).item()
    assert losses["reconboost/one"].item() == pytest.approx(1.3333333333333333 * own, abs=1e-12)


def test_golden_consolidation() -> None:
    model, batch = worked_example()
    learner = Balanced(model, ReconBoost(alpha=1.0))
    with torch.no_grad():  # a learner whose logits were half of what they are
        for p in learner.method.previous.head.parameters():
            p.mul_(0.5)
    (step,) = learner.steps(batch, 16)
    losses = learner.losses(learner(step), step)
    assert losses["reconboost/consolidation"].item() == pytest.approx(
        0.01826273476722944, abs=1e-12
    )


def test_golden_second_phase_is_joint() -> None:
    model, batch = worked_example()
    learner, step, losses = step_in(ReconBoost(), model, batch, epoch=4)
    assert step.phase.train == ("one", "two")
    assert {n: v.item() for n, v in losses.items()} == {
        "task": pytest.approx(0.381894682706181, abs=1e-12)
    }
    assert learner.method.r.grad is not None


def test_the_consolidation_term_has_a_gradient() -> None:
    """In the published code both of its arguments are detached, so that it does nothing."""
    found = []
    for alpha in (0.0, 10.0):
        model, (batch,) = shared(2), batches_of(2, count=1)
        learner = Balanced(model, ReconBoost(alpha=alpha))
        learner.begin_epoch(16, optimizer=torch.optim.SGD(learner.parameters()))
        with torch.no_grad():
            model.encoders["m0"].weight.add_(0.3)  # it has moved since the stage's start
        (step,) = learner.steps(batch, 16)
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
        found.append(model.encoders["m0"].weight.grad.clone())
    assert (found[0] - found[1]).abs().max() > 1e-3


def shared(modalities: int) -> Multimodal:
    model = model_of(modalities)
    head = heads.Shared(dict.fromkeys(names(modalities), WIDTH), CLASSES, hidden=HIDDEN)
    model.head = head.double()
    return model


class PlainBoosting(Plain):
    """Two layers for all modalities, and the factor r."""

    def __init__(self, model: Multimodal) -> None:
        super().__init__(model)
        self.parameters["r"] = torch.ones((), dtype=FLOAT, requires_grad=True)
        self.velocity["r"] = torch.zeros((), dtype=FLOAT)

    def start_phase(self) -> None:
        self.velocity = {name: torch.zeros_like(v) for name, v in self.velocity.items()}

    def copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    def says(self, p: dict[str, Tensor], m: str, x: Tensor) -> Tensor:
        z = p[f"encoders.{m}.weight"] @ x + p[f"encoders.{m}.bias"]
        middle = (p["head.layers.0.weight"] @ z + p["head.layers.0.bias"]).clamp(min=0)
        return p["head.layers.2.weight"] @ middle + p["head.layers.2.bias"]

    def boosting(
        self, batch: Batch, m: str, others: list[str], before: dict[str, Tensor] | None, w: Tensor
    ) -> Tensor:
        having = [i for i in range(SIZE) if m in self.present(batch, i)]
        loss = torch.zeros((), dtype=FLOAT)
        for i in having:
            y = batch.target[i]
            p = torch.ones((), dtype=FLOAT)
            if known := [k for k in others if k in self.present(batch, i)]:
                frozen = self.copy()
                said = sum(self.says(frozen, k, batch.inputs[k][i]) for k in known)
                p = (frozen["r"] * said).softmax(0)[y]
            f = self.says(self.parameters, m, batch.inputs[m][i])
            loss = loss + (-w[0] + w[1] * p) / CLASSES * f.log_softmax(0)[y]
            if before is not None:
                old = self.says(before, m, batch.inputs[m][i])
                far = sum((f.softmax(0)[c] - old.softmax(0)[c]) ** 2 for c in range(CLASSES))
                loss = loss + w[2] * far / CLASSES
        return loss / max(len(having), 1)

    def together(self, batch: Batch) -> Tensor:
        loss = torch.zeros((), dtype=FLOAT)
        for i in range(SIZE):
            g = torch.zeros(CLASSES, dtype=FLOAT)
            for m in self.present(batch, i):
                g = g + self.says(self.parameters, m, batch.inputs[m][i])
            g = self.parameters["r"] * g
            loss = loss - g.log_softmax(0)[batch.target[i]]
        return loss / SIZE


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    """Two rounds of stages of two epochs and one."""
    model, batches = shared(modalities), batches_of(modalities, missing)
    batches = batches[:-1] if missing else batches  # the last lacks a modality altogether
    plain, order = PlainBoosting(model), names(modalities)
    for stage in range(2 * modalities):
        m = order[stage % modalities]
        others = [k for k in (order if stage >= modalities else order[:stage]) if k != m]
        before = plain.copy() if stage > 0 else None
        plain.start_phase()
        for batch in batches * 2:
            w = tensor(3.0, 0.8, 0.6)
            plain.update(plain.gradients(plain.boosting(batch, m, others, before, w)))
        plain.start_phase()
        for batch in batches:
            plain.update(plain.gradients(plain.together(batch)))
    method = ReconBoost(w1=3.0, w2=0.8, alpha=0.6, boost=2, consolidate=1)
    learner = train(method, model, batches, epochs=6 * modalities)
    assert abs(learner.method.r.item() - 1) > 1e-3
    assert learner.method.r.item() == pytest.approx(plain.parameters.pop("r").item(), abs=1e-10)
    plain.assert_equals(model)


def test_frozen_encoders_stay_as_they_are() -> None:
    """In the published code their batch norms go on drifting."""
    torch.manual_seed(0)
    encoders = {m: nn.Sequential(nn.Linear(4, WIDTH), nn.BatchNorm1d(WIDTH)) for m in names(2)}
    model = Multimodal(encoders, heads.Shared(dict.fromkeys(names(2), WIDTH), CLASSES)).double()
    batches = batches_of(2)
    learner = Balanced(model, ReconBoost(boost=1, consolidate=1), epochs=4)
    optimizer = torch.optim.SGD(learner.parameters(), lr=RATE, momentum=MOMENTUM)
    for epoch, still in ((0, {"m1"}), (1, set()), (2, {"m0"}), (3, set()), (4, {"m1"})):
        before = {m: {n: v.clone() for n, v in e.state_dict().items()} for m, e in encoders.items()}
        learner.begin_epoch(epoch, batches, None, optimizer)
        for number, batch in enumerate(batches):
            for step in learner.steps(batch, epoch, number, len(batches)):
                output = learner(step)
                learner.backward(learner.losses(output, step), output, step)
                optimizer.step()
                optimizer.zero_grad()
        unmoved = {
            m
            for m, e in encoders.items()
            if all(torch.equal(v, before[m][n]) for n, v in e.state_dict().items())
        }
        assert unmoved == still


def test_what_a_stage_starts_with_is_kept() -> None:
    model, batches = shared(2), batches_of(2)
    learner = train(ReconBoost(boost=1, consolidate=1), model, batches, epochs=4)
    starts = {n: p.detach().clone() for n, p in model.named_parameters()}
    second = learner.method.previous.encoders["m1"].weight.clone()
    learner.begin_epoch(4, batches, None, torch.optim.SGD(learner.parameters(), lr=0.1))
    kept = dict(learner.method.previous.named_parameters())
    for name in ("encoders.m0.weight", "head.layers.0.weight", "head.layers.2.bias"):
        assert torch.equal(kept[name], starts[name])
    assert torch.equal(kept["encoders.m1.weight"], second)  # whose turn it is not
    assert not torch.equal(second, starts["encoders.m1.weight"])


def test_learning_rate() -> None:
    learner = Balanced(shared(2), ReconBoost(boost_rate=3.0, decay=0.1, every=2))
    rates = [learner.rate(epoch) for epoch in (0, 3, 4, 8, 15, 16, 20, 32)]
    assert rates == pytest.approx([3, 3, 1, 3, 1, 0.3, 0.1, 0.03], abs=1e-12)
    assert ReconBoost().own_schedule
    assert not ReconBoost(decay=1.0).own_schedule


def test_the_prediction_is_the_scaled_sum() -> None:
    model, batch = shared(3), batches_of(3, missing=True)[0]
    learner = Balanced(model, ReconBoost())
    with torch.no_grad():
        learner.method.r.fill_(2.5)
    said = learner.predict(batch)
    torch.testing.assert_close(said.fused, 2.5 * sum(said.unimodal.values()), atol=1e-12, rtol=0)


def test_the_order_is_an_option() -> None:
    learner = Balanced(shared(3), ReconBoost(boost=1, consolidate=0, order=("m2", "m0", "m1")))
    (batch,) = batches_of(3, count=1)
    turns = [learner.steps(batch, epoch)[0].phase for epoch in range(4)]
    assert [t.train for t in turns] == [("m2",), ("m0",), ("m1",), ("m2",)]
    assert [t.frozen for t in turns] == [(), ("m2",), ("m2", "m0"), ("m0", "m1")]


@pytest.mark.parametrize("head", [heads.Sum, heads.Linear], ids=lambda h: h.__name__)
def test_heads_of_one_layer_work(head: type[heads.Head]) -> None:
    model = model_of(2)
    model.head = head(dict.fromkeys(names(2), WIDTH), CLASSES).double()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    batches = batches_of(2, missing=True)
    train(ReconBoost(boost=1, consolidate=1), model, batches, epochs=6)
    for name, p in model.named_parameters():
        assert p.isfinite().all() and not torch.equal(p, before[name])


def test_a_learner_that_did_not_move_is_not_held_back() -> None:
    """Also where the head's share of the bias depends on who is there."""
    for missing in (False, True):
        model, batch = model_of(3), batches_of(3, missing)[0]
        learner = Balanced(model, ReconBoost())
        (step,) = learner.steps(batch, 24)
        losses = learner.losses(learner(step), step)
        assert losses["reconboost/consolidation"].item() == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"w1": 1.0, "w2": 1.0}, "w1 must be above w2"),
        ({"w2": -1.0}, "w2 at least 0"),
        ({"alpha": -1.0}, r"reconboost\(alpha=-1.0\) must be at least 0"),
        ({"boost": 0}, r"reconboost\(boost=0\) must be at least 1"),
        ({"every": 0}, r"reconboost\(every=0\) must be at least 1"),
        ({"decay": 0.0}, r"reconboost\(decay=0.0\) must be positive"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ReconBoost(**options)


def test_what_cannot_work_is_refused() -> None:
    model = model_of(2)
    with pytest.raises(ConfigError, match="must name each of m0, m1 once"):
        Balanced(model, ReconBoost(order=("m0",)))
    with pytest.raises(ConfigError, match="window of epochs"):
        ReconBoost().during(0, 5)
    learner = Balanced(model, ReconBoost())
    with pytest.raises(ConfigError, match=r"begin_epoch\(epoch, train, val, optimizer\)"):
        learner.begin_epoch(0)
    model.head = heads.Auxiliary(dict.fromkeys(names(2), WIDTH), CLASSES).double()
    with pytest.raises(ConfigError, match="give the model the head"):
        Balanced(model, ReconBoost())
