"""The folder of a run: nothing is lost that is not a run's, nothing is left half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from equimodal.errors import ConfigError
from equimodal.files import write
from equimodal.training.folder import RunFolder
from equimodal.training.settings import HEADER


def opened(folder: RunFolder, *, resume: bool, overwrite: bool) -> None:
    with folder.opened(resume=resume, overwrite=overwrite):
        pass


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    opened(folder, resume=False, overwrite=False)
    write(folder.config, HEADER + '\ndata = "x"\n')
    return folder


def test_a_run_offers_both_ways_out(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"already holds a run.*--resume.*--overwrite"):
        opened(run, resume=False, overwrite=False)
    opened(run, resume=True, overwrite=False)
    assert run.config.exists()
    with pytest.raises(ConfigError, match="either resumed or overwritten"):
        opened(run, resume=True, overwrite=True)


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, True)])
def test_one_process_trains_in_a_folder(run: RunFolder, resume: bool, overwrite: bool) -> None:
    with run.opened(resume=True, overwrite=False):
        run.results.write_text("x")
        with pytest.raises(ConfigError, match=r"^Another process trains in \S*/run: wait until"):
            opened(run, resume=resume, overwrite=overwrite)
        assert run.results.exists()
    opened(run, resume=resume, overwrite=overwrite)
    assert run.results.exists() is resume


def test_overwriting_deletes_what_a_run_writes_and_nothing_else(run: RunFolder) -> None:
    run.checkpoint.mkdir()
    ours = [run.results, run.metrics, run.predictions, run.report, run.split]
    ours += [run.checkpoint / "state.json", run.checkpoint / "epoch0-batch3-process0.safetensors"]
    theirs = [run.path / "notes.txt", run.checkpoint / "mine.bin"]
    for file in [*ours, *theirs]:
        file.write_text("x")
    opened(run, resume=False, overwrite=True)
    assert {p for p in run.path.rglob("*") if p.is_file()} == set(theirs)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "config.toml").write_text("# something else\n")
    with pytest.raises(ConfigError, match="not a run, and they are never deleted"):
        opened(RunFolder(tmp_path), resume=False, overwrite=overwrite)
    assert (tmp_path / "config.toml").exists()


def test_an_empty_folder_will_do_and_a_file_will_not(tmp_path: Path) -> None:
    opened(RunFolder(tmp_path), resume=False, overwrite=False)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        opened(RunFolder(file), resume=False, overwrite=True)
    with pytest.raises(ConfigError, match="cannot be made"):
        opened(RunFolder(file / "run"), resume=False, overwrite=False)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the folder of a run"):
        opened(RunFolder(tmp_path / "none"), resume=True, overwrite=False)
    assert not (tmp_path / "none").exists()


def test_metrics_are_cut_to_what_is_known(run: RunFolder) -> None:
    assert run.keep_epochs(3) == []
    for epoch in range(3):
        run.add_epoch({"epoch": epoch})
    with run.metrics.open("a") as file:
        file.write('{"epoch": 3, "lo')  # a kill in the middle of a line
    assert run.keep_epochs(2) == [{"epoch": 0}, {"epoch": 1}]
    run.add_epoch({"epoch": 2})
    assert run.metrics.read_text() == '{"epoch": 0}\n{"epoch": 1}\n{"epoch": 2}\n'
