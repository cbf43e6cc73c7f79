"""Components named by the text that builds them, the same in Python, TOML and on the command line.

``bio().during(1, 90) + warmup()``, ``resnet18(channels=1)``, and ``my_package.module:MyEncoder(width=64)`` for one's
own. The text is parsed and walked over a short list of allowed nodes; nothing is evaluated.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ..errors import ConfigError, EquimodalError, ExpressionError, nearest
from .modules import require_initialised

__all__ = ["build", "call", "described", "own_name"]

Known = Mapping[str, Callable[..., Any]]

_OWN = re.compile(r"""("[^"]*"|'[^']*')|([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*)""")


def build(
    text: str, known: Known, kind: str, expected: type = object, given: Sequence[Any] = ()
) -> Any:
    """The object that an expression describes.

    Args:
        text: such as ``"bio().during(1, 0.9) + warmup()"``; a name alone is a call without options.
        known: what may be named.
        kind: what is described, for the sentence of a refusal: "method", "encoder", ...
        expected: the class that the result must have.
        given: what every named component receives before its own options, such as the widths that a head is made for.

    Raises:
        ExpressionError: the text cannot be read, or names something unknown; the sentence says the nearest known name.

    >>> build("half(of=3)", {"half": lambda of: of / 2}, "number")
    1.5
    """
    own: dict[str, tuple[str, str]] = {}

    def placeholder(match: re.Match[str]) -> str:
        if match[1]:
            return match[0]
        name = f"own_component_{len(own)}_"
        own[name] = (match[2], match[3])
        return name

    try:
        tree = ast.parse(_OWN.sub(placeholder, text).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: too deep
        raise ExpressionError(
            f"The {kind} {text!r} cannot be read: write it like 'name(option=1)', and methods like 'one() + two()'."
        ) from None
    made = _Builder(text, known, kind, own, expected, given).component(tree.body)
    if not isinstance(made, expected):
        raise ExpressionError(f"{text!r} is no {kind}: it builds a {type(made).__name__}.")
    return made


def described(component: object, name: str) -> str:
    """The text that builds a component, with the options that differ from their defaults.

    Args:
        component: keeps each option as an attribute of its name.
        name: what expressions call its class.

    Raises:
        ConfigError: it does not keep one.
    """
    options = []
    for option, parameter in inspect.signature(type(component)).parameters.items():
        try:
            value = getattr(component, option)
        except AttributeError:
            raise ConfigError(
                f"{type(component).__name__} must keep its option {option!r} as an attribute of the same name, "
                f"self.{option} = {option}: what a run was trained with is written down from it."
            ) from None
        if _differs(value, parameter.default):
            options.append(f"{option}={value!r}")
    return f"{name}({', '.join(options)})"


def own_name(cls: type) -> str:
    """How expressions call a class that is not the library's."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _differs(value: Any, default: Any) -> bool:
    try:
        return bool(value != default)
    except (ValueError, RuntimeError):  # arrays and tensors compare each of their numbers
        return True


class _Builder:
    """Walks one parsed expression."""

    def __init__(
        self,
        text: str,
        known: Known,
        kind: str,
        own: Mapping[str, tuple[str, str]],
        expected: type,
        given: Sequence[Any],
    ) -> None:
        self.text, self.known, self.kind, self.own = text, known, kind, own
        self.expected, self.given = expected, given

    def component(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self.called(self.named(name), name, node, [], [])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                return self.called(self.named(name), name, node, args, keywords)
            case ast.Call(
                func=ast.Attribute(value=inner, attr="during"), args=[start, end], keywords=[]
            ):
                made = self.component(inner)
                return self.windowed(made, self.value(start), self.value(end))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.added(self.component(left), self.component(right))
        self.refuse("only names, calls with constants, '+' and '.during(start, end)' are allowed")

    def named(self, name: str) -> Callable[..., Any]:
        found = self.found(name)
        return functools.partial(found, *self.given) if self.given else found

    def found(self, name: str) -> Callable[..., Any]:
        if name in self.own:
            return self.imported(*self.own[name])
        if name not in self.known:
            raise ExpressionError(f"There is no {self.kind} {name!r}: {nearest(name, self.known)}")
        return self.known[name]

    def imported(self, module: str, name: str) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise ExpressionError(
                f"The {self.kind} '{module}:{name}' cannot be imported: {error}."
            ) from None
        except AttributeError:
            raise ExpressionError(f"The module {module!r} has no {name!r}.") from None
        if not _makes(found, self.expected):
            raise ExpressionError(
                f"'{module}:{name}' is no {self.kind}: name a class derived from {self.expected.__name__}, "
                "or a function that declares to return one."
            )
        return found

    def called(
        self,
        make: Callable[..., Any],
        name: str,
        node: ast.expr,
        args: list[ast.expr],
        keywords: list[ast.keyword],
    ) -> Any:
        if any(keyword.arg is None for keyword in keywords):
            self.refuse("'**' is not allowed")
        shown = ":".join(self.own[name]) if name in self.own else name
        values = [self.value(arg) for arg in args]
        return call(make, shown, *values, **{str(k.arg): self.value(k.value) for k in keywords})

    def value(self, node: ast.expr) -> Any:
        """A constant, a list or tuple of constants, or another component."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
                return float("-inf")
            case ast.Name(id="inf") if "inf" not in self.known:
                return float("inf")
            case ast.Name(id="true" | "false" | "none" as name) if name not in self.known:
                self.refuse(f"{name} is written {name.capitalize()} here")
            case ast.Name(id=name) if name not in self.known and name not in self.own:
                self.refuse(f"{name} is no {self.kind}; text stands in quotes, as {name!r}")
            case ast.Tuple(elts=items):
                return tuple(self.value(item) for item in items)
            case ast.List(elts=items):
                return [self.value(item) for item in items]
        return self.component(node)

    def windowed(self, made: Any, start: Any, end: Any) -> Any:
        try:
            return made.during(start, end)
        except (AttributeError, TypeError):
            self.refuse(f"this {self.kind} has no '.during(start, end)' of two numbers")

    def added(self, left: Any, right: Any) -> Any:
        try:
            return left + right
        except TypeError:
            self.refuse(f"two of this {self.kind} cannot be joined by '+'")

    def refuse(self, why: str) -> NoReturn:
        raise ExpressionError(f"The {self.kind} {self.text!r} cannot be read: {why}.")


def _makes(found: object, expected: type) -> bool:
    """Whether calling this, named by a text that may be somebody else's, can only build what is expected."""
    if inspect.isfunction(found):
        try:
            found = typing.get_type_hints(found).get("return")
        except NameError:  # a hint that is imported for type checkers only
            return False
    return isinstance(found, type) and issubclass(found, expected)


def call(make: Callable[..., Any], name: str, /, *args: Any, **options: Any) -> Any:
    """Call with options that a user wrote.

    Raises:
        ConfigError: an option that there is not, one too many, or a value that is refused; or the class is not a whole module.
    """
    with contextlib.suppress(ValueError):  # a class written in C says nothing of its options
        signature = inspect.signature(make)
        _check_options(signature, name, args, options)
        _check_types(make, name, signature.bind(*args, **options).arguments)
    try:
        made = make(*args, **options)
        require_initialised(made)
        return made
    except EquimodalError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        said = ", ".join([*map(repr, args), *(f"{o}={value!r}" for o, value in options.items())])
        raise ExpressionError(f"{name}({said}) cannot be built: {error}.") from error


def _check_options(
    signature: inspect.Signature, name: str, args: Sequence[Any], options: Mapping[str, Any]
) -> None:
    taken = [p.name for p in signature.parameters.values() if p.kind is not p.VAR_POSITIONAL]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for option in options:
        if option not in taken and not open_ended:
            raise ExpressionError(
                f"{name}() has no option {option!r}: "
                + (nearest(option, taken) if taken else "it takes none.")
            )
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise ExpressionError(f"{name}(): {error}; its options are {', '.join(taken)}.") from None


PLAIN = {
    float: ("a number", (float, int)),
    int: ("a whole number", (int,)),
    bool: ("True or False", (bool,)),
    str: ("a text in quotes", (str,)),
}


def _check_types(make: Callable[..., Any], name: str, said: Mapping[str, Any]) -> None:
    """Refuse a text for a number and the like; of hints that are more than one plain type the maker knows best."""
    while isinstance(make, functools.partial):
        make = make.func
    try:
        hints = typing.get_type_hints(make.__init__ if inspect.isclass(make) else make)
    except (NameError, TypeError):  # a hint that is imported for type checkers only
        return
    for option, value in said.items():
        what, types = PLAIN.get(hints.get(option, object), ("", (object,)))
        if not isinstance(value, types) or (isinstance(value, bool) and int in types):
            raise ExpressionError(f"{name}(): {option} must be {what}; here {value!r}.")
