"""What a model makes of its modalities: use, potential, information, geometry, robustness, and a verdict in words.

Pure functions of a model and data, or of recorded values, that give frozen dataclasses. The model is asked once:
`answers` holds what it said with every coalition of modalities, and everything else is arithmetic on that.
"""

from __future__ import annotations

from .answers import Absence, Answers
from .bootstrap import Bootstrap
from .conditional import Conditional
from .diagnosis import diagnose
from .findings import (
    Cloud,
    Curve,
    Diagnosis,
    Geometry,
    Information,
    Interaction,
    Map,
    Pair,
    Potential,
    Robustness,
    Sentence,
    Subset,
    Use,
)
from .information import Decomposition, Distribution
from .intervals import Interval

__all__ = [
    "Absence",
    "Answers",
    "Bootstrap",
    "Cloud",
    "Conditional",
    "Curve",
    "Decomposition",
    "Diagnosis",
    "Distribution",
    "Geometry",
    "Information",
    "Interaction",
    "Interval",
    "Map",
    "Pair",
    "Potential",
    "Robustness",
    "Sentence",
    "Subset",
    "Use",
    "diagnose",
]
