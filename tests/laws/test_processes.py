"""Law 11: two processes that share each batch, or micro-batches, find what one process finds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from equimodal.testing import Training, Workers, World, law_processes, maker
from fixtures.zoo import ALL, QUIET

# No decision of theirs depends on one micro-batch alone.
ADDITIVE = ["joint()", "uniform()", "ensemble()", "ogm_ge(noise=False)", "bio(margin=1.0)"]


@pytest.mark.processes
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("method", ALL)
def test_processes(method: str, modalities: int, workers: Workers) -> None:
    law_processes(maker(QUIET.get(method, method)), World.of(modalities), workers)


@pytest.mark.processes
@pytest.mark.parametrize("method", ADDITIVE)
def test_processes_with_micro_batches(method: str, workers: Workers) -> None:
    law_processes(maker(method), World.of(3), workers, micro=2)


@pytest.fixture(scope="module")
def three() -> Iterator[Workers]:
    with Workers(3) as workers:
        yield workers


@pytest.mark.processes
@pytest.mark.parametrize("method", ALL)
def test_a_process_may_have_no_sample_of_a_batch(method: str, three: Workers) -> None:
    """Two samples for three processes, as of a last batch."""
    world = World.of(2, size=2, missing=False)
    law_processes(maker(QUIET.get(method, method)), world, three)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("method", ADDITIVE)
def test_micro_batches(method: str, missing: bool) -> None:
    """Micro-batches of unequal sizes, up to one that lacks a modality altogether, are one batch."""
    world = World.of(3, missing=missing).still()
    whole = Training(maker(method)(), world).advance()
    parts = Training(maker(method)(), world, micro=3).advance()
    found = parts.state()
    for name, wanted in whole.state().items():
        assert (found[name].double() - wanted.double()).abs().max() <= 1e-12, name
    for number, losses in enumerate(whole.losses):
        for name, wanted in losses.items():
            shares = [losses[name] for losses in parts.losses[3 * number : 3 * number + 3]]
            assert abs(sum(shares) - wanted) <= 1e-12
