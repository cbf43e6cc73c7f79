"""One pair of processes serves all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from equimodal.testing import Workers


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    with Workers(2) as pair:
        yield pair
