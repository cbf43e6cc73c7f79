"""Every method with every head: it trains, with finite weights that depend on no host, or it says why it cannot."""

from __future__ import annotations

import pytest
import torch

from equimodal.errors import ConfigError
from equimodal.methods import BY_NAME
from equimodal.models import heads
from equimodal.testing import Training, World, eager_host, maker

WORLDS = {"complete": World.of(3, missing=False, norm=False), "missing": World.of(3, norm=False)}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("head", heads.BY_NAME)
@pytest.mark.parametrize("method", BY_NAME)
def test_method_trains_with_head_or_says_why_not(method: str, head: str, world: World) -> None:
    make = maker(f"{method}()")
    try:
        plain = Training(make(), world, head=f"{head}()")
    except ConfigError as refusal:
        assert head in str(refusal) or "head" in str(refusal)
        return
    plain.advance()
    other = Training(make(), world, head=f"{head}()").advance(host=eager_host)
    assert all(bool(value.isfinite().all()) for value in plain.weights().values())
    torch.testing.assert_close(plain.weights(), other.weights(), atol=0, rtol=0)
