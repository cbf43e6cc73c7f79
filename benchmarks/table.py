"""One table of methods on one data set: many seeds, mean ± standard deviation, resumable.

    python benchmarks/table.py avmnist --data-root DIR --val-fraction 0 --select last
    python benchmarks/table.py digits3d --lr 0.02 --schedule cosine --methods "joint()" "uniform()" "bio() + tcm()"

Every cell is a run folder below ``--out``: finished ones are not run again, half-finished ones continue from their
checkpoint, so the command can be stopped and repeated at will. Cells run in ``--jobs`` processes of one thread each.
Each modality alone (joint training of one modality) is added by itself. Accuracies in percent of the test set; the epoch
is chosen on the validation split, or is the last (``--select last``); ± is the standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
from pathlib import Path
from typing import Any

ROWS = [
    "joint()",
    "warmup()",
    "uniform()",
    "bio()",
    "tcm()",
    "bio() + tcm()",
    "ibml()",
    "infobridge()",
    "infobridge(negatives='any')",
]


def cell(out: Path, options: dict[str, Any]) -> Path:
    name = options["method"] + "".join(f" {m} alone" for m in options.get("modalities", ()))
    return out / re.sub(r"[^\w.=+-]+", "_", name).strip("_") / f"seed{options['seed']}"


def run(job: tuple[Path, dict[str, Any]]) -> None:
    """Train one cell, unless it is done."""
    folder, options = job
    if (folder / "results.json").exists():
        return
    from equimodal.errors import EquimodalError
    from equimodal.training.run import train
    from equimodal.training.settings import Settings

    resume = (folder / "checkpoint").exists()
    try:
        train(Settings(**options), folder, resume=resume, overwrite=folder.exists() and not resume)
    except EquimodalError as error:  # named in the table; the other cells go on
        print(f"{folder}: {error}", flush=True)
    else:
        print(folder, flush=True)


def figure(results: list[dict[str, Any]], *path: str, scale: float = 100, digits: int = 1) -> str:
    values = []
    for result in results:
        for key in path:
            result = result.get(key) if isinstance(result, dict) else None
        if isinstance(result, int | float):
            values.append(scale * result)
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def table(jobs: list[tuple[Path, dict[str, Any]]], modalities: list[str]) -> str:
    """Markdown: fused accuracy, and per modality alone, decoupled and probe; ratio; seconds."""
    rows: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for folder, options in jobs:
        done = folder / "results.json"
        found = rows.setdefault((options["method"], options.get("modalities", ())), [])
        if done.exists():
            found.append(json.loads(done.read_text()))
    each = [f"{m} {what}" for m in modalities for what in ("decoupled", "probe")]
    head = ["method", "fused", *each, "ratio", "seconds", "seeds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (method, alone), results in rows.items():
        cells = [f"`{method}`" if not alone else f"{alone[0]} alone"]
        cells.append(figure(results, "test", "fused", "accuracy"))
        for m in modalities:
            for what in ("decoupled", "probe"):
                cells.append(figure(results, "test", "modalities", m, what))
        cells.append(figure(results, "train", "discrepancy_ratio", scale=1, digits=2))
        cells.append(figure(results, "seconds", scale=1, digits=0))
        lines.append("| " + " | ".join([*cells, str(len(results))]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a data set's name or expression")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--modalities", nargs="+", default=None)
    parser.add_argument("--methods", nargs="+", default=ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--schedule", default="auto")
    parser.add_argument("--select", default="best")
    parser.add_argument("--val-fraction", type=float, default=None)
    parser.add_argument("--out", type=Path, default=None, help="default runs/table-<data>")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    name = re.sub(r"[^\w.=+-]+", "_", arguments.data).strip("_")
    out = arguments.out or Path("runs") / f"table-{name}"

    from equimodal import data

    modalities = arguments.modalities
    if modalities is None:
        modalities = list(data.load(arguments.data, arguments.data_root).train.modalities)
    common: dict[str, Any] = {
        "data": arguments.data,
        "data_root": arguments.data_root,
        "epochs": arguments.epochs,
        "lr": arguments.lr,
        "batch_size": arguments.batch_size,
        "schedule": arguments.schedule,
        "select": arguments.select,
        "threads": 1,
    }
    if arguments.val_fraction is not None:
        common["val_fraction"] = arguments.val_fraction
    alone = [{"method": "joint()", "modalities": (m,)} for m in modalities]
    chosen = {"modalities": tuple(arguments.modalities)} if arguments.modalities else {}
    whole = [{"method": method} | chosen for method in arguments.methods]
    jobs = []
    for seed in arguments.seeds:
        for row in [*alone, *whole]:
            options = common | row | {"seed": seed}
            jobs.append((cell(out, options), options))
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for _ in pool.imap_unordered(run, jobs, chunksize=1):
            pass
    text = table(jobs, modalities)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
