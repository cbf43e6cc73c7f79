"""Expressions: what they build, what they refuse and how they say so, and that nothing is ever evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equimodal import Method, heads, methods
from equimodal.core.expression import build, call
from equimodal.errors import ConfigError, EquimodalError, ExpressionError
from equimodal.models.heads import Head


class Box:
    """Keeps what it was built with."""

    def __init__(self, *things: Any, size: int = 1, inner: Any = None) -> None:
        if size < 0:
            raise ValueError("size must not be negative")
        self.things, self.size, self.inner = things, size, inner

    def __add__(self, other: Box) -> Box:
        return Box(*self.things, *other.things) if isinstance(other, Box) else NotImplemented


def number(value: Any, /) -> Any:
    return value


def typed(
    rate: float = 1.0, count: int = 1, on: bool = False, name: str = "", any_of: int | None = None
) -> Any:
    return (rate, count, on, name, any_of)


KNOWN: dict[str, Callable[..., Any]] = {"box": Box, "number": number, "typed": typed, "ogm_ge": Box}


def made(text: str) -> Any:
    return build(text, KNOWN, "thing")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("number(3)", 3),
        ("number(-3)", -3),
        ("number(-0.5)", -0.5),
        ("number(1e-3)", 1e-3),
        ("number(inf)", float("inf")),
        ("number(-inf)", float("-inf")),
        ("number(True)", True),
        ("number(None)", None),
        ("number('a:b')", "a:b"),
        ('number("os.path:join(1)")', "os.path:join(1)"),
        ("number([1, -2, 'x'])", [1, -2, "x"]),
        ("number((1, (2, 3)))", (1, (2, 3))),
        ("  number(3)\n", 3),
        ("number(number(4))", 4),
    ],
)
def test_constants(text: str, value: object) -> None:
    found = made(text)
    assert found == value and type(found) is type(value)


def test_whole_numbers_are_numbers_and_hints_of_several_types_are_the_makers() -> None:
    assert made("typed(2, 3, True, 'x', any_of='whatever')") == (2, 3, True, "x", "whatever")


def test_a_name_alone_is_a_call() -> None:
    assert made("box").things == ()
    assert made("box(inner=box)").inner.size == 1


def test_options_and_components_within_components() -> None:
    box = made("box(1, 'two', size=3, inner=box(size=4))")
    assert (box.things, box.size, box.inner.size) == ((1, "two"), 3, 4)
    assert (made("box(1) + box(2) + box(3)")).things == (1, 2, 3)


def test_what_every_component_is_given() -> None:
    head = build("cosine(scale=3.0)", heads.BY_NAME, "head", Head, given=({"p": 2}, 5))
    assert (head.widths, head.classes, head.scale) == ({"p": 2}, 5, 3.0)
    nested = build(
        "auxiliary(fusion=shared(hidden=4))", heads.BY_NAME, "head", Head, given=({"p": 2}, 5)
    )
    assert nested.fusion.hidden == 4


def test_ones_own_by_module() -> None:
    box = made(f"{__name__}:Box(size=2) + {__name__}:Box(1)")
    assert isinstance(box, Box) and box.things == (1,)
    assert made(f"box(inner={__name__}:Box(size=7))").inner.size == 7
    assert isinstance(made("collections:OrderedDict"), dict)


def test_methods_and_windows() -> None:
    method = build("bio().during(1, 0.9) + warmup()", methods.BY_NAME, "method", Method)
    window, warmup = method.parts()
    assert (window.start, window.end) == (1, 0.9)
    assert isinstance(window.leaves()[0], methods.BIO) and isinstance(warmup, methods.Warmup)
    assert type(build("joint", methods.BY_NAME, "method", Method)) is Method


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ogm_gee()", "There is no thing 'ogm_gee': did you mean 'ogm_ge'?"),
        (
            "box(size=large)",
            "cannot be read: large is no thing; text stands in quotes, as 'large'",
        ),
        ("box(size=true)", "cannot be read: true is written True here"),
        ("zzz()", "There is no thing 'zzz': known are box, number, ogm_ge, typed."),
        ("box(syze=3)", r"box\(\) has no option 'syze': did you mean 'size'\?"),
        ("number(value=3)", r"number\(\): "),
        ("number(1, 2)", r"number\(\): too many positional arguments"),
        ("box(size=-1)", r"box\(size=-1\) cannot be built: size must not be negative\."),
        ("box(size='x')", r"box\(\): size must be a whole number; here 'x'\."),
        ("box(size=2.5)", r"size must be a whole number; here 2\.5"),
        ("typed('3')", r"typed\(\): rate must be a number; here '3'\."),
        ("typed(True)", "rate must be a number; here True"),
        ("typed(on=1)", "on must be True or False; here 1"),
        ("typed(name=3)", "name must be a text in quotes; here 3"),
        ("typed(rate=None)", "rate must be a number; here None"),
        ("box(", "cannot be read: write it like"),
        ("", r"cannot be read: write it like 'name\(option=1\)', and"),
        ("box() box()", "cannot be read: write it like"),
        ("box() - box()", r"only names, calls with constants, '\+'"),
        ("box().during(1, 2)", r"has no '\.during\(start, end\)'"),
        ("number(1) + box()", r"cannot be joined by '\+'"),
        ("no.such.module:Box()", "'no.such.module:Box' cannot be imported"),
        (f"{__name__}:Bax()", f"The module '{__name__}' has no 'Bax'"),
        (f"{__name__}:KNOWN", "is no thing: name a class derived from object"),
        ("os:system('true')", "'os:system' is no thing: name a class derived from object"),
    ],
)
def test_refusals_say_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        made(text)


def test_the_result_has_the_class_that_is_expected() -> None:
    with pytest.raises(ExpressionError, match=r"'linear\(\)' is no method: it builds a Linear"):
        build("linear()", {"linear": lambda: heads.Linear({"p": 1}, 2)}, "method", Method)


def test_a_refusal_of_the_component_itself_is_passed_on() -> None:
    with pytest.raises(ConfigError, match="cannot have a window"):
        build("mmcosine().during(0, 1)", methods.BY_NAME, "method", Method)
    with pytest.raises(ExpressionError, match=r"has no '\.during"):
        build("bio().during('a', 2)", methods.BY_NAME, "method", Method)


@pytest.mark.parametrize(
    "text",
    [
        "box().__class__",
        "box().things",
        "box().__init__(1)",
        "box.__subclasses__()",
        "().__class__",
        "box()()",
        "box()[0]",
        "(lambda: box())()",
        "[box() for x in (1, 2)]",
        "box() if True else box()",
        "box(*[1, 2])",
        "box(**{'size': 2})",
        "box(size=2 ** 9)",
        "box(size=(y := 3))",
        "box(f'{1}')",
        "box({'a': 1})",
        "box({1, 2})",
        "box(box().things)",
        "box(not True)",
        "box(-box())",
        "box().during(*[1, 2])",
        "box().during(1, end=2)",
        "box(__import__)",
        "__import__('os')",
        "eval('1')",
        "open('x')",
        "box(1 < 2)",
        "box(await x)",
        "box() and box()",
    ],
)
def test_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(ExpressionError):
        made(text)


@pytest.mark.parametrize(
    "text", ["(" * 500 + "box()" + ")" * 500, "-" * 9000 + "1", "box()+" * 9000 + "box()"]
)
def test_depth_is_refused_and_not_followed(text: str) -> None:
    with pytest.raises(ExpressionError):
        made(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="box()number+.,=:'\"1[]-{}*\\ \n", max_size=30))
def test_any_text_builds_or_is_refused(text: str) -> None:
    """Nothing else is raised, and a refusal is one line."""
    try:
        made(text)
    except EquimodalError as error:
        said = str(error)
    else:
        said = "built"
    assert len(said.splitlines()) == 1


def test_call_says_which_options_there_are() -> None:
    with pytest.raises(ExpressionError, match=r"box\(\) has no option 'colour'"):
        call(Box, "box", colour=1)
    with pytest.raises(ExpressionError, match=r"none\(\) has no option 'size': it takes none"):
        call(lambda: None, "none", size=1)
    assert call(dict, "dict", a=1) == {"a": 1}
