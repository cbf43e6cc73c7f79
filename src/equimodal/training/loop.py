"""The training loop, and what makes a run of it: selection, stopping, checkpoints, results.

The loop itself is `Training.epoch`; it is the loop of a user's own, see `equimodal.core.Balanced`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import distributed, files
from ..core import Balanced, Method, Task
from ..data.augmented import augmented
from ..data.dropout import ModalityDropout
from ..data.loader import Loader
from ..data.splits import Splits
from ..errors import CheckpointError, ConfigError, TrainingError, counted
from ..models import Multimodal
from . import checkpoint
from .checkpoint import Position, Snapshot
from .evaluate import Evaluation, batches, collect, evaluate
from .folder import RunFolder
from .place import Feed
from .predictions import write_predictions
from .progress import Progress
from .results import Best, Run, brief, figures, fusion_weights, provenance, train_figures
from .runtime import Interrupt, Runtime
from .schedule import FACTORS, make_optimizer, set_rate
from .settings import NEUTRAL, Settings
from .statistics import Figures, Statistics

__all__ = ["LOG_EVERY", "Job", "Training"]

LOG_EVERY = 50
"""Batches between two readings of the device: the progress bar's figures, and whether the loss is finite."""

FEW = 50
"""With fewer samples to choose the epoch by, the user is told how much each of them weighs."""


@dataclass(frozen=True)
class Job:
    """What is to be done; processes receive it."""

    model: Multimodal
    data: Splits
    method: Method
    settings: Settings
    folder: RunFolder | None
    resume: bool
    overwrite: bool
    task: Task | None = None

    def learner(self) -> Balanced:
        return Balanced(
            self.model,
            self.method,
            samples=len(self.data.train),
            epochs=self.settings.epochs,
            seed=self.settings.seed,
            task=self.task,
        )


class Training:
    """One process's training."""

    def __init__(self, job: Job, runtime: Runtime, progress: Progress) -> None:
        self.job, self.settings, self.runtime = job, job.settings, runtime
        self.data, self.folder, self.progress = job.data, job.folder, progress
        job.model.to(device=runtime.device, dtype=runtime.dtype)
        self.learner = job.learner().to(device=runtime.device, dtype=runtime.dtype)
        self.learner.train()
        self.optimizer = make_optimizer(self.learner, self.settings)
        self.train = self._train_feed()
        selecting = self.data.parts[self.settings.selected_on]
        self.selecting = selecting if len(selecting) else None
        # What methods may read, whatever the run is selected on: nothing learns from the test split.
        self.val = self._feed(
            Loader(
                self.data.val,
                self.settings.batch_size,
                shuffle=False,
                rank=runtime.rank,
                world=runtime.world,
            )
        )
        self.statistics = Statistics(self.learner.model.modalities, runtime.device)
        self.position, self.saved = Position(), Position()
        self.best: Best | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.interrupt = Interrupt()
        self.began, self.before = time.monotonic(), 0.0
        self.saved_at = self.began
        self.accuracy = math.nan  # of the newest evaluation
        self.shown = 0  # steps that the progress bar knows of

    def _train_feed(self) -> Feed:
        dropout = self.settings.modality_dropout
        seed = self.settings.seed
        seen = augmented(self.data.train, self.settings.augment, seed)
        loader = Loader(
            ModalityDropout(seen, dropout, seed) if dropout else seen,
            self.settings.batch_size,
            seed=self.settings.seed,
            workers=self.settings.workers,
            rank=self.runtime.rank,
            world=self.runtime.world,
            pin_memory=self.runtime.device.type == "cuda",
        )
        return self._feed(loader, self.settings.accumulate)

    def _feed(self, loader: Loader, micro_batches: int = 1) -> Feed:
        return Feed(loader, self.runtime.device, self.runtime.dtype, micro_batches)

    def run(self) -> Run:
        """Everything, from the folder to the results."""
        begun = self.folder if self.runtime.first and not self.job.resume else None
        with self._opened(), begun.discarded_on_failure() if begun else nullcontext():
            return self._run()

    def _run(self) -> Run:
        self.runtime.seed(self.settings.seed)
        self._restore()
        total = len(self.train) * self.settings.epochs
        self.progress.start(total, self._description())
        self.progress.advance(self.position.step, {"epoch": self.position.epoch + 1})
        self.shown = self.position.step
        if self.data.advice and self.settings.epochs > 1:
            self.progress.message(self.data.advice)
        if self.settings.select == "best" and self.selecting and len(self.selecting) < FEW:
            self.progress.message(
                f"the epoch is chosen by only {counted(len(self.selecting), 'sample')}, {100 / len(self.selecting):.1f} points each: "
                "mostly chance"
            )
        with self.interrupt.caught():
            while not self.finished:
                self.epoch(self.position.epoch)
                self._end_epoch(self.position.epoch)
                self._save_if_due()
            self._save()
        return self._conclude()

    def _description(self) -> str:
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in self.data.parts.items())
        what = f"{self.settings.method} on {self.settings.data}"
        return f"{what} · samples: {sizes} · batches of {self.settings.batch_size}"

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience is at its end."""
        if self.position.epoch >= self.settings.epochs:
            return True
        if self.settings.patience is None or self.best is None:
            return False
        return self.position.epoch - 1 - self.best.epoch >= self.settings.patience

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by: the schedule's factor times the method's."""
        schedule = FACTORS[self.settings.schedule](epoch, self.settings.epochs)
        return schedule * self.learner.rate(epoch)

    def epoch(self, epoch: int) -> None:
        """Train for one epoch, or what is left of it."""
        learner, optimizer = self.learner, self.optimizer
        set_rate(optimizer, self.settings.lr * self.factor(epoch))
        self.train.loader.set_epoch(epoch)
        learner.begin_epoch(epoch, self.train, self.val, optimizer)
        for number, micro_batches in self.train.updates(epoch, self.position.batch):
            for step in learner.steps(micro_batches, epoch, number, len(self.train)):
                with self.runtime.autocast():
                    output = learner(step)
                    losses = learner.losses(output, step)
                learner.backward(losses, output, step)
                self.statistics.add(output, losses, step)
                if step.last:
                    self._update()
            self._end_batch(epoch, number)

    def _update(self) -> None:
        if self.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _end_batch(self, epoch: int, number: int) -> None:
        self.statistics.close(self.position.step)
        self.position = Position(epoch, number + 1, self.position.step + 1)
        if self.position.batch % LOG_EVERY == 0:
            self._log()
        if number + 1 < len(self.train):  # at an epoch's end the evaluation comes first
            self._save_if_due()

    def _log(self) -> Figures:
        figures = self.statistics.read()
        self._refuse_bad(figures)
        self._show(figures)
        return figures

    def _show(self, figures: Figures) -> None:
        shown = {
            "epoch": self.position.epoch + 1,
            "loss": sum(figures.loss.values()),
            "accuracy": figures.accuracy,
            f"{self.settings.selected_on}_accuracy": self.accuracy,
            "ratio": figures.discrepancy_ratio,
        }
        self.progress.advance(self.position.step - self.shown, shown)
        self.shown = self.position.step

    def _end_epoch(self, epoch: int) -> None:
        figures = self._log()
        self._refuse_bad_weights()
        found = self._evaluate()
        self._select(epoch, *self.runtime.share(self._judged(found)))
        self._show(figures)  # now with this epoch's validation accuracy
        self._record(epoch, figures, found)
        self.statistics.clear()
        self.position = Position(epoch + 1, 0, self.position.step)

    def _evaluate(self) -> Evaluation | None:
        """On the first process alone, since batch norm differs between them; the others wait for its figures."""
        if self.selecting is None or not self.runtime.first:
            return None
        return evaluate(self.learner, self.selecting, self.settings.batch_size)

    def _judged(self, found: Evaluation | None) -> tuple[float, float]:
        """The accuracy, and what the epoch is worth."""
        if found is None:
            return math.nan, math.nan
        return found.fused.accuracy, self.settings.worth(found.fused.figures())

    def _select(self, epoch: int, accuracy: float, worth: float) -> None:
        self.accuracy = accuracy
        if math.isnan(worth) or (self.best is not None and worth <= self.best.worth):
            return
        self.best = Best(epoch, worth)
        if self.settings.select == "best":
            self.best_weights = {
                n: t.detach().clone() for n, t in self.learner.state_dict().items()
            }

    def _record(self, epoch: int, seen: Figures, found: Evaluation | None) -> None:
        line = {
            "epoch": epoch,
            "lr": self.settings.lr * self.factor(epoch),
            "loss": dict(seen.loss),
            "train": train_figures(seen),
            "val": None if found is None else brief(found),
            "selected_on": self.settings.selected_on,  # under `paper` these are samples of test
            "seconds": self._seconds(),
        }
        for leaf in self.learner.method.leaves():
            if leaf.observes:
                line["recorded"] = dict(leaf.recorded())
        self.history.append(line)
        if self.folder and self.runtime.first:
            self.folder.add_epoch(line)

    def _seconds(self) -> float:
        """Of training so far, over all resumptions."""
        return self.before + time.monotonic() - self.began

    # What cannot go on.

    def _refuse_bad(self, figures: Figures) -> None:
        if figures.bad_step is not None:
            self._refuse(figures.bad_step, ", ".join(figures.suspects) or "the sum of the losses")

    def _refuse_bad_weights(self) -> None:
        """A loss may still be finite when its gradient is not; such weights must not be kept."""
        state = {n: t for n, t in self.learner.named_parameters() if t.requires_grad}
        finite = torch.stack([t.detach().isfinite().all() for t in state.values()]).tolist()
        bad = [name for name, good in zip(state, finite, strict=True) if not good]
        if bad:
            self._refuse(self.position.step - 1, f"weight {bad[0]!r}")

    def _refuse(self, step: int, what: str) -> None:
        epoch, batch = divmod(step, len(self.train))
        factor = self.factor(epoch)
        kept = ""
        if self.folder and self.saved.step:
            kept = f"; the last good checkpoint is in {self.folder.checkpoint}"
        raise TrainingError(
            f"Training stopped at step {step} (epoch {epoch}, batch {batch}), where {what} is not finite{kept}; the "
            f"learning rate was {self.settings.lr * factor:g} ({self.settings.lr:g} times {factor:g} by schedule and "
            "method): try a lower one."
        )

    # Folder and checkpoints.

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Within, the run's folder is this process's, if it is the one that writes."""
        if self.folder is None and self.job.resume:
            raise ConfigError("There is nothing to resume: name the run's folder.")
        if self.folder is None or not self.runtime.first:
            yield
            return
        with self.folder.opened(resume=self.job.resume, overwrite=self.job.overwrite):
            if not self.job.resume:
                self.folder.write_json(self.folder.split, self._split())
                files.write(self.folder.config, self.settings.to_toml())
            yield

    def _split(self) -> dict[str, Any]:
        return {
            "data": self.data.name,
            "fingerprint": self.data.fingerprint,
            "recipe": {name: str(value) for name, value in self.data.recipe.items()},
            "classes": list(self.data.classes),
            "samples": {name: len(part) for name, part in self.data.parts.items()},
            "widths": dict(self.job.model.head.widths),
            "val_indices": list(self.data.val_indices),
            "left_out": dict(self.data.left_out),
            "learned": dict(self.data.learned),
        }

    def _save_if_due(self) -> None:
        asked, due = self.runtime.agree(bool(self.interrupt), self._due())
        if asked or due:
            self._save()
        if asked:
            where = f"; go on with --resume {self.folder.path}" if self.folder else ""
            raise KeyboardInterrupt(f"Stopped after step {self.position.step}{where}.")

    def _due(self) -> bool:
        if self.settings.checkpoint_steps is not None:
            return self.position.step - self.saved.step >= self.settings.checkpoint_steps
        assert self.settings.checkpoint_seconds is not None
        return time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds

    def _save(self) -> None:
        if self.folder is None or self.position == self.saved:
            return
        self._refuse_bad(self.statistics.read())
        self._refuse_bad_weights()
        checkpoint.write(self.folder.checkpoint, self._snapshot())
        self.saved, self.saved_at = self.position, time.monotonic()

    def _snapshot(self) -> Snapshot:
        state = self.learner.state_dict()
        if (
            not self.runtime.first
        ):  # parameters are the same everywhere, buffers such as batch norm's are not
            shared = dict(self.learner.named_parameters())
            state = {name: tensor for name, tensor in state.items() if name not in shared}
        drawn, drawn_values = checkpoint.generators(self.runtime.device)
        momenta, counts = checkpoint.optimizer_state(self.optimizer)
        parts = {"learner": state, "statistics": self.statistics.state(), "generators": drawn}
        if self.runtime.first:
            parts |= {"best": self.best_weights, "optimizer": momenta}
        tensors = {f"{part}/{n}": t for part, held in parts.items() for n, t in held.items()}
        values = {
            "settings": self._identity(),
            "fingerprint": self.data.fingerprint,
            "best": None if self.best is None else [self.best.epoch, self.best.worth],
            "accuracy": None if math.isnan(self.accuracy) else self.accuracy,
            "optimizer": counts,
            "generators": drawn_values,
            "seconds": self._seconds(),
        }
        return Snapshot(self.position, tensors, values)

    def _identity(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.settings.model_dump_json())
        return {name: v for name, v in values.items() if name not in NEUTRAL}

    def _restore(self) -> None:
        if self.folder is None or not self.job.resume:
            return
        runtime, folder = self.runtime, self.folder.checkpoint
        snapshot = checkpoint.read(folder, runtime.rank, runtime.world)
        position = Position() if snapshot is None else snapshot.position
        if snapshot is not None:
            self._refuse_other_run(snapshot.values)
            self._load(snapshot)
        if runtime.first:
            self.history = self.folder.keep_epochs(position.epoch)
            if len(self.history) < position.epoch:
                raise CheckpointError(
                    f"{self.folder.metrics} has {len(self.history)} of the {position.epoch} epochs that were trained: "
                    "restore it, or start again with --overwrite."
                )

    def _refuse_other_run(self, values: Mapping[str, Any]) -> None:
        assert self.folder is not None
        for name, here in self._identity().items():
            there = values["settings"].get(name)
            if here != there:
                raise CheckpointError(
                    f"The checkpoint {self.folder.checkpoint} is of a run with {name}={there!r}, this one has {here!r}: "
                    "resume with the settings that it was begun with."
                )
        if values["fingerprint"] != self.data.fingerprint:
            raise CheckpointError(
                f"The checkpoint {self.folder.checkpoint} is of other data: resume with the data that it was begun with."
            )

    def _load(self, snapshot: Snapshot) -> None:
        assert self.folder is not None
        values, device = snapshot.values, self.runtime.device
        checkpoint.load_module(self.learner, snapshot.part("learner"), self.folder.checkpoint)
        self.best_weights = {n: t.to(device) for n, t in snapshot.part("best").items()}
        checkpoint.load_optimizer_state(
            self.optimizer, snapshot.part("optimizer"), values["optimizer"]
        )
        self.statistics.load(snapshot.part("statistics"))
        checkpoint.restore_generators(snapshot.part("generators"), values["generators"], device)
        self.best = None if values["best"] is None else Best(*values["best"])
        self.accuracy = math.nan if values["accuracy"] is None else values["accuracy"]
        self.before = values["seconds"]
        self.position = self.saved = snapshot.position

    # The end.

    def _advise_other_selection(self) -> None:
        if not self.best or not self.selecting or self.settings.select_by is not None:
            return
        most = max(self.selecting.class_counts.values()) / len(self.selecting)
        if self.settings.select == "best" and self.best.worth <= most:
            self.progress.message(
                f"no epoch was better on {self.settings.selected_on} than always naming its most frequent class "
                f"({100 * most:.1f}%): --select-by cross_entropy or balanced_accuracy may tell them apart"
            )

    def _conclude(self) -> Run:
        self._advise_other_selection()
        if self.best_weights:
            self.learner.load_state_dict(self.best_weights)
        self.learner.eval()
        distributed.start_alike(self.learner.state_dict().values())  # batch norm differed
        results = self._results() if self.runtime.first else {}
        results, history = self.runtime.share((results, tuple(self.history)))
        path = None if self.folder is None else self.folder.path
        return Run(self.learner, self.settings, results, history, path)

    def _results(self) -> dict[str, Any]:
        """Test once, and write down what came out."""
        seconds = self._seconds()
        said = collect(self.learner, batches(self.data.test, self.settings.batch_size))
        found = figures(self.learner, self.data, said, self.settings)
        results = found | {
            **provenance(self.learner, self.settings, self.history, self.best),
            "classes": list(self.data.classes),
            "seconds": seconds,
            "processes": self.runtime.world,
            "device": self.runtime.device.type,
        }
        if self.folder:
            weights = fusion_weights(results)
            write_predictions(self.folder.predictions, said, self.data.test, "test", weights)
            self.folder.write_json(self.folder.results, results)
        return results
