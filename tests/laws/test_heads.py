"""Every method with every head: it trains, with finite weights that depend on no host, or it says why it cannot."""

from __future__ import annotations

import pytest
import torch

from equimodal.errors import ConfigError
from equimodal.methods import BY_NAME
from equimodal.models import heads
from equimodal.testing import Training, World, eager_host, maker

WORLD = World.of(2, norm=False)


OWN = "fixtures.small:Plain"  # has no parameters
HEADS = [*heads.BY_NAME, OWN]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", BY_NAME)
def test_method_trains_with_head_or_says_why_not(method: str, head: str) -> None:
    make, refusal = maker(f"{method}()"), ""
    try:
        plain = Training(make(), WORLD, head=f"{head}()")
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert "head" in refusal
        return
    plain.advance()
    other = Training(make(), WORLD, head=f"{head}()").advance(host=eager_host)
    assert all(bool(value.isfinite().all()) for value in plain.weights().values())
    torch.testing.assert_close(plain.weights(), other.weights(), atol=0, rtol=0)
