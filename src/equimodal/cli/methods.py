"""`equimodal methods`: the balancing methods, read off their classes."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..errors import ConfigError, nearest

if TYPE_CHECKING:
    from ..core import Method

__all__ = ["changes", "methods", "passes", "source", "summary"]

FLOWS = ("inputs", "outputs", "losses", "gradients", "phases", "rate")


def methods(
    name: Annotated[str | None, Parameter(show_default="all, as a table")] = None, /
) -> None:
    """List the balancing methods and what each changes, or explain one.

    Args:
        name: explain this one: paper, equations, our readings, options with their defaults
    """
    from ..methods import BY_NAME
    from ..report.text import print_table, print_text

    if name is None:
        made = {known: cls() for known, cls in BY_NAME.items()}
        rows = [(known, changes(m), passes(m), summary(m), source(m)) for known, m in made.items()]
        headers = ("method", "changes", "backward", "what it does", "paper")
        print_table(headers, rows, words=headers, wrap=headers[1:])
        print_text(
            "One in full: equimodal methods NAME. They compose: bio().during(1, 90) + warmup()"
        )
    elif name.removesuffix("()") in BY_NAME:
        print_text(_page(name.removesuffix("()"), BY_NAME[name.removesuffix("()")]))
    else:
        raise ConfigError(f"There is no method {name!r}: {nearest(name, BY_NAME)}")


def changes(method: Method) -> str:
    """The flows and schedules that a method changes, that is the hooks that it or its parts override."""
    from ..core import Method

    leaves = [type(leaf) for leaf in method.leaves()]
    found = [f for f in FLOWS if any(getattr(c, f) is not getattr(Method, f) for c in leaves)]
    return ", ".join(found) or NOTHING


def passes(method: Method) -> str:
    """How many backward passes a batch costs."""
    if any(leaf.per_loss_gradients for leaf in method.leaves()):
        return "one per loss"
    return "one per phase" if "phases" in changes(method) else "one"


def summary(method: Method) -> str:
    """The first sentence of its page, without its name."""
    if changes(method) == NOTHING:
        return "the joint loss alone"
    first = " ".join(_document(type(method)).split("\n\n")[0].split())
    return (first.partition(": ")[2] or first).rstrip(".")


def source(method: Method) -> str:
    """The paper, as its page cites it."""
    for paragraph in _document(type(method)).split("\n\n"):
        label, _, citation = " ".join(paragraph.split()).partition(": ")
        if label == "Source":
            return citation.partition(";")[0].rstrip(".")
    return NOTHING


NOTHING = "–"


def _document(cls: type) -> str:
    """The page of a method is the docstring of its module."""
    return inspect.getdoc(sys.modules[cls.__module__]) or ""


def _page(name: str, cls: type) -> str:
    parameters = inspect.signature(cls).parameters.values()
    options = ", ".join(f"{parameter.name}={parameter.default!r}" for parameter in parameters)
    return "\n\n".join([f"{name}({options})", _document(cls), inspect.getdoc(cls) or ""])
