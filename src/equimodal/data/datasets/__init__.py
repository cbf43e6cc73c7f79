"""The data sets, one module each: `load` reads one, `ABOUT` says what it is."""

from __future__ import annotations

import importlib
from types import ModuleType

from ...errors import ConfigError, nearest

__all__ = ["NAMES", "module"]

NAMES = (
    *("ave", "avmnist", "avsbench", "cremad", "digits3d", "food101", "glioma", "kinetics_sounds"),
    *("mfeat", "mnist3d", "modelnet40", "mvsa_single", "synthetic", "tcga_gbmlgg", "utd_mhad"),
    *("vggsound", "vggsound50"),
)


def module(name: str) -> ModuleType:
    """The module of a data set.

    Raises:
        ConfigError: there is no data set of this name.
    """
    if name not in NAMES:
        raise ConfigError(f"There is no data set {name!r}; {nearest(name, NAMES)}")
    return importlib.import_module(f"{__name__}.{name}")
