"""Frozen encoders stay as they are in every method; adapted ones change by a matrix of low rank."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal import Balanced, Batch, Multimodal, methods
from equimodal.core import Method
from equimodal.core.batch import Padded
from equimodal.core.expression import build
from equimodal.errors import ConfigError, DataError, EquimodalError
from equimodal.models import heads
from equimodal.models.encoders import BY_NAME, BiGRU, Frozen, LoRA

NAMES = ("p", "q")
OPTIONAL = {"torchjd"}  # needs a package of its own
EXPRESSIONS = {
    "reconboost": "reconboost(boost=1, consolidate=1)"
}  # so that each encoder has its turn


def model(head: str) -> Multimodal:
    def encoder() -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 4)
        )

    made = build(head, heads.BY_NAME, "head", heads.Head, given=(dict.fromkeys(NAMES, 4), 3))
    return Multimodal({"p": Frozen(encoder()), "q": encoder()}, made)


def method(name: str) -> Method:
    try:
        made: Method = build(EXPRESSIONS.get(name, name), methods.BY_NAME, "method", Method)
    except EquimodalError as error:
        if name in OPTIONAL:
            pytest.skip(str(error))
        raise
    return made


@pytest.mark.parametrize("name", methods.BY_NAME)
def test_every_method_leaves_a_frozen_encoder_alone(name: str) -> None:
    torch.manual_seed(0)
    balancing = method(name)
    head = next((leaf.head for leaf in balancing.leaves() if leaf.head), "linear()")
    learner = Balanced(model(head), balancing, samples=24, epochs=3)
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    batches = [
        Batch({n: torch.randn(8, 3) for n in NAMES}, torch.arange(8) % 3, torch.arange(8) + 8 * i)
        for i in range(3)
    ]
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learner.rate)
    for epoch in range(3):
        learner.train()
        learner.begin_epoch(epoch, batches, batches, optimizer)
        for number, batch in enumerate(batches):
            for step in learner.steps(batch, epoch, number, len(batches)):
                output = learner(step)
                learner.backward(learner.losses(output, step), output, step)
                optimizer.step()
                optimizer.zero_grad()
        schedule.step()
    after = learner.model.state_dict()
    changed = {k for k, v in before.items() if not torch.equal(v, after[k])}
    assert not [k for k in changed if k.startswith("encoders.p.")]
    assert {"encoders.q.0.weight", "encoders.q.1.running_mean"} <= changed
    assert any(k.startswith("head.") for k in changed)
    assert all(v.isfinite().all() for v in after.values())


def test_frozen_is_in_evaluation_mode_whatever_its_owner_is() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    x = torch.randn(5, 3)
    expected = inner.eval()(x)
    owner = nn.ModuleDict({"e": Frozen(inner)}).train()
    torch.testing.assert_close(owner["e"](x), expected)
    assert owner["e"].training
    assert not any(p.requires_grad for p in owner.parameters())


def test_lora_begins_as_its_encoder_and_learns_low_rank_changes_only() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    x = torch.randn(9, 7, dtype=torch.float64)
    before, expected = inner[0].weight.detach().clone(), inner(x)
    encoder = LoRA(inner, rank=2)
    torch.testing.assert_close(encoder(x), expected)
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 2 * (7 + 6) + 2 * (6 + 5)
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(3):
        encoder(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    change = inner[0].weight - before
    assert torch.linalg.matrix_rank(change) == 2
    low = inner[0].parametrizations["weight"][0]
    torch.testing.assert_close(change, 8.0 * low.b @ low.a)  # alpha / rank = 16 / 2


def test_tokens_pass_through() -> None:
    ids = Padded(torch.tensor([[3, 4], [5, 0]]), torch.tensor([2, 1]))
    for name in ("frozen", "lora"):
        text = f"{name}(bigru(channels=4, width=6, tokens=9))"
        if name == "lora":  # a recurrence has no linear layer; a transformer has
            text = "lora(transformer(channels=4, width=8, tokens=9))"
        encoder = build(text, BY_NAME, "encoder", nn.Module).eval()
        embedded = Padded(encoder.embed(ids.values), ids.lengths)
        torch.testing.assert_close(encoder(ids), encoder(embedded))
        with pytest.raises(DataError, match="Linear has no embed"):
            BY_NAME[name](nn.Linear(2, 2)).embed(ids.values)
    with pytest.raises(ConfigError, match="lora needs linear layers; BiGRU has none"):
        LoRA(BiGRU(4, 6))
    with pytest.raises(ConfigError, match="lora needs rank of at least 1"):
        LoRA(nn.Linear(2, 2), rank=0)
