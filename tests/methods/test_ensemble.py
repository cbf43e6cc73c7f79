"""An ensemble equals single-modality models that are trained apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal import Balanced, Batch, Method, Multimodal, heads
from equimodal.errors import ConfigError
from equimodal.methods import Ensemble
from fixtures.plain import CLASSES, WIDTH, batches_of, model_of, names, tensor, train


def separate(modalities: int) -> Multimodal:
    model = model_of(modalities)
    model.head = heads.Sum(dict.fromkeys(names(modalities), WIDTH), CLASSES).double()
    return model


def alone(model: Multimodal, m: str) -> Multimodal:
    """A copy of one member as a model of its own."""
    one = Multimodal({m: nn.Linear(4, WIDTH)}, heads.Sum({m: WIDTH}, CLASSES)).double()
    state = model.state_dict()
    one.load_state_dict({name: state[name].clone() for name in one.state_dict()})
    return one


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_members_learn_as_if_alone(modalities: int, missing: bool) -> None:
    model, batches = separate(modalities), batches_of(modalities, missing)
    members = {m: alone(model, m) for m in names(modalities)}
    train(Ensemble(), model, batches, epochs=3)
    for m, member in members.items():
        having = [
            Batch({m: b.inputs[m][b.mask(m)]}, b.target[b.mask(m)]) for b in batches if b.count(m)
        ]
        if len(having) < len(batches):
            continue  # without a batch its momentum goes on, which a shorter run has no place for
        train(Method(), member, having, epochs=3)
        for name, value in member.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], value, atol=1e-12, rtol=0)


def test_the_prediction_is_the_mean_over_those_that_are_there() -> None:
    model, batch = separate(3), batches_of(3, missing=True)[0]
    assert not batch.complete(names(3))
    model_says = model(batch).unimodal
    logits = Balanced(model, Ensemble()).predict(batch).fused
    probabilities = Balanced(model, Ensemble(average="probabilities")).predict(batch).fused
    for i in range(len(batch)):
        there = [m for m in names(3) if batch.mask(m)[i]]
        if not there:
            continue
        wanted = sum(model_says[m][i] for m in there) / len(there)
        torch.testing.assert_close(logits[i], wanted, atol=1e-12, rtol=0)
        wanted = sum(torch.softmax(model_says[m][i], 0) for m in there) / len(there)
        torch.testing.assert_close(probabilities[i].exp(), wanted, atol=1e-12, rtol=0)


def test_a_sure_member_outvotes_two_by_logits_and_not_by_probabilities() -> None:
    model = Multimodal(
        {m: nn.Identity() for m in names(3)}, heads.Sum(dict.fromkeys(names(3), 2), 2)
    ).double()
    with torch.no_grad():
        for m in names(3):
            model.head.linears[m].weight.copy_(torch.eye(2))
            model.head.linears[m].bias.zero_()
    batch = Batch({"m0": tensor([9, 0]), "m1": tensor([0, 2]), "m2": tensor([0, 2])})
    assert Balanced(model, Ensemble()).predict(batch).fused.argmax() == 0
    assert Balanced(model, Ensemble(average="probabilities")).predict(batch).fused.argmax() == 1


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ensemble\(average='votes'\)"):
        Ensemble(average="votes")
    with pytest.raises(ConfigError, match=r"give it the head sum\(\)"):
        Balanced(model_of(2), Ensemble())
    with pytest.raises(ConfigError, match="window of epochs"):
        Ensemble().during(0, 5)
