"""The store: whole lines, one writer, one version."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from equimodal.benchmark.store import Record, Store
from equimodal.errors import ConfigError


def test_the_newest_line_counts_and_half_a_line_does_not(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "bench")
    store.add(Record("a", "failed", "It broke."))
    store.add(Record("a", "done", results={"x": 1}))
    whole = store.results_file.read_bytes()
    with store.results_file.open("ab") as file:
        file.write(b'{"key": "b", "stat')
    assert {key: r.status for key, r in store.records().items()} == {"a": "done"}
    with store.writing():
        assert store.results_file.read_bytes() == whole
        store.add(Record("b", "done"))
    assert list(store.records()) == ["a", "b"]
    assert list(store.records({"b"})) == ["b"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "bench")
    store.results_file.write_text('{"key": "a", "status": "done"}\n{"no": 1}\n')
    with pytest.raises(ConfigError, match=r"Line 2 of .*results.jsonl is damaged"):
        store.records()


def test_two_benches_in_one_store_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "bench")
    code = (
        "import sys; from equimodal.benchmark.store import Store; s = Store.at(sys.argv[1])\n"
        "with s.writing(): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ConfigError, match=f"Another bench \\(process {other.pid}\\)"):
            store.writing().__enter__()
        other.kill()
    with store.writing():  # the lock went with the process
        pass


def test_other_versions_and_other_folders_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "bench")
    (store.path / "store.json").write_text(json.dumps({"format": 99, "equimodal": "9.0"}))
    with pytest.raises(ConfigError, match="format 99, written by equimodal 9.0"):
        Store.create(store.path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not a bench: choose another folder"):
        Store.create(tmp_path / "other")
    with pytest.raises(ConfigError, match="has no store.json"):
        Store.at(tmp_path / "other")
