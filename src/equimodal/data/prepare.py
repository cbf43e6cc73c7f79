"""Decoding a published data set ahead of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from .filed import Filed
from .pool import Progress
from .splits import Splits

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """What was done.

    Attributes:
        folder: where what was decoded is kept.
        samples: how many are ready.
        unreadable: for each sample that cannot be read the reason.
    """

    folder: Path
    samples: int
    unreadable: Mapping[str, str]


def prepare(splits: Splits, workers: int = 0, progress: Progress | None = None) -> Prepared:
    """Decode all media of a data set and keep the results; goes on where it was stopped.

    Args:
        splits: a published data set of media.
        workers: processes that decode; 0: this one.
        progress: called with how many samples are done, and of how many.

    Raises:
        ConfigError: the set has nothing to decode, or says that nothing be kept.
    """
    parts = [part for part in splits.parts.values() if isinstance(part, Filed)]
    places = {part.cache for part in parts}
    if len(parts) < len(splits.parts):
        raise ConfigError(f"{splits.name} is read as a whole; there is nothing to prepare.")
    folder = places.pop()
    if folder is None:
        raise ConfigError(
            f"{splits.name} keeps nothing: its folder cannot be written, or cache is off; name one by cache='FOLDER'."
        )
    total, before = sum(map(len, parts)), 0
    unreadable: dict[str, str] = {}
    for part in parts:
        unreadable |= part.prepare(workers, _shifted(progress, before, total))
        before += len(part)
    return Prepared(folder, total - len(unreadable), unreadable)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)
