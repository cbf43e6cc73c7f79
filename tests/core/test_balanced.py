"""The driver: it runs the flows in order, acts once on accumulated gradients, and leaves the host's state alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.core import TOTAL, Epoch, Gradients, Losses, Output, Phase, Step
from equimodal.errors import ConfigError
from equimodal.methods import Uniform
from fixtures.plain import batches_of, model_of, names, train


class Telling(Method):
    """Keeps what the hooks after autograd are told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Output, Gradients, Step]] = []

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        self.told.append((output, grads, step))


class Rows(Telling):
    """Asks for one gradient per loss, and weighs them by 1, 2, 3, ..."""

    per_loss_gradients = True

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = weights
        self.rows: dict[str, dict[str, Tensor]] = {}

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        self.rows = {row: dict(named) for row, named in grads.rows.items()}
        weights = self.weights or (1,) * len(grads.rows)
        rows = {
            row: {name: weight * grad for name, grad in named.items()}
            for weight, (row, named) in zip(weights, grads.rows.items(), strict=True)
        }
        return replace(grads, rows=rows).sum()


class Own(Method):
    """Has a parameter of its own, beside one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)


class TwoPhases(Method):
    """One update per modality."""

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        return [Phase((m,), name=m) for phase in phases for m in phase.train]


class Counting(Method):
    """How often it began, and whether it could."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("begun", torch.zeros((), dtype=torch.long))

    def begin_epoch(self, epoch: Epoch) -> None:
        self.begun += 1


def gradients_of(
    method: Method,
    batch: Batch | Sequence[Batch],
    model: Multimodal | None = None,
    backward: Callable[..., object] = Tensor.backward,
) -> dict[str, Tensor | None]:
    """The gradients that the optimiser of a fresh run would see after one step."""
    learner = Balanced(model or model_of(2), method, samples=6, epochs=1)
    learner.begin_epoch(0)
    for step in learner.steps(batch, 0):
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step, backward)
    return {name: p.grad for name, p in learner.model.named_parameters()}


def assert_close(
    found: dict[str, Tensor | None], wanted: dict[str, Tensor | None], tolerance: float = 1e-14
) -> None:
    for name, gradient in wanted.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("wrong", [({"mod0": torch.ones(2, 3)}, torch.zeros(2)), torch.ones(2), 7])
def test_what_is_no_batch_is_refused(wrong: object) -> None:
    learner = Balanced(model_of(2), Method())
    with pytest.raises(ConfigError, match="make one, as in Batch"):
        learner.steps(wrong, 0)  # type: ignore[arg-type]


def test_a_batch_in_place_of_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"here a Batch: without training say learner\.predict"):
        Balanced(model_of(2))(batches_of(2)[0])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"method": "ibml()"}, r"The method is 'ibml\(\)'; give an object, as methods\.IBML\(\)\."),
        ({"method": Uniform}, "The method is <class .*; give an object"),
        ({"task": nn.CrossEntropyLoss()}, "The task is a CrossEntropyLoss; give a Task"),
        ({"model": nn.Linear(2, 2)}, "The model is a Linear; give Multimodal"),
    ],
)
def test_what_is_of_another_kind_is_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Balanced(**{"model": model_of(2), **parts})


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("cuts", [(3, 3), (1, 5), (2, 2, 2)])
@pytest.mark.parametrize("method", [Method, Uniform, lambda: Uniform() + Rows()])
def test_micro_batches_are_one_batch(
    method: Callable[[], Method], cuts: tuple[int, ...], missing: bool
) -> None:
    """Also where the micro-batches hold different numbers of samples and of modalities."""
    for batch in batches_of(2, missing):
        starts = [sum(cuts[:i]) for i in range(len(cuts))]
        parts = [batch.select(range(s, s + n)) for s, n in zip(starts, cuts, strict=True)]
        assert_close(gradients_of(method(), parts), gradients_of(method(), batch))


def test_a_method_acts_once_on_what_all_micro_batches_said() -> None:
    batch, method = batches_of(2, missing=True)[0], Telling()
    parts = [batch.select([0, 1]), batch.select([2]), batch.select([3, 4, 5])]
    gradients = gradients_of(method, parts)
    ((output, grads, step),) = method.told
    assert torch.equal(step.target, batch.target)
    torch.testing.assert_close(output.fused, model_of(2)(batch).fused.detach())
    assert not output.fused.requires_grad
    assert all(torch.equal(step.batch.mask(m), batch.mask(m)) for m in batch.modalities)
    assert all(grads.rows[TOTAL][f"model.{name}"] is grad for name, grad in gradients.items())


def test_what_an_abandoned_batch_left_is_not_counted_with_the_next() -> None:
    """A host that skips a batch after its first micro-batch, because its loss was not finite."""
    batch, method = batches_of(2)[0], Telling()
    learner = Balanced(model_of(2), method)
    first, _ = learner.steps([batch.select([0, 1]), batch.select([2, 3])], 0)
    output = learner(first)
    learner.backward(learner.losses(output, first), output, first)
    learner.zero_grad()
    for step in learner.steps(batch, 0, 1):
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
    ((output, _, step),) = method.told
    assert len(step.batch) == len(output.fused) == len(batch)


def test_rows_sum_to_the_ordinary_gradient() -> None:
    batch = batches_of(2, missing=True)[0]
    rows = Rows()
    found = gradients_of(Uniform() + rows, batch)
    assert set(rows.rows) == {"task", "uniform/m0", "uniform/m1"}
    assert_close(found, gradients_of(Uniform(), batch))


def test_each_row_is_the_gradient_of_its_loss() -> None:
    """And has no entry for a parameter that the loss does not reach."""
    batch, rows = batches_of(2)[0], Rows(1, 10, 100)
    found = gradients_of(Uniform() + rows, batch)
    model = model_of(2)
    output = model(batch)
    logits = {"task": output.fused} | {f"uniform/{m}": g for m, g in output.unimodal.items()}
    total: dict[str, Tensor] = {}
    for weight, (name, said) in zip((1, 10, 100), logits.items(), strict=True):
        loss = nn.functional.cross_entropy(said, batch.target)
        parameters = dict(model.named_parameters())
        grads = torch.autograd.grad(loss, parameters.values(), retain_graph=True, allow_unused=True)
        wanted = {f"model.{p}": g for p, g in zip(parameters, grads, strict=True) if g is not None}
        assert set(rows.rows[name]) == set(wanted)
        assert_close(rows.rows[name], wanted)
        for p, g in wanted.items():
            total[p] = total.get(p, 0) + weight * g
    assert_close({f"model.{name}": grad for name, grad in found.items()}, total, 1e-12)


@pytest.mark.parametrize("method", [Uniform, lambda: Uniform() + Rows()])
def test_the_host_differentiates(method: Callable[[], Method]) -> None:
    """Its own backward is called for every loss that is needed, and for nothing else."""
    calls: list[dict[str, bool]] = []

    def scaled(loss: Tensor, **options: bool) -> None:
        calls.append(options)
        (8 * loss).backward(**options)

    batch = batches_of(2)[0]
    found = gradients_of(method(), batch, backward=scaled)
    assert_close({k: v / 8 for k, v in found.items()}, gradients_of(method(), batch))
    rows = [{"retain_graph": True}, {"retain_graph": True}, {"retain_graph": False}]
    assert calls == (rows if method().wants_rows(0) else [{}])


def test_a_loss_without_a_gradient_is_no_error() -> None:
    class Constant(Method):
        def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
            return {"one": torch.ones(()), "two": torch.zeros(())}

    for method in (Constant(), Constant() + Rows()):
        assert set(gradients_of(method, batches_of(2)[0]).values()) == {None}


def test_a_modality_that_nobody_has_gets_no_gradient() -> None:
    """None and not zero: momentum and weight decay leave its encoder alone."""
    batch = batches_of(2, missing=True)[-1]
    found = gradients_of(Method(), batch)
    assert found["encoders.m1.weight"] is None
    assert found["encoders.m0.weight"] is not None


def test_frozen_parameters_stay_out() -> None:
    model, method = model_of(2), Telling()
    model.encoders["m0"].requires_grad_(False)
    gradients_of(method, batches_of(2)[0], model)
    ((_, grads, _),) = method.told
    assert set(grads.rows[TOTAL]) == {
        f"model.{n}" for n, p in model.named_parameters() if p.requires_grad
    }


def test_each_phase_is_an_update_of_its_own() -> None:
    batch, method = batches_of(2)[0], Telling()
    learner = Balanced(model_of(2), TwoPhases() + method)
    steps = learner.steps([batch.select([0, 1, 2]), batch.select([3, 4, 5])], 0, number=2, of=4)
    assert [(s.phase.name, s.micro, s.last) for s in steps] == [
        ("m0", 0, False),
        ("m0", 1, True),
        ("m1", 0, False),
        ("m1", 1, True),
    ]
    assert {(s.number, s.progress, s.counts[""]) for s in steps} == {(2, 0.5, 6)}
    for step in steps:
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
    assert [list(output.features) for output, _, _ in method.told] == [["m0"], ["m1"]]


def test_an_epoch_begins_once() -> None:
    """Also where the host asks at every batch, and where training is resumed in its middle."""
    method = Counting()
    learner = Balanced(model_of(2), method)
    for epoch in (0, 0, 1, 1, 0):
        learner.begin_epoch(epoch)
    assert method.begun == 2
    resumed = Balanced(model_of(2), Counting())
    resumed.load_state_dict(learner.state_dict())
    resumed.begin_epoch(1)
    assert resumed.method.begun == 2
    resumed.begin_epoch(2)
    assert resumed.method.begun == 3


def test_training_on_without_beginning_an_epoch_is_refused() -> None:
    """Else a method that judges by the epoch before would quietly do nothing."""
    batch = batches_of(2)[0]

    def update(learner: Balanced, epoch: int) -> None:
        (step,) = learner.steps(batch, epoch)
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)

    learner = Balanced(model_of(2), Uniform() + Counting())
    learner.begin_epoch(0)
    update(learner, 0)
    with pytest.raises(ConfigError, match=r"Epoch 1 has not begun.* say learner\.begin_epoch\(1"):
        update(learner, 1)
    resumed = Balanced(model_of(2), Uniform() + Counting())
    resumed.load_state_dict(learner.state_dict())
    resumed.begin_epoch(1)
    update(resumed, 1)
    update(Balanced(model_of(2), Uniform()), 1)


def test_an_optimiser_without_the_methods_parameters_is_refused() -> None:
    learner = Balanced(model_of(2), Method() + Uniform() + Own())
    whole = torch.optim.SGD(learner.parameters(), lr=0.1)
    learner.begin_epoch(0, optimizer=whole)
    part = torch.optim.SGD(learner.model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"lacks the method's parameter 'methods\.1\.layer"):
        learner.begin_epoch(0, optimizer=part)


def test_a_methods_own_parameters_leave_the_hosts_draws_alone() -> None:
    class Drawing(Method):
        def prepare(self, model: Multimodal, data: object) -> None:
            self.layer = nn.Linear(3, 3)

    found = []
    for method, host in ((Method(), 1), (Drawing(), 1), (Drawing(), 2)):
        model = model_of(2)
        torch.manual_seed(host)
        learner = Balanced(model, method, seed=5)
        found.append((torch.rand(3).tolist(), learner.method))
    (alone, _), (drawn, first), (_, second) = found
    assert alone == drawn
    assert torch.equal(first.layer.weight, second.layer.weight)


def test_predicting_looks_at_clean_inputs_and_changes_nothing() -> None:
    class Zeroing(Method):
        def inputs(self, batch: Batch, step: Step) -> Batch:
            return batch.with_inputs({m: 0 * x for m, x in batch.inputs.items()})

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model = Multimodal({"m0": encoder}, heads.Linear({"m0": 3}, 3)).double()
    learner = Balanced(model, Zeroing())
    encoder[1].eval()
    batch = batches_of(1)[0]
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    unlabelled = Batch(batch.inputs)
    first, second = learner.predict(unlabelled), learner.predict(unlabelled)
    assert torch.equal(first.fused, second.fused) and not first.fused.requires_grad
    assert torch.equal(first.fused, model.eval()(batch).fused)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_predicting_keeps_each_part_in_its_mode() -> None:
    learner = Balanced(model_of(2))
    learner.model.encoders["m1"].eval()
    modes = [part.training for part in learner.modules()]
    learner.predict(batches_of(2)[0])
    assert [part.training for part in learner.modules()] == modes


def test_losses_are_noted() -> None:
    learner = Balanced(model_of(2), Uniform())
    (step,) = learner.steps(batches_of(2)[0], 0)
    losses = learner.losses(learner(step), step)
    assert {f"loss/{name}" for name in losses} == set(step.notes)
    assert step.notes["loss/task"] == losses["task"]
    assert not step.notes["loss/task"].requires_grad


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_gradients_that_a_method_returns_are_those_of_the_optimiser(modalities: int) -> None:
    """Halved gradients with twice the rate are the same run."""

    class Halving(Method):
        def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
            return grads.map(step.model, lambda grad: grad / 2)

    found, wanted = model_of(modalities), model_of(modalities)
    batches = batches_of(modalities)
    halved = gradients_of(Halving(), batches[0], found)
    whole = gradients_of(Method(), batches[0], wanted)
    assert_close({name: 2 * grad for name, grad in halved.items()}, whole, tolerance=0)
    assert len(halved) == 2 * len(names(modalities)) + 2


def test_the_rate_is_the_methods() -> None:
    class Falling(Method):
        def rate(self, rate: float, epoch: int) -> float:
            return rate / 2**epoch

    learner = Balanced(model_of(1), Falling() + Falling())
    assert [learner.rate(epoch) for epoch in range(3)] == [1, 0.25, 0.0625]


def _first_losses(learner: Balanced) -> None:
    batch = batches_of(1)[0]
    for epoch in range(2):
        learner.begin_epoch(epoch)
        (step,) = learner.steps(batch, epoch)
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)


def test_a_learning_rate_that_nobody_asks_for_is_told() -> None:
    """Once, in the first epoch in which it matters."""

    class Falling(Method):
        def rate(self, rate: float, epoch: int) -> float:
            return rate / 2**epoch

    with pytest.warns(UserWarning, match=r"Falling\(\) multiplies.*of epoch 1 by 0\.5.*LambdaLR"):
        _first_losses(Balanced(model_of(1), Falling()))
    asked = Balanced(model_of(1), Falling())
    optimizer = torch.optim.SGD(asked.parameters(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, asked.rate)
    _first_losses(asked)  # a warning would be an error
    _first_losses(Balanced(model_of(1), Uniform()))


def test_training_learns() -> None:
    """All of it together: the loss of the last epoch is below that of the first."""
    model, batches = model_of(2), batches_of(2)
    before = nn.functional.cross_entropy(model(batches[0]).fused, batches[0].target)
    train(Uniform(), model, batches, epochs=5)
    after = nn.functional.cross_entropy(model(batches[0]).fused, batches[0].target)
    assert after < before / 2


class Forgetting(Method):
    """Its hook lacks the return."""

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:  # type: ignore[return]
        losses["task"].mul(2)


def test_a_hook_that_returns_nothing_is_named() -> None:
    learner = Balanced(model_of(2), Forgetting())
    (step,) = learner.steps(batches_of(2)[0], 0)
    with pytest.raises(
        ConfigError, match=r"Forgetting\(\): losses\(\) must return the losses by name"
    ):
        learner.losses(learner(step), step)
