"""Cells on a Ray cluster, whose nodes share the store's folder. Needs the extra `ray`.

A cell whose worker or node dies is given out again by Ray and goes on from its checkpoint, which is in the store.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .cell import Cell
from .executor import Event
from .store import Record, Store

__all__ = ["OnRay"]

GRACE = 60.0
"""Seconds that cells may take to write their checkpoints when the bench is stopped."""


@dataclass(frozen=True)
class OnRay:
    """Tasks of a Ray cluster, one for each cell.

    Args:
        address: of the cluster, such as ``"auto"`` or ``"ray://head:10001"``; None starts one on this machine.
        jobs: of a cluster on this machine, how many run at a time.
        resources: that each cell asks for, as `ray.remote` names them, such as ``{"num_gpus": 0.5}``.
        retries: how often a cell is given out again after its worker or node has died.
        options: further ones of `ray.init`.
    """

    address: str | None = None
    jobs: int = 1
    resources: Mapping[str, Any] = field(default_factory=lambda: {"num_cpus": 1})
    retries: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        if not cells:
            return
        ray = self._connected()
        task = ray.remote(max_retries=self.retries, **self.resources)(_task)
        path = str(store.path.resolve())
        waiting = {task.remote(path, asdict(cell)): cell for cell in cells}
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1)
                for job in done:
                    cell = waiting.pop(job)
                    yield Event(cell, {}, 1.0, _record(ray, job, cell))
        finally:
            for job in waiting:  # as Ctrl-C: a checkpoint is written
                ray.cancel(job)
            if waiting:
                ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE)
            ray.shutdown()

    def _connected(self) -> Any:
        try:
            import ray
        except ImportError:
            raise ConfigError('Ray is not installed: pip install "equimodal[ray]".') from None
        if self.address is not None:
            _reach(self.address)
        here = {"num_cpus": self.jobs, "include_dashboard": False} if self.address is None else {}
        paths = os.pathsep.join(path for path in (*sys.path, os.getcwd()) if path)
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if self.address is None:  # elsewhere the package is installed
            environment["PYTHONPATH"] = paths
        said = {"runtime_env": {"env_vars": environment}, "log_to_driver": False, **self.options}
        try:
            ray.init(address=self.address, **here, **said)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(_nobody(self.address, error)) from None
        return ray


def _reach(address: str) -> None:
    """Refuse a head node that does not answer: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # "auto", which Ray looks up
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(_nobody(address, error)) from None


def _nobody(address: str | None, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"There is no Ray at {address or 'this machine'}: {reason}."


def _task(path: str, values: dict[str, Any]) -> dict[str, Any]:
    from equimodal.benchmark.train_cell import shared_shelf, train_cell

    return asdict(train_cell(Store(Path(path)), Cell(**values), shared_shelf()))


def _record(ray: Any, job: Any, cell: Cell) -> Record:
    try:
        return Record(**ray.get(job))
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        return Record(cell.key, "failed", f"Its task ended: {reason}")
