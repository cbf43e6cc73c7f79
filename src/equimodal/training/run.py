"""Runs from settings alone: train, load again, predict."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core import Balanced, Method
from ..core.expression import build
from ..data import registry
from ..data.dataset import Dataset
from ..data.splits import Splits
from ..errors import ConfigError, DataError, EquimodalError
from ..methods import BY_NAME as METHODS
from ..models import Multimodal, encoders, heads
from .evaluate import ask, batches
from .fit import fit, made_task, resolve
from .folder import RunFolder
from .predictions import write_predictions
from .progress import Progress
from .results import Run, fusion_weights, read_run
from .settings import Settings

__all__ = ["data_of", "load", "load_data", "make_model", "predict", "ready", "train"]


def train(
    settings: Settings,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    data: Splits | None = None,
) -> Run:
    """Read the data, build model and method, train, test.

    Args:
        settings: of the run.
        out: its folder.
        resume: go on from the last checkpoint there; see `fit`.
        overwrite: replace the run there.
        progress: shown while training.
        data: what the settings name, where it has been read already.

    Raises:
        EquimodalError: as `fit`, and whatever is wrong with data or expressions, before anything is written.
    """
    # What fails fast comes first: reading the data can take minutes.
    folder = RunFolder(Path(out))
    folder.check(resume=resume, overwrite=overwrite)
    if resume and not Settings.from_toml(folder.config).encoders:
        raise ConfigError(
            f"{out} was begun in Python, which has its data and model: go on there, by the same fit(...) with resume=True."
        )
    method = _method(settings)
    made_task(settings.task)
    data = load_data(settings) if data is None else data
    settings = _with_model(settings, method, data)
    model = make_model(settings, data)
    return fit(
        model,
        data,
        method,
        out=out,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        settings=settings,
    )


def ready(settings: Settings, data: Splits) -> Settings:
    """The settings of a run as its `config.toml` will hold them, after building all that it needs; nothing is written.

    Raises:
        EquimodalError: `train` would refuse these settings.
    """
    method = _method(settings)
    settings = _with_model(settings, method, data)
    return resolve(make_model(settings, data), data, method, settings)


def _with_model(settings: Settings, method: Method, data: Splits) -> Settings:
    return settings.changed(
        encoders=_encoder_expressions(settings, data), head=_head_expression(settings, method)
    )


def _method(settings: Settings) -> Method:
    made: Method = build(settings.method, METHODS, "method", Method)
    return made


# Data.


def load_data(settings: Settings) -> Splits:
    """The data set that the settings name.

    Raises:
        EquimodalError: it cannot be read, or has no such option or modality.
    """
    if settings.data.endswith(".toml"):
        data = _own(settings)
    elif settings.data not in registry.names() and Path(settings.data).exists():
        raise ConfigError(
            f"{settings.data} is a {'folder' if Path(settings.data).is_dir() else 'table'}: "
            f"'equimodal data init {settings.data}' writes a TOML that says what is in it; then train on that."
        )
    else:
        known = {name: functools.partial(_load, settings, name) for name in registry.names()}
        data = build(settings.data, known, "data set", Splits)
    return data if settings.modalities is None else data.only(settings.modalities)


def data_of(folder: Path | str, settings: Settings) -> Splits:
    """The data of a run that is done, from which nothing was taken away and to which nothing was added since.

    Raises:
        ConfigError: they are not those that the run was trained on.
        EquimodalError: they cannot be read.
    """
    from ..data.manifest.load import AbsentError

    place = RunFolder(Path(folder))
    try:
        data, made_for = load_data(settings), place.read_json(place.split)
    except AbsentError as error:
        raise _changed(folder, settings, f" ({error.what})") from None
    if list(data.classes) != made_for["classes"] or data.fingerprint != made_for["fingerprint"]:
        raise _changed(folder, settings)
    return data


def _changed(folder: Path | str, settings: Settings, how: str = "") -> ConfigError:
    return ConfigError(
        f"The data {settings.data} are not what they were when {folder} was trained on them{how}: put them back, or train "
        "again. (Other data of the same modalities: equimodal predict RUN --data.)"
    )


def _own(settings: Settings) -> Splits:
    from ..data.manifest import load as load_manifest

    return load_manifest(
        Path(settings.data_root or "", settings.data),
        validation=settings.val_fraction,
        split_seed=settings.split_seed,
        skip_unreadable=settings.skip_unreadable,
        workers=settings.workers,
    )


def _load(settings: Settings, name: str, /, **options: Any) -> Splits:
    if settings.val_fraction is not None:
        if "validation" not in registry.options(name):
            raise ConfigError(
                f"{name} has a validation part of its own: leave out val_fraction={settings.val_fraction}."
            )
        options = {"validation": settings.val_fraction, **options}
    if settings.split_seed is not None:
        if "split_seed" not in registry.options(name):
            raise ConfigError(
                f"{name} has a split of its own: leave out split_seed, or 'resplits' in a bench."
            )
        options = {"split_seed": settings.split_seed, **options}
    if settings.skip_unreadable:
        if "unreadable" not in registry.options(name):
            raise ConfigError(f"{name} has no files to be skipped: leave out skip_unreadable.")
        options = {"unreadable": "drop", **options}
    if settings.modalities is not None:
        options = {**options, "modalities": settings.modalities}
    return registry.load(name, settings.data_root, **options)


# Model.


def _encoder_expressions(settings: Settings, data: Splits) -> dict[str, str]:
    """For each modality the encoder that the user named, else the data set's own."""
    for name in settings.encoders:
        if name not in data.modalities:
            raise ConfigError(
                f"The option 'encoders' names the modality {name!r}; {data.name} has {', '.join(data.modalities)}."
            )
    known = {**data.encoders, **settings.encoders}
    for name in data.modalities:
        if name not in known:
            raise ConfigError(
                f"{data.name} has no encoder of its own for {name!r}: name one in the option 'encoders'."
            )
    return {name: known[name] for name in data.modalities}


def _head_expression(settings: Settings, method: Method) -> str:
    if settings.head is not None:
        return settings.head
    wanted = {leaf.head for leaf in method.leaves() if leaf.head is not None}
    if len(wanted) > 1:
        raise ConfigError(
            f"The parts of {settings.method!r} are made for different heads, {' and '.join(sorted(wanted))}: "
            "name one in the option 'head'."
        )
    return wanted.pop() if wanted else "linear()"


def make_model(settings: Settings, data: Splits) -> Multimodal:
    """Encoders and head by their expressions; the weights are a function of the seed alone.

    Raises:
        ConfigError: an expression cannot be read, or an encoder cannot read its modality.
    """
    expressions = _encoder_expressions(settings, data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        made = _encoders(expressions)
        widths = {name: _width(name, encoder, data.train) for name, encoder in made.items()}
        return Multimodal(made, _head(settings, widths, len(data.classes)))


def _encoders(expressions: Mapping[str, str]) -> dict[str, nn.Module]:
    return {
        name: build(text, encoders.BY_NAME, "encoder", nn.Module)
        for name, text in expressions.items()
    }


def _head(settings: Settings, widths: Mapping[str, int], classes: int) -> heads.Head:
    text = settings.head or "linear()"
    made: heads.Head = build(text, heads.BY_NAME, "head", heads.Head, given=(widths, classes))
    return made


@torch.no_grad()
def _width(modality: str, encoder: nn.Module, data: Dataset) -> int:
    """The width of an encoder's features, found by passing two samples that have the modality."""
    rows = torch.arange(len(data))
    if modality in data.present:
        rows = data.present[modality].nonzero().squeeze(1)
    if not len(rows):
        raise ConfigError(f"No training sample has the modality {modality!r}: leave it out.")
    batch = data.fetch(rows[:2])
    try:
        features = encoder.eval()(batch.inputs[modality])
    except EquimodalError as error:
        raise ConfigError(f"The encoder of {modality!r}: {error}") from None
    except (RuntimeError, ValueError, TypeError) as error:
        shape = list(data.shapes[modality])
        raise ConfigError(
            f"The encoder of {modality!r} cannot read samples of shape {shape}: {str(error).splitlines()[0]}"
        ) from error
    encoder.train()
    if features.ndim != 2:
        raise ConfigError(
            f"The encoder of {modality!r} must return [samples, width]; it returns {list(features.shape)}."
        )
    return int(features.shape[1])


# Runs that are done.


def load(folder: Path | str, model: Multimodal | None = None) -> Run:
    """The trained model of a run, with the selected weights, on the CPU; its data are not needed.

    Args:
        folder: of the run.
        model: of a run that `fit` made, built as it was then: it receives the weights. A run that `train` made builds its own.

    Raises:
        ConfigError: the folder is not a run's, or the model has to be given.
        CheckpointError: there is no checkpoint, or it is damaged or of another model.
    """
    place = RunFolder(Path(folder))
    place.require_run()
    settings = Settings.from_toml(place.config)
    made_for = place.read_json(place.split)
    if model is None and not settings.encoders:
        raise ConfigError(
            f"{folder} was trained in Python with a model of its own: build that model, and say equimodal.load({str(folder)!r}, "
            "model) there."
        )
    if model is None:
        head = _head(settings, made_for["widths"], len(made_for["classes"]))
        model = Multimodal(_encoders(settings.encoders), head)
    model.cpu().to(torch.float64 if settings.precision == "64" else torch.float32)
    learner = Balanced(
        model,
        _method(settings),
        samples=made_for["samples"]["train"],
        epochs=settings.epochs,
        seed=settings.seed,
        task=made_task(settings.task),
    )
    return read_run(learner.to(next(model.parameters()).dtype), settings, place)


def predict(
    folder: Path | str,
    split: str | None = None,
    data: str | None = None,
    data_root: str | None = None,
    out: Path | str | None = None,
    *,
    skip_unreadable: bool = False,
) -> Path:
    """Write the probabilities of every sample of a split, or of a whole new table, to a Parquet file.

    Args:
        folder: of a run.
        split: train, val or test; by default test. A data TOML without a split column has none: all rows are predicted.
        data: another data set of the same modalities, by its expression or its TOML. The rows of a TOML may lack labels.
        data_root: where it is, if not where the run's data were.
        out: the file; by default in the run's folder, named after data and split.
        skip_unreadable: try the files of a manifest first, and leave out the rows of those that cannot be read; the file
            has their reasons, which `equimodal.training.predictions.left_out` reads.

    Returns:
        The file.

    Raises:
        ConfigError: the folder is not a run's, or the data do not fit its model.
        DataError: a file cannot be read, or none can.
    """
    run = load(folder)
    name, part, split = _asked(folder, run, split, data, data_root, skip_unreadable)
    if not len(part):
        raise ConfigError(f"{name} has no samples in {split}.")
    part, left_out = _readable(name, part) if skip_unreadable else (part, {})
    said = ask(run.learner, batches(part, run.settings.batch_size))
    path = Path(out) if out else _default_file(Path(folder), split, name if data else None)
    write_predictions(path, said, part, split, fusion_weights(run.results), left_out)
    return path


def _readable(name: str, part: Dataset) -> tuple[Dataset, dict[str, str]]:
    """The samples whose files can be read, and the rows of the others with the reasons."""
    from ..data.manifest import Samples
    from ..data.manifest.attempt import readable

    if not isinstance(part, Samples):
        raise ConfigError(
            f"{name} is not described by a data TOML: leave out skip_unreadable; a published set of files has the option "
            "unreadable='drop'."
        )
    kept, left_out = readable(part)
    if not len(kept):
        place, reason = next(iter(left_out.items()))
        raise DataError(
            f"{name}: no row has files that can all be read, such as {place}: {reason}."
        )
    return kept, left_out


def _asked(
    folder: Path | str,
    run: Run,
    split: str | None,
    data: str | None,
    data_root: str | None,
    skip_unreadable: bool,
) -> tuple[str, Dataset, str | None]:
    """The name of the data that a run is asked about, the samples, and the split that they are; None: a whole table."""
    place = RunFolder(Path(folder))
    if data is not None and data.endswith(".toml"):
        made_for = place.read_json(place.split)
        path = Path(data_root or "", data)
        return Path(data).stem, *_new_rows(run, made_for, path, split, skip_unreadable)
    settings = run.settings.changed(data_root=data_root or run.settings.data_root)
    splits = (
        data_of(folder, settings) if data is None else _other_data(folder, run, data, data_root)
    )
    split = split or "test"
    return splits.name, splits.part(split), split


def _new_rows(
    run: Run, made_for: Mapping[str, Any], path: Path, split: str | None, skip_unreadable: bool
) -> tuple[Dataset, str | None]:
    """Rows of another table, read by what the run's readers have learned."""
    from ..data.manifest import load_unseen

    return load_unseen(
        path,
        classes=made_for["classes"],
        modalities=run.model.modalities,
        learned=made_for.get("learned", {}),
        split=split,
        skip_unreadable=skip_unreadable,
    )


def _other_data(folder: Path | str, run: Run, data: str, data_root: str | None) -> Splits:
    """Another data set for a run's model."""
    place = RunFolder(Path(folder))
    made_for = place.read_json(place.split)
    settings = run.settings.changed(
        data=data,
        data_root=data_root or run.settings.data_root,
        modalities=run.model.modalities,
        val_fraction=None,
        split_seed=None,
        skip_unreadable=False,
    )
    splits = load_data(settings)
    if list(splits.classes) != made_for["classes"]:
        raise ConfigError(
            f"The model of {folder} tells {len(made_for['classes'])} classes {made_for['classes'][:3]}... apart; "
            f"{splits.name} has {len(splits.classes)} others."
        )
    return splits


def _default_file(folder: Path, split: str | None, data: str | None) -> Path:
    parts = [part for part in (data, None if split == "test" and not data else split) if part]
    return folder / ("-".join(["predictions", *parts]) + ".parquet")
