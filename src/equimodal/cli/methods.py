"""`equimodal methods`: the balancing methods, read off their classes."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..errors import ConfigError, EquimodalError, nearest

if TYPE_CHECKING:
    from ..core import Balanced, Method

__all__ = ["adam", "changes", "index", "methods", "own_parameters", "passes", "source", "summary"]

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
        for columns in (WORDS, FACTS):
            rows = [(known, *(told(m) for told in columns.values())) for known, m in made.items()]
            print_table(("method", *columns), rows, words=("method", *columns), wrap=tuple(columns))
        print_text(LEGEND)
    elif name.removesuffix("()") in BY_NAME:
        print_text(_page(name.removesuffix("()"), BY_NAME[name.removesuffix("()")]))
    else:
        raise ConfigError(f"There is no method {name!r}: {nearest(name, BY_NAME)}")


def changes(method: Method) -> str:
    """The flows and schedules that a method changes, that is the hooks that it or its parts override."""
    from ..core import Method

    leaves = [type(leaf) for leaf in method.leaves() if not leaf.observes]

    def overridden(hook: str) -> bool:
        return any(getattr(cls, hook) is not getattr(Method, hook) for cls in leaves)

    if not leaves:
        return OBSERVES
    found = [flow for flow in FLOWS if overridden(flow)]
    return ", ".join(found) or ("the model" if overridden("begin_epoch") else NOTHING)


def passes(method: Method) -> str:
    """How many backward passes a batch costs."""
    if any(leaf.per_loss_gradients for leaf in method.leaves()):
        return "one per loss"
    return "one per phase" if "phases" in changes(method) else "one"


def index(method: Method) -> str:
    """Whether it keeps a record per sample, so that a loop of one's own must say how many there are."""
    if not _can_be_prepared(method, samples=4):
        return NOTHING
    return "no" if _can_be_prepared(method, samples=None) else "yes"


def own_parameters(method: Method) -> str:
    """Whether it learns weights besides the model's."""
    if not _can_be_prepared(method, samples=4):
        return NOTHING
    learner = _prepared(method, samples=4)
    return "yes" if next(learner.method.parameters(), None) is not None else "no"


def adam(method: Method) -> str:
    """Whether its effect survives an optimiser that divides by the gradient's size."""
    return next((leaf.adam for leaf in method.leaves() if leaf.adam != "yes"), "yes")


def _can_be_prepared(method: Method, samples: int | None) -> bool:
    """False also for a method whose optional package is not installed."""
    try:
        _prepared(method, samples)
    except EquimodalError:
        return False
    return True


def _prepared(method: Method, samples: int | None) -> Balanced:
    """A copy of the method on a small model of the kind that it is made for."""
    from ..core import Balanced
    from ..core.expression import build
    from ..models import Multimodal, encoders, heads

    widths = {"first": 2, "second": 2}
    wanted = next((leaf.head for leaf in method.leaves() if leaf.head), "linear()")
    head = build(wanted, heads.BY_NAME, "head", heads.Head, given=(widths, 2))
    model = Multimodal({m: encoders.BY_NAME["mlp"](inputs=2, width=2) for m in widths}, head)
    return Balanced(model, copy.deepcopy(method), samples=samples, epochs=10)


def summary(method: Method) -> str:
    """The first sentence of its page, without its name."""
    if changes(method) == NOTHING:  # the base class, whose page is about methods in general
        return "the joint loss alone"
    first = " ".join(_document(type(method)).split("\n\n")[0].split())
    return (first.partition(": ")[2] or first).rstrip(".")


def source(method: Method) -> str:
    """The paper that its page cites, by first author, place and year."""
    for paragraph in _document(type(method)).split("\n\n"):
        label, _, citation = " ".join(paragraph.split()).partition(": ")
        if label == "Source":
            return _short(citation)
    return NOTHING


def _short(citation: str) -> str:
    """``A. First, B. Second, "Title", CVPR 2022, pp. 1-9`` as ``First et al., CVPR 2022``."""
    found = re.search(r'((?:[A-Z]\.[- ]?)+)([^,"]+)(, [^"]*?)?, "[^"]*",? *([^,;(]*\d)', citation)
    if found is None:
        return citation.partition(";")[0].rstrip(".")
    others = " et al." if found[3] and "et al." not in found[2] else ""
    return f"{found[2].strip()}{others}, {found[4].strip()}"


NOTHING = "–"
OBSERVES = "nothing: it observes"

WORDS = {"what it does": summary, "paper": source}

FACTS = {
    "changes": changes,
    "backward": passes,
    "index": index,
    "weights": own_parameters,
    "Adam": adam,
}

LEGEND = (
    "backward: passes per batch; index: keeps a record per sample; weights: learns some of its own;\n"
    "Adam: whether the effect survives it.\nOne in full: equimodal methods NAME. They compose: bio().during(1, 90) + warmup()"
)


def _document(cls: type) -> str:
    """The page of a method is the docstring of its module."""
    return inspect.getdoc(sys.modules[cls.__module__]) or ""


def _page(name: str, cls: type) -> str:
    parameters = inspect.signature(cls).parameters.values()
    options = ", ".join(f"{parameter.name}={parameter.default!r}" for parameter in parameters)
    return "\n\n".join([f"{name}({options})", _document(cls), inspect.getdoc(cls) or ""])
