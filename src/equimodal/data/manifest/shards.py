"""Media that were decoded once: tar files of arrays, and an index by which any sample is one read.

A shard is an uncompressed tar in the layout of WebDataset: a member ``00000012.photo.npy`` for each sample and modality.
The index has the place, the length and the CRC-32 of each array, so that samples are read in any order: the order of
training stays a function of (seed, epoch), and a run resumes exactly, from shards as from files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import DataError
from ..media.reader import Reader
from .recipe import Modality, Recipe
from .streams import Stored
from .table import Lines, filled

__all__ = ["INDEX", "RECORD", "Packed", "Shards", "decoding"]

INDEX, RECORD = "index.parquet", "prepared.json"
OPEN = 64  # shards that one process keeps open


def decoding(recipe: Recipe) -> dict[str, str]:
    """For each modality in files how it is decoded, as text; what was decoded in another way is another thing.

    Texts are not decoded ahead: the words that there are become known only when train is; their files go into the manifest.
    """
    media = [m for m in recipe.modalities if m.in_files and m.kind != "text"]
    return {modality.name: repr(modality.reader().decoding) for modality in media}


class _Open:
    """Shards that this process has open: the last used ones. A read has no position, so that a fork may share them."""

    def __init__(self) -> None:
        self.files: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        if path not in self.files:
            self.files[path] = os.open(path, os.O_RDONLY)
            if len(self.files) > OPEN:
                os.close(self.files.popitem(last=False)[1])
        self.files.move_to_end(path)
        return os.pread(self.files[path], size, offset)

    def close(self) -> None:
        """Shards may have been made anew."""
        while self.files:
            os.close(self.files.popitem()[1])


_OPEN = _Open()


@dataclass(frozen=True)
class Shards:
    """A folder of shards.

    Attributes:
        folder: that holds them.
        index: for each modality and row the shard, the place and the length in bytes, and the CRC-32.
        left_out: for each row that could not be read the reason.
        digest: SHA-256 of all shards, for a fingerprint.
    """

    folder: Path
    index: pa.Table
    left_out: Mapping[int, str]
    digest: str

    @classmethod
    def read(cls, recipe: Recipe) -> Shards:
        """The shards that lie beside a data TOML.

        Raises:
            DataError: they are not there or not whole, or were decoded in another way than the TOML now says.
        """
        folder = recipe.path.parent
        _OPEN.close()
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            index = pq.read_table(folder / INDEX, memory_map=True)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} has no whole shards ({error}); run 'equimodal data prepare' again, it goes on where it was stopped."
            ) from None
        for name, how in decoding(recipe).items():
            if record["decoding"].get(name) != how:
                raise DataError(
                    f"{recipe.path}: {name} is now decoded as {how}, the shards hold {record['decoding'].get(name)}; put it "
                    "back, or prepare again into another folder."
                )
        for shard, size in record["sizes"].items():
            path = folder / shard
            if not path.is_file() or path.stat().st_size != size:
                raise DataError(f"{path} is missing or cut off; it must have {size} bytes.")
        left_out = {int(row): why for row, why in record["left_out"].items()}
        digest = hashlib.sha256("".join(record["sha256"].values()).encode()).hexdigest()
        return cls(folder, index, left_out, digest)

    def stream(self, modality: Modality, lines: Lines, cells: pa.Array, reader: Reader) -> Packed:
        """One modality of all rows."""
        column = self.index.column(modality.name).combine_chunks()
        parts = {n: column.field(n).to_numpy(zero_copy_only=False) for n in column.type.names}
        return Packed(modality.name, lines, cells, reader, self.folder, parts)


@dataclass(frozen=True)
class Packed(Stored):
    """A modality in shards.

    Attributes:
        name: of the modality.
        lines: of the manifest.
        cells: [N] what stood in the manifest, null where it is missing.
        reader: that finishes what was decoded.
        folder: of the shards.
        places: [N] each: shard, offset, size, check.
    """

    name: str
    lines: Lines
    cells: pa.Array
    reader: Reader
    folder: Path
    places: Mapping[str, NDArray[Any]]

    def known(self) -> NDArray[np.bool_]:
        return filled(self.cells)

    def stored(self, row: int) -> Tensor:
        shard, offset, size, check = (
            int(self.places[key][row]) for key in ("shard", "offset", "size", "check")
        )
        path = self.folder / name_of(shard)
        try:
            held = _OPEN.read(path, offset, size)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None
        if zlib.crc32(held) != check:
            raise DataError(f"{path} is damaged at byte {offset}; delete it and prepare again.")
        return torch.from_numpy(np.load(io.BytesIO(held), allow_pickle=False))


def name_of(shard: int) -> str:
    """The file of a shard."""
    return f"shard-{shard:05}.tar"
