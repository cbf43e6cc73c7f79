"""Opening videos: what PyAV raises becomes a sentence, and a file that was cut off is told from a short one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from .reader import needs, require

__all__ = ["opened", "refuse_cut"]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A container of PyAV, closed at the end.

    Raises:
        DataError: the file is missing, or FFmpeg cannot read it, when it is opened or later.
        ConfigError: PyAV is not installed.
    """
    av = needs("av", "Reading videos")
    require(path)
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, ValueError, EOFError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} is cut off, damaged or no video ({said}); get it again."
        ) from error


def refuse_cut(path: Path, container: Any, latest: Mapping[int, int]) -> None:
    """Refuse a file that ends long before its header says.

    What a header says of the length is not exact, and streams may end at different times: a twentieth may be missing.

    Args:
        path: the file.
        container: it, open.
        latest: for each stream, by its number, the last time stamp that is there.

    Raises:
        DataError: it is cut off.
    """
    ends = [pts * float(container.streams[i].time_base) for i, pts in latest.items()]
    whole = (container.duration or 0) / 1_000_000  # FFmpeg counts microseconds
    if ends and max(ends) < 0.95 * whole - 0.2:
        raise DataError(
            f"{path} is cut off: {max(ends):.1f} of {whole:.1f} s are there; get it again."
        )
