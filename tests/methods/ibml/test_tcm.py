"""TCM: rates and spread against closed forms, and noise exactly where it belongs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import Padded, TokenEncoder
from equimodal.errors import ConfigError, DataError
from equimodal.methods import TCM
from equimodal.methods.ibml.elements import spread, valid

NAMES = ("a", "b", "c")


def learner_of(method: TCM, encoders: dict[str, nn.Module], samples: int) -> Balanced:
    model = Multimodal(encoders, heads.Sum(dict.fromkeys(encoders, 3), classes=3)).double()
    learner = Balanced(model, method, samples=samples, epochs=4)
    learner.begin_epoch(1)
    return learner


def recorded(
    method: TCM, rho: list[float], samples: int, correct: Tensor | None = None
) -> Balanced:
    """A learner whose previous epoch gave every sample π_m = ρ_m / N."""
    encoders: dict[str, nn.Module] = {n: nn.Identity() for n in NAMES[: len(rho)]}
    learner = learner_of(method, encoders, samples)
    confidence = torch.tensor(rho, dtype=torch.float64)[:, None] / samples
    sign = 1 if correct is None else torch.where(correct, 1, -1)  # negative where it was wrong
    method.record.said.copy_(confidence.expand(-1, samples) * sign)
    return learner


def batch_of(inputs: dict[str, Tensor | Padded]) -> Batch:
    count = len(next(iter(inputs.values())))
    return Batch(inputs, torch.arange(count) % 3, torch.arange(count))


def noised(learner: Balanced, batch: Batch, number: int = 0) -> tuple[Batch, dict[str, Tensor]]:
    (step,) = learner.steps(batch, 1, number, 10)
    return step.batch, step.notes


@pytest.mark.parametrize(
    ("rho", "rates"),
    [
        ([48.0, 16.0], [0.15, 0]),
        ([1.4788250811528516, 0.6029415728339742], [0.1420740483397339, 0]),
        ([40.0, 10.0, 10.0], [0.2, 0, 0]),
        ([30.0, 30.0, 0.0], [0.15, 0.15, 0]),
        ([20.0, 20.0, 20.0], [0, 0, 0]),
        ([7.0], [0]),
        ([0.0, 0.0], [0, 0]),
    ],
)
def test_rates(rho: list[float], rates: list[float]) -> None:
    learner = recorded(TCM(), rho, 64)
    batch = batch_of({n: torch.zeros(64, 3).double() for n in NAMES[: len(rho)]})
    _, notes = noised(learner, batch)
    for name, rate in zip(NAMES, rates, strict=False):
        assert float(notes[f"tcm/rate/{name}"]) == pytest.approx(rate, abs=1e-14)


def test_exactly_at_the_mean_there_is_no_noise() -> None:
    learner = recorded(TCM(), [0.75 * 64, 0.5 * 64, 0.25 * 64], 64)  # powers of two: no rounding
    _, notes = noised(learner, batch_of({n: torch.zeros(64, 3).double() for n in NAMES}))
    assert [float(notes[f"tcm/rate/{n}"]) for n in NAMES] == pytest.approx([0.15, 0, 0], abs=1e-15)


def test_only_correct_samples_of_the_strong_modality_get_noise() -> None:
    correct = torch.ones(2, 400, dtype=torch.bool)
    correct[:, ::2] = False
    learner = recorded(TCM(strength=2.0), [360.0, 40.0], 400, correct)  # p = .9
    clean = batch_of({n: torch.randn(400, 3).double() for n in "ab"})
    found, _ = noised(learner, clean)
    changed = (found.inputs["a"] != clean.inputs["a"]).all(1)
    assert torch.equal(found.inputs["b"], clean.inputs["b"])
    assert not changed[::2].any()
    assert 160 <= int(changed.sum()) <= 196  # Binomial(200, .9): mean 180, deviation 4.2
    assert torch.equal(changed, (found.inputs["a"] != clean.inputs["a"]).any(1))


def test_noise_has_the_spread_of_the_modality() -> None:
    learner = recorded(TCM(strength=2.0), [2000.0, 0.0], 2000)  # p = 1
    clean = batch_of(
        {"a": 5 + 3 * torch.randn(2000, 20).double(), "b": torch.zeros(2000, 3).double()}
    )
    found, _ = noised(learner, clean)
    noise = found.inputs["a"] - clean.inputs["a"]
    assert float(noise.std() / clean.inputs["a"].std()) == pytest.approx(1, abs=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.06)  # 4 deviations of 3 / 200
    assert len(noise[:, 0].unique()) == 2000


def test_shared_noise_is_one_draw() -> None:
    learner = recorded(TCM(strength=2.0, noise="shared"), [20.0, 0.0], 20)
    clean = batch_of({"a": torch.randn(20, 5).double(), "b": torch.zeros(20, 3).double()})
    found, _ = noised(learner, clean)
    noise = found.inputs["a"] - clean.inputs["a"]
    torch.testing.assert_close(noise, noise[:1].expand(20, 5), atol=1e-14, rtol=0)
    assert noise.abs().min() > 0


def test_draws_differ_between_batches_and_repeat_for_one() -> None:
    learner = recorded(TCM(strength=2.0), [20.0, 0.0], 20)
    clean = batch_of({"a": torch.randn(20, 5).double(), "b": torch.zeros(20, 3).double()})
    first, again, other = (noised(learner, clean, number)[0] for number in (0, 0, 1))
    assert torch.equal(first.inputs["a"], again.inputs["a"])
    assert not torch.equal(first.inputs["a"], other.inputs["a"])


def test_spread_golden_and_by_feature() -> None:
    values = torch.tensor([[0.0, 2], [4, 6]], dtype=torch.float64)
    for there in (None, torch.ones(2, dtype=torch.bool)):
        found = spread(values, there, "modality")
        assert float(found) == pytest.approx(2.581988897471611, abs=1e-15)
        torch.testing.assert_close(spread(values, there, "feature"), values.std(0))
    assert spread(values[:1], None, "feature").tolist() == [0, 0]
    assert spread(values[:1, :1], None, "modality").tolist() == 0


def test_spread_leaves_out_padding_and_missing_samples() -> None:
    values = torch.randn(3, 4, 2, dtype=torch.float64) + 100
    padded = Padded(values, torch.tensor([4, 2, 3]))
    batch = Batch({"a": padded}, present={"a": torch.tensor([True, True, False])})
    there = valid(padded, batch, "a")
    kept = torch.cat([values[0], values[1, :2]])
    torch.testing.assert_close(spread(values, there, "modality"), kept.std())
    torch.testing.assert_close(spread(values, there, "feature"), kept.std(0))


@pytest.mark.parametrize("per", ["modality", "feature"])
def test_noise_spares_padding_and_missing_samples(per: str) -> None:
    learner = recorded(TCM(strength=2.0, per=per), [4.0, 0.0], 4)
    values = torch.randn(4, 5, 3).double()
    lengths = torch.tensor([5, 2, 4, 3])
    present = torch.tensor([True, True, True, False])
    clean = Batch(
        {"a": Padded(values, lengths), "b": torch.zeros(4, 3).double()},
        torch.arange(4) % 3,
        torch.arange(4),
        present={"a": present},
    )
    found, _ = noised(learner, clean)
    changed = (found.inputs["a"].values != values).all(2)
    expected = (torch.arange(5) < lengths[:, None]) & present[:, None]
    assert torch.equal(changed, expected)
    assert torch.equal(found.inputs["a"].lengths, lengths)
    assert torch.equal(clean.inputs["a"].values, values)


class Words(nn.Module):
    """Takes ids or embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 3)

    def embed(self, ids: Tensor) -> Tensor:
        return self.table(ids)

    def forward(self, words: Tensor) -> Tensor:
        return (words if words.is_floating_point() else self.embed(words)).mean(1)


def test_tokens_get_noise_after_the_embedding_and_still_train_it() -> None:
    method = TCM(strength=2.0)
    learner = learner_of(method, {"a": Words(), "b": nn.Identity()}, 6)
    method.record.said[1] = 0
    ids = torch.randint(7, (6, 4))
    batch = batch_of({"a": ids, "b": torch.randn(6, 3).double()})
    words = learner.model.encoders["a"]
    assert isinstance(words, TokenEncoder)
    (step,) = learner.steps(batch, 1)
    assert step.batch.inputs["a"].shape == (6, 4, 3)
    assert (step.batch.inputs["a"] != words.embed(ids)).all()
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    assert words.table.weight.grad.abs().sum() > 0


def test_integers_without_an_embedding_are_refused_in_the_first_batch_of_a_window_too() -> None:
    encoders = {"a": nn.Embedding(7, 3), "b": nn.Identity()}
    model = Multimodal(encoders, heads.Sum(dict.fromkeys(encoders, 3), classes=3)).double()
    batch = batch_of({"a": torch.arange(6), "b": torch.randn(6, 3).double()})
    with pytest.raises(DataError, match=r"'a' is of type torch.int64.*embed\(ids\)"):
        Balanced(model, TCM(), samples=6).steps(batch, 0)
    learner = Balanced(model, TCM().during(1, 2), samples=6)
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    with pytest.raises(DataError, match="'a'"):
        learner.backward(learner.losses(output, step), output, step)


def test_refusals() -> None:
    for options in ({"strength": 0.5}, {"noise": "same"}, {"per": "pixel"}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            TCM(**options)
    with pytest.raises(ConfigError, match="strength=2.0.*at least 3"):
        recorded(TCM(strength=2.0), [1.0, 1.0, 1.0], 4)
    learner = recorded(TCM(), [4.0, 0.0], 4)
    with pytest.raises(ConfigError, match=r"tcm\(\).*index"):
        learner.steps(Batch({n: torch.zeros(4, 3).double() for n in "ab"}, torch.arange(4) % 3), 0)


def test_an_input_that_the_model_does_not_read_is_left_alone() -> None:
    learner = recorded(TCM(strength=2.0), [4.0, 0.0], 4)
    inputs = {n: torch.randn(4, 3).double() for n in "ab"} | {"note": torch.arange(4)}
    (step,) = learner.steps(batch_of(inputs), 1)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    assert torch.equal(step.batch.inputs["note"], inputs["note"])
    assert not torch.equal(step.batch.inputs["a"], inputs["a"])
