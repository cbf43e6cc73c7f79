"""`equimodal report`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import ConfigError, EquimodalError

__all__ = ["report", "written"]


def report(
    runs: list[Path],
    /,
    *,
    out: Annotated[
        Path | None, Parameter(show_default="RUN/report.html; of several runs report-A+B.html")
    ] = None,
    form: Annotated[
        Literal["html", "markdown", "json", "latex", "csv"] | None,
        Parameter(
            name="--format",
            show_default="by the ending of --out: .md, .json, .tex, .csv; else html",
        ),
    ] = None,
    samples: Annotated[int, Parameter(validator=Number(gte=0, lte=60))] = 8,
) -> None:
    """Write a report on one run, on several side by side, or on a bench, as one file that opens offline.

    Runs of a single modality are taken as what that modality can reach alone. Of several runs the report is
    named after them and lies in the folder that holds the first. A report on the same runs is replaced.

    Args:
        runs: folders of finished runs, or one folder of a bench, which may be running
        out: file to write
        form: html needs the extra `report`; markdown and latex hold the tables, json every value unrounded; csv is for a
            bench, a line per run
        samples: how many of the test samples that the modalities disagree on most are shown; 0 leaves the data unread
    """
    from ..benchmark.store import Store
    from ..report.text import print_text
    from ..report.write import write

    stores = [run for run in runs if Store(run).is_store()]
    if stores and len(runs) > 1:
        raise ConfigError(f"{stores[0]} is a bench: report on it alone.")
    if stores:
        from ..benchmark.write import write as write_bench

        print_text(f"Wrote {write_bench(Store.at(stores[0]), out, form=form)}")
        return
    if form == "csv" or (form is None and out is not None and out.suffix.lower() == ".csv"):
        raise ConfigError("--format csv is for a bench; of runs take json.")
    print_text(f"Wrote {write(runs, out, form=form, samples=samples)}")


def written(runs: Sequence[Path], out: Path | None = None) -> str:
    """Write the report after training, and say in a line where it is or what it needs: training has succeeded anyway.

    Args:
        runs: their folders.
        out: the file; by default that of `equimodal report`.
    """
    from ..report.html import available
    from ..report.write import write

    if not available():
        command = shlex.join(["equimodal", "report", *map(str, runs)])
        return f'Report: pip install "equimodal[report]", then {command}'
    try:
        return f"Report: {write(runs, out)}"
    except EquimodalError as error:
        return f"Report: none. {error}"
