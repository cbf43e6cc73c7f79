"""What a model makes of its modalities: use, potential, information, and a verdict in words.

Pure functions of a model and data, or of recorded values, that give frozen dataclasses. The model is asked once:
`answers` holds what it said with every coalition of modalities, and everything else is arithmetic on that.
"""

from __future__ import annotations

from .answers import Absence, Answers
from .bootstrap import Bootstrap, Interval
from .conditional import Conditional
from .diagnosis import diagnose
from .findings import (
    Diagnosis,
    Information,
    Interaction,
    Potential,
    Sentence,
    Subset,
    Use,
)
from .information import Decomposition, Distribution

__all__ = [
    "Absence",
    "Answers",
    "Bootstrap",
    "Conditional",
    "Decomposition",
    "Diagnosis",
    "Distribution",
    "Information",
    "Interaction",
    "Interval",
    "Potential",
    "Sentence",
    "Subset",
    "Use",
    "diagnose",
]
