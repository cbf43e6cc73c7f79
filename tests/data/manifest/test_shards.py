"""Shards: the same tensors as from files, made by several processes, again after a kill, and damage is seen."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.cli import main
from equimodal.data import Loader
from equimodal.data.manifest import load
from equimodal.data.manifest.prepare import prepare, verify
from equimodal.errors import ConfigError, DataError, WriteError
from fixtures import own
from fixtures.disk import file_limit
from fixtures.media import write_wav

pytest.importorskip("PIL", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

MORE = """
[modalities.call]
kind = "audio"
column = "call"
start = "from"
rate = 8000
seconds = 0.1
crop = "random"

[modalities.walk]
kind = "sequence"
column = "walk"

[modalities.clip]
kind = "vector"
column = "clip"

[modalities.story]
kind = "text"
column = "story"
files = true

[training]
"""


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with pictures, sounds that are read from a second on, sequences, texts in files, and a table."""
    folder = tmp_path_factory.mktemp("pets")
    path = own.write_pets(folder, 24, own.TOML.replace("[training]", MORE))
    rng = np.random.default_rng(1)
    table = []
    for i, row in enumerate(own.rows(24)):
        write_wav(folder / f"calls/{i}.wav", 0.4, 8000, 300 + 20 * i)
        np.save(folder / f"{i}.npy", rng.normal(size=(3 + i % 4, 2)))
        np.save(folder / f"clip{i}.npy", rng.normal(i, size=7))
        (folder / f"{i}.txt").write_text(f"a {own.KINDS[i % 3]} of {i} years")
        made = {"call": f"calls/{i}.wav", "from": "0.1" if i % 2 else "", "walk": f"{i}.npy"}
        made["clip"] = f"clip{i}.npy" if i % 3 else ""
        table.append(row | made | {"story": f"{i}.txt" if i % 5 else ""})
    own.write_table(folder / "pets.csv", table)
    return path


@pytest.fixture(scope="module")
def shards(pets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    done = prepare(pets, out, samples=10)
    assert done.shards == (3, 0) and done.samples == 24
    return done.toml


def test_training_sees_the_same_tensors_as_from_files(pets: Path, shards: Path) -> None:
    files, packed = load(pets), load(shards)
    for part, here in files.parts.items():
        there = packed.part(part)
        assert torch.equal(here.targets, there.targets)
        assert len(here)
        for a, b in zip(
            Loader(here, 3).iterate(1), Loader(there, 3, workers=1).iterate(1), strict=True
        ):
            for name in here.modalities:
                assert torch.equal(a.mask(name), b.mask(name))
                x, y = a.inputs[name], b.inputs[name]
                if isinstance(x, torch.Tensor):
                    assert torch.equal(x, y), name
                else:
                    assert torch.equal(x.values, y.values) and torch.equal(x.lengths, y.lengths)


@pytest.mark.parametrize(
    "line",
    [
        'shards = false\nmanifest = "pets.csv"',
        '"manifest" = "pets.csv" # mine',
        " manifest='pets.csv'",
    ],
)
def test_the_toml_may_name_its_manifest_in_any_way(pets: Path, tmp_path: Path, line: str) -> None:
    other = pets.with_name("other.toml")
    other.write_text(pets.read_text().replace('manifest = "pets.csv"', line))
    done = prepare(other, tmp_path / "out", samples=24)
    said = tomllib.loads(done.toml.read_text())
    assert (said.pop("manifest"), said.pop("shards")) == ("samples.parquet", True)
    assert said == {k: v for k, v in tomllib.loads(pets.read_text()).items() if k != "manifest"}
    assert len(load(done.toml).train) == len(load(pets).train)


def test_any_reader_of_tar_finds_the_arrays(shards: Path) -> None:
    with tarfile.open(shards.parent / "shard-00001.tar") as tar:
        names = tar.getnames()
        held = np.load(io.BytesIO(tar.extractfile("00000012.photo.npy").read()))
    assert names[:3] == ["00000010.photo.npy", "00000010.call.npy", "00000010.walk.npy"]
    assert (
        held.shape == (3, 9, 11) and held.dtype == np.uint8
    )  # 10 x 12, reduced to a shorter side of 8 * 8 / 7
    assert not any("00000009.photo" in name for name in names)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_them(shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="not installed")
    found = list(webdataset.WebDataset(str(shards.parent / "shard-00002.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [f"{i:08}" for i in range(20, 24)]
    assert {"photo.npy", "call.npy", "walk.npy"} < set(found[0])
    gc.collect()  # it leaves its file open


@pytest.mark.processes
def test_several_processes_make_the_same_shards(pets: Path, shards: Path, tmp_path: Path) -> None:
    prepare(pets, tmp_path, samples=10, workers=2)
    for path in shards.parent.glob("*.tar"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


STOPPED = """
import signal, sys
from pathlib import Path
from equimodal.data.manifest.prepare import prepare

def stop(done, total):
    if done == 2:
        print("two", flush=True)
        signal.pause()

prepare(sys.argv[1], Path(sys.argv[2]), samples=10, workers=int(sys.argv[3]), progress=stop)
"""


@contextmanager
def stopped(pets: Path, out: Path, workers: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that prepares and has finished two shards; it is killed."""
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", STOPPED, str(pets), str(out), str(workers)]
    with subprocess.Popen(command, env=where, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "two\n"
            yield other
        finally:
            other.kill()


@pytest.mark.processes
def test_two_commands_in_one_folder(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stopped(pets, tmp_path) as other:
        held = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert main(["data", "prepare", str(pets), f"--out={tmp_path}"]) == 2
        refused = f"equimodal: Another process ({other.pid}) prepares {tmp_path}: wait until it"
        assert capsys.readouterr().err.startswith(refused)
        assert all(path.stat().st_mtime_ns == time for path, time in held.items())
    assert prepare(pets, tmp_path, samples=10).shards == (3, 2)
    assert verify(tmp_path) == []


@pytest.mark.processes
def test_no_process_outlives_a_killed_command(pets: Path, tmp_path: Path) -> None:
    with stopped(pets, tmp_path, workers=2) as other:
        other.kill()
        assert other.communicate(timeout=60) == ("", None)  # when the last that can write has ended


@pytest.mark.processes
def test_a_killed_command_goes_on_where_it_was(pets: Path, shards: Path, tmp_path: Path) -> None:
    with stopped(pets, tmp_path) as other:
        pass
    assert other.returncode == -signal.SIGKILL
    assert not (tmp_path / "data.toml").exists()
    (tmp_path / ".shard-00002.tar.0123abcd.part").write_bytes(b"half")
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.tar")}
    done = prepare(pets, tmp_path, samples=10)
    assert done.shards == (3, 2)
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in before.items())
    for path in shards.parent.glob("*.tar"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_checksums_are_those_of_the_files(shards: Path) -> None:
    record = json.loads((shards.parent / "prepared.json").read_text())
    for name, said in record["sha256"].items():
        assert hashlib.sha256((shards.parent / name).read_bytes()).hexdigest() == said


def test_damage_is_seen_by_reading_and_by_check(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = prepare(pets, tmp_path, samples=10)
    shard = tmp_path / "shard-00000.tar"
    held = bytearray(shard.read_bytes())
    held[700] ^= 1  # in the first array
    shard.write_bytes(held)
    data = load(done.toml)
    of_first = next(p for p in data.parts.values() if 0 in p.rows.tolist())
    with pytest.raises(DataError, match=r"row 1, photo: .*shard-00000.tar is damaged at byte 512"):
        of_first.fetch(range(len(of_first)))
    assert main(["data", "check", str(done.toml)]) == 2
    assert "shard-00000.tar is damaged: its SHA-256 is another" in capsys.readouterr().out
    shard.write_bytes(held[:-1])
    with pytest.raises(DataError, match="is missing or cut off"):
        load(done.toml)


def test_another_way_of_decoding_is_refused(pets: Path, tmp_path: Path) -> None:
    done = prepare(pets, tmp_path, samples=10)
    done.toml.write_text(done.toml.read_text().replace("size = 8", "size = 16"))
    with pytest.raises(DataError, match="photo is now decoded as"):
        load(done.toml)


def test_other_files_make_other_shards(tmp_path: Path) -> None:
    path = own.write_pets(tmp_path / "pets", 12)
    prepare(path, tmp_path / "out", samples=6)
    own.write_slope(tmp_path / "pets" / "photos" / "1.png", (1, 2, 3))
    assert prepare(path, tmp_path / "out", samples=6).shards == (2, 0)


def test_frames_rewritten_in_their_folder_are_decoded_again(tmp_path: Path) -> None:
    for i in range(12):
        for frame in range(3):
            own.write_slope(tmp_path / f"clips/{i}/{frame}.png", (i, frame, 9))
    table = [{"clip": f"clips/{i}", "label": "ab"[i % 2]} for i in range(12)]
    own.write_table(tmp_path / "clips.csv", table)
    path = tmp_path / "clips.toml"
    path.write_text(
        'manifest = "clips.csv"\nlabel = "label"\n[modalities.clip]\nkind = "video"\ncolumn = "clip"\nsize = 8\n'
    )
    prepare(path, tmp_path / "out", samples=6)
    assert prepare(path, tmp_path / "out", samples=6).shards == (2, 2)
    before = load(path).train.fingerprint()
    own.write_slope(tmp_path / "clips/1/1.png", (200, 100, 0))
    with (tmp_path / "clips/1/1.png").open("ab") as file:
        file.write(b"longer")
    assert prepare(path, tmp_path / "out", samples=6).shards == (2, 0)
    assert load(path).train.fingerprint() != before


def test_what_cannot_be_read_is_refused_or_left_out(tmp_path: Path) -> None:
    path = own.write_pets(tmp_path / "pets", 24)
    (tmp_path / "pets" / "photos" / "4.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"pets.csv row 6, photo"):
        prepare(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    done = prepare(path, tmp_path / "out", skip_unreadable=True)
    ((place, reason),) = done.left_out.items()
    photo = tmp_path / "pets" / "photos" / "4.png"
    assert place == f"{tmp_path / 'pets' / 'pets.csv'} row 6"
    assert reason == f"photo: {photo} is not an image, or of a format that Pillow cannot read"
    files, packed = load(path, skip_unreadable=True), load(done.toml)
    assert [len(p) for p in files.parts.values()] == [len(p) for p in packed.parts.values()]
    assert torch.equal(files.train[2].inputs["photo"], packed.train[2].inputs["photo"])
    assert len(packed.left_out) == 1


def test_what_a_killed_command_left_does_not_stop_the_next(tmp_path: Path) -> None:
    path = own.write_pets(tmp_path / "pets", 12)
    prepare(path, tmp_path / "out", samples=6)
    for name in [p.name for p in (tmp_path / "out").iterdir()]:
        (tmp_path / "out" / f".{name}.part").write_bytes(b"half")
    assert prepare(path, tmp_path / "out", samples=6).shards == (2, 2)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_full_disk_is_told_and_leaves_whole_shards(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"no room to write .*tar.*free"), file_limit(4000):
        prepare(pets, tmp_path, samples=10)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert prepare(pets, tmp_path, samples=10).shards == (3, 0)


def test_a_folder_with_other_files_is_left_alone(pets: Path, tmp_path: Path) -> None:
    for name in ("thesis.doc", "data.toml.bak", ".mine.part"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match=rf"holds other files, such as {name}"):
            prepare(pets, tmp_path)
        (tmp_path / name).unlink()


def test_from_the_command_line_to_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own.write_pets(tmp_path / "pets", 24)
    assert main(["data", "prepare", "pets/pets.toml", "--out=ready"]) == 0
    assert "24 samples in 1 shard," in capsys.readouterr().out
    quick = ["--epochs=1", "--method=joint()", "--no-probe", "--fit-fusion=off", "--device=cpu"]
    results = []
    for data in ("pets/pets.toml", "ready/data.toml"):
        assert main(["train", data, *quick, "--out", f"run-{data[:4]}"]) == 0
        results.append(
            json.loads(Path(f"run-{data[:4]}/results.json").read_text())["test"]["fused"]
        )
    assert results[0] == results[1]
