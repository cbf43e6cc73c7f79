"""The folder of a run: what is in it, and how it is written so that a kill at any moment leaves it whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, locks
from ..errors import ConfigError, TrainingError, WriteError
from .settings import HEADER

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    ``config.toml`` (resolved settings), ``split.json`` (data, its fingerprint, rows carved out as validation),
    ``metrics.jsonl`` (a line per epoch), ``checkpoint/``, ``results.json``, ``predictions.parquet``; once it is diagnosed
    ``diagnosis.json``, and in ``alone/`` the runs of its single modalities, if these were trained for it.
    """

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def split(self) -> Path:
        return self.path / "split.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def diagnosis(self) -> Path:
        return self.path / "diagnosis.json"

    @property
    def alone(self) -> Path:
        return self.path / "alone"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    def is_run(self) -> bool:
        """Whether a run was ever begun here."""
        try:
            with self.config.open(encoding="utf-8", errors="replace") as file:
                return file.readline().rstrip() == HEADER
        except OSError:
            return False

    def require_run(self) -> None:
        """Refuse a folder without a run."""
        if not self.is_run():
            raise ConfigError(
                f"{self.path} is not the folder of a run: it has no config.toml that a run has written."
            )

    @contextlib.contextmanager
    def opened(self, *, resume: bool, overwrite: bool) -> Iterator[None]:
        """Within, the folder is ready for a new run, or as it was to resume, and no other process trains in it.

        Raises:
            ConfigError: it holds something that must not be lost, there is nothing to resume, or another process trains in it.
        """
        self.check(resume=resume, overwrite=overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be made: {error.strerror}.") from None
        busy = f"Another process trains in {self.path}: wait until it has ended, or choose another folder."
        with locks.alone_in(self.path, busy):
            self.check(resume=resume, overwrite=overwrite)  # another may have begun since
            if not resume and self.is_run():
                self._clear()
            yield

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """The refusals of `opened`, without touching anything."""
        if resume and overwrite:
            raise ConfigError("A run is either resumed or overwritten: choose one.")
        if resume:
            return self.require_run()
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file: name a folder for the run.")
        if self.is_run() and not overwrite:
            raise ConfigError(
                f"{self.path} already holds a run: continue it with --resume, replace it with --overwrite "
                "(in Python: resume=True, overwrite=True), or choose another folder."
            )
        if not self.is_run() and any(self.path.iterdir()):
            raise ConfigError(
                f"{self.path} holds files that are not a run, and they are never deleted: choose another folder."
            )
        return None

    def _clear(self) -> None:
        """Delete what a run writes and nothing else; the mark of a run goes last."""
        kept = [
            self.results,
            self.diagnosis,
            self.predictions,
            self.report,
            self.metrics,
            self.split,
        ]
        inside = [
            *self.checkpoint.glob("state.json"),
            *self.checkpoint.glob("*.safetensors"),
            *self.checkpoint.glob(".*.part"),
            *self.path.glob(".*.part"),
        ]
        for file in [*inside, *kept]:
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in it, or it is not there
            self.checkpoint.rmdir()
        self.config.unlink(missing_ok=True)

    @contextlib.contextmanager
    def discarded_on_failure(self) -> Iterator[None]:
        """Within, what fails before the first checkpoint leaves no run, so that the call can be given again as it was.

        A `TrainingError` or a `WriteError` leaves what there is: it is looked at, and resumed.
        """
        try:
            yield
        except (TrainingError, WriteError):
            raise
        except Exception:
            if not (self.checkpoint / "state.json").exists():
                self._clear()
                with contextlib.suppress(OSError):  # something else is in it
                    self.path.rmdir()
            raise

    def keep_epochs(self, epochs: int) -> list[dict[str, Any]]:
        """Cut `metrics.jsonl` to the epochs that a checkpoint knows of, and return their lines."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_text(encoding="utf-8").splitlines()[:epochs]
        files.write(self.metrics, "".join(line + "\n" for line in lines))
        return [json.loads(line) for line in lines]

    def add_epoch(self, figures: Mapping[str, Any]) -> None:
        """One more line in `metrics.jsonl`; a half-written one is cut when the run is resumed."""
        files.append(self.metrics, json.dumps(figures) + "\n")

    def write_json(self, path: Path, values: Mapping[str, Any]) -> None:
        files.write(path, json.dumps(values, indent=2) + "\n")

    def read_json(self, path: Path) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}.") from None
        return values
