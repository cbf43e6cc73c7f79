"""What it costs to summarise a store of many finished cells.

python benchmarks/summary.py --cells 10000 --test 1000
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from equimodal.benchmark import tables
from equimodal.benchmark.cell import Cell
from equimodal.benchmark.store import Record, Store
from equimodal.benchmark.summary import Summary
from equimodal.training.settings import Settings


def results(right: np.ndarray, template: dict[str, Any]) -> dict[str, Any]:
    score = {"accuracy": float(right.mean()), "cross_entropy": 0.5, "macro_f1": 0.5}
    each = {"decoupled": 0.5, "probe": 0.6}
    test = {"fused": score, "samples": len(right), "modalities": {"a": each, "b": each}}
    return {**template, "test": test, "val": test}


def fill(store: Store, cells: int, test: int, seeds: int = 5, sets: int = 20) -> None:
    rng = np.random.default_rng(0)
    settings = json.loads(Settings(data="x").model_dump_json())
    template = {
        "train": {"discrepancy_ratio": 1.0},
        "modalities": ["a", "b"],
        "classes": [f"class {i}" for i in range(50)],
        "seconds": 60.0,
        "epoch": 3,
        "protocol": "honest",
    }
    plan = []
    with store.results_file.open("w") as file:
        for i in range(cells):
            row, seed = divmod(i, seeds)
            cell = Cell(
                f"{i:024d}", "method", f"m{row // sets}", f"d{row % sets}", "", seed, settings, "f"
            )
            plan.append(cell)
            right = rng.random(test) < 0.7
            packed = np.packbits(right).tobytes().hex()
            record = Record(cell.key, "done", results=results(right, template), right=packed)
            file.write(json.dumps(asdict(record)) + "\n")
    store.write_plan(plan, {"title": "", "reference": "m0", "seeds": list(range(seeds)), "tune": 0})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--intervals", action="store_true", help="with bootstrap intervals")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "bench")
        fill(store, arguments.cells, arguments.test)
        began, cpu = time.monotonic(), time.process_time()
        summary = Summary.read(store)
        read = time.process_time() - cpu
        rows = [
            tables.comparison(summary, place, bounded=arguments.intervals).rows
            for place in summary.places
        ]
        cpu = time.process_time() - cpu
        wall = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{sum(map(len, rows))} rows of {arguments.cells} cells: {wall:.1f} s, of one CPU {cpu:.1f} s"
    )
    print(f"reading alone {read:.1f} s; peak {peak:.0f} MiB with making the store")


if __name__ == "__main__":
    main()
