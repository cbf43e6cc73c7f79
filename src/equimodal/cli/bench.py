"""`equimodal bench`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import ConfigError
from .options import Options

if TYPE_CHECKING:
    from ..benchmark.executor import Executor
    from ..benchmark.grid import Grid
    from ..benchmark.store import Store
    from ..report.page import Table

__all__ = ["bench"]

INTERVALS = 500
"""With more rows than these the terminal's table does without bootstrap intervals; the report has them."""


@Parameter(name="*")
class OfEveryRun(Options):
    """The options of `equimodal train`; methods and seeds are those of the grid, which says so to who gives one here."""

    method: Annotated[str, Parameter(show=False)] = ""
    seed: Annotated[int, Parameter(show=False)] = 0


NOTHING_SAID = OfEveryRun()
Flag = Parameter(negative="")
Many = Parameter(negative="", consume_multiple=True)
FROM_FILE = "that of the file"


def bench(
    file: Path | None = None,
    /,
    *,
    methods: Annotated[
        list[str] | None, Parameter(negative="", consume_multiple=True, show_default="all")
    ] = None,
    data: Annotated[list[str] | None, Many] = None,
    seeds: Annotated[str | None, Parameter(show_default="0-4")] = None,
    resplits: Annotated[int | None, Parameter(validator=Number(gte=1), show_default="none")] = None,
    reference: Annotated[str | None, Parameter(show_default="the first method")] = None,
    tune: Annotated[int | None, Parameter(validator=Number(gte=0), show_default="0")] = None,
    fixed: Annotated[bool | None, Parameter(negative="--no-fixed", show_default="yes")] = None,
    alone: Annotated[bool | None, Parameter(negative="--no-alone", show_default="yes")] = None,
    recipe: str | None = None,
    out: Annotated[Path | None, Parameter(show_default="runs/bench-NAME")] = None,
    jobs: Annotated[int, Parameter(name="--jobs", validator=Number(gte=1))] = 1,
    on: Literal["local", "slurm", "ray"] = "local",
    address: Annotated[str | None, Parameter(show_default="starts Ray here")] = None,
    gpus: Annotated[float, Parameter(validator=Number(gte=0))] = 0,
    only: Annotated[list[str] | None, Many] = None,
    retry_failed: Annotated[bool, Flag] = False,
    status: Annotated[bool, Flag] = False,
    published: str | None = None,
    options: OfEveryRun = NOTHING_SAID,
) -> None:
    """Compare methods on data sets over seeds, and say which differences are real.

    Every run lies in the folder of the bench under the hash of its settings and data: what is finished is never run
    again, what was stopped goes on from its checkpoint, and what failed is recorded and stops nothing else. The same
    command again goes on. All options of `equimodal train` but --method and --seed are taken too and hold for every run.

    Args:
        file: bench file (TOML) with methods, data, models, seeds, settings, ...
        methods: by their expressions, "mla() @ shared()" with a head, or "all"
        data: data sets by their expressions
        seeds: such as 0-4 or 0,1,7
        resplits: instead of seeds: so many, each with a train-test split of its own; for sets that have no official one
        reference: method that the others are compared with
        tune: trials for every method over its own space, chosen by --select-by on validation; adds a tuned row for each
        fixed: rows with the methods' own options
        alone: each modality alone as well
        recipe: a table or figure of a paper, such as ibml-table2 or infobridge-figure1
        out: folder of the bench
        jobs: runs at a time, each with one thread
        on: where runs are trained
        address: of a Ray cluster, such as auto or HOST:6379
        gpus: of each run on Ray; 0.25 lets four share one
        only: run only those whose name has one of these texts
        retry_failed: try again what failed
        status: say how far the bench is, and run nothing
        published: print a table of a paper, such as ibml-table2, and run nothing
    """
    from ..report.text import print_text

    if published is not None:
        _published(published)
        return
    if status:
        _status(out or _default(file, recipe, data))
        return
    said: dict[str, Any] = {
        "methods": "all" if methods in (["all"], None) else methods,
        "data": data, "seeds": seeds, "reference": reference, "tune": tune, "fixed": fixed, "alone": alone,
        "resplits": resplits,
    }  # fmt: skip
    if methods is None and (file is not None or recipe is not None):
        del said["methods"]
    grid = _grid(file, recipe, {k: v for k, v in said.items() if v is not None}, options)
    folder = out or _default(file, recipe, data)
    store = _run(grid, folder, _executor(on, jobs, address, gpus), only or [], retry_failed)
    _tables(store)
    print_text(f"Bench: {folder}")


def _grid(file: Path | None, recipe: str | None, said: dict[str, Any], options: Options) -> Grid:
    from ..benchmark.grid import Grid
    from ..training.settings import read_toml

    if file is not None and recipe is not None:
        raise ConfigError("Give a bench file or --recipe, not both.")
    values, source = {}, "bench"
    if file is not None:
        values, source = read_toml(file), str(file)
    if recipe is not None:
        from ..benchmark.recipes import recipe as read

        values, source = read(recipe), f"recipe {recipe}"
    if "resplits" in said:
        values = {name: value for name, value in values.items() if name != "seeds"}
    values = {**values, **said}
    values["settings"] = {**values.get("settings", {}), **options.said()}
    return Grid.of(values, source)


def _default(file: Path | None, recipe: str | None, data: Sequence[str] | None) -> Path:
    from .train import plain

    name = file.stem if file else "-".join([*([recipe] if recipe else []), *(data or [])])
    if not name:
        raise ConfigError(
            "Say what to compare: a bench file, or --data (and --methods), as in "
            '\'equimodal bench --data digits3d --methods "joint()" "ibml()"\'.'
        )
    return Path("runs") / f"bench-{plain(name.removeprefix('bench-'))[:80]}"


def _executor(on: str, jobs: int, address: str | None, gpus: float) -> Executor:
    if on != "ray" and (address is not None or gpus):
        raise ConfigError("--address and --gpus are for --on ray.")
    if on == "ray":
        from ..benchmark.on_ray import OnRay

        return OnRay(address, jobs, {"num_cpus": 1, "num_gpus": gpus})
    if on == "slurm":
        from ..benchmark.on_slurm import OnSlurm

        return OnSlurm(jobs)
    from ..benchmark.local import Local

    return Local(jobs)


def _run(grid: Grid, folder: Path, executor: Executor, only: list[str], retry: bool) -> Store:
    from ..benchmark.run import bench
    from ..benchmark.watch import Terminal
    from ..benchmark.work import Choice

    choice = Choice(tuple(only), retry)
    try:
        return bench(grid, folder, executor=executor, choice=choice, watcher=Terminal())
    except KeyboardInterrupt:
        place = shlex.quote(str(folder))
        raise KeyboardInterrupt(
            f"stopped; the same command goes on, and equimodal bench --status --out {place} says how far it is."
        ) from None


def _status(folder: Path) -> None:
    from ..benchmark import tables
    from ..benchmark.store import Store
    from ..benchmark.summary import Summary
    from ..report.text import print_text

    summary = Summary.read(Store.at(folder))
    _print(tables.progress(summary))
    print_text(f"{summary.finished} of {summary.total} runs are finished")
    _say_failures(summary)


def _published(name: str) -> None:
    from ..benchmark.published import published
    from ..report.text import print_text

    found = published(name)
    print_text(found.title)
    _print(found.table())
    for text in (found.protocol, *found.doubts):
        print_text(text)


def _tables(store: Store) -> None:
    from ..benchmark import tables
    from ..benchmark.summary import Summary
    from ..report.text import print_text

    summary = Summary.read(store)
    for place in summary.places:
        found = tables.comparison(summary, place, bounded=len(summary.lines) <= INTERVALS)
        print_text(found.caption)
        _print(found)
    for text in tables.remarks(summary):
        print_text(text)
    print_text(tables.notes(summary))
    _say_failures(summary)


def _say_failures(summary: Any) -> None:
    from ..benchmark import tables

    failed = tables.failures(summary)
    if failed.rows:
        _print(failed)


def _print(table: Table) -> None:
    from ..report.text import print_table

    words = {c.name for c, n in zip(table.columns, table.numeric(), strict=True) if not n}
    words -= {"95% interval", "p", "d"}
    rows = [[f"{c.text}" + (" ←" if c.strong else "") for c in row] for row in table.cells()]
    print_table([c.name for c in table.columns], rows, words=words)
