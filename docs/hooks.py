"""Pages that follow from the code: a method, a data set or a module gets its page by being there.

Method pages are the docstrings of the methods' modules; the table of methods says which hooks each overrides, which is
what kind of method it is. Formulas become MathML here, so that pages need neither a script nor a network.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import equimodal
from equimodal import methods
from equimodal.core import Method

ROOT = Path(equimodal.__file__).parent
DATASETS = ROOT / "data" / "datasets"

# The four flows are the four families of the field; the schedule and the memory stand beside them.
HOOKS = {
    "inputs": "inputs",
    "outputs": "outputs",
    "losses": "losses",
    "gradients": "gradients",
    "phases": "phases",
    "rate": "learning rate",
    "begin_epoch": "epochs",
    "observe": "memory",
}

DATASET = """
## {name}

::: equimodal.data.datasets.{name}
    options:
      members: [load]
      heading_level: 3
      show_root_heading: false
      show_root_toc_entry: false
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what follows from the code to the navigation."""
    pages: list[Any] = ["methods/index.md", *(f"methods/{name}.md" for name in methods.BY_NAME)]
    config.nav += [
        {"Methods": pages},
        {"Data sets": "datasets.md"},
        {"Reference": [f"reference/{name}.md" for name in _modules()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages themselves."""
    for path, text in _pages():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """Turn the formulas that the Markdown extension marked into MathML."""
    marked = r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>'

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[2]).strip(), display=display)

    return re.sub(marked, formula, content, flags=re.DOTALL)


def _pages() -> Iterator[tuple[str, str]]:
    yield "methods/index.md", _table()
    for name, cls in methods.BY_NAME.items():
        yield f"methods/{name}.md", _method(name, cls)
    yield "datasets.md", _datasets()
    for name, modules in _modules().items():
        directives = "\n\n".join(f"::: {module}" for module in modules)
        yield f"reference/{name}.md", f"# equimodal.{name}\n\n{directives}\n"


def _table() -> str:
    rows = [
        f"| [`{name}`]({name}.md) | {_summary(cls)} | {_changes(cls)} |"
        for name, cls in methods.BY_NAME.items()
    ]
    return "\n".join(
        [
            "# Methods",
            "",
            "Four things flow through a training step: inputs, outputs, losses, gradients. A balancing method changes",
            "one or more of them; methods are combined with `+` and confined to epochs with `.during`.",
            "",
            "| expression | method | changes |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _method(name: str, cls: type[Method]) -> str:
    options = f"## Options\n\n::: {cls.__module__}.{cls.__qualname__}\n"
    facts = f"*Changes*: {_changes(cls)}."
    return f"# {name}\n\n{_prose(cls)}\n\n{facts}\n\n{options}"


def _prose(cls: type[Method]) -> str:
    """The docstring as Markdown, which wants an empty line before a list and no second colon before code."""
    text = inspect.cleandoc(inspect.getmodule(cls).__doc__ or "")
    text = re.sub(r"^(?![-\s])(.+)\n(?=- )", r"\1\n\n", text, flags=re.MULTILINE)
    return re.sub(r"::\n\n(?= {4})", ":\n\n", text)


def _summary(cls: type[Method]) -> str:
    told = cls.__doc__ if cls is Method else inspect.getmodule(cls).__doc__
    first = inspect.cleandoc(told or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


def _changes(cls: type[Method]) -> str:
    if cls.observes:
        return "nothing: it observes"
    leaves = [type(leaf) for leaf in cls().leaves()]
    changed = [
        words
        for hook, words in HOOKS.items()
        if any(getattr(leaf, hook) is not getattr(Method, hook) for leaf in leaves)
    ]
    return ", ".join(changed) or "nothing"


def _datasets() -> str:
    names = [path.stem for path in sorted(DATASETS.glob("*.py")) if path.stem[0] != "_"]
    head = "# Data sets\n\nNamed in `equimodal train NAME`, with options as in `\"avmnist(size='small')\"`.\n"
    return head + "".join(DATASET.format(name=name) for name in names)


def _modules() -> dict[str, list[str]]:
    """The public modules below each package, without those that have pages of their own."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        own_page = parts[0] == "methods" or DATASETS in path.parents
        if own_page or any(part.startswith("_") for part in parts):
            continue
        found.setdefault(parts[0], []).append(".".join(["equimodal", *parts]))
    return found
