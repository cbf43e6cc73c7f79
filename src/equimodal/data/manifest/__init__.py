"""One's own data: a manifest with a row per sample, and a short TOML that says how its columns are read."""

from __future__ import annotations

from .load import load, open_manifest
from .recipe import Modality, Recipe
from .samples import Samples
from .unseen import load_unseen

__all__ = ["Modality", "Recipe", "Samples", "load", "load_unseen", "open_manifest"]
