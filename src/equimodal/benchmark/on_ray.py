"""Cells on a Ray cluster whose machines share the store's folder. Needs the extra `bench`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError
from .cell import Cell
from .executor import Event
from .store import Record, Store

__all__ = ["OnRay"]

RETRIES = 5
"""How often Ray starts a cell anew whose machine died; it goes on from its checkpoint."""


@dataclass(frozen=True)
class OnRay:
    """Each cell is a task of one CPU.

    Args:
        address: of the cluster; None starts one on this machine.
        jobs: CPUs of one that is started here.
    """

    address: str | None = None
    jobs: int = 1

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        if not cells:
            return
        ray = _ray()
        options: dict[str, Any] = (
            {"address": self.address} if self.address else {"num_cpus": self.jobs}
        )
        paths = os.pathsep.join(path for path in (*sys.path, os.getcwd()) if path)
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        ray.init(runtime_env={"env_vars": environment}, include_dashboard=False, **options)
        try:
            task = ray.remote(num_cpus=1, max_retries=RETRIES)(_task)
            path = str(store.path.resolve())
            waiting = {task.remote(path, asdict(cell)): cell for cell in cells}
            while waiting:
                (done, *_), _ = ray.wait(list(waiting), num_returns=1)
                cell = waiting.pop(done)
                try:
                    record = Record(**ray.get(done))
                except ray.exceptions.RayError as error:
                    reason = f"Ray gave it up: {str(error).strip().splitlines()[0]}"
                    record = Record(cell.key, "failed", reason)
                yield Event(cell, {}, 1.0, record)
        finally:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError('A Ray cluster needs Ray: pip install "equimodal[bench]".') from None
    return ray


def _task(path: str, values: dict[str, Any]) -> dict[str, Any]:
    from pathlib import Path

    from equimodal.benchmark.store import Store
    from equimodal.benchmark.train_cell import shared_shelf, train_cell

    return asdict(train_cell(Store(Path(path)), Cell(**values), shared_shelf()))
