"""What a user can put right: every refusal is one sentence, and the command line exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EquimodalError",
    "ExpressionError",
    "TrainingError",
    "WriteError",
    "counted",
    "nearest",
]


class EquimodalError(Exception):
    """Base of all errors that a user can put right; its text is one sentence that says how."""


class ConfigError(EquimodalError):
    """An option, or a combination of options, that cannot work."""


class ExpressionError(ConfigError):
    """An expression such as ``"bio().during(1, 90)"`` that cannot be read."""


class DataError(EquimodalError):
    """A file, row or array that cannot be used; the text names it."""


class CheckpointError(EquimodalError):
    """A checkpoint that is damaged, of another model, or of another version."""


class TrainingError(EquimodalError):
    """Training that cannot go on, such as a loss that is not finite."""


class WriteError(EquimodalError):
    """A file that cannot be written, such as on a full disk."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint that ends a refusal of an unknown name: the nearest known one, or all of them.

    >>> nearest("imbl", ["ibml", "joint"])
    "did you mean 'ibml'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def counted(number: int, noun: str) -> str:
    """A number of things, as in a sentence.

    >>> counted(1, "problem"), counted(1200, "sample"), counted(2, "class")
    ('1 problem', '1,200 samples', '2 classes')
    """
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
