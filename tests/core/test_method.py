"""Chains fold the hooks from left to right, windows gate what changes and never what is remembered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from equimodal import Balanced, Batch, Method, methods
from equimodal.core import Chain, DataInfo, Epoch, Gradients, Losses, Output, Phase, Step
from equimodal.core.expression import build
from equimodal.core.method import expression_name
from equimodal.errors import ConfigError
from fixtures.plain import batches_of, model_of


class Writing(Method):
    """Writes its letter wherever a hook lets it, and what it was told into a buffer."""

    seen: Tensor

    def __init__(self, letter: str = "x") -> None:
        super().__init__()
        self.letter = letter
        self.register_buffer("seen", torch.zeros(3, dtype=torch.long))

    def inputs(self, batch: Batch, step: Step) -> Batch:
        assert torch.equal(step.batch.inputs["m0"], batch.inputs["m0"])
        return batch.with_inputs({m: 2 * x + ord(self.letter) for m, x in batch.inputs.items()})

    def outputs(self, output: Output, step: Step) -> Output:
        return Output(output.features, output.unimodal, 2 * output.fused + ord(self.letter))

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        return {**losses, f"{self.letter}{len(losses)}@{step.position}": output.fused.mean()}

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        return grads.map(step.model, lambda grad: 2 * grad + ord(self.letter))

    def phases(self, phases: Sequence[Phase], epoch: int) -> Sequence[Phase]:
        return [Phase(p.train, name=p.name + self.letter) for p in phases]

    def rate(self, rate: float, epoch: int) -> float:
        return 2 * rate + ord(self.letter)

    def prepare(self, model: object, data: DataInfo) -> None:
        self.seen[0] += 1

    def begin_epoch(self, epoch: Epoch) -> None:
        self.seen[1] += 1 + 100 * epoch.active + 1000 * epoch.position

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        self.seen[2] += 1


class Rows(Method):
    per_loss_gradients = True

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        return grads.sum()


class Mixing(Method):
    keeps_rows = False


class Replacing(Method):
    changes_prediction = True


class Asking(Method):
    asks_head = True


def learner_of(method: Method, epochs: int | None = None) -> Balanced:
    return Balanced(model_of(2), method, epochs=epochs)


def letters(learner: Balanced, epoch: int = 0) -> dict[str, object]:
    """What is written into each flow in one step of one epoch."""
    learner.zero_grad()
    rate = learner.rate(epoch)
    step = learner.steps(batches_of(2)[0], epoch)[0]
    output = learner(step)
    losses = learner.losses(output, step)
    learner.backward(losses, output, step)
    return {
        "inputs": step.batch.inputs["m1"],
        "outputs": output.fused.detach(),
        "losses": list(losses),
        "gradients": [p.grad.clone() for p in learner.model.parameters()],
        "phases": step.phase.name,
        "rate": rate,
    }


def same(one: object, other: object) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_hooks_are_folded_from_left_to_right() -> None:
    found = letters(learner_of(Writing("a") + Writing("b") + Writing("c")))
    assert found["losses"] == ["task", "a1@0", "b2@1", "c3@2"]
    assert found["phases"] == "jointabc"
    a, b, c = map(ord, "abc")
    assert found["rate"] == 2 * (2 * (2 + a) + b) + c
    assert torch.equal(found["inputs"], 8 * batches_of(2)[0].inputs["m1"] + 4 * a + 2 * b + c)
    nothing = letters(learner_of(Method()))
    assert nothing["losses"] == ["task"] and nothing["rate"] == 1


def test_the_empty_method_vanishes_and_chains_are_flat() -> None:
    a, b, c = Writing("a"), Writing("b"), Writing("c")
    assert a + Method() is a and Method() + a is a
    assert type(Method() + Method()) is Method
    for chain in ((a + b) + c, a + (b + c), Chain(a, Method(), Chain(b, c))):
        assert chain.parts() == chain.leaves() == (a, b, c)
    window = (a + b).during(0, 1)
    assert (window + c).parts() == (window, c)
    assert (window + c).leaves() == (a, b, c)


def test_a_window_counts_its_leaves_as_places() -> None:
    """A method draws the same whether what stands before it is in a window or not."""
    pair = Writing("a") + Writing("b")
    plain = letters(learner_of(pair + Writing("c")))
    gated = letters(learner_of(pair.during(0, 9) + Writing("c")))
    assert gated["losses"] == plain["losses"]
    assert all(same(gated[flow], plain[flow]) for flow in plain)


@pytest.mark.parametrize(
    ("start", "end", "epochs", "active"),
    [
        (1, 3, None, {1, 2}),
        (0, 0, None, set()),
        (2, 2, None, set()),
        (0.25, 0.75, 4, {1, 2}),
        (1, 0.9, 10, set(range(1, 9))),
        (0.0, 1.0, 3, {0, 1, 2}),
        (0, 1, 3, {0}),
        (0.57, 1.0, 100, set(range(57, 100))),
        (0.29, 0.58, 100, set(range(29, 58))),
        (0.5, 1.0, 5, {3, 4}),
    ],
)
def test_windows(start: float, end: float, epochs: int | None, active: set[int]) -> None:
    """An integer counts epochs, a float is a fraction of the run."""
    learner = learner_of(Writing("a").during(start, end), epochs)
    assert {e for e in range(epochs or 9) if learner.rate(e) != 1} == active


def test_a_window_gates_every_flow_and_both_schedules() -> None:
    learner, open_ended = learner_of(Writing("a").during(1, 2)), learner_of(Writing("a"))
    for one in (learner, open_ended):
        one.begin_epoch(1)
    inside, outside = letters(learner, 1), letters(learner, 0)
    always, never = letters(open_ended, 1), letters(learner_of(Method()))
    for flow in always:
        assert same(inside[flow], always[flow]), flow
        assert same(outside[flow], never[flow]), flow
        assert not same(always[flow], never[flow]), flow


def test_a_window_remembers_always() -> None:
    method = Writing("a")
    learner = learner_of(Writing("b") + method.during(1, 2))
    for epoch in range(3):
        learner.begin_epoch(epoch)
        letters(learner, epoch)
    assert method.seen.tolist() == [1, 3 * 1001 + 100, 3]


def test_windows_in_windows_are_both_kept() -> None:
    method = Writing("a")
    learner = learner_of(method.during(0, 2).during(1, 3))
    assert [learner.rate(e) != 1 for e in range(4)] == [False, True, False, False]
    for epoch in range(4):
        learner.begin_epoch(epoch)
    assert method.seen[1] == 4 + 100


def test_rows_are_asked_for_inside_the_window_only() -> None:
    chain = learner_of(Method() + Writing("a") + Rows().during(1, 2)).method
    assert [chain.wants_rows(epoch) for epoch in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("start", "end"), [(-1, 3), (0, -0.5), (0, 1.5), (0.0, float("nan")), (float("inf"), 1)]
)
def test_what_is_no_window_is_refused(start: float, end: float) -> None:
    with pytest.raises(ConfigError, match="an integer counts epochs, a float in"):
        Writing().during(start, end)


@pytest.mark.parametrize(("start", "end"), [(3, 1), (0.9, 0.1)])
def test_a_window_that_ends_before_it_starts_is_refused(start: float, end: float) -> None:
    with pytest.raises(ConfigError, match="ends before it starts"):
        Writing().during(start, end)


def test_a_fraction_needs_the_length_of_the_run() -> None:
    with pytest.raises(ConfigError, match=r"\.during\(1, 0\.9\) depends on the run's length"):
        learner_of(Writing().during(1, 0.9))


def test_a_method_that_changes_the_prediction_has_no_window() -> None:
    for method in (Replacing(), Writing() + Replacing()):
        with pytest.raises(ConfigError, match="cannot have a window of epochs"):
            method.during(0, 1)


def test_two_methods_on_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="Only one method can work on the gradient of each loss"):
        Rows() + Writing() + Rows().during(0, 1)


def test_rows_that_would_be_lost_are_refused_with_the_right_order() -> None:
    with pytest.raises(ConfigError, match=r"Rows\(\) needs .*: put it before .*Mixing\(\)\."):
        Writing() + Mixing().during(0, 1) + Rows()
    assert (Rows() + Mixing()).wants_rows(0)


def test_who_asks_the_head_refuses_who_replaces_its_prediction() -> None:
    for pair in ((Asking(), Replacing()), (Replacing(), Asking().during(0, 1))):
        with pytest.raises(ConfigError, match="leave one of them out"):
            Chain(*pair)


def test_of_two_that_replace_the_prediction_the_last_counts() -> None:
    with pytest.warns(UserWarning, match="that of the last one counts"):
        Replacing() + Replacing()


@pytest.mark.parametrize(
    "text",
    [
        "joint()",
        "uniform()",
        "uniform(weight=0.5)",
        "bio().during(1, 0.9) + warmup()",
        "(bio() + tcm()).during(0.25, 1.0) + warmup()",
        "uniform().during(0, 4).during(2, 3)",
    ],
)
def test_a_method_says_the_text_that_builds_it(text: str) -> None:
    assert build(text, methods.BY_NAME, "method", Method).expression() == text


def test_ones_own_methods_are_said_by_their_module() -> None:
    assert Writing("y").expression() == f"{__name__}:Writing(letter='y')"
    assert Writing().expression() == f"{__name__}:Writing()"


def test_an_option_under_another_name_is_refused() -> None:
    class Renamed(Method):
        def __init__(self, strength: float = 1.0) -> None:
            super().__init__()
            self.alpha = strength

    with pytest.raises(
        ConfigError, match=r"Renamed must keep its option 'strength'.*self\.strength"
    ):
        Renamed(2.0).expression()


@pytest.mark.parametrize("other", ["tcm()", methods.TCM, 2])
def test_what_is_no_method_is_not_added(other: object) -> None:
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+"):
        Writing() + other  # type: ignore[operator]


@pytest.mark.parametrize("name", methods.BY_NAME)
def test_exported_names_are_those_of_expressions(name: str) -> None:
    assert expression_name(methods.BY_NAME[name]) == name


def test_the_losses_of_one_method_twice_add_up() -> None:
    """Neither takes the place of the other's."""
    batch = batches_of(2)[0]

    def total(text: str) -> Tensor:
        learner = Balanced(model_of(2), build(text, methods.BY_NAME, "method", Method))
        (step,) = learner.steps(batch, 0)
        output = learner(step)
        losses = learner.losses(output, step)
        return torch.stack(list(losses.values())).sum()

    joint = total("joint()")
    once = total("l1(0.5, 'm0')") + total("l1(0.25, 'm1')") - joint
    torch.testing.assert_close(total("l1(0.5, 'm0') + l1(0.25, 'm1')"), once, atol=1e-12, rtol=0)
    twice = total("uniform(weight=0.5) + uniform(weight=0.25)")
    torch.testing.assert_close(twice, total("uniform(weight=0.75)"), atol=1e-12, rtol=0)
