"""Data: samples of several modalities, their batches, and the data sets that come with the library.

```python
from equimodal import data

splits = data.load("avmnist", "path/to/data", snr=-5)
loader = data.Loader(splits.train, batch_size=64)
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .about import About
    from .check import CheckReport
    from .dataset import Arrays, Dataset, Sample, collate
    from .download import get
    from .loader import Loader
    from .registry import describe, load, names, options
    from .splits import Splits, carve_validation, hold_out, stratified
    from .wrapped import Wrapped

__all__ = [
    "About",
    "Arrays",
    "CheckReport",
    "Dataset",
    "Loader",
    "Sample",
    "Splits",
    "Wrapped",
    "carve_validation",
    "collate",
    "describe",
    "get",
    "hold_out",
    "load",
    "names",
    "options",
    "stratified",
]

_WHERE = {
    "about": ("About",),
    "check": ("CheckReport",),
    "dataset": ("Arrays", "Dataset", "Sample", "collate"),
    "download": ("get",),
    "loader": ("Loader",),
    "registry": ("describe", "load", "names", "options"),
    "splits": ("Splits", "carve_validation", "hold_out", "stratified"),
    "wrapped": ("Wrapped",),
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
