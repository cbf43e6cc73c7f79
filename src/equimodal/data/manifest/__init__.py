"""One's own data: a manifest with a row per sample, and a short TOML that says how its columns are read."""

from __future__ import annotations

from .load import load, open_manifest
from .recipe import Modality, Recipe
from .samples import Samples

__all__ = ["Modality", "Recipe", "Samples", "load", "open_manifest"]
