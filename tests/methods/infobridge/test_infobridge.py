"""The method as a whole: against a slow reference with plain loops, and what must and must not receive gradient."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equimodal.core import Balanced, Batch, Gradients, Method, Step
from equimodal.errors import ConfigError
from equimodal.methods import InfoBridge
from equimodal.methods.infobridge.estimator import Estimator
from equimodal.models import heads
from equimodal.models.multimodal import Multimodal

WIDTHS = {"touch": 4, "smell": 3, "taste": 5}
SAMPLES, CLASSES = 24, 3


def learner(method: Method, modalities: int = 2, seed: int = 0) -> Balanced:
    torch.manual_seed(seed)
    names = list(WIDTHS)[:modalities]
    encoders = {m: nn.Linear(6, WIDTHS[m]) for m in names}
    head = heads.Linear({m: WIDTHS[m] for m in names}, CLASSES)
    model = Multimodal(encoders, head).double()
    return Balanced(model, method, samples=SAMPLES, epochs=4)


def data(modalities: int = 2, missing: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    names = list(WIDTHS)[:modalities]
    inputs = {m: torch.randn(SAMPLES, 6, generator=generator, dtype=torch.float64) for m in names}
    target = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    present = {m: torch.rand(SAMPLES, generator=generator) < 0.7 for m in names} if missing else {}
    return Batch(inputs, target, torch.arange(SAMPLES), present)


def estimator(balanced: Balanced) -> Estimator:
    found = balanced.method.estimator
    assert isinstance(found, Estimator)
    return found


def shake(balanced: Balanced) -> None:
    """Gates and the like start at zero, where mistakes could hide."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in estimator(balanced).parameters():
            parameter += 0.3 * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )


def epochs(balanced: Balanced, batch: Batch, size: int, last: int) -> None:
    """Train for some epochs, in order."""
    optimizer = torch.optim.SGD(balanced.parameters(), lr=0.1)
    for epoch in range(last):
        balanced.begin_epoch(epoch, None, None, optimizer)
        for number, start in enumerate(range(0, SAMPLES, size)):
            part = batch.select(slice(start, start + size))
            for step in balanced.steps(part, epoch, number, SAMPLES // size):
                output = balanced(step)
                balanced.backward(balanced.losses(output, step), output, step)
                optimizer.step()
                optimizer.zero_grad()
    balanced.begin_epoch(last, None, None, optimizer)


Row = tuple[int, int, dict[str, Tensor], set[str]]
"""A sample's index, context, features and modalities."""


class Reference:
    """The loss of one batch from the equations, one anchor and one negative at a time."""

    def __init__(self, balanced: Balanced, step: Step) -> None:
        self.method: Any = balanced.method
        self.parts = estimator(balanced)
        self.batch = step.batch
        self.features = {m: z.detach() for m, z in balanced.model(step.batch).features.items()}
        self.names = sorted(self.features)
        count = self.method.negatives_count
        generator = step.generator("negatives")
        self.uniform = torch.rand(
            len(self.batch), count, generator=generator, dtype=torch.float64
        ).tolist()

    def has(self, name: str, i: int) -> bool:
        return bool(self.batch.mask(name)[i])

    def context(self, index: int, target: int) -> int:
        if self.method.context == "label":
            return target
        if self.method.context == "constant":
            return 0
        return int(self.parts.context.table[index])

    def here(self) -> list[Row]:
        """The batch."""
        rows = []
        for i in range(len(self.batch)):
            index, target = int(self.batch.index[i]), int(self.batch.target[i])
            there = {m for m in self.names if self.has(m, i)}
            own = {m: self.features[m][i] for m in self.names}
            rows.append((index, self.context(index, target), own, there))
        return rows

    def stored(self) -> list[Row]:
        """The memory, empty places left out."""
        memory, rows = self.parts.memory, []
        for k in range(len(memory.index)):
            index, label, *present = memory.known[k].tolist()
            if index < 0:
                continue
            parts = memory.values[k].split([memory.widths[m] for m in self.names])
            own = dict(zip(self.names, parts, strict=True))
            there = {m for m, has in zip(self.names, present, strict=True) if has}
            rows.append((index, self.context(index, label), own, there))
        return rows

    def score(self, pair: tuple[str, str], z: Tensor, other: Tensor, context: int) -> float:
        weights = self.parts.critics.projections.state_dict()
        critic = self.parts.critics.critics[self.parts.critics.pairs.index(pair)].state_dict()
        p = weights[f"{pair[0]}.weight"] @ z
        q = weights[f"{pair[1]}.weight"] @ other
        gate = 1 + critic["gate"][context]
        p, q = p * gate, q * gate
        cosine = float(p @ q) / math.sqrt(float(p @ p) * float(q @ q))
        return cosine / math.exp(float(critic["log_temperature"]))

    def may(self, row: Row, index: int, context: int, pair: tuple[str, str]) -> bool:
        """Whether a sample may be a negative of the anchor with this index and context."""
        same = self.method.negatives == "any" or row[1] == context
        return row[0] != index and same and set(pair) <= row[3]

    def term(self, pair: tuple[str, str]) -> tuple[list[float], list[float]]:
        """The objective and the information of each anchor that counts."""
        a, b = pair
        count, offset = self.method.negatives_count, math.log(self.method.negatives_count)
        here, stored = self.here(), self.stored()
        own = {row[0]: row for row in stored}
        values, informations = [], []
        for i, (index, context, mine, there) in enumerate(here):
            stale = self.method.memory == "bank" and index in own
            fresh = [] if stale else [row for row in here if self.may(row, index, context, pair)]
            past = [row for row in stored if self.may(row, index, context, pair)]
            fresh, past = (sorted(pool, key=lambda row: row[0]) for pool in (fresh, past))
            if self.method.memory == "bank" and not stale:
                past = []
            if not {a, b} <= there or not (fresh or past):
                continue
            key = own[index][2] if stale else mine
            draws = self.uniform[i]
            if len(fresh) >= count:
                chosen = [fresh[int(u * len(fresh))] for u in draws]
            else:
                pool = past or fresh
                chosen = fresh + [pool[int(u * len(pool))] for u in draws[len(fresh) :]]
            forth = [
                self.score(pair, mine[a], k[b], context) for k in (key, *(c[2] for c in chosen))
            ]
            back = [
                self.score(pair, k[a], mine[b], context) for k in (key, *(c[2] for c in chosen))
            ]
            total = 0.0
            for f in (forth, back):
                h = [1 / (1 + math.exp(-(score - offset))) for score in f]
                total += math.log(h[0]) + sum(math.log(1 - x) for x in h[1:])
            values.append(total / 2)
            informations.append((forth[0] + back[0]) / 2)
        return values, informations

    def loss(self) -> float:
        pairs = list(itertools.combinations(self.names, 2))
        means = [sum(v) / len(v) if v else 0.0 for v, _ in map(self.term, pairs)]
        return -sum(means) / len(pairs)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"negatives": "any"},
    {"context": "constant", "negatives_count": 2},
    {"memory_size": 7},
    {"memory": "none"},
    {"memory": "bank"},
    {"memory": "bank", "negatives": "any", "context": "cluster", "clusters": 3},
    {"context": "cluster", "clusters": 4},
    {"context": "retrieval"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("modalities", "missing"), [(2, False), (2, True), (3, True)])
@pytest.mark.parametrize("trained", [0, 2])
def test_equals_plain_loops(
    options: dict[str, Any], modalities: int, missing: bool, trained: int
) -> None:
    balanced = learner(InfoBridge(dim=6, **options), modalities)
    shake(balanced)
    batch = data(modalities, missing)
    epochs(balanced, batch, 8, trained)
    step = balanced.steps(batch.select([3, 0, 20, 11, 5, 7, 13]), trained, 0, 3)[0]
    found = balanced.losses(balanced(step), step)["infobridge"]
    reference = Reference(balanced, step)
    assert float(found.detach()) == pytest.approx(reference.loss(), abs=1e-10)
    for pair in itertools.combinations(sorted(batch.modalities), 2):
        _, informations = reference.term(pair)
        noted = float(step.notes[f"infobridge/cmi/{'-'.join(pair)}"])
        mean = sum(informations) / max(len(informations), 1)
        assert noted == pytest.approx(mean, abs=1e-10)


@pytest.mark.parametrize("critic", ["cosine", "bilinear", "mlp"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_way_that_makes_no_accelerator_wait_gives_the_same(
    critic: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    balanced = learner(InfoBridge(dim=6, critic=critic, **options))
    shake(balanced)
    batch = data(missing=True)
    epochs(balanced, batch, 8, 2)
    found = []
    for patched in (False, True):
        if patched:  # each key is a row by itself, as on an accelerator
            monkeypatch.setattr(Estimator, "_only_stale", lambda self, keys: False)
        step = balanced.steps(batch.select([3, 0, 20, 11, 5, 7, 13]), 2, 0, 3)[0]
        loss = balanced.losses(balanced(step), step)["infobridge"]
        parameters = [p for p in balanced.parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append([loss.detach(), *(g for g in grads if g is not None)])
    for direct, apart in zip(*found, strict=True):
        torch.testing.assert_close(direct, apart, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", ["topup", "bank"])
def test_equals_plain_loops_while_the_memory_fills(memory: Any) -> None:
    balanced = learner(InfoBridge(memory=memory))
    shake(balanced)
    seen = balanced.steps(data().select(slice(0, 12)), 0, 0, 2)[0]
    balanced.method.observe(balanced(seen).detach(), Gradients({}, {}), seen)
    # Some anchors are in the bank and some are not, and the batch has too few of each class.
    step = balanced.steps(data().select([3, 0, 20, 11, 15, 7, 13]), 0, 1, 2)[0]
    found = float(balanced.losses(balanced(step), step)["infobridge"].detach())
    assert found == pytest.approx(Reference(balanced, step).loss(), abs=1e-10)


def test_a_negative_shares_the_context_and_is_never_the_anchor_itself() -> None:
    # One class has a single sample: it has no negative and leaves the mean, whatever its score.
    balanced = learner(InfoBridge(memory="none"))
    batch = data().select(list(range(8)))
    lone = Batch(batch.inputs, torch.tensor([0, 0, 0, 1, 1, 2, 0, 1]), batch.index)
    step = balanced.steps(lone, 0)[0]
    output = balanced(step)
    before = balanced.losses(output, step)["infobridge"]
    changed = {m: z.detach().clone() for m, z in output.features.items()}
    for z in changed.values():
        z[5] = 100 * torch.randn(z.shape[1], dtype=z.dtype)
    other = type(output)(changed, output.unimodal, output.fused)
    assert torch.equal(balanced.losses(other, step)["infobridge"], before)
    for z in changed.values():
        z[4] = torch.randn(z.shape[1], dtype=z.dtype)
    assert not torch.equal(balanced.losses(other, step)["infobridge"], before)


def test_two_views_of_one_sample_are_never_negatives_of_each_other() -> None:
    balanced = learner(InfoBridge(memory="none", context="constant"))
    batch = data().select([4, 4, 4])
    step = balanced.steps(batch, 0)[0]
    assert float(balanced.losses(balanced(step), step)["infobridge"].detach()) == 0.0


def test_alpha_zero_trains_the_model_as_joint_bit_for_bit() -> None:
    ours, joint = learner(InfoBridge(alpha=0.0)), learner(Method())
    for balanced in (ours, joint):
        epochs(balanced, data(), 8, 3)
    for (name, a), (_, b) in zip(
        ours.model.named_parameters(), joint.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    moved = learner(InfoBridge(alpha=0.0)).method.state_dict()
    assert not torch.equal(
        moved["estimator.critics.projections.touch.weight"],
        ours.method.state_dict()["estimator.critics.projections.touch.weight"],
    )


def gradients(method: InfoBridge) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the method's own loss: for the encoders, and for the critic."""
    balanced = learner(method)
    shake(balanced)
    step = balanced.steps(data(), 0)[0]
    balanced.losses(balanced(step), step)["infobridge"].backward()
    return tuple(  # type: ignore[return-value]
        {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        for module in (balanced.model, balanced.method)
    )


def test_encoders_get_alpha_times_the_gradient_and_the_critic_the_whole() -> None:
    (encoder, critic), (whole, critic_whole) = (gradients(InfoBridge(alpha=a)) for a in (0.25, 1.0))
    (both, critic_both) = gradients(InfoBridge(alpha=0.25, critic_weight="alpha"))
    for name, grad in whole.items():
        torch.testing.assert_close(encoder[name], 0.25 * grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(both[name], 0.25 * grad, rtol=1e-10, atol=1e-14)
    for name, grad in critic_whole.items():
        torch.testing.assert_close(critic[name], grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(critic_both[name], 0.25 * grad, rtol=1e-10, atol=1e-14)
    assert any(grad.abs().max() > 1e-6 for grad in critic_whole.values())


def test_gradient_reaches_anchors_and_keys_of_the_batch_but_no_memory() -> None:
    balanced = learner(InfoBridge(memory="bank"))
    epochs(balanced, data(), 8, 1)
    parts = estimator(balanced)
    assert not any(value.requires_grad for value in parts.memory.buffers())
    step = balanced.steps(data(), 1)[0]
    output = balanced(step)
    other = output.features["smell"]
    # With stale keys, and nothing of the batch on the other side of a pair, only anchors receive gradient; an anchor's
    # gradient then cannot depend on who else is in the batch.
    (whole,) = torch.autograd.grad(
        balanced.losses(output, step)["infobridge"], other, retain_graph=True
    )
    torch.manual_seed(0)
    mixed = other.detach().clone()
    mixed[12:] = torch.randn_like(mixed[12:])
    mixed.requires_grad_(True)
    swapped = type(output)({**output.features, "smell": mixed}, output.unimodal, output.fused)
    (part,) = torch.autograd.grad(balanced.losses(swapped, step)["infobridge"], mixed)
    torch.testing.assert_close(part[:12], whole[:12], rtol=1e-12, atol=1e-15)
    assert whole[:12].abs().max() > 1e-6


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("critic", ["cosine", "bilinear", "mlp"])
def test_pairs_and_parameters(modalities: int, critic: Any) -> None:
    balanced = learner(InfoBridge(critic=critic, learn_temperature=True), modalities)
    step = balanced.steps(data(modalities), 0)[0]
    output = balanced(step)
    losses = balanced.losses(output, step)
    balanced.backward(losses, output, step)
    pairs = modalities * (modalities - 1) // 2
    assert sum(name.startswith("infobridge/cmi/") for name in step.notes) == pairs
    assert ("infobridge" in losses) == (pairs > 0)
    assert bool(list(balanced.method.parameters())) == (pairs > 0)
    assert all(p.dtype == torch.float64 for p in balanced.method.parameters())
    assert all(p.grad is not None for p in balanced.parameters() if p.requires_grad)


@pytest.mark.parametrize("critic", ["cosine", "bilinear", "mlp"])
@pytest.mark.parametrize("memory", ["topup", "bank", "none"])
def test_finite_where_there_is_nothing_to_compare(critic: Any, memory: Any) -> None:
    balanced = learner(InfoBridge(critic=critic, memory=memory))
    for rows in ([0], [1, 2, 3]):
        batch = data().select(rows)
        zeros = {m: torch.zeros_like(x) for m, x in batch.inputs.items()}
        absent = Batch(zeros, batch.target, batch.index, {"smell": torch.zeros(len(rows)).bool()})
        for part in (batch, absent):
            step = balanced.steps(part, 0)[0]
            output = balanced(step)
            losses = balanced.losses(output, step)
            balanced.backward(losses, output, step)
            assert torch.isfinite(losses["infobridge"])
            assert all(
                torch.isfinite(p.grad).all() for p in balanced.parameters() if p.grad is not None
            )
            balanced.zero_grad()


def test_bfloat16_features_are_compared_in_single_precision() -> None:
    torch.manual_seed(0)
    model = Multimodal(
        {m: nn.Linear(6, 4) for m in ("touch", "smell")},
        heads.Linear({"touch": 4, "smell": 4}, CLASSES),
    )
    balanced = Balanced(model, InfoBridge())
    batch = data()
    batch = batch.with_inputs({m: x.float() for m, x in batch.inputs.items()})  # type: ignore[union-attr]
    step = balanced.steps(batch, 0)[0]
    with torch.autocast("cpu", torch.bfloat16):
        output = balanced(step)
        assert output.features["touch"].dtype == torch.bfloat16
        loss = balanced.losses(output, step)["infobridge"]
        assert loss.dtype == torch.float32
    exact = {m: z.detach().float() for m, z in output.features.items()}
    again = balanced.losses(type(output)(exact, output.unimodal, output.fused), step)["infobridge"]
    assert torch.equal(again.detach(), loss.detach())


def test_the_order_of_the_modalities_changes_nothing() -> None:
    found = []
    for names in (("touch", "smell", "taste"), ("taste", "touch", "smell")):
        torch.manual_seed(0)
        encoders = {m: nn.Linear(6, WIDTHS[m]).double() for m in sorted(names)}
        head = heads.Linear({m: WIDTHS[m] for m in names}, CLASSES).double()
        balanced = Balanced(Multimodal({m: encoders[m] for m in names}, head), InfoBridge())
        batch = data(3, missing=True)
        step = balanced.steps(batch, 0)[0]
        found.append(float(balanced.losses(balanced(step), step)["infobridge"].detach()))
    assert found[0] == pytest.approx(found[1], abs=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"context": "labels"}, "there is no context='labels': did you mean 'label'?"),
        ({"negatives": "all"}, "there is no negatives='all'"),
        ({"margin": "on"}, "there is no margin='on'"),
        ({"memory": "queue"}, "there is no memory='queue'"),
        ({"critic": "cosin"}, "did you mean 'cosine'?"),
        ({"critic_weight": 1}, "there is no critic_weight=1"),
        ({"alpha": -0.1}, "alpha must be at least 0.0."),
        ({"alpha": float("nan")}, "alpha must be at least 0.0."),
        ({"negatives_count": 0}, "negatives_count must be at least 1."),
        ({"temperature": 0.0}, "temperature must be above 0.0."),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        InfoBridge(**options)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    "options", [{"memory": "bank"}, {"context": "cluster"}, {"context": "retrieval"}]
)
def test_records_need_the_number_of_samples_and_their_index(options: dict[str, Any]) -> None:
    balanced = learner(InfoBridge(**options))
    with pytest.raises(ConfigError, match=r"infobridge\(.*samples=N"):
        Balanced(balanced.model, InfoBridge(**options))
    batch = data()
    step = balanced.steps(Batch(batch.inputs, batch.target), 0)[0]
    with pytest.raises(ConfigError, match="the index of its samples"):
        balanced.losses(balanced(step), step)


def test_names_may_hold_what_joins_them() -> None:
    """The pairs a-b with c and a with b-c have a critic each."""
    names = ["a", "a-b", "b-c", "c"]
    torch.manual_seed(0)
    encoders = {m: nn.Linear(3, 2) for m in names}
    model = Multimodal(encoders, heads.Linear(dict.fromkeys(names, 2), 2))
    method = InfoBridge(critic="bilinear")
    Balanced(model, method)
    weights = [p for n, p in method.named_parameters() if n.endswith("weight") and p.ndim == 3]
    assert len(weights) == 6
