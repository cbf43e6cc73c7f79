"""The first five minutes with files of one's own: init, check, train, resume, predict."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from equimodal.cli import main
from equimodal.data.manifest import Recipe
from fixtures import own
from fixtures.media import write_wav

pytest.importorskip("PIL", reason="needs the extra media")
QUICK = ["--method=joint()", "--no-probe", "--fit-fusion=off", "--threads=1", "--device=cpu"]


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return own.write_pets(tmp_path / "pets")


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert main([str(a) for a in arguments]) == code
    seen = capsys.readouterr()
    return seen.err if code else seen.out


def test_from_files_to_a_trained_model(pets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets.unlink()
    told = said(capsys, 0, "data", "init", "pets", "--label", "species")
    assert "image files" in told and "Wrote pets/pets.toml" in told
    recipe = Recipe.read(pets)
    assert (recipe.label, recipe.group, recipe.id) == ("species", "owner", "id")
    assert [(m.name, m.kind) for m in recipe.modalities] == [("photo", "image"), ("table", "table")]
    assert dict(recipe.modalities[0].options)["size"] == 32
    assert recipe.modalities[1].columns == ("weight", "sex")
    assert recipe.modalities[1].categories == ("sex",)
    checked = said(capsys, 0, "data", "check", pets)
    assert (
        "33 samples of 11 groups" in checked and "weight 8.9%" in checked and "12, all" in checked
    )
    trained = said(capsys, 0, "train", "pets/pets.toml", *QUICK, "--epochs=1")
    assert "Run folder: runs/pets-joint-0" in trained


def test_a_run_is_resumed_and_predicts_where_the_data_have_moved(
    pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, 0, "train", "pets/pets.toml", *QUICK, "--epochs=2", "--out=run")
    before = json.loads(Path("run/results.json").read_text())
    moved = tmp_path / "elsewhere"
    pets.parent.rename(moved)
    said(capsys, 0, "train", "--resume=run", f"--data-root={moved}")
    after = json.loads(Path("run/results.json").read_text())
    assert after["test"]["fused"] == before["test"]["fused"]
    said(capsys, 0, "predict", "run", "--split=val", f"--data-root={moved}")
    assert pq.read_table("run/predictions-val.parquet").num_rows == 3


def test_what_is_left_out_is_listed_in_the_run(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets.parent / "photos" / "4.png").write_bytes(b"no picture")
    refused = said(capsys, 2, "train", pets, *QUICK, "--epochs=1", "--out=refused")
    assert "pets.csv row 6, photo: " in refused and "is not an image" in refused
    assert refused.splitlines()[-1].startswith("equimodal: ")
    assert refused.endswith("--skip-unreadable leaves such rows out.\n")
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run", "--skip-unreadable")
    ((place, reason),) = json.loads(Path("run/split.json").read_text())["left_out"].items()
    assert place.endswith("pets.csv row 6") and "4.png is not an image" in reason


def test_check_finds_leaks_crossing_groups_and_damage(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [r | {"part": "test" if i >= 31 else "train"} for i, r in enumerate(own.rows())]
    own.write_table(pets.with_suffix(".csv"), table)
    pets.write_text(pets.read_text().replace('id = "id"', 'split = "part"'))
    photos = pets.parent / "photos"
    (photos / "40.png").write_bytes((photos / "1.png").read_bytes())
    (photos / "7.png").write_bytes(b"")
    assert main(["data", "check", str(pets)]) == 2
    seen = capsys.readouterr()
    assert "unreadable: " in seen.out and "pets.csv row 9, photo: " in seen.out
    assert "leak: 1 photo files are the same in more than one split, such as row 3 (" in seen.out
    assert "= row 42 (test)" in seen.out
    assert "groups cross: 1 of column 'owner' are in train and in test, such as o10" in seen.out
    assert "pets.toml has 3 problems" in seen.err


def test_a_folder_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 6), ("test", 2)):
        for label in ("a", "b"):
            for i in range(count):
                own.write_slope(tmp_path / "things" / part / label / f"{part}{i}.png", (9, i, 7))
                write_wav(tmp_path / "things" / part / label / f"{part}{i}.wav", 0.2, 8000)
    said(capsys, 0, "data", "init", tmp_path / "things")
    recipe = Recipe.read(tmp_path / "things" / "things.toml")
    assert recipe.split == "split"
    assert {m.name: m.kind for m in recipe.modalities} == {"image": "image", "audio": "audio"}
    lines = (tmp_path / "things" / "samples.csv").read_text().splitlines()
    assert len(lines) == 17
    assert "test/a/test0.png,test/a/test0.wav,a,test" in lines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "init"], "Name a table or a folder"),
        (["data", "init", "nowhere"], "nowhere does not exist"),
        (["data", "init", "pets"], "is there already: replace it with --overwrite"),
        (["data", "init", "pets", "--label=kind", "--overwrite"], "has no column 'kind'"),
        (["data", "init", "pets/photos"], "lies in no folder that could be its class"),
        (
            ["train", "nowhere.toml"],
            "nowhere.toml does not exist; 'equimodal data init' writes one",
        ),
        (["data", "check", "nowhere.toml"], "nowhere.toml does not exist"),
        (["train", "digits3d", "--skip-unreadable"], "digits3d has no files to be skipped"),
    ],
)
def test_mistakes(
    pets: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in said(capsys, 2, *arguments)
