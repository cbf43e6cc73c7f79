"""A run as its folder tells of it: figures, epochs, predictions, settings. Nothing is trained and no model is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...training.folder import RunFolder
from ...training.settings import NEUTRAL, Settings

__all__ = ["Record", "Said", "named", "read", "read_all"]

FUSED = "fused"
DIAGNOSIS = 1
"""The version of the form of `diagnosis.json` that is known here."""


_RECORDER = re.compile(r"(^| \+ )recorder(\([^()]*\))?(?= \+ |$)")


@dataclass(frozen=True)
class Said:
    """What a run says of N test samples, as in its `predictions.parquet`.

    Attributes:
        index: [N] positions in the test split.
        target: [N] class ids.
        fused: [N, C] probabilities, without fitted fusion weights, as methods are compared.
        modalities: for each [N, C] probabilities, NaN where the sample lacks the modality.
        names: [N] what the data call the samples; empty where these have no names.
        groups: [N] what the samples are of, such as the patient; None where each stands by itself.
    """

    index: NDArray[np.int64]
    target: NDArray[np.int64]
    fused: NDArray[np.float64]
    modalities: Mapping[str, NDArray[np.float64]]
    names: Sequence[str] = ()
    groups: NDArray[np.int64] | None = None

    def right(self, name: str = FUSED) -> NDArray[np.bool_]:
        """[N]: whether the fused prediction, or that of a modality, is right; a missing modality is not."""
        values = self.fused if name == FUSED else self.modalities[name]
        said = np.nan_to_num(values, nan=-1.0).argmax(1)
        right: NDArray[np.bool_] = _whole(values) & np.equal(said, self.target)
        return right

    def present(self, name: str) -> NDArray[np.bool_]:
        """[N]: whether the sample has the modality."""
        return _whole(self.modalities[name])


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        folder: where it is kept.
        name: what the report calls it.
        results: as in `results.json`.
        history: the lines of `metrics.jsonl`.
        settings: resolved.
        config: the text of `config.toml`.
        data: what `split.json` says of the data.
        said: its predictions on test, or None where the file is gone.
        diagnosis: as in `diagnosis.json`, or None where the run was not diagnosed.
        alone: the runs of its single modalities that `diagnose --train-alone` has left in its folder.
    """

    folder: Path
    name: str
    results: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    settings: Settings
    config: str
    data: Mapping[str, Any]
    said: Said | None
    diagnosis: Mapping[str, Any] | None = None
    alone: tuple[Record, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.results["test"]["modalities"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.results["classes"])

    @property
    def method(self) -> str:
        """As it was written, but for a recorder beside it, which changes nothing."""
        return _RECORDER.sub("", str(self.results["method"])).removeprefix(" + ") or "joint()"

    @property
    def samples(self) -> int:
        return int(self.results["test"]["samples"])

    @property
    def groups(self) -> int | None:
        """How many groups the test samples are of, if several may be of one."""
        found: int | None = self.results["test"].get("groups")
        return found

    def of(self, modality: str) -> Mapping[str, Any]:
        """The test figures of a modality."""
        found: Mapping[str, Any] = self.results["test"]["modalities"][modality]
        return found


def _whole(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = np.logical_not(np.isnan(probabilities).any(axis=1))
    return whole


def read_all(folders: Sequence[Path]) -> list[Record]:
    """Runs by their folders; each gets a name of its own.

    Raises:
        ConfigError: a folder is named twice, or is not that of a finished run.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [
        str(f) for f, place in zip(folders, places, strict=True) if places.count(place) > 1
    ]:
        raise ConfigError(f"The run {twice[0]} is named twice: name each run once.")
    return [read(f, name) for f, name in zip(folders, _names(places), strict=True)]


def _names(places: Sequence[Path]) -> list[str]:
    """The folder's name, with as many of the folders above as tell the runs apart."""
    deepest = max(len(place.parts) for place in places)
    for depth in range(1, deepest):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def named(text: str, run: Record, runs: Sequence[Record], between: str = ", ") -> str:
    """A title or label that also says of which run it is, where there are several."""
    return f"{text}{between}{run.name}" if len(runs) > 1 else text


def read(folder: Path, name: str) -> Record:
    """A run by its folder.

    Raises:
        ConfigError: it is not the folder of a finished run, or one of its files is damaged.
    """
    place = RunFolder(folder)
    place.require_run()
    if not place.results.exists():
        raise ConfigError(
            f"{folder} has no results.json: the run is not finished; go on with equimodal train --resume {folder}"
        )
    results = place.read_json(place.results)
    for part in ("test", "train", "classes", "method"):
        if part not in results:
            raise ConfigError(f"{place.results} is not that of a finished run: it has no {part!r}.")
    settings = Settings.from_toml(place.config)
    return Record(
        folder,
        name,
        results,
        _history(place.metrics),
        settings,
        place.config.read_text(encoding="utf-8"),
        place.read_json(place.split) if place.split.exists() else {},
        _said(place.predictions, results) if place.predictions.exists() else None,
        _diagnosis(place),
        tuple(_alone(place, name, results["test"]["modalities"], settings)),
    )


def _alone(
    place: RunFolder, name: str, modalities: Iterable[str], settings: Settings
) -> Iterator[Record]:
    """The finished runs of single modalities that belong to a run as it is now: it may have been trained again since."""
    for modality in modalities:
        own = RunFolder(place.alone / modality)
        if own.is_run() and own.results.exists():
            found = read(own.path, f"{name}/alone/{modality}")
            if _figures(found.settings) == _figures(settings.alone(modality)):
                yield found


def _figures(settings: Settings) -> dict[str, Any]:
    """The settings that a run of a single modality has in common with the run that it is trained for."""
    return settings.model_dump(exclude={"method", "head", "schedule", *NEUTRAL})


def _diagnosis(place: RunFolder) -> Mapping[str, Any] | None:
    path = place.diagnosis
    if not path.exists():
        return None
    found = place.read_json(path)
    if found.get("version") != DIAGNOSIS or not {"use", "potential", "verdict"} <= found.keys():
        raise ConfigError(f"{path} is not a diagnosis of this version: diagnose the run again.")
    return found


def _history(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return tuple(json.loads(line) for line in lines)
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None


def _said(path: Path, results: Mapping[str, Any]) -> Said:
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes = list(results["classes"])
    number = {label: i for i, label in enumerate(classes)}
    try:
        table = pq.read_table(path)

        def probabilities(of: str) -> NDArray[np.float64]:
            columns = [table[f"p_{of}_{label}"].to_numpy() for label in classes]
            return np.stack(columns, axis=1).astype(np.float64)

        return Said(
            table["index"].to_numpy(),
            np.array([number[label] for label in table["target"].to_pylist()], dtype=np.int64),
            probabilities(FUSED),
            {name: probabilities(name) for name in results["test"]["modalities"]},
            table["name"].to_pylist() if "name" in table.column_names else (),
            table["group"].to_numpy() if "group" in table.column_names else None,
        )
    except (KeyError, OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} is not the predictions of this run: {error}.") from None
