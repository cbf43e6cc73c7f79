"""`equimodal data prepare`: the media of a manifest decoded once into shards, by several processes, again after a kill."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import ConfigError, DataError
from ...files import whole, write
from ...locks import alone
from ..media.npz import npy
from ..pool import Progress, mapped
from .attempt import attempt
from .load import Opened, Rows, absent, open_manifest
from .recipe import Recipe
from .shards import INDEX, RECORD, decoding, name_of
from .streams import Files, survey
from .table import column_hash, read

__all__ = ["Written", "prepare", "verify"]

PLACES = pa.struct(
    [("shard", pa.int32()), ("offset", pa.int64()), ("size", pa.int64()), ("check", pa.int64())]
)
MANIFEST, TOML, LOCK = "samples.parquet", "data.toml", "lock"
Place = tuple[int, int, int]  # offset, size and CRC-32 of an array


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        toml: the data TOML of the shards.
        shards: how many there are, and of them those that were there already.
        samples: how many are in them.
        left_out: for each row that cannot be read, by its place, the reason.
    """

    toml: Path
    shards: tuple[int, int]
    samples: int
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Shard:
    """What is in a shard; it lies beside it as JSON, written last.

    Attributes:
        number: of the shard.
        key: SHA-256 of what it was made from.
        size: bytes.
        sha256: of the file.
        places: for each modality and row offset, size and CRC-32.
        left_out: for each row that cannot be read the reason.
    """

    number: int
    key: str
    size: int
    sha256: str
    places: Mapping[str, Mapping[str, Place]]
    left_out: Mapping[str, str]


def prepare(
    path: Path | str,
    out: Path,
    *,
    samples: int = 512,
    skip_unreadable: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Decode all media of a manifest into shards, and write a data TOML that reads them.

    Args:
        path: of the data TOML.
        out: the folder of the shards; what an earlier, stopped call has finished there stays.
        samples: of a shard.
        skip_unreadable: leave out rows with files that cannot be read, where the first would be refused.
        workers: processes that decode; 0: this one.
        progress: called with how many shards are done, and of how many.

    Raises:
        ConfigError: the folder holds something else, another process prepares it, or there are no files to decode.
        DataError: a file cannot be read.
        WriteError: the disk is full, or the folder cannot be written.
    """
    opened = open_manifest(path)
    ahead = decoding(opened.recipe)
    files = {n: s for n, s in opened.streams.items() if isinstance(s, Files) and n in ahead}
    if not files:
        raise ConfigError(f"{path} names no files to decode.")
    rows = opened.rows()
    # Texts, which nothing decodes; other files are met when they are.
    texts = [s for n, s in opened.streams.items() if isinstance(s, Files) and n not in files]
    unsaid = absent(opened, rows, [survey(s, rows) for s in texts], skip_unreadable)
    rows = rows[~np.isin(rows, list(unsaid))]
    with _taken(out):
        key = _key(opened, files, rows, samples)
        chunks = [rows[i : i + samples] for i in range(0, len(rows), samples)]
        there = sum(_stored(out, number, key) is not None for number in range(len(chunks)))
        work = partial(_shard, opened, files, out, key, skip_unreadable)
        done = []
        for shard in mapped(work, list(enumerate(chunks)), workers, chunk=1):
            done.append(shard)
            if progress is not None:
                progress(len(done), len(chunks))
        left_out = unsaid | {int(row): why for shard in done for row, why in shard.left_out.items()}
        _write_table(opened, out, left_out)
        _write_index(out, done, opened, left_out)
        toml = _write_toml(opened.recipe, out)
    return Written(
        toml,
        (len(done), there),
        len(rows) + len(unsaid) - len(left_out),
        {opened.lines.where(row): why for row, why in left_out.items()},
    )


def _key(opened: Opened, files: Mapping[str, Files], rows: Rows, samples: int) -> str:
    """SHA-256 of all that shards are made from: files with their sizes and times, which row names which, and how."""
    digest = hashlib.sha256(repr((decoding(opened.recipe), samples, rows.tolist())).encode())
    for stream in files.values():
        digest.update(survey(stream, rows, times=True).digest)
        digest.update(column_hash(stream.cells))
        digest.update(repr([column.tolist() for column in stream.spans]).encode())
    return digest.hexdigest()


@contextmanager
def _taken(out: Path) -> Iterator[None]:
    """Within, no other process prepares the folder, and nothing half written is in it."""
    _make_room(out)
    with alone(out / LOCK, partial(_busy, out)):
        for part in out.glob(".*.part"):  # of a killed command, as there is no other now
            part.unlink(missing_ok=True)
        yield


def _busy(out: Path, process: str) -> str:
    return (
        f"Another process ({process}) prepares {out}: wait until it has ended and give the command again, or "
        "choose another folder by --out."
    )


def _make_room(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error.strerror}.") from None
    fixed = "|".join(map(re.escape, (INDEX, RECORD, MANIFEST, TOML, LOCK)))
    name = rf"(shard-\d{{5}}\.(tar|json)|{fixed})"
    own = re.compile(rf"{name}|\.{name}(\.\w+)?\.part")
    strange = [path.name for path in sorted(out.iterdir()) if not own.fullmatch(path.name)]
    if strange:
        raise ConfigError(f"{out} holds other files, such as {strange[0]}; choose an empty folder.")


def _stored(out: Path, number: int, key: str) -> Shard | None:
    """A shard that was finished before, if it was made from the same."""
    try:
        held = json.loads((out / f"shard-{number:05}.json").read_text(encoding="utf-8"))
        shard = Shard(**held)
        whole = (out / name_of(number)).stat().st_size == shard.size
    except (OSError, ValueError, TypeError):
        return None
    return shard if whole and shard.key == key else None


def _shard(
    opened: Opened,
    files: Mapping[str, Files],
    out: Path,
    key: str,
    skip: bool,
    numbered: tuple[int, Rows],
) -> Shard:
    """One shard, decoded now or before."""
    number, rows = numbered
    found = _stored(out, number, key)
    if found is not None:
        return found
    with whole(out / name_of(number)) as part:
        places, left_out = _pack(part, files, rows, skip)
        shard = Shard(number, key, part.stat().st_size, _sha256(part), places, left_out)
    write(out / f"shard-{number:05}.json", json.dumps(asdict(shard)).encode())
    return shard


def _pack(
    path: Path, files: Mapping[str, Files], rows: Rows, skip: bool
) -> tuple[dict[str, dict[str, Place]], dict[str, str]]:
    """Write a tar; for each modality the places of its rows, and the rows that cannot be read with their reasons."""
    places: dict[str, dict[str, Place]] = {name: {} for name in files}
    left_out: dict[str, str] = {}
    with path.open("wb") as held, tarfile.open(fileobj=held, mode="w") as tar:
        for row in rows.tolist():
            try:
                arrays = _decoded(files, row)
            except DataError:
                if not skip:
                    raise
                left_out[str(row)] = attempt(files, row).why
                continue
            for name, data in arrays.items():
                places[name][str(row)] = _add(tar, f"{row:08}.{name}.npy", data)
    return places, left_out


def _decoded(files: Mapping[str, Files], row: int) -> dict[str, bytes]:
    """For each modality that a row has what decoding gives, as the bytes of an ``.npy`` file."""
    return {n: npy(s.decoded(row).numpy()) for n, s in files.items() if s.present[row]}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> Place:
    """Offset, size and CRC-32 of a member."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    offset = tar.offset + len(member.tobuf(tar.format or tarfile.PAX_FORMAT))
    tar.addfile(member, io.BytesIO(data))
    return offset, len(data), zlib.crc32(data)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_table(opened: Opened, out: Path, left_out: Mapping[int, str]) -> None:
    """The manifest with all its rows, so that positions stay what they are; texts in files are written out in it."""
    recipe = opened.recipe
    table = read(recipe.manifest, recipe.columns)
    spans = {c for m in recipe.modalities for c in (m.start, m.stop) if c}
    tables = [m for m in recipe.modalities if m.kind == "table"]
    numbers = spans | {c for m in tables for c in m.columns if c not in m.categories}
    columns: dict[str, Any] = {}
    for name in recipe.columns:
        values = table.numbers(name) if name in numbers else table.texts(name)
        columns[name] = pa.array(values, from_pandas=True) if name in numbers else values
    for modality in recipe.modalities:
        stream = opened.streams[modality.name]
        if isinstance(stream, Files) and modality.name not in decoding(recipe):
            (column,) = modality.in_shards().columns
            texts = [
                None if row in left_out else _contents(stream, row) for row in range(len(table))
            ]
            columns[column] = pa.array(texts, pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write(out / MANIFEST, buffer.getvalue())


def _contents(stream: Files, row: int) -> str | None:
    return stream.path(row).read_text("utf-8-sig", "replace") if stream.present[row] else None


def _write_index(
    out: Path, shards: list[Shard], opened: Opened, left_out: Mapping[int, str]
) -> None:
    columns = {}
    names = list(shards[0].places) if shards else []
    for name in names:
        places = np.full((4, len(opened.targets)), -1, dtype=np.int64)
        for shard in shards:
            rows = np.array(list(shard.places[name]), dtype=np.int64)
            if len(rows):
                places[0, rows] = shard.number
                places[1:, rows] = np.array(list(shard.places[name].values())).T
        fields = [pa.array(p).cast(f.type) for p, f in zip(places, PLACES, strict=True)]
        columns[name] = pa.StructArray.from_arrays(fields, fields=list(PLACES))
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write(out / INDEX, buffer.getvalue())
    record = {
        "decoding": decoding(opened.recipe),
        "sizes": {name_of(s.number): s.size for s in shards},
        "sha256": {name_of(s.number): s.sha256 for s in shards},
        "left_out": {str(row): why for row, why in left_out.items()},
    }
    write(out / RECORD, (json.dumps(record, indent=2) + "\n").encode())


def _write_toml(recipe: Recipe, out: Path) -> Path:
    """The data TOML of the shards: that of the files, but for where they are."""
    text = recipe.path.read_text(encoding="utf-8-sig")
    top, *tables = re.split(r"(?m)^(?=\s*\[)", text, maxsplit=1)

    def other(line: re.Match[str]) -> str:
        return f'manifest = "{MANIFEST}"\nshards = true\n' if line[2] == "manifest" else ""

    key = r"""(?m)^[ \t]*(["']?)(manifest|shards)\1[ \t]*=.*\n?"""
    text = re.sub(key, other, top) + "".join(tables)
    write(out / TOML, text.encode())
    return out / TOML


def verify(folder: Path) -> list[str]:
    """The shards whose contents are not what was written, each with the reason."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    found = []
    for name, expected in record["sha256"].items():
        if _sha256(folder / name) != expected:
            found.append(
                f"{folder / name} is damaged: its SHA-256 is another; delete it and prepare again"
            )
    return found
