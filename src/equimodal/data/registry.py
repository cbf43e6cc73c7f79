"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from .about import About
from .datasets import NAMES, module
from .splits import Splits

__all__ = ["describe", "load", "names", "options"]


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return NAMES


def describe(name: str) -> About:
    """What is known of a data set before it is read."""
    about: About = module(name).ABOUT
    return about


def options(name: str) -> dict[str, Any]:
    """The options of a data set and their defaults."""
    parameters = inspect.signature(module(name).load).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("root", "seed", "modalities")}


def load(
    name: str,
    root: str | Path | None = None,
    *,
    seed: int = 0,
    modalities: Sequence[str] | None = None,
    **settings: Any,
) -> Splits:
    """A data set, ready to train on.

    Args:
        name: one of `names()`.
        root: the data folder; not needed by digits3d and synthetic.
        seed: of every draw that makes the set.
        modalities: some of the set's, in this order; its own default if None.
        settings: the set's own options, as `options(name)` and the docstring of its `load` say.

    Raises:
        ConfigError: no such set, option, value or modality.
        DataError: a file is missing or damaged.
    """
    read = module(name).load
    known = options(name)
    for option in settings:
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}; {nearest(option, known)}")
    if modalities is not None:
        settings["modalities"] = tuple(modalities)
    splits: Splits = read(root, seed=seed, **settings)
    return splits
