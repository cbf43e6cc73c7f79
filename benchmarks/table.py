"""One table of methods on one data set: many seeds, mean ± standard deviation, resumable.

    python benchmarks/table.py avmnist --data-root DIR --val-fraction 0 --select last
    python benchmarks/table.py digits3d --lr 0.02 --schedule cosine --methods "joint()" "uniform()" "bio() + tcm()"

Every cell is a run folder below ``--out``: finished ones are not run again, half-finished ones continue from their
checkpoint, so the command can be stopped and repeated at will. Cells run in ``--jobs`` processes of one thread each.
Each modality alone (joint training of one modality) is added by itself. Accuracies in percent of the test set; the epoch
is chosen on the validation split, or is the last (``--select last``); ± is the standard deviation over seeds.

``--tune N`` adds a second row for each method: N draws from the method's own search space (the first is its default),
each trained once with another seed on nine tenths of train, the best on the remaining tenth taken, and then trained on
all seeds like the rest. Every method has the same number of draws; the test split plays no part in the choice.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
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


def parsed(row: str) -> dict[str, Any]:
    """``"joint() @ sum()"`` is a method with a head; a method alone has its own."""
    method, _, head = (part.strip() for part in row.partition("@"))
    return {"method": method, "head": head} if head else {"method": method}


def cell(out: Path, options: dict[str, Any]) -> Path:
    name = " ".join([options["method"], options.get("head", ""), *options.get("modalities", ())])
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
        settings = {name: value for name, value in options.items() if name != "alone"}
        train(Settings(**settings), folder, resume=resume, overwrite=folder.exists() and not resume)
    except EquimodalError as error:  # named in the table; the other cells go on
        print(f"{folder}: {error}", flush=True)
    else:
        print(folder, flush=True)


def label(options: dict[str, Any]) -> str:
    if options.get("alone"):
        return f"{options['alone']} alone"
    head = options.get("head")
    return f"`{options['method']}`" + (f" on `{head}`" if head else "")


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
    rows: dict[str, list[dict[str, Any]]] = {}
    for folder, options in jobs:
        done = folder / "results.json"
        found = rows.setdefault(label(options), [])
        if done.exists():
            found.append(json.loads(done.read_text()))
    each = [f"{m} {what}" for m in modalities for what in ("decoupled", "probe")]
    head = ["method", "fused", *each, "ratio", "seconds", "seeds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, results in rows.items():
        cells = [name, figure(results, "test", "fused", "accuracy")]
        cells += [
            figure(results, "test", "modalities", m, what)
            for m in modalities
            for what in ("decoupled", "probe")
        ]
        cells.append(figure(results, "train", "discrepancy_ratio", scale=1, digits=2))
        cells.append(figure(results, "seconds", scale=1, digits=0))
        lines.append("| " + " | ".join([*cells, str(len(results))]) + " |")
    return "\n".join(lines)


TUNING_SEED = 1000


def draws(expression: str, number: int) -> list[str]:
    """The default and number - 1 random settings of one method, log-uniform in ranges; [] if it has nothing to tune."""
    from equimodal.core import Method
    from equimodal.core.expression import build
    from equimodal.methods import BY_NAME

    method = build(expression, BY_NAME, "method", Method)
    if "+" in expression or not method.search_space:
        return []
    generator = random.Random(expression)
    name, _, options = expression.partition("(")
    kept = [option for option in options.rstrip(")").split(",") if option.strip()]
    found = [expression]
    while len(found) < number:
        drawn = {key: draw(space, generator) for key, space in method.search_space.items()}
        positional = [
            option for option in kept if "=" not in option
        ]  # torchjd("MGDA"): drawn instead
        rest = [o for o in kept if o not in positional and o.split("=")[0].strip() not in drawn]
        found.append(f"{name}({', '.join([*(f'{k}={v!r}' for k, v in drawn.items()), *rest])})")
    return found


def draw(space: tuple[Any, ...], generator: random.Random) -> Any:
    """One value of a range (low, high) of numbers, or of a list of choices."""
    if len(space) == 2 and all(isinstance(bound, int | float) for bound in space):
        low, high = space
        value = math.exp(generator.uniform(math.log(max(low, 1e-3)), math.log(high)))
        return round(value) if isinstance(low, int) else float(f"{value:.3g}")
    return generator.choice(space)


def best(folders: list[tuple[Path, dict[str, Any]]]) -> str | None:
    """The method of the trial with the best fused validation accuracy; the first on a tie."""
    scores = {}
    for folder, options in folders:
        if (folder / "results.json").exists():
            found = json.loads((folder / "results.json").read_text())
            scores[options["method"]] = found["val"]["fused"]["accuracy"]
    return max(scores, key=lambda method: scores[method]) if scores else None


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
    parser.add_argument("--tune", type=int, default=0, metavar="N", help="trials per method")
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
    alone = [{"method": "joint()", "modalities": (m,), "alone": m} for m in modalities]
    chosen = {"modalities": tuple(arguments.modalities)} if arguments.modalities else {}
    whole = [parsed(row) | chosen for row in arguments.methods]
    trials = {}
    for row in whole if arguments.tune else []:
        settings = {k: v for k, v in common.items() if k not in ("val_fraction", "select")} | row
        found = [
            settings | {"method": m, "seed": TUNING_SEED}
            for m in draws(row["method"], arguments.tune)
        ]
        trials[row["method"]] = [(cell(out / "tuning", options), options) for options in found]
    run_all([job for found in trials.values() for job in found], arguments.jobs)
    tuned = {method: best(found) for method, found in trials.items()}
    rows = [*alone, *whole]
    rows += [row | {"method": method} for row in whole if (method := tuned.get(row["method"]))]
    jobs = {}
    for seed in arguments.seeds:
        for row in rows:
            options = common | row | {"seed": seed}
            jobs[cell(out, options)] = options
    run_all(list(jobs.items()), arguments.jobs)
    text = table(list(jobs.items()), modalities)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text + "\n")
    print(text)
    for method, chosen in tuned.items():
        print(f"tuned: {method} -> {chosen}")


def run_all(jobs: list[tuple[Path, dict[str, Any]]], processes: int) -> None:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(run, jobs, chunksize=1):
            pass


if __name__ == "__main__":
    main()
