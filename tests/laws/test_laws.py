"""Every exported method and some compositions, with one, two and three modalities, keep the laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from equimodal.testing import parametrize_with_checks
from fixtures.zoo import ALL, QUIET


@pytest.mark.parametrize("check", parametrize_with_checks(ALL, quiet=QUIET))
def test_law(check: Callable[[], None]) -> None:
    check()
