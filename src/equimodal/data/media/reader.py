"""What all readers of media share: a file is decoded once, and finished anew each time it is seen."""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...errors import ConfigError, DataError

__all__ = ["Reader", "check_span", "needs", "require"]

LFS = b"version https://git-lfs"


class Reader(ABC):
    """How a file of one medium becomes what an encoder sees.

    The work has two steps, so that the first can be kept on disk: `decode` is slow and always gives the same, `finish` is
    fast and may differ from epoch to epoch. `read` does both, as validation and test see a file. Readers are frozen
    dataclasses; their fields are their options.

    Attributes:
        costly: whether decoding is worth keeping on disk.
        images: whether what is kept are the bytes of an image [C, H, W], or of several.
        learned: the options that are learned from train, the size of a sample first.
    """

    costly: ClassVar[bool] = True
    images: ClassVar[bool] = False
    learned: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def decode(self, path: Path) -> Tensor:
        """What is worth keeping of a file.

        Raises:
            DataError: the file cannot be read; the sentence names it and says why.
            ConfigError: a package is not installed.
        """

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        """What the encoder sees of what was kept; a generator asks for augmentation, as in training."""
        return stored

    def read(self, path: Path) -> Tensor:
        """A file as validation and test see it."""
        return self.finish(self.decode(path))

    def text(self, source: Path | str) -> str | None:
        """What a reader of texts reads, before it becomes tokens; None of other media."""
        return None

    @property
    def time_first(self) -> bool:
        """Whether it gives spectrograms [C, T, F], and not [C, F, T]."""
        return False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of what `finish` gives; -1 in the first place marks sequences of different lengths."""

    @property
    def decoding(self) -> tuple[object, ...]:
        """The options that `decode` depends on: what is kept under other ones is not the same."""
        return (repr(self),)


def needs(module: str, what: str, extra: str = "media") -> Any:
    """A package that is installed only with an extra.

    Raises:
        ConfigError: it is not installed; the sentence says how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ConfigError(f'{what} needs {package}: pip install "equimodal[{extra}]".') from None


def require(path: Path) -> None:
    """Refuse a file that is not there, is empty, or is a pointer that git-LFS has not replaced by its file.

    Raises:
        DataError: naming the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not head:
        raise DataError(f"{path} is empty; get it again.")
    if head == LFS:
        raise DataError(
            f"{path} is a git-LFS pointer, not the file itself; run `git lfs pull` where it came from."
        )


def check_span(path: Path, start: float, stop: float | None) -> None:
    """Refuse a part of a file that begins before the file, or ends before it begins.

    Args:
        path: the file.
        start, stop: seconds; None: to the end.

    Raises:
        DataError: naming the file and both.
    """
    if not 0 <= start < (math.inf if stop is None else stop):
        to = "its end" if stop is None else f"{stop:g} s"
        raise DataError(
            f"{path} cannot be read from {start:g} s to {to}: the start must be at least 0, and the stop after it."
        )
