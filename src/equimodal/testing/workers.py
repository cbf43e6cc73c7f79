"""Processes that train together, for the law of processes and for tests of one's own."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from .. import distributed
from ..core import Batch

__all__ = ["Workers", "share", "split"]


class Workers:
    """Processes that train together, started at the first use and kept until closed.

    Args:
        count: how many.
        patience: seconds to wait for an answer.
    """

    def __init__(self, count: int = 2, patience: float = 120) -> None:
        self.count, self.patience = count, patience
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What a function says in each process, in their order; both it and its arguments go by import path.

        Raises:
            RuntimeError: it failed in a process, or none answered in time; the text has the traceback.
        """
        self._start()
        for connection in self._connections:
            connection.send_bytes(pickle.dumps((function, args)))
        answers: dict[int, Any] = {}
        while len(answers) < self.count:
            for rank, good, answer in self._answers(set(range(self.count)) - set(answers)):
                if not good:
                    self.close()
                    raise RuntimeError(f"Process {rank} failed:\n{answer}")
                answers[rank] = answer
        return [answers[rank] for rank in range(self.count)]

    def close(self) -> None:
        """End the processes; a later `run` starts others."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._processes, self._connections = [], []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self) -> None:
        if self._processes:
            return
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        store = str(Path(self._folder.name) / "store")
        for rank in range(self.count):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, self.count, store, there), daemon=True
            )
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def _answers(self, waiting: set[int]) -> Iterator[tuple[int, bool, Any]]:
        ready = wait([self._connections[rank] for rank in waiting], self.patience)
        if not ready:
            self.close()
            raise RuntimeError(f"No process answered within {self.patience} seconds.")
        for rank in sorted(waiting):
            if self._connections[rank] in ready:
                yield rank, *self._received(rank)

    def _received(self, rank: int) -> tuple[bool, Any]:
        try:
            good, answer = pickle.loads(self._connections[rank].recv_bytes())
        except EOFError:
            return False, "it ended without an answer."
        return good, answer


def _serve(rank: int, count: int, store: str, connection: Connection) -> None:
    """What a worker does: answer until nobody asks."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=Path(store).as_uri(),
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=60),
    )
    while True:
        try:
            function, args = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        except Exception:
            connection.send_bytes(pickle.dumps((False, traceback.format_exc())))
            continue
        connection.send_bytes(pickle.dumps(_answer(function, args)))


def _answer(function: Callable[..., Any], args: Sequence[Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args)
    except Exception:
        return False, traceback.format_exc()


def share(batch: Batch) -> Batch:
    """This process's slice of a batch."""
    return split(batch, distributed.processes())[distributed.rank()]


def split(batch: Batch, parts: int) -> list[Batch]:
    """Contiguous slices of a batch; the first ones hold one sample more where it does not divide."""
    if parts == 1:
        return [batch]
    slices = torch.arange(len(batch)).tensor_split(parts)
    return [batch.select(rows.tolist()) for rows in slices]
