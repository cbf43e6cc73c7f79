"""The tables of the papers as benches, over any data set: one file each beside this one."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from ...errors import ConfigError, nearest

__all__ = ["names", "recipe"]


def names() -> tuple[str, ...]:
    """Of all recipes."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def recipe(name: str) -> dict[str, Any]:
    """The values of a bench without data.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name not in names():
        raise ConfigError(f"There is no recipe {name!r}: {nearest(name, names())}")
    return tomllib.loads((resources.files(__package__) / f"{name}.toml").read_text("utf-8"))
