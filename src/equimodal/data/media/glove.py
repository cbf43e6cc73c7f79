"""Word vectors in the published text format of GloVe: a word and its numbers on each line.

Source: J. Pennington, R. Socher, C. D. Manning, *GloVe: Global Vectors for Word Representation*, EMNLP 2014. The format of
word2vec, whose first line counts words and numbers, is read as well.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, WriteError
from ...files import write
from .npz import npy

__all__ = ["Vectors", "open_vectors"]

CACHE = ".equimodal-cache"


@dataclass(frozen=True)
class Vectors:
    """Word vectors, looked up by a hash of the word so that millions of words need no table in memory.

    Attributes:
        hashes: [V], sorted.
        rows: [V], the row of the matrix that belongs to each hash.
        matrix: [V, D], float32.
    """

    hashes: NDArray[np.uint64]
    rows: NDArray[np.int64]
    matrix: NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    def of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """[L, D]; an unknown word is the zero vector."""
        wanted = np.array([_hash(word) for word in words], dtype=np.uint64)
        at = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        known = self.hashes[at] == wanted
        return np.where(known[:, None], self.matrix[self.rows[at]], np.float32(0))


@functools.lru_cache(maxsize=4)
def open_vectors(path: Path) -> Vectors:
    """The vectors of a file. It is read once; the matrix is then kept beside it and mapped into memory.

    Raises:
        DataError: the file is missing, or a line has another number of values or one that is not a number.
    """
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; name a file of word vectors such as glove.840B.300d.txt."
        )
    status = path.stat()
    key = hashlib.sha256(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    folder = path.parent / CACHE / f"vectors-{key.hexdigest()[:24]}"
    names = ("hashes", "rows", "matrix")
    if not (folder / "matrix.npy").is_file():
        made = _parse(path)
        try:
            for name in names:  # the matrix last: where it is, all is
                write(folder / f"{name}.npy", npy(getattr(made, name)))
        except WriteError:  # a full or read-only disk costs time, not the run
            return made
    return Vectors(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in names))


def _parse(path: Path) -> Vectors:
    lines = _lines(path)
    try:
        number, first = next(lines)
    except StopIteration:
        raise DataError(f"{path} is empty.") from None
    header = first.split()
    if len(header) == 2 and all(part.isdigit() for part in header):
        number, first = next(lines)
    width = len(first.rstrip().split(" ")) - 1
    hashes, values = [], []
    for at, line in itertools.chain([(number, first)], lines):
        # From the right: some published words contain spaces.
        word, *numbers = line.rstrip().rsplit(" ", width)
        try:
            vector = np.array(numbers, dtype=np.float32)
        except ValueError:
            vector = np.zeros(0, dtype=np.float32)
        if len(vector) != width or not width or not np.isfinite(vector).all():
            raise DataError(
                f"{path} line {at} must be a word and {width} numbers, with spaces between."
            )
        hashes.append(_hash(word))
        values.append(vector)
    found = np.array(hashes, dtype=np.uint64)
    sorted_, rows = np.unique(found, return_index=True)  # of a word that is there twice the first
    return Vectors(sorted_, rows.astype(np.int64), np.stack(values))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
