"""What is known of a data set before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["About", "Source"]

Source = tuple[Path, Callable[[], object]]
"""A file, and what reads it or raises `DataError`."""


@dataclass(frozen=True)
class About:
    """A data set in a few words.

    Attributes:
        task: what is to be told from what.
        classes: how many, as text, since some sets let the user choose.
        modalities: for each the shape of one sample, as text.
        split: the sizes of train, of validation where the set has one of its own, and of test.
        files: what must lie under the data folder; empty where nothing is needed.
        licence: of the data.
        sources: for `equimodal data check`, the files under a data folder and how each is read.
    """

    task: str
    classes: str
    modalities: Mapping[str, str]
    split: str
    files: str
    licence: str
    sources: Callable[[Path | None], Iterator[Source]] = lambda root: iter(())
