"""Work on files by several processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

import torch

__all__ = ["Progress", "mapped"]

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""

Given = TypeVar("Given")
Made = TypeVar("Made")


def mapped(
    work: Callable[[Given], Made], given: Sequence[Given], workers: int, chunk: int = 16
) -> Iterator[Made]:
    """The results in order; by this process if there are no workers. The work is sent to each of them once."""
    if not workers or len(given) < 2:
        yield from map(work, given)
        return
    count = min(workers, len(given))
    # Spawned, not forked: FFmpeg and PyTorch have threads.
    with ProcessPoolExecutor(count, get_context("spawn"), _begin, (work,)) as pool:
        yield from pool.map(_go_on, given, chunksize=chunk)


_WORK: list[Callable[[Any], Any]] = []


def _begin(work: Callable[[Any], Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _WORK[:] = [work]


def _end_with_parent() -> None:
    """A pool whose owner was killed would write on, and then wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _go_on(given: Any) -> Any:
    return _WORK[0](given)
