"""A bench on a Ray cluster of this machine, a worker of which is killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from equimodal.benchmark.on_ray import OnRay
from equimodal.benchmark.run import bench
from equimodal.benchmark.summary import Summary
from equimodal.errors import ConfigError
from fixtures.bench import Here, grid

pytestmark = pytest.mark.processes


def test_a_cell_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    diary = tmp_path / "diary"
    settings = {"epochs": 3, "probe": False, "schedule": "none", "checkpoint_every": "1"}
    made = grid(
        methods=[{"name": "dies", "method": f"fixtures.bench:Dies(diary={str(diary)!r})"}, "joint()"],
        alone=False, seeds="0", settings=settings,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # names of sockets have little room
        store = bench(made, tmp_path / "b", executor=OnRay(options={"_temp_dir": short}))
    assert diary.read_text().split() == ["0", "1", "1", "2"]
    dies, joint = Summary.read(store).lines
    calm = grid(methods=["joint()"], alone=False, seeds="0", settings=settings)
    here = Summary.read(bench(calm, tmp_path / "c", executor=Here())).lines[0]
    assert dies.accuracy == joint.accuracy == here.accuracy
    assert (dies.right([0]) == here.right([0])).all()


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.raises(ConfigError, match="There is no Ray at 127.0.0.1:1"):
        bench(grid(seeds="0"), tmp_path / "b", executor=OnRay(address="127.0.0.1:1"))
