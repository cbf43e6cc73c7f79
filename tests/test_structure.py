"""The style that can be measured: what imports what, and what a method's file must have."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import equimodal
from equimodal import methods
from equimodal.core import Method

ROOT = Path(equimodal.__file__).parent
TESTS = Path(__file__).parent

# What each part may import besides itself; imports point downward only.
GROUND = {"errors", "distributed", "files", "locks"}
MIDDLE = {"methods", "models", "data", "core", *GROUND}
ALLOWED = {
    "errors": set(),
    "distributed": {"errors"},
    "files": {"errors"},
    "locks": {"errors"},
    "core": GROUND,
    "methods": {"core", *GROUND},  # neither models nor data: a method knows them by what flows
    "models": {"core", *GROUND},
    "data": {"core", *GROUND},
    "training": MIDDLE,
    "testing": {"training", *MIDDLE},
    "integrations": {"training", *MIDDLE},
    "diagnostics": {"training", *MIDDLE},
    "benchmark": {"report", "diagnostics", "training", *MIDDLE},  # its tables are a report's
    "report": {"diagnostics", "training", *MIDDLE},
    "cli": {"benchmark", "report", "diagnostics", "integrations", "testing", "training", *MIDDLE},
    "__main__": {"cli"},
}
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
GENERIC = [p for p in SOURCES if p.relative_to(ROOT).parts[0] in ("core", "methods", "training")]
PAPERS = sorted(  # a file, or a folder where a paper has several parts
    path
    for path in (ROOT / "methods").iterdir()
    if path.name[0] not in "_." and (path.suffix == ".py" or any(path.glob("*.py")))
)
METHOD_FILES = [path for path in SOURCES if ROOT / "methods" in path.parents]
METHODS = {name: cls for name, cls in methods.BY_NAME.items() if cls is not Method}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run: what stands under `if TYPE_CHECKING` does not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from running(child)


def imported(path: Path, tree: ast.Module) -> Iterator[str]:
    """The parts of the package that a file imports, wherever in the file it does so."""
    package = ("equimodal", *path.relative_to(ROOT).parts[:-1])
    for node in running(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = [*above, *(node.module or "").split(".")] if node.module else list(above)
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        yield from (t[1] for t in targets if t[0] == "equimodal" and len(t) > 1)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_downward(path: Path) -> None:
    part = path.relative_to(ROOT).with_suffix("").parts[0]
    assert part in ALLOWED, f"say in this test what {part} may import"
    found = set(imported(path, parsed(path))) - {part, *equimodal.__all__, "__version__"}
    assert found <= ALLOWED[part], f"{name_of(path)} imports {sorted(found - ALLOWED[part])}"


def test_the_check_of_imports_sees_all_forms(tmp_path: Path) -> None:
    text = (
        "from ..core import a\nfrom .. import data\nimport equimodal.report.html\n"
        "def f():\n    from equimodal.cli import main\n"
        "if TYPE_CHECKING:\n    from ..models import Multimodal\n"
    )
    found = list(imported(ROOT / "methods" / "x.py", ast.parse(text)))
    assert found == ["core", "data", "report", "cli"]


@pytest.mark.parametrize("path", PAPERS, ids=name_of)
def test_every_paper_is_exported(path: Path) -> None:
    assert path.stem in methods.BY_NAME, f"add {path.stem} to methods/__init__.py"


@pytest.mark.parametrize("name", METHODS)
def test_method_is_public_under_its_class(name: str) -> None:
    cls = METHODS[name]
    assert cls.__name__ in methods.__all__
    assert getattr(methods, cls.__name__) is cls
    assert cls.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_method_cites_its_source(name: str) -> None:
    text = inspect.getmodule(METHODS[name]).__doc__ or ""
    assert re.search(r"^Sources?:", text, re.MULTILINE) or re.search(r"\b(19|20)\d\d\b", text)


@pytest.mark.parametrize("name", METHODS)
def test_method_has_its_own_tests(name: str) -> None:
    there = {path.stem for path in (TESTS / "methods").rglob("test_*.py")}
    paper = METHODS[name].__module__.split(".")[2]
    assert there & {f"test_{name}", f"test_{paper}"}


@pytest.mark.parametrize("path", METHOD_FILES, ids=name_of)
def test_method_is_short(path: Path) -> None:
    tree = parsed(path)
    told = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    code = [text for number, text in lines if text.strip() and number not in told]
    assert len(code) < 120, (
        "120 lines beside docstrings are enough for a paper, or for a part of one"
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_capabilities_are_attributes_not_questions(path: Path) -> None:
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert "hasattr" not in {ast.unparse(call.func) for call in calls}


@pytest.mark.parametrize("path", GENERIC, ids=name_of)
def test_modalities_are_names(path: Path) -> None:
    constants = {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)}
    assert not constants & {"audio", "visual", "video", "image", "text"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree) or not tree.body
