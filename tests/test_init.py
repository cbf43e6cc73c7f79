"""The package itself: what its import costs, what it offers, and the example that it opens with."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

import pytest

import equimodal

LOADS = """
import sys
import equimodal
heavy = {"torch", "sklearn", "scipy", "numpy", "pydantic"} & set(sys.modules)
assert not heavy, heavy
equimodal.Batch
assert "torch" in sys.modules
assert "sklearn" not in sys.modules
"""


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    path = [entry for entry in sys.path if entry]
    start = f"import sys; sys.path[:0] = {path!r}\n"
    done = subprocess.run([sys.executable, "-c", start + LOADS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", equimodal.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(equimodal, name)
    assert value is getattr(equimodal, name)
    assert value.__name__.rpartition(".")[2] == name
    assert name in dir(equimodal)


def test_public_names_live_where_they_say() -> None:
    for name, home in equimodal._HOME.items():
        module = importlib.import_module(f"equimodal.{home}" if home else "equimodal")
        assert getattr(module, name) is getattr(equimodal, name)
    assert set(equimodal._HOME) == set(equimodal.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'equimodal' has no attribute 'Balance'"):
        equimodal.Balance  # noqa: B018


def test_the_opening_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    _, found, example = (equimodal.__doc__ or "").partition("::\n")
    assert found
    exec(compile(textwrap.dedent(example), "equimodal.__doc__", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([64, 3])\n"
