"""BIO against the numbers of the common worked example, closed forms, and the batches that are easy to get wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.core import Method, Output
from equimodal.errors import ConfigError, DataError
from equimodal.methods import BIO, Ensemble, ReconBoost
from equimodal.methods.ibml.record import agreed, scores

# The common worked example: modality 1 is strong, modality 2 is lazy.
W = [[1.0, 0, 0.5, 0], [0, 1, 0, 0.5], [-1, 0, 0, -0.5]]
B = [0.2, 0.0, -0.2]
Z1, Z2 = [[1.0, 0], [0, 2]], [[0.0, 1], [1, 0]]
GOLDEN = {
    "loss": 1.5870613562853442,
    "z1": [[-0.19548479354826065, 0.160022742901648], [0.05845606463873007, -0.13855463964436304]],
    "z2": [[-0.2552203577723341, 0.15440412935551973], [0.1714783405004867, -0.3329185654071754]],
    "W": [
        [-0.1777537682249543, 0.19701070428309309, 0.3429566810009734, -0.5104407155446682],
        [0.160022742901648, -0.2771092792887261, -0.5043969059076621, 0.4096244871278538],
        [0.017731025323306344, 0.08009857500563294, 0.16144022490668872, 0.10081622841681434],
    ],
    "b": [-0.12336622531355129, -0.03665215776126164, 0.16001838307481295],
}


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def example(method: Method, epochs: int = 2) -> tuple[Balanced, Batch]:
    head = heads.Linear({"one": 2, "two": 2}, classes=3).double()
    with torch.no_grad():
        head.linear.weight.copy_(f64(W))
        head.linear.bias.copy_(f64(B))
    model = Multimodal({"one": nn.Identity(), "two": nn.Identity()}, head)
    batch = Batch(
        {"one": f64(Z1).requires_grad_(), "two": f64(Z2).requires_grad_()},
        target=torch.tensor([0, 1]),
        index=torch.tensor([1, 0]),
    )
    return Balanced(model, method, samples=2, epochs=epochs), batch


def run(
    learner: Balanced, batch: Batch, epoch: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step without an update: its losses and its notes."""
    learner.begin_epoch(epoch)
    (step,) = learner.steps(batch, epoch)
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return dict(losses), step.notes


def check_golden(learner: Balanced, batch: Batch, losses: dict[str, Tensor]) -> None:
    def near(found: Tensor | None, name: str) -> None:
        assert found is not None
        torch.testing.assert_close(found, f64(GOLDEN[name]), atol=1e-14, rtol=0)

    near(sum(losses.values(), f64(0.0)).detach(), "loss")
    one, two = batch.inputs.values()
    assert isinstance(one, Tensor)
    assert isinstance(two, Tensor)
    near(one.grad, "z1")
    near(two.grad, "z2")
    linear = learner.model.head.linear
    near(linear.weight.grad, "W")
    near(linear.bias.grad, "b")


def test_golden_with_current_scores() -> None:
    learner, batch = example(BIO(scores="current"))
    losses, notes = run(learner, batch)
    check_golden(learner, batch, losses)
    assert (notes["bio/lazy/one"], notes["bio/lazy/two"]) == (0, 1)
    assert float(notes["bio/rho/one"]) == pytest.approx(1.4788250811528516, abs=1e-14)
    assert float(notes["bio/rho/two"]) == pytest.approx(0.6029415728339742, abs=1e-14)


def test_golden_with_recorded_scores_comes_an_epoch_later() -> None:
    learner, batch = example(BIO())
    first, _ = run(learner, batch)
    assert first["task"].item() == pytest.approx(0.381894682706181, abs=1e-14)
    assert first["bio/one"] == first["bio/two"] == 0  # nothing recorded: a tie
    learner.zero_grad()
    for value in batch.inputs.values():
        value.grad = None
    second, _ = run(learner, batch, epoch=1)
    check_golden(learner, batch, second)


def test_record_holds_the_confidences_by_index() -> None:
    learner, batch = example(BIO())
    run(learner, batch)
    learner.begin_epoch(1)
    # Sample 0 of the batch has index 1.
    truth = [[0.7861480416478738, 0.6926770395049779], [0.2683154674734019, 0.33462610536057236]]
    record = learner.method.record
    said = record.read(Batch(batch.inputs, batch.target, torch.arange(2)))
    torch.testing.assert_close(said.abs(), f64(truth), atol=1e-15, rtol=0)
    assert said.signbit().tolist() == [[False, False], [True, True]]


def test_a_sample_met_twice_is_judged_by_the_previous_epoch() -> None:
    learner, batch = example(BIO())
    run(learner, batch)
    again, _ = run(learner, batch)  # still epoch 0
    assert again["bio/two"] == 0


def test_what_an_epoch_leaves_out_is_remembered() -> None:
    learner, batch = example(BIO())
    run(learner, batch)
    learner.begin_epoch(1)
    learner.begin_epoch(2)
    losses, _ = run(learner, batch, epoch=2)
    assert sum(value.item() for value in losses.values()) == pytest.approx(
        GOLDEN["loss"], abs=1e-14
    )


def three(method: Method, confidences: list[float], count: int = 60) -> dict[str, Tensor]:
    """Losses of a batch whose modalities have the given ρ; every unimodal loss is CE = -log π."""
    names = ["a", "b", "c"][: len(confidences)]
    learner = Balanced(
        Multimodal(
            {n: nn.Identity() for n in names}, heads.Sum(dict.fromkeys(names, 2), classes=2)
        ).double(),
        method,
    )
    batch = Batch({n: torch.zeros(count, 2) for n in names}, torch.zeros(count, dtype=torch.long))
    (step,) = learner.steps(batch, 0)
    unimodal = {}
    for name, rho in zip(names, confidences, strict=True):
        pi = min(max(rho / count, 1e-12), 1 - 1e-12)
        unimodal[name] = f64([math.log(pi), math.log1p(-pi)]).expand(count, 2)
    output = Output({}, unimodal, torch.zeros(count, 2, dtype=torch.float64))
    return dict(learner.losses(output, step))


@pytest.mark.parametrize(
    ("rho", "lazy", "weight"),
    [
        ([30.0, 19.9, 10.0], [False, True, True], 2),
        ([30.0, 20.1, 10.0], [False, False, True], 1),
        ([40.0, 10.0, 10.0], [False, True, True], 2),
        ([30.0, 30.0, 0.0], [False, False, True], 1),
        ([20.0, 20.0, 20.0], [False, False, False], 1),
        ([48.0, 16.0], [False, True], 1),
        ([11.0], [False], 1),
    ],
)
@pytest.mark.parametrize("fusion_weight", ["lazy_count", "one"])
def test_lazy_sets_and_weight(
    rho: list[float], lazy: list[bool], weight: int, fusion_weight: str
) -> None:
    losses = three(BIO(scores="current", fusion_weight=fusion_weight), rho)
    factor = weight if fusion_weight == "lazy_count" else 1
    assert losses.pop("task").item() == pytest.approx(factor * math.log(2), abs=1e-12)
    for value, score, is_lazy in zip(losses.values(), rho, lazy, strict=True):
        expected = -math.log(max(score / 60, 1e-12)) if is_lazy else 0.0
        assert float(value) == pytest.approx(expected, abs=1e-9)


NAMES = ("a", "b", "c")


def batch_of(present: torch.Tensor) -> Batch:
    """Samples of which only who has what matters, from a [M, B] table."""
    inputs = {m: torch.zeros(present.shape[1], 1) for m in NAMES}
    return Batch(inputs, present=dict(zip(NAMES, present.bool(), strict=True)))


def test_exactly_the_mean_is_not_lazy() -> None:
    rho, mean = scores(f64([[30.0], [20.0], [10.0]]), NAMES, batch_of(torch.ones(3, 1)))
    assert (rho < mean).tolist() == [False, False, True]
    assert (rho > mean).tolist() == [True, False, False]


def test_margin_is_a_fraction_of_the_mean() -> None:
    rho = [24.0, 16.0]  # 20 % below the mean of 20
    assert three(BIO(scores="current", margin=0.19), rho)["bio/b"] > 0
    assert three(BIO(scores="current", margin=0.21), rho)["bio/b"] == 0


def test_scores_of_missing_modalities() -> None:
    confidence = f64([[0.8, 0.6, 9.0, 9.0], [0.5, 0.5, 0.4, 0.2], [9.0, 9.0, 9.0, 9.0]])
    present = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    rho, mean = scores(confidence, NAMES, batch_of(present))
    # ρ = B times the mean over those who have it: 4 · .7 and 4 · .4; the third is nobody's.
    torch.testing.assert_close(rho[:2], f64([2.8, 1.6]))
    assert float(mean) == pytest.approx(2.2)
    assert rho[2] == mean


def test_missing_modality_enters_its_loss_only_where_it_is() -> None:
    learner, _ = example(BIO(scores="current"))
    batch = Batch(
        {"one": f64(Z1), "two": f64(Z2)},
        target=torch.tensor([0, 1]),
        present={"two": torch.tensor([True, False])},
    )
    losses, notes = run(learner, batch)
    # Sample 0 has both, so b is halved there: π_2 = .3346; sample 1 has modality 1 alone, with all of b.
    assert float(notes["bio/rho/two"]) == pytest.approx(2 * 0.33462610536057236, abs=1e-14)
    assert float(notes["bio/rho/one"]) == pytest.approx(
        0.6926770395049779 + 0.7836363891719822, abs=1e-14
    )
    assert losses["bio/two"].item() == pytest.approx(-math.log(0.33462610536057236), abs=1e-14)


def test_batch_without_index_is_refused_for_recorded_scores_only() -> None:
    learner, batch = example(BIO())
    bare = Batch(batch.inputs, batch.target)
    with pytest.raises(ConfigError, match=r"bio\(\).*index"):
        run(learner, bare)
    run(example(BIO(scores="current"))[0], bare)


def test_index_outside_the_record_is_refused() -> None:
    learner, batch = example(BIO())
    for wrong in ([0, 2], [-1, 0]):
        with pytest.raises(DataError, match="record of 2 samples"):
            run(learner, Batch(batch.inputs, batch.target, torch.tensor(wrong)))


@pytest.mark.parametrize(
    "options", [{"scores": "record"}, {"fusion_weight": "two"}, {"margin": 1.5}, {"margin": -0.1}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        BIO(**options)


def test_samples_are_needed_for_recorded_scores() -> None:
    model = example(BIO())[0].model
    with pytest.raises(ConfigError, match="samples=N"):
        Balanced(model, BIO())
    Balanced(model, BIO(scores="current"))


def test_last_of_a_repeated_sample_counts() -> None:
    learner, batch = example(BIO())
    run(learner, Batch(batch.inputs, batch.target, torch.tensor([1, 1])))
    record = learner.method.record
    assert float(record.said_now[0, 1]) == pytest.approx(0.7861480416478738, abs=1e-15)
    assert record.said_now[:, 0].tolist() == [1, 1]


def test_all_occurrences_of_a_sample_agree_on_the_last() -> None:
    values = f64([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    found = agreed(values, torch.tensor([7, 3, 7, 3]))
    assert found.tolist() == [[0.3, 0.4, 0.3, 0.4], [0.7, 0.8, 0.7, 0.8]]
    assert agreed(values, torch.tensor([3, 1, 2, 0])) is values


def test_micro_batches_are_recorded_as_one() -> None:
    whole, batch = example(BIO())
    run(whole, batch)
    parted, _ = example(BIO())
    parted.begin_epoch(0)
    parts = [batch.select([0]), batch.select([1])]
    for step in parted.steps(parts, 0):
        output = parted(step)
        parted.backward(parted.losses(output, step), output, step)
    for name, value in whole.method.record.named_buffers():
        torch.testing.assert_close(value, getattr(parted.method.record, name))


@pytest.mark.parametrize("first", [Ensemble(), ReconBoost(boost=1, consolidate=1)])
def test_where_the_fused_loss_is_not_trained_there_is_none_to_weigh(first: Method) -> None:
    torch.manual_seed(0)
    encoders = {"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)}
    model = Multimodal(encoders, heads.Sum({"one": 2, "two": 2}, 3)).double()
    inputs = {"one": f64(Z1), "two": f64(Z2)}
    batch = Batch(inputs, torch.tensor([0, 1]), torch.tensor([1, 0]))
    learner = Balanced(model, first + BIO(scores="current"), samples=2, epochs=2)
    learner.begin_epoch(0, [batch], None, torch.optim.SGD(learner.parameters(), lr=0.1))
    (step,) = learner.steps(batch, 0)
    losses = learner.losses(learner(step), step)
    assert "task" not in losses and {"bio/one", "bio/two"} & set(losses)
