"""PMR beside its golden numbers, and beside plain training with prototypes and distances computed by loops."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal
from equimodal.core import Losses, Step
from equimodal.errors import ConfigError
from equimodal.methods import PMR
from fixtures.plain import (
    CLASSES,
    INPUTS,
    SIZE,
    WIDTH,
    Plain,
    batches_of,
    model_of,
    tensor,
    train,
    worked_example,
)

Z0, Z1 = tensor([0, 1], [3, 3]), tensor([2, 2], [1, 1])
SCORE = {"one": 1.9172321343806136, "two": 0.4549795442877014}
PCE = {"one": 0.04227145865258034, "two": 1.6674837488237786}
ENTROPY = {"one": 0.18316138496551965, "two": 0.5041668013493072}


def known(learner: Balanced, first: Tensor, second: Tensor) -> None:
    """Let the prototypes be these."""
    for prototypes, means in zip(learner.method.prototypes.values(), (first, second), strict=True):
        prototypes.means.copy_(means)
        prototypes.seen.fill_(True)


def golden(
    first: Tensor = Z0, second: Tensor = Z1, epoch: int = 0, **options: float
) -> tuple[Losses, Step]:
    model, _ = worked_example()
    learner = Balanced(model, PMR(**options))
    known(learner, tensor([0, 0], [3, 4], [6, 8]), tensor([0, 0], [3, 4], [6, 8]))
    (step,) = learner.steps(Batch({"one": first, "two": second}, torch.tensor([0, 1])), epoch)
    return learner.losses(learner(step), step), step


def values(losses: Losses, term: str) -> dict[str, float]:
    start = f"pmr/{term}/"
    return {
        name.removeprefix(start): v.item() for name, v in losses.items() if name.startswith(start)
    }


def test_golden_losses() -> None:
    losses, step = golden(alpha=2.0, mu=0.1)
    for m, score in SCORE.items():
        assert step.notes[f"pmr/score/{m}"].item() == pytest.approx(score / 2, abs=1e-9)
    assert values(losses, "pce") == pytest.approx({"one": 0, "two": 2 * PCE["two"]}, abs=1e-9)
    assert values(losses, "per") == pytest.approx(
        {"one": -0.1 * ENTROPY["one"], "two": 0}, abs=1e-9
    )


def test_golden_losses_of_the_other_modality() -> None:
    losses, _ = golden(Z1, Z0, alpha=2.0, mu=0.1)
    assert values(losses, "pce") == pytest.approx({"one": 2 * PCE["two"], "two": 0}, abs=1e-9)
    assert values(losses, "per") == pytest.approx(
        {"one": 0, "two": -0.1 * ENTROPY["one"]}, abs=1e-9
    )


def test_entropy_counts_in_the_first_epochs_only() -> None:
    assert values(golden(epoch=4)[0], "per")
    assert not values(golden(epoch=5)[0], "per")
    assert values(golden(epoch=5, entropy_epochs=6)[0], "per")


def test_golden_gradient_of_the_prototypical_loss() -> None:
    model, _ = worked_example()
    learner = Balanced(model, PMR(mu=0.0))
    known(learner, tensor([0, 0], [3, 4], [6, 8]), tensor([0, 0], [3, 4], [6, 8]))
    slow = tensor([0, 1]).requires_grad_()
    batch = Batch({"one": slow, "two": tensor([0, 0])}, torch.tensor([0]))
    (step,) = learner.steps(batch, 0)
    loss = learner.losses(learner(step), step)["pmr/pce/one"]
    weight = step.notes["pmr/slow/one"]
    (loss / weight).backward()
    assert weight > 0
    assert (loss / weight).item() == pytest.approx(0.03857622634967383, abs=1e-12)
    assert slow.grad[0].tolist() == pytest.approx(
        [0.02674348627960359, 0.06461323443618683], abs=1e-12
    )


def test_binary_weights() -> None:
    close = tensor([0, 1.1], [3, 3])
    exact, _ = golden(Z0, close)
    assert 0 < values(exact, "pce")["two"] < 0.01
    binary, step = golden(Z0, close, binary=True)
    assert [step.notes[f"pmr/slow/{m}"].item() for m in SCORE] == [0, 1]
    assert values(binary, "pce")["two"] > 0.04
    tied, _ = golden(Z0, Z0, binary=True)
    assert values(tied, "pce") == {"one": 0, "two": 0}


def test_momentum_of_prototypes() -> None:
    """Those of the untrained network are replaced, then ε = .2: from 1 with a new 5 to 4.2."""
    model, _ = worked_example()
    learner = Balanced(model, PMR())

    def begin(epoch: int, value: float) -> float:
        z = torch.full((2, 2), value, dtype=torch.float64)
        learner.begin_epoch(epoch, [Batch({"one": z, "two": z}, torch.tensor([0, 1]))])
        return learner.method.prototypes["one"].means[0, 0].item()

    found = [begin(epoch, value) for epoch, value in enumerate((9.0, 1.0, 5.0))]
    assert found == pytest.approx([9, 1, 4.2], abs=1e-12)
    assert int(learner.method.updated) == 2


class Counted:
    """Training batches that count how many of them were read."""

    def __init__(self, batches: list[Batch], sized: bool = True) -> None:
        self.batches, self.read, self.sized = batches, 0, sized

    def __len__(self) -> int:
        if not self.sized:
            raise TypeError("a stream")
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.read += 1
            yield batch


@pytest.mark.parametrize(("count", "sized", "read"), [(3, True, 1), (25, True, 2), (25, False, 1)])
def test_prototypes_come_from_a_tenth_of_the_batches(count: int, sized: bool, read: int) -> None:
    train_batches = Counted(batches_of(2, count=count), sized)
    Balanced(model_of(2), PMR()).begin_epoch(0, train_batches)
    assert train_batches.read == read


class Reference(Plain):
    """Prototypes, distances and coefficients, one sample and one class at a time."""

    def __init__(self, model: Multimodal) -> None:
        super().__init__(model)
        self.prototypes: dict[tuple[str, int], Tensor] = {}

    def learn(self, batches: list[Batch], kept: float) -> None:
        found: dict[tuple[str, int], list[Tensor]] = {}
        for batch in batches:
            for i in range(SIZE):
                for m in self.present(batch, i):
                    z = self.feature(m, batch.inputs[m][i]).detach()
                    found.setdefault((m, int(batch.target[i])), []).append(z)
        for key, features in found.items():
            new = sum(features) / len(features)
            old = self.prototypes.get(key, new)
            self.prototypes[key] = kept * old + (1 - kept) * new

    def belief(self, m: str, z: Tensor) -> dict[int, Tensor]:
        near = {}
        for c in range(CLASSES):
            if (m, c) in self.prototypes:
                square = ((z - self.prototypes[m, c]) ** 2).sum()
                distance = square.sqrt() if square > 1e-12 else torch.tensor(1e-6).double()
                near[c] = (-distance).exp()
        return {c: value / sum(near.values()) for c, value in near.items()}

    def beliefs(self, batch: Batch) -> dict[str, list[tuple[Tensor, dict[int, Tensor]]]]:
        found: dict[str, list[tuple[Tensor, dict[int, Tensor]]]] = {}
        for i in range(SIZE):
            for m in self.present(batch, i):
                y = int(batch.target[i])
                if (m, y) in self.prototypes:
                    q = self.belief(m, self.feature(m, batch.inputs[m][i]))
                    found.setdefault(m, []).append((q[y], q))
        return found

    def loss(self, batch: Batch, alpha: float, mu: float) -> Tensor:
        beliefs, total = self.beliefs(batch), self.joint_loss(batch)
        score = {m: sum(p.item() for p, _ in each) / len(each) for m, each in beliefs.items()}
        for m, each in beliefs.items():
            pce = sum(-p.log() for p, _ in each) / len(each)
            entropy = sum(-v * v.log() for _, q in each for v in q.values()) / len(each)
            total = total + alpha * min(max(max(score.values()) / score[m] - 1, 0), 1) * pce
            total = total - mu * min(max(score[m] / min(score.values()) - 1, 0), 1) * entropy
        return total


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_plain_training(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    plain = Reference(model)
    for epoch in range(4):
        plain.learn(batches[:1], kept=0.3 if epoch > 1 else 0.0)
        for batch in batches:
            plain.update(plain.gradients(plain.loss(batch, 1.5, 0.1 if epoch < 3 else 0.0)))
    learner = train(
        PMR(alpha=1.5, mu=0.1, entropy_epochs=3, momentum=0.3), model, batches, epochs=4
    )
    plain.assert_equals(model)
    for (m, c), prototype in plain.prototypes.items():
        found = learner.method.prototypes[m].means[c]
        torch.testing.assert_close(found, prototype, atol=1e-10, rtol=0)


def test_accumulated_prototypes_are_means_of_the_features_that_were_trained() -> None:
    model, batches = model_of(2), batches_of(2, missing=True)
    learner = Balanced(model, PMR(accumulate=True))
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    features: dict[tuple[str, int], list[Tensor]] = {}
    learner.begin_epoch(0, None, None, optimizer)  # needs no training batches
    for number, batch in enumerate(batches):
        (step,) = learner.steps(batch, 0, number, len(batches))
        output = learner(step)
        losses = learner.losses(output, step)
        assert all(v == 0 for name, v in losses.items() if name != "task")
        learner.backward(losses, output, step)
        optimizer.step()
        optimizer.zero_grad()
        for m, z in output.features.items():
            for i in range(SIZE):
                if batch.mask(m)[i]:
                    features.setdefault((m, int(batch.target[i])), []).append(z[i].detach())
    learner.begin_epoch(1, None, None, optimizer)
    for (m, c), each in features.items():
        found = learner.method.prototypes[m].means[c]
        torch.testing.assert_close(found, sum(each) / len(each), atol=1e-12, rtol=0)
    assert not any(p.totals.any() for p in learner.method.prototypes.values())


def test_an_absent_class_is_left_out_and_keeps_its_prototype() -> None:
    """The published code divides 0 by 0 and trains on NaN."""
    model, _ = worked_example()
    learner = Balanced(model, PMR(mu=0.1))
    learner.begin_epoch(0, [Batch({"one": Z0, "two": Z1}, torch.tensor([0, 1]))])
    inputs = {"one": tensor([0, 2], [3, 3], [7, 7]), "two": tensor([2, 0], [1, 3], [9, 9])}
    (step,) = learner.steps(Batch(inputs, torch.tensor([0, 1, 2])), 0)  # class 2 was never seen
    losses = learner.losses(learner(step), step)
    assert all(torch.isfinite(v) for v in losses.values())
    (seen,) = learner.steps(Batch({m: x[:2] for m, x in inputs.items()}, torch.tensor([0, 1])), 0)
    without = learner.losses(learner(seen), seen)
    for name in ("pmr/pce/one", "pmr/pce/two", "pmr/per/one", "pmr/per/two"):
        assert losses[name].item() == pytest.approx(without[name].item(), abs=1e-12)
    prototypes = learner.method.prototypes["one"]
    before = prototypes.means.clone()
    learner.begin_epoch(1, [Batch({"one": Z1[:1], "two": Z1[:1]}, torch.tensor([0]))])
    assert torch.equal(prototypes.means[1], before[1])
    assert not torch.equal(prototypes.means[0], before[0])
    assert prototypes.seen.tolist() == [True, True, False]


def test_only_unseen_classes_give_nothing() -> None:
    model, batch = worked_example()
    learner = Balanced(model, PMR())
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    losses = learner.losses(output, step)
    assert {name: v.item() for name, v in losses.items() if name != "task"} == {
        f"pmr/{term}/{m}": 0 for term in ("pce", "per") for m in ("one", "two")
    }
    learner.backward(losses, output, step)
    assert torch.isfinite(model.head.linear.weight.grad).all()


def test_a_feature_at_its_prototype_has_a_finite_gradient() -> None:
    """The published code differentiates the square root at 0."""
    model, _ = worked_example()
    learner = Balanced(model, PMR(binary=True))
    known(learner, tensor([1, 1], [1, 2], [1, 8]), tensor([0, 0], [3, 4], [6, 8]))
    at = tensor([1, 1]).requires_grad_()
    (step,) = learner.steps(Batch({"one": at, "two": tensor([0, 0])}, torch.tensor([0])), 0)
    learner.losses(learner(step), step)["pmr/pce/one"].backward()
    assert at.grad.tolist()[0][0] == 0  # the other classes lie above: only they pull
    assert torch.isfinite(at.grad).all()
    assert at.grad[0, 1] != 0


def test_prototypical_losses_reach_their_own_encoder_only() -> None:
    model, (batch,) = model_of(2), batches_of(2, count=1)
    learner = Balanced(model, PMR(mu=0.1))
    learner.begin_epoch(0, [batch])
    (step,) = learner.steps(batch, 0)
    losses = learner.losses(learner(step), step)
    (losses["pmr/pce/m0"] + losses["pmr/per/m0"]).backward()
    assert model.encoders["m0"].weight.grad.abs().sum() > 0
    assert model.encoders["m1"].weight.grad is None
    assert model.head.linear.weight.grad is None


def normed() -> Multimodal:
    model = model_of(2)
    model.encoders["m0"] = nn.Sequential(nn.BatchNorm1d(INPUTS), nn.Linear(INPUTS, WIDTH)).double()
    return model


def test_measuring_leaves_statistics_and_modes_alone() -> None:
    model = normed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.encoders["m0"][0].eval()
    learner = Balanced(model, PMR())
    learner.begin_epoch(0, batches_of(2))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not model.encoders["m0"][0].training
    assert model.encoders["m0"][1].training
    assert all(p.means.any() for p in learner.method.prototypes.values())


def test_outside_its_window_it_does_nothing() -> None:
    batches = Counted(batches_of(2))
    learner = Balanced(model_of(2), PMR().during(1, 2))
    learner.begin_epoch(0, batches)
    assert batches.read == 0
    learner.begin_epoch(1, batches)
    assert batches.read == 1


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_without_weights_it_is_joint_training_bit_for_bit(modalities: int) -> None:
    balanced, joint = model_of(modalities), model_of(modalities)
    train(PMR(alpha=0.0, mu=0.0), balanced, batches_of(modalities), epochs=2)
    train(Method(), joint, batches_of(modalities), epochs=2)
    assert all(torch.equal(p, joint.get_parameter(n)) for n, p in balanced.named_parameters())


def test_features_far_from_all_prototypes_stay_finite() -> None:
    losses, _ = golden(Z0 * 1e6, Z1 * 1e5)
    assert all(math.isfinite(v.item()) for v in losses.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": -1.0}, r"pmr\(alpha=-1"),
        ({"mu": -1.0}, r"pmr\(mu=-1"),
        ({"entropy_epochs": -1}, r"pmr\(entropy_epochs=-1"),
        ({"momentum": 1.0}, r"pmr\(momentum=1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PMR(**options)


def test_an_epoch_without_training_batches_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"begin_epoch\(epoch, train"):
        Balanced(model_of(2), PMR()).begin_epoch(0)
