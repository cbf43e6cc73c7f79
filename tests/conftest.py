"""Fixtures that several test folders share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from equimodal.testing import Workers

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import what lies in fixtures/
# A shell that starts the tests in the background lets them ignore Ctrl-C; those of interruption need Python's handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[1] / "../shared/data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the repository; a test that asks for them is skipped where they are not."""
    if not (SHARED / "mnist").is_dir():
        pytest.skip(f"the real data are not at {SHARED}")
    return SHARED.resolve()


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """One pair of processes serves all tests of a session."""
    with Workers(2) as pair:
        yield pair
