"""What a cell costs beyond its training: in a new worker, and in one that has trained before.

python benchmarks/cell_start.py --data glioma --data-root DIR

What is tested at the end of a run counts as cost here, so that a set is needed whose models answer in no time. Other
programs lengthen every figure.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from equimodal.benchmark.grid import Grid
from equimodal.benchmark.local import Local
from equimodal.benchmark.run import bench
from equimodal.benchmark.store import Store


class Timed(Local):
    """A local worker whose cells are timed from the moment that they are handed over."""

    def run(self, store, cells):  # type: ignore[no-untyped-def]
        self.walls: list[float] = []
        began = time.monotonic()
        for event in super().run(store, cells):
            if event.record is not None:
                assert event.record.results is not None, event.record.reason
                now = time.monotonic()
                self.walls.append(now - began - event.record.results["seconds"])
                began = now
            yield event


def importing(name: str) -> float:
    """Seconds of a process that imports a module, less those of one that imports nothing; the least of three."""

    def took(code: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.monotonic() - began

    return min(took(f"import {name}") for _ in range(3)) - min(took("pass") for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="synthetic(count=2, samples=(400, 100, 100))")
    parser.add_argument("--data-root")
    parser.add_argument("--method", default="joint()")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--no-probe", action="store_true")
    arguments = parser.parse_args()
    settings = {"epochs": 1, "data_root": arguments.data_root, "probe": not arguments.no_probe}
    grid = Grid.of(
        {
            "methods": [arguments.method],
            "data": arguments.data,
            "alone": False,
            "seeds": f"0-{arguments.cells - 1}",
            "settings": {name: value for name, value in settings.items() if value is not None},
        },
        "cell_start",
    )
    with tempfile.TemporaryDirectory() as folder:
        executor = Timed(1)
        store: Store = bench(grid, Path(folder) / "bench", executor=executor)
        assert len(store.records()) == arguments.cells
    first, *others = executor.walls
    print(f"import of torch: {importing('torch'):.1f} s")
    print(
        f"with what its optimisers import when they are first used: {importing('torch._dynamo'):.1f} s"
    )
    print(f"first cell of a worker, beyond its training: {first:.1f} s")
    print(f"each further one: {statistics.median(others):.2f} s (median of {len(others)})")


if __name__ == "__main__":
    main()
