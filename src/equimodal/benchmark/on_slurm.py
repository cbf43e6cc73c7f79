"""Cells as jobs of Slurm, through submitit; the nodes share the store's folder. Needs the extra `bench`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .cell import Cell
from .executor import Event
from .store import Record, Store

__all__ = ["OnSlurm"]


@dataclass(frozen=True)
class OnSlurm:
    """One array of jobs.

    Args:
        jobs: that run at a time.
        minutes: that Slurm grants each; one that is cut off fails, and goes on from its checkpoint when tried again.
        cluster: of submitit: "slurm", or "local" to run the same jobs on this machine.
        options: further ones of submitit, such as ``{"slurm_partition": "cpu"}``.
    """

    jobs: int = 1
    minutes: int = 240
    cluster: str = "slurm"
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        if not cells:
            return
        executor = self._executor(store)
        path = str(store.path.resolve())
        with executor.batch():
            jobs = [executor.submit(_task, path, asdict(cell)) for cell in cells]
        waiting = dict(zip(jobs, cells, strict=True))
        try:
            while waiting:
                for job in [job for job in waiting if job.done()]:
                    yield Event(waiting[job], {}, 1.0, _record(job, waiting.pop(job)))
                if waiting:
                    time.sleep(1.0)
        finally:
            for job in waiting:
                job.cancel()

    def _executor(self, store: Store) -> Any:
        try:
            import submitit
        except ImportError:
            raise ConfigError('Slurm needs submitit: pip install "equimodal[bench]".') from None
        try:
            executor = submitit.AutoExecutor(store.path / "logs" / "slurm", cluster=self.cluster)
        except RuntimeError as error:
            raise ConfigError(f"There is no Slurm here: {error}.") from None
        executor.update_parameters(timeout_min=self.minutes, cpus_per_task=1, **self.options)
        if self.cluster == "slurm":
            executor.update_parameters(slurm_array_parallelism=self.jobs)
        return executor


def _task(path: str, values: dict[str, Any]) -> dict[str, Any]:
    from equimodal.benchmark.train_cell import shared_shelf, train_cell

    return asdict(train_cell(Store(Path(path)), Cell(**values), shared_shelf()))


def _record(job: Any, cell: Cell) -> Record:
    error = job.exception()
    if error is None:
        return Record(**job.result())
    reason = " ".join(str(error).split())[:300]
    return Record(cell.key, "failed", f"Its job ended: {reason}")
