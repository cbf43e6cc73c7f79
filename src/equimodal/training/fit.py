"""`fit`: what can be trained is checked, then trained here or in several processes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..core import TASKS, Method, Task
from ..core.expression import build
from ..data.augmented import augmented
from ..data.splits import Splits
from ..errors import ConfigError, counted, nearest
from ..methods import BY_NAME as METHODS
from ..models import Multimodal
from .folder import RunFolder
from .fused_weights import check_fusion
from .loop import Job, Training
from .progress import Progress, Silent
from .results import Run, read_run
from .runtime import Runtime, in_processes, must_spawn
from .schedule import resolve_schedule
from .settings import Settings

__all__ = ["Run", "fit", "made_task", "resolve"]


def fit(
    model: Multimodal,
    data: Splits,
    method: Method | str = "ibml()",
    *,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    settings: Settings | None = None,
    task: Task | str | None = None,
    **options: Any,
) -> Run:
    """Train a model in place and test it once, at the end.

    Args:
        model: encoders and a head; holds the selected weights afterwards.
        data: train, validation and test.
        method: a balancing method or its expression.
        out: the run's folder; None keeps nothing.
        resume: go on from the last checkpoint in `out`; from the start where there is none yet.
        overwrite: replace the run that is in `out`.
        progress: shown while training.
        settings: of the run; `options` go over them.
        task: owns the loss, or its expression; single-label classification by default.
        options: any field of `equimodal.training.settings.Settings`, such as ``epochs=5``.

    Raises:
        ConfigError: an option, the method or the folder cannot be used; nothing was written.
        CheckpointError: the checkpoint is damaged, or of another run.
        TrainingError: the loss is not finite; the last good checkpoint is kept.
        WriteError: the disk is full; the last good checkpoint is kept.
        KeyboardInterrupt: Ctrl-C; a checkpoint was written.
    """
    made = _method(method)
    _refuse_other_model(model, data)
    if task is None and settings is not None:
        task = settings.task
    known = _fitted_task(task, data)
    resolved = _resolved(settings, options, data, made, known)
    check_fusion(resolved.fit_fusion, model, made, data)
    job = Job(
        model,
        data,
        made,
        resolved,
        None if out is None else RunFolder(Path(out)),
        resume,
        overwrite,
        known,
    )
    progress = progress or Silent()
    try:
        if must_spawn(job.settings):
            return _fit_in_processes(job, progress)
        return _fit_here(job, progress)
    finally:
        progress.close()


def resolve(model: Multimodal, data: Splits, method: Method, settings: Settings) -> Settings:
    """The settings that `fit` would train with, once the method has been prepared for the model.

    Raises:
        ConfigError: an option or the method cannot be used.
    """
    _refuse_other_model(model, data)
    task = _fitted_task(settings.task, data)
    resolved = _resolved(settings, {}, data, method, task)
    check_fusion(resolved.fit_fusion, model, method, data)
    Job(model, data, method, resolved, None, resume=False, overwrite=False, task=task).learner()
    return resolved


def made_task(text: str | None) -> Task | None:
    """The task that an expression names; None where there is none."""
    if text is None:
        return None
    made: Task = build(text, TASKS, "task", Task)
    return made


def _fitted_task(task: Task | str | None, data: Splits) -> Task | None:
    made = task if isinstance(task, Task) else made_task(task)
    return None if made is None else made.fitted(list(data.train.class_counts.values()))


def _method(method: Method | str) -> Method:
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise ConfigError(
            f"The method is {method!r}; give an object, as methods.IBML(), or its expression, as 'ibml()'."
        )
    made: Method = build(method, METHODS, "method", Method)
    return made


def _refuse_other_model(model: Multimodal, data: Splits) -> None:
    if not isinstance(model, Multimodal):
        raise ConfigError(
            f"The model is a {type(model).__name__}; give equimodal.Multimodal(encoders, head)."
        )
    if not isinstance(data, Splits):
        raise ConfigError(
            f"The data are a {type(data).__name__}; give equimodal.data.Splits(name, train, val, test)."
        )
    for modality in model.modalities:
        if modality not in data.modalities:
            raise ConfigError(
                f"The model has the modality {modality!r}, which {data.name} lacks; {nearest(modality, data.modalities)}"
            )
    if model.classes != len(data.classes):
        raise ConfigError(
            f"The model's head has {model.classes} classes; {data.name} has {len(data.classes)}."
        )


def _resolved(
    settings: Settings | None,
    options: Mapping[str, Any],
    data: Splits,
    method: Method,
    task: Task | None,
) -> Settings:
    """What the user said, over what suits the data set, over the defaults."""
    said = {**({} if settings is None else settings.said()), **options}
    augment = {**data.augment, **said.get("augment", {})}
    own = {
        "augment": augment,
        "method": method.expression(),
        "task": None if task is None else task.expression(),
    }
    made = Settings(**{"data": data.name, **data.training, **said, **own})
    _check(made, data, method)
    return made.resolved(schedule=resolve_schedule(made.schedule, method))


def _check(settings: Settings, data: Splits, method: Method) -> None:
    reading = [leaf.expression() for leaf in method.leaves() if leaf.reads_validation]
    if reading and not len(data.val):
        raise ConfigError(
            f"{reading[0]} reads validation samples, of which {data.name} has none: give it some, as by --val-fraction 0.2."
        )
    needs = settings.select == "best" or settings.patience is not None
    if needs and settings.protocol == "honest" and not len(data.val):
        raise ConfigError(
            f"{data.name} has no validation samples to select by: give it some, as by --val-fraction 0.2, or say select='last' "
            "without patience."
        )
    if settings.accumulate > settings.batch_size:
        raise ConfigError(
            f"A batch of {counted(settings.batch_size, 'sample')} cannot be split into {settings.accumulate} micro-batches: "
            "say accumulate of at most the batch size."
        )
    if not len(data.test):
        raise ConfigError(f"{data.name} has no test samples.")
    augmented(data.train, settings.augment)  # a refusal comes before anything is written


def _fit_here(job: Job, progress: Progress) -> Run:
    with Runtime(job.settings) as runtime:
        return Training(job, runtime, progress if runtime.first else Silent()).run()


def _work(job: Job, progress: Progress) -> None:
    _fit_here(job, progress)


def _fit_in_processes(job: Job, progress: Progress) -> Run:
    """The processes leave the run in its folder, or in one that is deleted afterwards."""
    if job.folder is not None:
        return _fit_in_folder(job, job.folder, progress)
    with tempfile.TemporaryDirectory(prefix="equimodal-") as place:
        folder = RunFolder(Path(place) / "run")
        run = _fit_in_folder(replace(job, folder=folder), folder, progress)
    return replace(run, folder=None)


def _fit_in_folder(job: Job, folder: RunFolder, progress: Progress) -> Run:
    folder.check(resume=job.resume, overwrite=job.overwrite)
    # What fails in one of them the first may not hear of.
    with nullcontext() if job.resume else folder.discarded_on_failure():
        in_processes(_work, job, job.settings.processes, progress)
    dtype = torch.float64 if job.settings.precision == "64" else torch.float32
    job.model.to(dtype)
    return read_run(job.learner().to(dtype), job.settings, folder)
