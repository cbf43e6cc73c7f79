"""What the pages and docstrings show is run: blocks of Python in Markdown, examples in docstrings, example programs.

The blocks of one page run one after another in one namespace, as a reader would. A block that cannot run here stands
below a line ``<!-- not run: reason -->``.
"""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
import textwrap
from pathlib import Path

import pytest

import equimodal
from equimodal import methods

TOP = Path(__file__).parents[1]
ROOT = Path(equimodal.__file__).parent
BLOCK = re.compile(r"(?P<skip><!-- not run: .+ -->\n)?```python\n(?P<code>.*?)^```", re.M | re.S)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

PAGES = [
    page
    for page in sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
    if BLOCK.search(page.read_text(encoding="utf-8"))
]
MODULES = [
    path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")
]
EXAMPLES = sorted(TOP.glob("examples/*.py"))


def run(text: str, where: Path, space: dict[str, object], line: int = 0) -> None:
    """Execute a block; a traceback names the page and the line."""
    exec(compile("\n" * line + text, str(where), "exec"), space)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example writes lands in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(TOP).as_posix())
def test_blocks_of_python_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    space: dict[str, object] = {"__name__": "__page__"}
    for block in BLOCK.finditer(text):
        if not block["skip"]:
            run(block["code"], page, space, text.count("\n", 0, block.start("code")))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_examples_in_docstrings_are_true(path: Path) -> None:
    parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
    module = importlib.import_module(".".join(["equimodal", *parts]))
    failed, attempted = doctest.testmod(module, optionflags=OPTIONS)
    assert attempted
    assert not failed


def test_the_example_of_the_package_runs() -> None:
    text = (equimodal.__doc__ or "").split("::\n", 1)[1]
    run(textwrap.dedent(text), ROOT / "__init__.py", {"__name__": "__page__"})


if EXAMPLES:

    @pytest.mark.processes
    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
    def test_example_programs_run(path: Path) -> None:
        runpy.run_path(str(path), run_name="__main__")


def test_the_readme_names_every_method() -> None:
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    assert [name for name in methods.BY_NAME if f"| `{name}()` |" not in readme] == []
