"""Law 11: two processes that share each batch find what one process finds."""

from __future__ import annotations

import pytest

from equimodal.testing import Workers, World, law_processes, maker
from fixtures.zoo import ALL, QUIET

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("method", ALL)
def test_processes(method: str, modalities: int, workers: Workers) -> None:
    law_processes(maker(QUIET.get(method, method)), World.of(modalities), workers)
