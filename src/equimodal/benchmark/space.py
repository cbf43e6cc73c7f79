"""What tuning may vary in a method's expression, and the expression with other options."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core import Method
from ..core.expression import build
from ..errors import ConfigError, EquimodalError
from ..methods import BY_NAME

__all__ = ["Range", "defaults", "options", "space", "with_options"]


@dataclass(frozen=True)
class Range:
    """The values of one option: from low to high, or one of several.

    Attributes:
        low, high: of numbers; both whole for whole numbers.
        choices: of anything else; empty for numbers.
        log: whether draws are uniform in the logarithm.
    """

    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    log: bool = False

    @classmethod
    def of(cls, declared: Any, option: str) -> Range:
        """A range from a class's `search_space`.

        Raises:
            ConfigError: it has no value.
        """
        values = tuple(declared)
        if len(values) == 2 and all(type(bound) in (int, float) for bound in values):
            low, high = values
            if low >= high:
                raise ConfigError(f"The tuning space of {option} has no value: {low} to {high}.")
            return cls(low, high, log=low > 0 and high / low >= 10)
        if not values:
            raise ConfigError(f"The tuning space of {option} has no value: it is empty.")
        return cls(choices=values)

    def with_value(self, own: Any) -> Range:
        """These values and the method's own, which is tried first: zero has no logarithm, and a choice must be one."""
        if self.choices:
            return self if own in self.choices else replace(self, choices=(own, *self.choices))
        return replace(self, log=self.log and isinstance(own, int | float) and own > 0)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all."""
        return self.choices or (self.low, self.high)


def space(expression: str) -> dict[str, Range]:
    """The options that the named methods declare in `search_space`: ``"bio.margin"``; ``"bio2.margin"`` in the second bio.

    Raises:
        ConfigError: an option has no value, or a method refuses what its space allows.
    """
    found: dict[str, Range] = {}
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:  # one's own, as module:Class(): it is trained as it is
        return {}
    for name, _, cls in _named(tree):
        for option, declared in cls.search_space.items():
            found[f"{name}.{option}"] = Range.of(declared, f"{name}.{option}")
    for option, of in found.items():
        for value in of.ends:
            _check(expression, option, value)
    own = options(expression)
    return {option: of.with_value(own[option]) for option, of in found.items()}


def _check(expression: str, option: str, value: Any) -> None:
    try:
        build(with_options(expression, {option: value}), BY_NAME, "method", Method)
    except EquimodalError as error:
        raise ConfigError(f"The tuning space of {option} allows {value!r}: {error}") from None


def with_options(expression: str, values: Mapping[str, Any]) -> str:
    """The expression with these options.

    >>> with_options("bio() + tcm(strength=20)", {"tcm.strength": 7.5})
    'bio() + tcm(strength=7.5)'
    """
    tree = ast.parse(expression.strip(), mode="eval")
    for name, node, cls in list(_named(tree)):
        call = node if isinstance(node, ast.Call) else None
        wanted = {key.split(".")[1]: v for key, v in values.items() if key.split(".")[0] == name}
        if call is None or not wanted:
            continue
        options = _said(call, cls)
        for option, value in wanted.items():
            options[option] = ast.Constant(value)
        call.args = []
        call.keywords = [ast.keyword(option, value) for option, value in options.items()]
    return ast.unparse(tree)


def defaults(expression: str) -> dict[str, Any]:
    """The values that the expression has already, for the options that can be tuned."""
    named = _named(ast.parse(expression.strip(), mode="eval"))
    tuned = {f"{name}.{option}" for name, _, cls in named for option in cls.search_space}
    return {name: value for name, value in options(expression).items() if name in tuned}


def options(expression: str) -> dict[str, Any]:
    """The values of all options of the named methods, said or not; nothing where the expression cannot be read.

    >>> options("infobridge(alpha=0.5)")["infobridge.alpha"]
    0.5
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        return {}
    found: dict[str, Any] = {}
    for name, node, cls in _named(tree):
        assert isinstance(node, ast.Call)
        said = {option: _value(value) for option, value in _said(node, cls).items()}
        for option, parameter in inspect.signature(cls).parameters.items():
            found[f"{name}.{option}"] = said.get(option, parameter.default)
    return found


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _said(call: ast.Call, cls: type[Method]) -> dict[str, ast.expr]:
    """The options of a call by their names, also of those that were given by position."""
    names = list(inspect.signature(cls).parameters)
    said = dict(zip(names, call.args, strict=False))
    return said | {str(keyword.arg): keyword.value for keyword in call.keywords}


class _Calls(ast.NodeTransformer):
    """A name alone is a call without options."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if isinstance(node.func, ast.Attribute):
            node.func.value = self.visit(node.func.value)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Call(node, [], []) if node.id in BY_NAME else node


def _named(tree: ast.Expression) -> Iterator[tuple[str, ast.expr, type[Method]]]:
    """Every method that is named, with a name of its own, from left to right."""
    tree.body = _Calls().visit(tree.body)
    seen: dict[str, int] = {}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in BY_NAME]
    calls.sort(key=_position)
    for call in calls:
        assert isinstance(call.func, ast.Name)
        name = call.func.id
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}{seen[name]}", call, BY_NAME[name]


def _position(call: ast.Call) -> tuple[int, int]:
    assert isinstance(call.func, ast.Name)
    return call.func.lineno, call.func.col_offset
