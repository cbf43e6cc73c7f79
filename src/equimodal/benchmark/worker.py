"""A local worker: reads a cell per line, trains it, answers in lines; one import of PyTorch serves many cells.

    python -m equimodal.benchmark.worker STORE

A worker whose bench is gone (its input ends) writes a checkpoint and ends as well.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from .cell import Cell
from .store import Store
from .train_cell import Shelf, train_cell

__all__ = ["main"]

GRACE = 60.0
"""Seconds that a worker without a bench may take to write its checkpoint."""


HEAVY = ("equimodal.training.run", "sklearn.linear_model", "pyarrow.parquet")
"""What every cell imports: once, and before any cell's clock runs."""


class _Told:
    """Training's progress as lines, two a second at most."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers, self._done, self._total, self._last = answers, 0, 1, 0.0

    def start(self, total_steps: int, description: str) -> None:
        self._done, self._total = 0, max(1, total_steps)

    def advance(self, n: int, figures: Mapping[str, float]) -> None:
        self._done += n
        if time.monotonic() - self._last >= 0.5:
            self._last = time.monotonic()
            said = {name: value for name, value in figures.items() if value == value}
            _say(self._answers, {"part": self._done / self._total, "figures": said})

    def message(self, text: str) -> None: ...

    def close(self) -> None: ...


def _say(answers: IO[str], values: Mapping[str, Any]) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def main(path: str) -> int:
    """Train what comes in until the input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    store, shelf = Store(Path(path)), Shelf()
    try:
        _import_ahead()
        while (line := jobs.get()) is not None:
            record = train_cell(store, Cell(**json.loads(line)), shelf, _Told(answers))
            _say(answers, {"record": asdict(record)})
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)  # the checkpoint is written; nobody reads what else could be said
    return 0


def _import_ahead() -> None:
    """Without the garbage collector, which would walk all that is imported again and again, and free nothing."""
    gc.disable()
    for name in HEAVY:
        importlib.import_module(name)
    import torch  # not at the top: signals must be caught before it is imported, which takes seconds

    torch.optim.SGD([torch.zeros(1)])  # the first optimiser imports PyTorch's compiler
    gc.freeze()
    gc.enable()


def _listen(jobs: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    jobs.put(None)
    time.sleep(0.2)  # a worker without a cell ends by itself
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
