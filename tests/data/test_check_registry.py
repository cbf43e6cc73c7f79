from __future__ import annotations

from pathlib import Path

import pytest

from equimodal import data
from equimodal.data.cache import cached, folder
from equimodal.data.check import check
from equimodal.errors import ConfigError, DataError
from fixtures.published import write_mfeat, write_utd


def test_every_set_is_described_and_takes_the_common_options() -> None:
    for name in data.names():
        about = data.describe(name)
        assert about.modalities and about.task
        assert {"root", "seed", "modalities"}.isdisjoint(data.options(name))
    assert data.options("avmnist")["snr"] == -5.0


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    write_mfeat(tmp_path)
    for call, reason in (
        (lambda: data.load("avmist"), "did you mean 'avmnist'"),
        (lambda: data.load("avmnist", noize="white"), "did you mean 'noise'"),
        (lambda: data.load("mfeat", tmp_path, modalities=["fuo"]), "did you mean 'fou'"),
    ):
        with pytest.raises(ConfigError, match=reason):
            call()


def test_a_sound_set_is_counted(tmp_path: Path) -> None:
    write_mfeat(tmp_path)
    report = check("mfeat", tmp_path, validation=0.5)
    assert report.ok
    assert report.files == 1
    assert report.counts == {"train": 10, "val": 10, "test": 10}
    assert report.shapes == {"fou": (76,), "zer": (47,), "mor": (6,)}
    assert report.rows()[3] == ("3", "1", "1", "1")
    assert "split val" in report.table()


def test_every_unreadable_file_is_listed_and_missing_rates_are_told(tmp_path: Path) -> None:
    folder = write_utd(tmp_path)
    (folder / "Skeleton" / "a1_s1_t1_skeleton.mat").unlink()
    report = check("utd_mhad", tmp_path, cache="off")
    assert report.ok
    assert report.missing["train"]["skeleton"] == pytest.approx(1 / 81)
    assert "1.2% without skeleton" in report.table()
    broken = [folder / "Inertial" / f"a{a}_s2_t1_inertial.mat" for a in (3, 4)]
    for path in broken:
        path.write_bytes(b"")
    report = check("utd_mhad", tmp_path, cache="off")
    assert not report.ok
    assert set(report.unreadable) == set(broken)
    assert str(broken[0]) in report.table()


def test_depth_is_needed_by_those_who_use_it(tmp_path: Path) -> None:
    (write_utd(tmp_path) / "depth_motion_maps.npz").unlink()
    report = check("utd_mhad", tmp_path, modalities=("skeleton", "inertial"), cache="off")
    assert report.ok and set(report.shapes) == {"skeleton", "inertial"}
    assert "depth_motion_maps.npz does not exist" in check("utd_mhad", tmp_path).problem


def test_a_set_that_can_be_read_but_not_loaded_says_why(tmp_path: Path) -> None:
    import numpy as np

    write_mfeat(tmp_path, y_tr=np.zeros(20, dtype=np.int64))
    report = check("mfeat", tmp_path, validation=0)
    assert not report.ok and "no sample of class" in report.problem
    with pytest.raises(DataError, match="does not exist"):
        check("mfeat", tmp_path / "none")


def test_where_the_cache_lies(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    assert folder("off", root) is None
    assert folder("auto", root) == root / ".equimodal-cache"
    root.chmod(0o555)
    assert folder("auto", root) is None
    assert folder(str(tmp_path / "own"), root) == tmp_path / "own"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        folder(str(tmp_path / "file" / "cache"), root)


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "file").write_text("")
    made = cached(tmp_path / "file", "x", {"a": 1}, lambda: {"v": np.arange(3)})
    assert made["v"].tolist() == [0, 1, 2]
