"""Trying every file of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..pool import Progress, mapped
from .samples import Samples
from .streams import Stored, Stream

__all__ = ["attempt", "readable", "unreadable"]


@dataclass(frozen=True)
class Tried:
    """A row that was tried: for each modality that cannot be read the reason."""

    row: int
    reasons: Mapping[str, str]

    @property
    def why(self) -> str:
        """All reasons in one line."""
        return "; ".join(f"{name}: {said.removesuffix('.')}" for name, said in self.reasons.items())


def attempt(streams: Mapping[str, Stream], row: int) -> Tried:
    """Decode everything that a row has."""
    reasons = {}
    for name, stream in streams.items():
        if isinstance(stream, Stored) and stream.present[row]:
            try:
                stream.stored(row)
            except DataError as error:
                reasons[name] = str(error)
    return Tried(row, reasons)


def unreadable(
    streams: Mapping[str, Stream],
    rows: NDArray[np.int64],
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[int, str]:
    """The rows with a file that cannot be read, each with the reason."""
    media = {n: s for n, s in streams.items() if isinstance(s, Stored)}
    found = {}
    work = partial(attempt, media)
    for done, tried in enumerate(mapped(work, rows.tolist(), workers), start=1):
        if tried.reasons:
            found[tried.row] = tried.why
        if progress is not None:
            progress(done, len(rows))
    return found


def readable(samples: Samples) -> tuple[Samples, dict[str, str]]:
    """The samples whose files can be read, after trying all; and for each row that is left out, by its place, the reason."""
    media = [s for s in samples.streams.values() if isinstance(s, Stored)]
    found = unreadable(samples.streams, samples.rows)
    kept = samples.subset(np.flatnonzero(~np.isin(samples.rows, list(found))).tolist())
    return kept, {media[0].lines.where(row): reason for row, reason in found.items()}
