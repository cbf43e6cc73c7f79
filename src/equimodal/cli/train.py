"""`equimodal train` and `equimodal predict`."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import ConfigError
from ..training.folder import RunFolder
from ..training.settings import NEUTRAL, Settings, read_toml
from .options import Options
from .report import written

__all__ = ["plain", "predict", "run_name", "settings", "stored", "train"]

NOTHING_SAID = Options()
RUNS_OWN = Parameter(show_default="that of the run")


def train(
    data: str | None = None,
    /,
    *,
    config: Path | None = None,
    out: Annotated[Path | None, Parameter(show_default="runs/DATA-METHOD-SEED")] = None,
    resume: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    report: bool = True,
    options: Options = NOTHING_SAID,
) -> None:
    """Train a model, test it, and write everything to a run folder.

    Options override the experiment file, which overrides what the data set suggests (some name their own number of epochs
    or learning rate), which overrides the defaults below. The run folder holds config.toml (all settings as they came
    out), metrics.jsonl (a line per epoch), results.json, predictions.parquet, split.json (what was validation, what was left
    out), checkpoint/ and report.html. Learning rates have no unit; sizes count samples, lengths count epochs, and only --checkpoint-every knows seconds.

    Args:
        data: data set by its expression, such as "avmnist(snr=-5.0)"; `equimodal data list` lists them; or a TOML for data
            of your own; `equimodal data init` writes one
        config: experiment file (TOML) with any of these settings by the same names, with _ for -
        out: run folder
        resume: run folder to go on with from its last checkpoint, with the settings that it began with
        overwrite: replace the run folder if it exists
        report: write report.html at the end, if the extra `report` is installed
    """
    if resume is not None:
        _refuse_with_resume(data, config, out, overwrite, options)
        chosen, folder = stored(resume).changed(**options.said()), resume
    else:
        chosen = settings(data, config, options)
        folder = out or Path("runs") / run_name(chosen)
    _train(chosen, folder, resume=resume is not None, overwrite=overwrite, report=report)


def predict(
    run: Path,
    /,
    *,
    split: Annotated[
        Literal["test", "val", "train"] | None,
        Parameter(show_default="test, or all rows of a TOML that names no split column"),
    ] = None,
    data: Annotated[str | None, RUNS_OWN] = None,
    data_root: Annotated[str | None, RUNS_OWN] = None,
    out: Annotated[
        Path | None, Parameter(show_default="in RUN, named after data and split")
    ] = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write the probabilities that a trained run gives to each class, fused and per modality, as a Parquet file.

    Of new rows, in a TOML of their own with the modalities of the run's, labels may be missing: in the TOML, in the table, or
    in some rows. The accuracy is printed over the rows that have one.

    Args:
        run: folder of a finished run
        split: part of the data set
        data: data set by its expression, or a TOML, with the modalities and classes of the run's
        data_root: folder that holds the data sets
        out: file to write
        skip_unreadable: of a data TOML: try the files first, and leave out the rows of those that cannot be read
    """
    import pyarrow.parquet as pq

    from ..report.text import answered, print_text
    from ..training import predictions
    from ..training.run import predict as write

    written = write(run, split, data, data_root, out, skip_unreadable=skip_unreadable)
    for place, reason in predictions.left_out(written).items():
        print_text(f"left out: {place}: {reason}")
    answered(*predictions.answered(written), pq.read_metadata(written).num_rows)
    if data is not None and split is None and _is_of(stored(run), data, data_root):
        print_text(
            f"{data} is what the run was trained on; without --data only its test rows are predicted."
        )
    print_text(f"Wrote {written}")


def _is_of(run: Settings, data: str, data_root: str | None) -> bool:
    """Whether a data TOML is the one that a run was trained on."""
    there = Path(run.data_root or "", run.data)
    return data.endswith(".toml") and Path(data_root or "", data).resolve() == there.resolve()


def settings(data: str | None, config: Path | None, options: Options) -> Settings:
    """The settings of a run: defaults, then the experiment file, then what was said on the command line.

    Raises:
        ConfigError: there is no data set, or the file has a setting that cannot be.
    """
    given = options.said() | ({} if data is None else _named(data, options))
    if config is not None:
        values = read_toml(config)
        for table in ("encoders", "augment"):  # one option names one modality; the others stay
            if table in given:
                given[table] = {**values.get(table, {}), **given[table]}
        return Settings.of({**values, **given}, str(config))
    if data is None:
        raise ConfigError(
            "Say what to train on, as in 'equimodal train digits3d', or give an experiment file by --config."
        )
    return Settings(**given)


def _named(data: str, options: Options) -> dict[str, str]:
    """A data TOML is named apart from its folder, so that a run can be resumed where the folder has moved."""
    path = Path(data)
    if path.suffix != ".toml" or options.data_root is not None:
        return {"data": data}
    return {"data": path.name, "data_root": str(path.parent.resolve())}


def run_name(chosen: Settings) -> str:
    """DATA-METHOD-SEED, made of characters that every file system takes."""
    parts = (chosen.data.removesuffix(".toml"), chosen.method, str(chosen.seed))
    name = "-".join(plain(part) for part in parts)
    if len(name) <= 100:
        return name
    return f"{name[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def plain(text: str) -> str:
    """An expression as part of a file's name."""
    return re.sub(r"[^\w.+=-]+", "_", text.replace("()", "").replace(" ", "")).strip("_.")


def _train(chosen: Settings, folder: Path, *, resume: bool, overwrite: bool, report: bool) -> None:
    from ..report.text import Bar, print_text, results
    from ..training.run import train as run
    from ..training.runtime import speaks

    try:
        done = run(chosen, folder, resume=resume, overwrite=overwrite, progress=Bar())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(folder)) from None
    if not speaks():
        return
    results(done.results)
    print_text(f"Run folder: {folder}")
    if report:
        print_text(written([folder]))


def _how_to_go_on(folder: Path) -> str:
    if not RunFolder(folder).is_run():
        return "stopped before training began; start again with the same command."
    return f"stopped; to go on: equimodal train --resume {shlex.quote(str(folder))}"


def stored(folder: Path) -> Settings:
    """The settings of a run that has begun.

    Raises:
        ConfigError: the folder is no run.
    """
    run = RunFolder(folder)
    run.require_run()
    return Settings.from_toml(run.config)


def _refuse_with_resume(
    data: str | None, config: Path | None, out: Path | None, overwrite: bool, options: Options
) -> None:
    said = {"DATA": data, "--config": config, "--out": out, "--overwrite": overwrite or None}
    names = [name for name, value in said.items() if value is not None]
    names += [_flag(name) for name in options.said() if name not in NEUTRAL]
    if names:
        raise ConfigError(
            f"--resume goes on with the settings that the run began with, so leave out {', '.join(names)}; "
            f"only {', '.join(map(_flag, sorted(NEUTRAL)))} may change."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
