"""A class of one's own that forgets `super().__init__()` is told, wherever it is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from equimodal import Balanced, Method
from equimodal.core.expression import build
from equimodal.errors import ConfigError
from equimodal.methods import Uniform
from fixtures.plain import model_of

SAID = r"^Forgetful\.__init__\(\) must begin with super\(\)\.__init__\(\): "


class Forgetful(Method):
    """Only keeps its option, of which PyTorch says nothing."""

    def __init__(self, strength: float = 2.0) -> None:
        self.strength = strength


class Heir(Forgetful):
    """Has no `__init__` of its own."""


@pytest.mark.parametrize(
    "make",
    [
        Forgetful,
        Heir,
        lambda: Forgetful() + Uniform(),
        lambda: (Uniform() + Forgetful()).during(0, 1),
    ],
)
def test_a_method_that_forgets_it_is_told_its_class(make: Callable[[], Method]) -> None:
    with pytest.raises(ConfigError, match=SAID):
        Balanced(model_of(2), make())


def test_an_expression_is_refused_where_it_is_built() -> None:
    with pytest.raises(ConfigError, match=SAID):
        build(f"{__name__}:Forgetful(strength=1.0)", {}, "method", Method)
