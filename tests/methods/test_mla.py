"""MLA beside its golden numbers, and beside plain alternating training whose projector is an inverse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import TOTAL, Gradients, Output
from equimodal.errors import ConfigError
from equimodal.methods import MLA, OGMGE
from fixtures.plain import (
    CLASSES,
    FLOAT,
    SIZE,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    names,
    step_of,
    tensor,
    train,
    worked_example,
)


def shared(modalities: int) -> Multimodal:
    model = model_of(modalities)
    model.head = heads.Shared(dict.fromkeys(names(modalities), WIDTH), CLASSES).double()
    return model


def learner_of(method: MLA, width: int = 2, classes: int = 3) -> Balanced:
    head = heads.Shared({"one": width, "two": width}, classes)
    return Balanced(Multimodal({"one": nn.Identity(), "two": nn.Identity()}, head).double(), method)


def fold(learner: Balanced, *features: Tensor, number: int = 0, of: int = 1) -> Tensor:
    """Let the first modality be trained on these features, one batch each; the projector afterwards."""
    for z in features:
        batch = Batch({"one": z, "two": torch.zeros_like(z)}, torch.zeros(len(z), dtype=torch.long))
        step = learner.steps(batch, 0, number, of)[0]
        learner.method.observe(learner(step), Gradients({}, {}), step)
    return learner.method.projector


def test_golden_projector() -> None:
    learner = learner_of(MLA(alpha=0.1))
    found = fold(learner, tensor([2, 3], [4, 5]))  # of mean (3, 4)
    expected = tensor(
        [0.6414342629482073, -0.4780876494023904], [-0.4780876494023904, 0.36254980079681276]
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        found @ tensor(3, 4), tensor(0.011952191235060194, 0.01593625498007989),
        atol=1e-12, rtol=0,
    )  # fmt: skip
    assert (found - torch.eye(2) / 22.6).abs().max() > 0.1  # not rescaled to norm 1, as published

    weight = learner.model.head.weight("one")
    row = {"head.layers.0.weight": tensor([1, 1], [0, 0], [0, 0]), "other": tensor(1)}
    grads = Gradients({TOTAL: row}, {weight: "head.layers.0.weight"})
    (step, _) = learner.steps(Batch({m: tensor([1, 1]) for m in ("one", "two")}), 0)
    changed = learner.method.gradients(grads, learner(step), step).rows[TOTAL]
    wanted = tensor([0.16334661354581687, -0.11553784860557764], [0, 0], [0, 0])
    torch.testing.assert_close(changed["head.layers.0.weight"], wanted, atol=1e-12, rtol=0)
    assert changed["other"] is row["other"]  # replaced, not added, and nothing else

    found = fold(learner, tensor([1, 0]))
    expected = tensor(
        [0.08651262761955936, -0.06448146157979578], [-0.06448146157979578, 0.05427189682966155]
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("number", "alpha"), [(0, 0.1), (5, 0.0316227766016838), (9, 0.012589254117941677)]
)
def test_golden_schedule(number: int, alpha: float) -> None:
    found = fold(learner_of(MLA(), width=1), tensor([1]), number=number, of=10).item()
    assert found / (1 - found) == pytest.approx(alpha, abs=1e-12)


def test_golden_fusion() -> None:
    learner = learner_of(MLA())
    first, second = tensor([2, 0, 0], [0, 0, 0]), tensor([0, 1, 0], [0, 3, 0])
    unimodal = {"one": first, "two": second}
    step = step_of(learner.model, Batch({"one": first, "two": second}))
    found = learner.method.outputs(Output(unimodal, unimodal, first), step).fused
    expected = tensor([1.1536509884653234, 0.42317450576733817, 0], [0, 2.0257440730876053, 0])
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_golden_worked_example() -> None:
    example, batch = worked_example()
    step = step_of(example, batch)
    found = learner_of(MLA()).method.outputs(example(batch), step).fused
    expected = tensor(
        [0.6552007742129214, 0.22239961289353927, -0.8776003871064608],
        [0.3030217469555018, 1.1879130121779926, -0.1],
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("missing", [False, True])
def test_fixed_weights_are_those_of_the_modalities_that_are_there(missing: bool) -> None:
    model, batch = shared(3), batches_of(3, missing)[0]
    said = model(batch).unimodal
    mean = Balanced(model, MLA(fusion="mean")).predict(batch).fused
    fixed = Balanced(model, MLA(fusion=(0.35, 0.25, 0.4))).predict(batch).fused
    for i in range(SIZE):
        there = [m for m in names(3) if batch.mask(m)[i]]
        if not there:
            assert not mean[i].any() and not fixed[i].any()
            continue
        wanted = sum(said[m][i] for m in there) / len(there)
        torch.testing.assert_close(mean[i], wanted, atol=1e-12, rtol=0)
        weights = [{"m0": 0.35, "m1": 0.25, "m2": 0.4}[m] for m in there]
        total = sum(w * said[m][i] for m, w in zip(there, weights, strict=True))
        torch.testing.assert_close(fixed[i], total / sum(weights), atol=1e-12, rtol=0)


class PlainShared(Plain):
    """One layer for all modalities."""

    def own_logits(self, m: str, z: Tensor) -> Tensor:
        return self.parameters["head.layers.0.weight"] @ z + self.parameters["head.layers.0.bias"]

    def turn(self, m: str, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients of one modality's loss, and its mean feature."""
        having = [i for i in range(SIZE) if m in self.present(batch, i)]
        if not having:
            return {n: torch.zeros_like(p) for n, p in self.parameters.items() if "head" in n}, (
                torch.zeros(WIDTH, dtype=FLOAT)
            )
        features = [self.feature(m, batch.inputs[m][i]) for i in having]
        loss = torch.zeros((), dtype=FLOAT)
        for i, z in zip(having, features, strict=True):
            loss = loss - torch.log_softmax(self.own_logits(m, z), 0)[batch.target[i]]
        mean = sum(z.detach() for z in features) / len(having)
        return self.gradients(loss / len(having)), mean


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool, project: bool) -> None:
    model, batches = shared(modalities), batches_of(modalities, missing)
    plain, gathered = PlainShared(model), torch.eye(WIDTH, dtype=FLOAT)
    for batch in batches * 2:
        for m in plain.modalities:
            found, mean = plain.turn(m, batch)
            if project:
                found["head.layers.0.weight"] = torch.linalg.solve(
                    gathered, found["head.layers.0.weight"], left=False
                )
            plain.update(found)
            gathered = gathered + mean[:, None] * mean[None, :] / 0.3
    train(MLA(project=project, alpha=0.3), model, batches, epochs=2)
    plain.assert_equals(model)


def test_idle_encoders_have_no_gradient_and_no_momentum() -> None:
    """With zeros in place of None, as published, momentum moves the first modality M times per batch."""
    model, (batch,) = shared(3), batches_of(3, count=1)
    learner = Balanced(model, MLA())
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        for step in learner.steps(batch, 0):
            before = {m: e.weight.detach().clone() for m, e in model.encoders.items()}
            output = learner(step)
            learner.backward(learner.losses(output, step), output, step)
            optimizer.step()
            optimizer.zero_grad()
            moved = {m for m, e in model.encoders.items() if not torch.equal(e.weight, before[m])}
            assert moved == set(step.phase.train)


def test_the_order_is_an_option() -> None:
    batches = batches_of(3)
    given, turned = shared(3), shared(3)
    turned.encoders = nn.ModuleDict({m: turned.encoders[m] for m in ("m2", "m0", "m1")})
    train(MLA(order=("m2", "m0", "m1")), given, batches, epochs=1)
    learner = train(MLA(), turned, batches, epochs=1)
    other = shared(3)
    train(MLA(), other, batches, epochs=1)
    assert [s.phase.train for s in learner.steps(batches[0], 0)] == [("m2",), ("m0",), ("m1",)]
    for name, value in given.state_dict().items():
        assert torch.equal(value, turned.state_dict()[name])
    assert not torch.equal(given.head.weight("m0"), other.head.weight("m0"))


def test_the_projector_stays_symmetric_and_only_shrinks() -> None:
    learner = learner_of(MLA(), width=6, classes=2)
    draw = torch.Generator().manual_seed(0)
    trace = 6.0
    for number in range(60):
        z = 20 * torch.rand(4, 6, generator=draw, dtype=FLOAT)
        found = fold(learner, z, number=number % 10, of=10)
        assert torch.equal(found, found.T)
        assert torch.linalg.eigvalsh(found).min() > -1e-12
        assert found.trace() <= trace + 1e-12
        trace = found.trace().item()
    assert trace < 0.1


def test_bfloat16_models_have_a_float32_projector() -> None:
    model, (batch,) = shared(2).bfloat16(), batches_of(2, count=1)
    low = Batch({m: x.bfloat16() for m, x in batch.inputs.items()}, batch.target)
    learner = train(MLA(), model, [low], epochs=1)
    assert learner.method.projector.dtype == torch.float32
    assert model.head.weight("m0").dtype == torch.bfloat16


def test_the_projector_is_exact_inside_a_host_s_autocast() -> None:
    found = []
    for enabled in (False, True):
        model, (batch,) = shared(2).float(), batches_of(2, count=1)
        single = Batch({m: x.float() for m, x in batch.inputs.items()}, batch.target)
        learner = Balanced(model, MLA())
        for step in learner.steps(single, 0):
            output = learner(step)
            losses = learner.losses(output, step)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                learner.backward(losses, output, step)
        found.append(learner.method.projector)
    assert torch.equal(*found)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"give the model the head shared\(\)"):
        Balanced(model_of(2), MLA())
    deep = model_of(2)
    deep.head = heads.Shared(dict.fromkeys(names(2), WIDTH), CLASSES, hidden=5).double()
    with pytest.raises(ConfigError, match="a layer before its last one"):
        Balanced(deep, MLA())
    with pytest.raises(ConfigError, match="'entropy', 'mean', or a positive weight"):
        MLA(fusion="median")
    with pytest.raises(ConfigError, match="'entropy', 'mean', or a positive weight"):
        MLA(fusion=(0.5, -0.5))
    with pytest.raises(ConfigError, match="one weight for each of m0, m1"):
        Balanced(shared(2), MLA(fusion=(0.5, 0.25, 0.25)))
    with pytest.raises(ConfigError, match="must name each of m0, m1 once"):
        Balanced(shared(2), MLA(order=("m0", "m0")))
    with pytest.raises(ConfigError, match=r"mla\(alpha=0"):
        MLA(alpha=0.0)
    with pytest.raises(ConfigError, match="window of epochs"):
        MLA().during(0, 5)


def test_it_composes_with_methods_that_work_on_gradients() -> None:
    model, batches = shared(2), batches_of(2)
    learner = train(MLA() + OGMGE(noise=False), model, batches, epochs=1)
    assert learner.method.expression() == "mla() + ogm_ge(noise=False)"
    alone = shared(2)
    train(MLA(), alone, batches, epochs=1)
    for name, value in alone.state_dict().items():  # in each turn nobody else is there to compare
        assert torch.equal(value, model.state_dict()[name])
