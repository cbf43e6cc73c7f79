"""A small grid killed at random moments ends in the same table as one that nobody disturbed.

    python benchmarks/kill_bench.py --kills 20

Every kill is a SIGKILL of the bench alone or of the bench with all its workers, by turns. What is compared is the CSV
of all runs but for their seconds, and the predictions of every run bit by bit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = ["joint()", "bio() + tcm()", "infobridge()", "mla()"]


def command(out: Path) -> list[str]:
    main = "import sys; from equimodal.cli import main; sys.exit(main())"
    options = [
        "--data",
        "digits3d",
        "--seeds",
        "0-1",
        "--epochs",
        "4",
        "--checkpoint-every",
        "10",
        "--jobs",
        "2",
    ]
    return [sys.executable, "-c", main, "bench", *options, "--methods", *METHODS, "--out", str(out)]


def start(out: Path) -> subprocess.Popen[bytes]:
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(command(out), stdout=log, stderr=log)


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def kill(process: subprocess.Popen[bytes], *, all_of_it: bool) -> None:
    workers = children(process.pid) if all_of_it else []
    for one in [process.pid, *workers]:
        os.kill(one, signal.SIGKILL)
    process.wait()


def outcome(out: Path) -> dict[str, str]:
    from equimodal.benchmark.store import Store
    from equimodal.benchmark.summary import Summary
    from equimodal.benchmark.tables import csv_text

    summary = Summary.read(Store.at(out))
    lines = csv_text(summary).splitlines()
    at = lines[0].split(",").index("seconds")
    table = [",".join(c for i, c in enumerate(line.split(",")) if i != at) for line in lines]
    found = {"table": "\n".join(table)}
    for path in sorted((out / "cells").glob("*/predictions.parquet")):
        found[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--longest", type=float, default=20.0, help="seconds before a kill, at most"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, torn = Path(folder) / "whole", Path(folder) / "torn"
        done, kills = 0, 0
        while kills < arguments.kills:
            process = start(torn)
            try:
                process.wait(draw.uniform(0.5, arguments.longest))
            except subprocess.TimeoutExpired:
                kill(process, all_of_it=kills % 2 == 0)
                kills += 1
            else:
                done += 1
                if done > 1:
                    break
        print(f"killed {kills} times", flush=True)
        began = time.monotonic()
        if start(torn).wait() or start(whole).wait():
            print((Path(folder) / "torn.log").read_text()[-2000:])
            sys.exit("a bench did not end")
        a, b = outcome(torn), outcome(whole)
        differ = [name for name in a | b if a.get(name) != b.get(name)]
        print(
            f"{len(a) - 1} runs compared after {time.monotonic() - began:.0f} s; differ: {differ or 'none'}"
        )
        log = (Path(folder) / "torn.log").read_text()
        print(
            f"cells trained in all sittings: {sum('%' in x and '/' in x for x in log.splitlines())}"
        )
        sys.exit(bool(differ))


if __name__ == "__main__":
    main()
