from __future__ import annotations

from collections.abc import Callable

import pytest

from equimodal.report.figures import Series, bars, lines, points
from equimodal.report.page import Figure


def test_a_series_named_as_the_keys_leaves_them() -> None:
    drawn = lines("t", "s", "h", [1.0, 2.0], [Series("epoch", [3.0, 4.0])], x_axis="epoch")
    assert drawn.data == {"epoch": [1.0, 2.0], "epoch (2)": [3.0, 4.0]}


@pytest.mark.parametrize("make", [points, bars])
def test_every_series_is_among_the_data(make: Callable[..., Figure]) -> None:
    series = [
        Series("category", [0.1]),
        Series("a, low", [0.2]),
        Series("a", [0.3], [0.0], [1.0]),
        Series("a", [0.4], [0.35], [0.5]),
    ]
    assert make("t", "s", "h", ["k"], series).data == {
        "category": ["k"],
        "category (2)": [0.1],
        "a, low": [0.2],
        "a": [0.3],
        "a, low (2)": [0.0],
        "a, high": [1.0],
        "a (2)": [0.4],
        "a (2), low": [0.35],
        "a (2), high": [0.5],
    }
