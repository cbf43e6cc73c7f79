"""The diagnosis of a run that `equimodal train` made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..core import Balanced
from ..errors import ConfigError
from ..training.folder import RunFolder
from ..training.progress import Progress
from ..training.run import data_of, load, load_data, ready, train
from ..training.settings import Settings
from .answers import Absence
from .diagnosis import diagnose
from .findings import Diagnosis

__all__ = ["diagnose_run", "read_diagnosis", "train_alone"]


def diagnose_run(
    folder: Path | str,
    *,
    data_root: str | None = None,
    alone: Sequence[Path | str] = (),
    absence: Absence | None = None,
    conditional: bool = False,
) -> Diagnosis:
    """Diagnose a run on its test data, probe it on its training data, and write `diagnosis.json` into its folder.

    Args:
        folder: of the run.
        data_root: where its data are, if not where they were.
        alone: runs on the same data, each of a single modality.
        absence: how a modality is taken away; by default the model is told that it is missing.
        conditional: also estimate what the modalities' features share beyond the label.

    Raises:
        EquimodalError: a folder is not a run's, or the runs do not belong together.
    """
    run = load(folder)
    settings = run.settings.changed(data_root=data_root or run.settings.data_root)
    data = data_of(folder, settings)
    found = diagnose(
        run.learner,
        data.test,
        train=data.train,
        alone=dict(_alone(one, folder) for one in alone),
        absence=absence,
        conditional=conditional,
        maps=True,
    )
    files.write(
        RunFolder(Path(folder)).diagnosis, json.dumps(found.to_dict(), allow_nan=False) + "\n"
    )
    return found


def train_alone(
    folder: Path | str,
    *,
    data_root: str | None = None,
    given: Sequence[Path | str] = (),
    progress: Callable[[str], Progress | None] = lambda modality: None,
) -> list[Path]:
    """Train each modality of a run by itself, with the settings of the run, and say where.

    The runs lie in the folder ``alone`` of the run. One that is there is not trained again, one that was stopped goes on.

    Args:
        folder: of the run.
        data_root: where its data are, if not where they were.
        given: runs of a single modality that are there already; theirs are not trained.
        progress: of the training of a modality.

    Raises:
        EquimodalError: a folder is not a run's, or the data cannot be read.
    """
    run = load(folder)
    settings = run.settings.changed(data_root=data_root or run.settings.data_root)
    if any(leaf.own_schedule for leaf in run.learner.method.leaves()):
        settings = settings.changed(schedule="auto")  # it was the method's that decayed
    known = {_alone(one, folder)[0] for one in given}
    found = []
    for modality in run.model.modalities:
        if modality not in known:
            found.append(RunFolder(Path(folder)).alone / modality)
            _train_unless_done(settings.alone(modality), found[-1], progress(modality))
    return found


def _train_unless_done(settings: Settings, folder: Path, progress: Progress | None) -> None:
    place, data = RunFolder(folder), load_data(settings)
    same = place.is_run() and Settings.from_toml(place.config) == ready(settings, data)
    if not (same and place.results.exists()):
        begun = same and place.checkpoint.exists()
        overwrite = place.is_run() and not begun
        train(settings, folder, resume=begun, overwrite=overwrite, progress=progress, data=data)


def read_diagnosis(folder: Path | str) -> Diagnosis | None:
    """The diagnosis in the folder of a run; None where there is none.

    Raises:
        EquimodalError: the file is damaged.
    """
    path = RunFolder(Path(folder)).diagnosis
    if not path.exists():
        return None
    return Diagnosis.from_dict(RunFolder(Path(folder)).read_json(path))


def _alone(folder: Path | str, beside: Path | str) -> tuple[str, Balanced]:
    run = load(folder)
    if len(run.model.modalities) != 1:
        raise ConfigError(
            f"{folder} was trained on {', '.join(run.model.modalities)}: a run of one modality alone is made by "
            "'equimodal train ... --modalities NAME'."
        )
    if _classes(folder) != _classes(beside):
        raise ConfigError(f"{folder} and {beside} were trained on different classes.")
    if _samples(folder) != _samples(beside):
        raise ConfigError(
            f"{folder} and {beside} were trained on other samples: one has seen in training what the other is tested on."
        )
    return run.model.modalities[0], run.learner


def _samples(folder: Path | str) -> tuple[Any, ...]:
    """What tells which samples were trained on, whatever their modalities."""
    place = RunFolder(Path(folder))
    known = place.read_json(place.split)
    settings = Settings.from_toml(place.config)
    split = (settings.split_seed, settings.val_fraction)
    recipe = {name: value for name, value in known["recipe"].items() if name != "modalities"}
    return (known["data"], recipe, known["samples"], known["val_indices"], split)


def _classes(folder: Path | str) -> list[str]:
    place = RunFolder(Path(folder))
    found: list[str] = place.read_json(place.split)["classes"]
    return found
