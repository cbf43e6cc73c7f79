"""Cells in processes of this machine, one thread each."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .cell import Cell
from .executor import Event
from .store import Record, Store

__all__ = ["Local"]

TRIES = 2
"""How often a cell is given to a worker; the second time because the first may have been killed for another's memory."""


@dataclass
class Local:
    """Worker processes that stay for many cells.

    Args:
        workers: how many.
    """

    workers: int = 1
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        jobs: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stopping.clear()
        for cell in cells:
            jobs.put(cell)
        number = min(self.workers, len(cells))
        threads = [
            threading.Thread(target=self._serve, args=(store, i, jobs, events), daemon=True)
            for i in range(number)
        ]
        for thread in threads:
            thread.start()
        try:
            while number:
                event = events.get()
                if event is None:
                    number -= 1
                else:
                    yield event
        finally:
            self._stop(jobs, threads)

    def _stop(self, jobs: queue.SimpleQueue[Cell], threads: Sequence[threading.Thread]) -> None:
        """Let the workers write a checkpoint."""
        self._stopping.set()
        for process in tuple(self._running):
            _end_input(process)
        for thread in threads:
            thread.join()

    def _serve(
        self,
        store: Store,
        number: int,
        jobs: queue.SimpleQueue[Cell],
        events: queue.SimpleQueue[Event | None],
    ) -> None:
        """One worker after the other, as long as there are cells; a cell whose worker died is tried once more."""
        process: subprocess.Popen[str] | None = None
        started: list[subprocess.Popen[str]] = []
        try:
            while not self._stopping.is_set():
                try:
                    cell = jobs.get_nowait()
                except queue.Empty:
                    break
                for tried in range(1, TRIES + 1):
                    if process is None or process.poll() is not None:
                        process = self._start(store, number)
                        started.append(process)
                    code = _train(process, cell, events)
                    if code is None or self._stopping.is_set():
                        break
                    if tried == TRIES:
                        how = f"signal {-code}" if code < 0 else f"code {code}"
                        log = store.path / "logs" / f"worker{number}.log"
                        reason = f"Its process ended by {how}, {TRIES} times; see {log}."
                        events.put(Event(cell, {}, record=Record(cell.key, "failed", reason)))
        finally:
            for one in started:
                _close(one)
            events.put(None)

    def _start(self, store: Store, number: int) -> subprocess.Popen[str]:
        (store.path / "logs").mkdir(exist_ok=True)
        paths = [path for path in (*sys.path, os.getcwd()) if path]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }
        with (store.path / "logs" / f"worker{number}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", str(Path(store.path).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the bench, which stops its workers once
            )
        self._running.append(process)
        if self._stopping.is_set():  # it may have come too late for `_stop` to see it
            _end_input(process)
        return process


def _end_input(process: subprocess.Popen[str]) -> None:
    """It ends a worker, after a checkpoint; a signal could come before the worker listens to any."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _close(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    _end_input(process)
    process.wait()
    process.stdout.close()


def _train(
    process: subprocess.Popen[str], cell: Cell, events: queue.SimpleQueue[Event | None]
) -> int | None:
    """None when the worker has answered with a record, else how it ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    events.put(Event(cell, {}))
    try:
        process.stdin.write(json.dumps(asdict(cell)) + "\n")
        process.stdin.flush()
    except (BrokenPipeError, ValueError):  # it has ended, or `_stop` has closed its input
        return process.wait()
    for line in process.stdout:
        told = json.loads(line)
        if "record" in told:
            events.put(Event(cell, {}, 1.0, Record(**told["record"])))
            return None
        events.put(Event(cell, told["figures"], told["part"]))
    return process.wait()
