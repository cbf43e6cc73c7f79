"""Checkpoints: everything that the rest of a run depends on, in safetensors and JSON; nothing is ever unpickled.

``checkpoint/state.json`` says where training was and names the file of tensors of each process with its SHA-256. A new
checkpoint writes new files, then replaces ``state.json`` in one step, then deletes the old files: a kill at any moment
leaves the last good one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from .. import __version__, distributed, files
from ..errors import CheckpointError, WriteError, counted

__all__ = ["FORMAT", "Position", "Snapshot", "generators", "read", "restore_generators", "write"]

FORMAT = 1
"""The version of the format; a checkpoint of another one is refused."""


@dataclass(frozen=True)
class Position:
    """Where training is: the batch that comes next.

    Attributes:
        epoch: 0-based.
        batch: number in the epoch.
        step: batches done in the whole run.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds: tensors by name, and a tree of numbers and texts."""

    position: Position
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix/``, without it."""
        start = f"{prefix}/"
        return {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}


def write(folder: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint; every process calls this with its own tensors, the first one's values count.

    Raises:
        WriteError: there is no room on the disk; the checkpoint before is still whole.
    """
    position = snapshot.position
    name = f"epoch{position.epoch}-batch{position.batch}-process{distributed.rank()}.safetensors"
    digest, failure = _write_tensors(folder / name, snapshot.tensors)
    digests = distributed.gather(torch.tensor([list(digest)], device=_device(snapshot)))
    if bool((digests.sum(1) == 0).any()):
        (folder / name).unlink(missing_ok=True)
        raise failure or WriteError("Another process could not write its part of the checkpoint.")
    if distributed.rank() > 0:
        return
    written = {
        name.replace("process0", f"process{i}"): bytes(row).hex()
        for i, row in enumerate(digests.tolist())
    }
    state = {
        "format": FORMAT,
        "equimodal": __version__,
        "torch": torch.__version__,
        "position": asdict(position),
        "files": written,
        **snapshot.values,
    }
    files.write(folder / "state.json", json.dumps(state))
    for old in [*folder.glob("*.safetensors"), *folder.glob(".*.part")]:
        if old.name not in written:
            old.unlink(missing_ok=True)


def _device(snapshot: Snapshot) -> torch.device:
    # Messages between processes must lie where their backend can read them.
    return next(iter(snapshot.part("learner").values())).device


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> tuple[bytes, WriteError | None]:
    """The file's SHA-256; 32 zero bytes and the reason where it could not be written."""
    plain = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    content = safetensors.torch.save(plain)
    try:
        files.write(path, content)
    except WriteError as error:
        return bytes(32), error
    return hashlib.sha256(content).digest(), None


def read(folder: Path, rank: int = 0, processes: int | None = None) -> Snapshot | None:
    """The checkpoint in a folder, or None where none was written yet.

    Args:
        folder: ``checkpoint/`` of a run.
        rank: whose tensors to read beside those of the first process.
        processes: how many must have written it; None accepts any number.

    Raises:
        CheckpointError: it is damaged, of another version, or of another number of processes.
    """
    path = folder / "state.json"
    if not path.exists():
        return None
    state = _state(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {state.get('format')}, written by equimodal {state.get('equimodal')}; "
            f"this is equimodal {__version__}, which reads format {FORMAT}: resume with that version."
        )
    try:
        position = Position(**state.pop("position"))
        written: dict[str, str] = dict(state.pop("files"))
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, "it does not say where training was") from None
    if processes is not None and processes != len(written):
        raise CheckpointError(
            f"{folder} was written by {counted(len(written), 'process')}, this run has {processes}: use as many."
        )
    names = list(written)
    tensors = _tensors(folder / names[0], written[names[0]])
    if rank:
        # Sums and generators are a process's own; of the learner it wrote what differs between processes.
        shared = {n: t for n, t in tensors.items() if not n.startswith(_OWN)}
        tensors = shared | _tensors(folder / names[rank], written[names[rank]])
    return Snapshot(position, tensors, state)


_OWN = ("statistics/", "generators/")


def _state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _damaged(path, "it is not valid JSON") from None
    if not isinstance(state, dict):
        raise _damaged(path, "it is not a table")
    return state


def _tensors(path: Path, digest: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise _damaged(path, "its SHA-256 is not the one that was written down")
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError):
        raise _damaged(path, "it is not a safetensors file") from None


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {path} is damaged: {why}; restore it from a copy, or start again with --overwrite."
    )


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill a module, after checking that the checkpoint is of this very model and method.

    Raises:
        CheckpointError: a tensor is missing, left over, or of another shape.
    """
    here = module.state_dict()
    for name in sorted(here.keys() | tensors.keys()):
        if name in here and name in tensors and here[name].shape == tensors[name].shape:
            continue
        mine = f"has shape {list(here[name].shape)}" if name in here else "does not exist"
        theirs = f"has shape {list(tensors[name].shape)}" if name in tensors else "does not exist"
        raise CheckpointError(
            f"The checkpoint {folder} is of another model or method: {name} {mine} here and {theirs} there."
        )
    module.load_state_dict(dict(tensors))


# Generators.


def generators(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of all global random generators of this process: tensors, and numbers and texts."""
    name, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, normal = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).copy())}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    tensors["python"] = torch.tensor(internal, dtype=torch.int64)
    values = {
        "numpy": [str(name), int(place), int(has_gauss), float(gauss)],
        "python": [version, normal],
    }
    return tensors, values


def restore_generators(
    tensors: Mapping[str, Tensor], values: Mapping[str, Any], device: torch.device
) -> None:
    """The inverse of `generators`."""
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["cuda"], device)
    name, *rest = values["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy(), *rest))
    version, normal = values["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), normal))


# Optimisers.


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by ``parameter/name``, and numbers likewise; its options come from the settings."""
    entries = {
        f"{parameter}/{name}": value
        for parameter, held in optimizer.state_dict()["state"].items()
        for name, value in held.items()
    }
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in entries.items() if name not in tensors}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **values}.items():
        parameter, _, entry = name.partition("/")
        state.setdefault(int(parameter), {})[entry] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
