from __future__ import annotations

import numpy as np
import pytest

from equimodal.data.arrays import standardise
from equimodal.data.media.table import Number


@pytest.mark.parametrize("value", [0.1, -1e-9, 1.7e9, 0.0])
@pytest.mark.parametrize("count", [3, 10, 999])
def test_a_column_that_is_constant_in_train_is_not_scaled_elsewhere(
    value: float, count: int
) -> None:
    column = Number.fitted("x", np.full(count, value))
    assert column.encode(np.array([value, value + 0.5])) == pytest.approx(
        np.array([[0.0], [0.5]]), abs=1e-6
    )
    rows = np.arange(count + 1) < count
    other = standardise(np.append(np.full(count, value), value + 0.5)[:, None], rows)
    assert other[-2:, 0].tolist() == pytest.approx([0, 0.5], abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1.7e9])
def test_a_column_that_moves_a_little_is_scaled(offset: float) -> None:
    values = offset + np.arange(100.0) * (1e-9 if offset < 1 else 0.125)
    found = Number.fitted("x", values).encode(values)
    assert found.std() == pytest.approx(1, rel=1e-5) and abs(found.mean()) < 1e-5
