"""What a reader learns from the train rows of a manifest: means and deviations, categories, words.

A run keeps it, because its model knows no other: rows of another table are read by what was learned from the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError, counted
from ..media.sequence import Sequence as Steps
from ..media.table import Category, Number
from ..media.table import Table as Vectors
from ..media.text import Text, clean_tweet, vocabulary
from ..media.vector import Vector
from .recipe import Modality
from .streams import Columns, Files, Stored, Stream, Texts

__all__ = ["Learned", "described", "fit", "restored"]

FITTED_ON = 1000  # the most sequences or vectors that mean and deviation are taken from
Rows = NDArray[np.int64]
Learned = Mapping[str, Any]
"""What was learned of a modality, as JSON holds it."""


def fit(stream: Stream, modality: Modality, train: Rows) -> Stream:
    """A modality whose reader knows what train has: mean and deviation, categories, words.

    Raises:
        DataError: no train row has the modality.
    """
    here = train[stream.present[train]]
    if not len(here):
        raise DataError(
            f"No train row has the modality {modality.name!r}; leave it out, or fill its column."
        )
    if isinstance(stream, Columns):
        return replace(stream, reader=_vectors(stream, modality, here))
    assert isinstance(stream, Stored)
    if isinstance(stream.reader, Text) and stream.reader.words:
        return replace(stream, reader=modality.reader(words=_words(stream, modality, here)))  # type: ignore[type-var]
    if isinstance(stream.reader, Steps | Vector):
        some = here[np.linspace(0, len(here) - 1, min(len(here), FITTED_ON)).astype(np.int64)]
        return replace(stream, reader=stream.reader.fitted(_alike(stream, some.tolist())))  # type: ignore[type-var]
    return stream


def _alike(stream: Stored, rows: list[int]) -> Iterator[Tensor]:
    """The sequences or vectors of some rows; refused if one has other channels than the first."""
    first = stream.decoded(rows[0])
    size, *_ = stream.reader.learned
    unit = "channel" if first.ndim > 1 else "value"
    for row in rows:
        values = stream.decoded(row)
        if values.shape[-1] != first.shape[-1]:
            raise DataError(
                f"{stream.lines.where(row)}, {stream.name}: {stream.cells[row]} has {counted(values.shape[-1], unit)}, where "
                f"{stream.lines.row(rows[0])} has {first.shape[-1]}; all must have equally many (say {size} = "
                f"{first.shape[-1]} in the data TOML, and --skip-unreadable leaves others out)."
            )
        yield values


def _vectors(stream: Columns, modality: Modality, train: Rows) -> Vectors:
    coding = stream.reader.coding
    fitted = tuple(
        Category.fitted(name, values[train], coding)
        if name in modality.categories
        else Number.fitted(name, values[train])
        for name, values in zip(modality.columns, stream.columns, strict=True)
    )
    return Vectors(coding, fitted)


def _words(stream: Stored, modality: Modality, train: Rows) -> tuple[str, ...]:
    """The vocabulary of train; the 20,000 words that occur most."""
    if isinstance(stream, Texts):
        texts: Iterable[str] = stream.cells.take(pa.array(train)).to_pylist()
    else:
        assert isinstance(stream, Files)
        texts = (stream.path(int(row)).read_text("utf-8-sig", "replace") for row in train)
    clean = dict(modality.options).get("clean") == "tweet"
    found = vocabulary(map(clean_tweet, texts) if clean else texts)[:20_000]
    if not found:
        raise DataError(f"{modality.name}: the texts of train have no word.")
    return found


# What a run keeps.


def described(stream: Stream) -> Learned | None:
    """What `fit` found, for `restored`; None where there was nothing to learn."""
    if isinstance(stream, Columns):
        columns = zip(stream.reader.columns, stream.words, strict=True)
        return {"columns": [_column(column, words) for column, words in columns]}
    reader = stream.reader if isinstance(stream, Stored) else None
    if isinstance(reader, Text) and reader.words:
        return {"words": list(reader.words)}
    if isinstance(reader, Steps | Vector):
        return {name: getattr(reader, name) for name in reader.learned}
    return None


def _column(column: Number | Category, words: pa.Array | None) -> Learned:
    if isinstance(column, Number):
        return {
            "name": column.name, "mean": column.mean, "deviation": column.deviation, "gaps": column.gaps
        }  # fmt: skip
    assert words is not None
    return {"name": column.name, "words": words.take(pa.array(column.known)).to_pylist()}


def restored(stream: Stream, modality: Modality, learned: Learned | None) -> Stream:
    """A modality whose reader knows what it learned from another table.

    Raises:
        ConfigError: nothing was learned, or of other columns.
    """
    if isinstance(stream, Columns):
        return _restored_columns(stream, modality, _known(learned, modality, "columns"))
    assert isinstance(stream, Stored)
    if isinstance(stream.reader, Text) and stream.reader.words:
        words = tuple(_known(learned, modality, "words"))
        return replace(stream, reader=modality.reader(words=words))  # type: ignore[type-var]
    if isinstance(stream.reader, Steps | Vector):
        known = {name: _known(learned, modality, name) for name in stream.reader.learned}
        known |= {name: tuple(known[name]) for name in ("mean", "deviation")}
        return replace(stream, reader=replace(stream.reader, **known))  # type: ignore[type-var]
    return stream


def _known(learned: Learned | None, modality: Modality, name: str) -> Any:
    if learned is None or name not in learned:
        raise ConfigError(
            f"The modality {modality.name!r} is read by what is learned from train, and the model was trained on another kind "
            "of data: it knows nothing of it."
        )
    return learned[name]


def _restored_columns(
    stream: Columns, modality: Modality, known: list[Mapping[str, Any]]
) -> Columns:
    there = [column["name"] for column in known]
    if there != list(modality.columns):
        raise ConfigError(
            f"The modality {modality.name!r} has the columns {', '.join(modality.columns)}; the model was trained on "
            f"{', '.join(there)}."
        )
    coding = stream.reader.coding
    columns: list[NDArray[Any]] = []
    fitted: list[Number | Category] = []
    for held, names, column in zip(stream.columns, stream.words, known, strict=True):
        if (names is None) != ("mean" in column):
            raise ConfigError(
                f"The modality {modality.name!r}: the column {column['name']!r} must be "
                f"{'a number' if 'mean' in column else 'among the categories'}, as the model was trained."
            )
        if names is None:
            columns.append(held)
            fitted.append(Number(**column))
            continue
        place = {word: i for i, word in enumerate(column["words"])}
        # A word that train lacks is none of the categories, but no gap either.
        codes = [place.get(word, len(place)) for word in names.to_pylist()]
        columns.append(np.array([*codes, -1], dtype=np.int32)[held])
        fitted.append(Category(column["name"], tuple(range(len(place))), coding))
    return replace(stream, columns=tuple(columns), reader=Vectors(coding, tuple(fitted)))
