"""What stands where a modality is missing changes nothing: at train and at test, with every method and every head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equimodal.core import Batch
from equimodal.errors import ConfigError
from equimodal.models import heads
from equimodal.testing import Training, World, maker
from fixtures.zoo import ALL

WORLD = World.of(2, batches=2, epochs=2)


def marked(batch: Batch, placeholder: float) -> Batch:
    """The batch with another value in every row that lacks the modality."""
    inputs = {}
    for name, values in batch.inputs.items():
        assert isinstance(values, torch.Tensor)
        there = batch.present.get(name, torch.ones(len(batch), dtype=torch.bool))
        inputs[name] = values.where(there[:, None], placeholder)
    return replace(batch, inputs=inputs)


# Heads and methods meet in what the former make and the latter read: a few of each family say enough.
FEW = ["joint()", "ibml()", "agm()"]
CASES = [(method, f"{head}()") for method in FEW for head in heads.BY_NAME]


@pytest.mark.parametrize(("method", "head"), [*CASES, *((method, None) for method in ALL)])
def test_placeholders_change_nothing(method: str, head: str | None) -> None:
    ends = []
    for placeholder in (0.0, 1e3):
        batches = [marked(batch, placeholder) for batch in WORLD.train_set()]
        try:
            training = Training(maker(method)(), WORLD, head=head, batches=batches)
        except ConfigError:
            return  # this method and this head do not go together, and say so
        training.val = [marked(batch, placeholder) for batch in training.val]
        training.advance()
        said = [training.learner.predict(batch) for batch in training.val]
        ends.append((training.state(), [output.fused for output in said]))
    (state, fused), (other_state, other_fused) = ends
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert all(map(torch.equal, fused, other_fused))
    assert all(logits.isfinite().all() for logits in fused)
