"""Checkpoints: what is written is what is read, and everything else is refused in one sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal import distributed
from equimodal.errors import CheckpointError
from equimodal.testing import Workers
from equimodal.training import checkpoint
from equimodal.training.checkpoint import Position, Snapshot
from equimodal.training.fit import fit
from fixtures import small


def snapshot(step: int = 3) -> Snapshot:
    tensors = {
        "learner/weight": torch.arange(6.0).reshape(2, 3).t(),  # not contiguous
        "learner/alias": torch.ones(4).expand(2, 4),
        "statistics/loss/task": torch.tensor(0.5, dtype=torch.float64),
        "best/weight": torch.zeros(0),
    }
    return Snapshot(Position(1, step, 5 + step), tensors, {"best": [0, 0.25], "seconds": 1.5})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = snapshot()
    checkpoint.write(tmp_path, written)
    found = checkpoint.read(tmp_path)
    assert found is not None and found.position == written.position
    assert found.tensors.keys() == written.tensors.keys()
    assert all(torch.equal(found.tensors[n], t) for n, t in written.tensors.items())
    assert found.values["best"] == [0, 0.25]
    assert found.part("statistics").keys() == {"loss/task"}


def test_a_new_one_replaces_the_old(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, snapshot(3))
    checkpoint.write(tmp_path, snapshot(4))
    found = checkpoint.read(tmp_path)
    assert found is not None and found.position.batch == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "epoch1-batch4-process0.safetensors",
        "state.json",
    ]


def test_none_yet(tmp_path: Path) -> None:
    assert checkpoint.read(tmp_path / "nothing") is None


def damage_tensors(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_tensors(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-8])


def lose_tensors(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


def cut_state(folder: Path) -> None:
    state = folder / "state.json"
    state.write_text(state.read_text()[:-20])


def change_format(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "format": 99, "equimodal": "9.1"}))


def lose_position(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    del state["position"]
    (folder / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (damage_tensors, r"process0\.safetensors is damaged: its SHA-256"),
        (cut_tensors, r"process0\.safetensors is damaged: its SHA-256"),
        (lose_tensors, r"process0\.safetensors is damaged: it cannot be read \(No such file"),
        (cut_state, r"state\.json is damaged: it is not valid JSON"),
        (lose_position, r"state\.json is damaged: it does not say where training was"),
        (change_format, r"has format 99, written by equimodal 9\.1; this is .* reads format 1"),
    ],
)
def test_a_spoiled_one_is_refused(tmp_path: Path, spoil: object, expected: str) -> None:
    checkpoint.write(tmp_path, snapshot())
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.read(tmp_path)


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, snapshot())
    with pytest.raises(CheckpointError, match="written by 1 process, this run has 2"):
        checkpoint.read(tmp_path, processes=2)


def write_own_part(folder: Path) -> None:
    """Both processes have the weight; each has buffers, sums and generators of its own."""
    rank = distributed.rank()
    tensors = {
        "learner/mean": torch.tensor(float(rank)),
        f"statistics/seen by {rank}": torch.tensor(rank),
        f"generators/{rank}": torch.tensor(rank),
    }
    if rank == 0:
        tensors["learner/weight"] = torch.ones(2)
    checkpoint.write(folder, Snapshot(Position(1, 2, 3), tensors, {}))


@pytest.mark.processes
def test_a_process_reads_its_own_sums_and_the_weights_of_the_first(
    tmp_path: Path, workers: Workers
) -> None:
    workers.run(write_own_part, tmp_path)
    first, second = (checkpoint.read(tmp_path, rank, 2) for rank in (0, 1))
    assert first is not None and second is not None
    assert first.part("statistics").keys() == {"seen by 0"}
    assert second.part("statistics").keys() == {"seen by 1"}
    assert second.part("generators").keys() == {"1"}
    assert second.part("learner").keys() == {"weight", "mean"}
    assert second.part("learner")["mean"] == 1


def draws() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        *np.random.normal(size=3),
        *torch.randn(3).tolist(),
    ]


def test_generators() -> None:
    draws()  # so that the second Gaussian of a pair is waiting
    tensors, values = checkpoint.generators(torch.device("cpu"))
    values = json.loads(json.dumps(values))
    expected = draws()
    draws()
    checkpoint.restore_generators(tensors, values, torch.device("cpu"))
    assert draws() == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fit(small.model(), small.splits(), "uniform()", epochs=2, batch_size=8, out=tmp_path / "run")
    return tmp_path / "run"


def resume(folder: Path, **changed: object) -> None:
    options = {"epochs": 2, "batch_size": 8, "method": "uniform()", "data": small.splits()}
    options |= {"model": small.model()} | changed
    fit(out=folder, resume=True, **options)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"model": small.model(3), "data": small.splits(3)}, "another model|other data"),
        (
            {"model": small.model(norm=True)},
            r"another model or method: model\.encoders\.a\.1\.bias has shape \[6\] here and does not",
        ),
        ({"method": "joint()"}, r"method='uniform\(\)', this one has 'joint\(\)'"),
        ({"epochs": 3}, "epochs=2, this one has 3"),
        ({"lr": 0.5}, "lr=0.01, this one has 0.5"),
        ({"data": small.splits(train=41)}, "is of other data"),
    ],
)
def test_another_run_is_refused(folder: Path, changed: dict, expected: str) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=expected):
        resume(folder, **changed)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_settings_that_change_nothing_may_change(folder: Path) -> None:
    resume(folder, checkpoint_every="7", threads=1, probe=False)
