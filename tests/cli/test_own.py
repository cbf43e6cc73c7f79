"""The first five minutes with files of one's own: init, check, train, resume, predict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from equimodal.cli import main
from equimodal.data.manifest import Recipe
from equimodal.report.runs.record import read
from equimodal.report.runs.samples import samples
from equimodal.training.predictions import left_out
from fixtures import own
from fixtures.media import write_cube, write_video, write_wav

pytestmark = pytest.mark.whole

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


@pytest.mark.parametrize("labels", ["no line", "no column", "empty", "some"])
def test_new_rows_without_labels_are_predicted_whole(
    labels: str, pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The rows of the run's own table as new ones: what is said of its test rows is what the run said of them."""
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    table, new = own.rows(), tmp_path / "new"
    pets.parent.rename(new)
    for i, row in enumerate(table):
        row["species"] = row["species"] if labels == "some" and i % 2 else ""
        row.pop("owner")
        if labels.startswith("no"):
            row.pop("species")
    table[12] |= {"photo": "", "weight": "", "sex": ""}
    own.write_table(new / "pets.csv", table)
    if labels == "no line":
        toml = new / "pets.toml"
        toml.write_text(toml.read_text().replace('label = "species"\n', ""))
    told = said(capsys, 0, "predict", "run", "--data=new/pets.toml")
    found = pq.read_table("run/predictions-pets.parquet").to_pylist()
    assert [row["name"] for row in found] == [row["id"] for row in table]
    assert [row["present_photo"] for row in found] == [bool(row["photo"]) for row in table]
    assert [row["target"] for row in found] == [row.get("species") or None for row in table]
    assert ("accuracy" in told) == (labels == "some")
    if labels == "some":
        right = sum(row["prediction"] == row["target"] for row in found[1::2])
        assert f"accuracy {100 * right / 22:.1f}%" in told
        assert "the 22 of 45 samples that have a label" in told
    before = pq.read_table("run/predictions.parquet").to_pylist()
    after = {row["name"]: row for row in found}
    compared = [row for row in before if row["name"] != table[12]["id"]]
    assert compared
    for row in compared:
        again = after[row["name"]]
        for column in ("p_fused_cat", "p_photo_owl", "p_facts_dog"):
            assert (again[column] is None) == (row[column] is None)
            assert row[column] is None or again[column] == pytest.approx(row[column], rel=1e-4)


def test_asked_about_its_own_table_a_run_says_so(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    told = said(capsys, 0, "predict", "run", "--data", pets)
    assert "45 samples" in told and "is what the run was trained on" in told
    assert "trained on" not in said(capsys, 0, "predict", "run")


def test_check_remarks_on_classes_that_are_rare_or_spelled_alike(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class of one sample cannot be in three splits; a remark is no problem."""
    table = [
        r | {"species": {0: "Cat", 1: "big  dog", 2: "big dog"}.get(i, r["species"])}
        for i, r in enumerate(own.rows())
    ]
    own.write_table(pets.with_suffix(".csv"), table)
    checked = said(capsys, 0, "data", "check", pets)
    found = [checked[m.start() :].split(" class '")[0] for m in re.finditer("class '", checked)]
    assert len(found) == 4
    one = r"class '%s' has 1 sample, none in .*; but for case or spaces it is '%s': one class, or two\?"
    alike = [("Cat", "cat"), ("big  dog", "big dog"), ("big dog", "big  dog")]
    for name, other in alike:
        pattern = (one % (name, other)).replace("  ", r"\s+")  # a terminal breaks lines
        assert any(re.match(pattern, text) for text in found), (name, found)
    assert any(re.match(r"class 'cat' has \d+ samples; but for case", text) for text in found)
    assert "All files can be read" in checked


def test_check_remarks_on_a_file_that_two_modalities_read(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "read the same file" not in said(capsys, 0, "data", "check", pets)
    again = re.sub(r"\[modalities\.photo\]", "[modalities.again]", own.TOML)
    photo = again[again.index("[modalities.again]") : again.index("[modalities.facts]")]
    pets.write_text(pets.read_text() + "\n" + photo)
    checked = said(capsys, 0, "data", "check", pets)
    there = sum(bool(row["photo"]) for row in own.rows())
    assert f"modalities photo and again read the same file in {there} rows" in checked


@pytest.mark.parametrize("ids", [True, False])
def test_predictions_and_report_name_samples_as_the_table_does(
    ids: bool, pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its ids, or by its rows, the header being row 1."""
    if not ids:
        pets.write_text(pets.read_text().replace('id = "id"\n', ""))
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    kinds = {
        row["id"] if ids else f"row {i}": row["species"] for i, row in enumerate(own.rows(), 2)
    }
    table = pq.read_table("run/predictions.parquet").to_pydict()
    assert [kinds[name] for name in table["name"]] == table["target"]
    assert len(set(table["name"])) == len(table["target"]) > 3
    said(capsys, 0, "predict", "run", "--split=train")
    train = pq.read_table("run/predictions-train.parquet").to_pydict()
    assert [kinds[name] for name in train["name"]] == train["target"]
    assert not set(train["name"]) & set(table["name"])
    shown = samples([read(Path("run"), "run")], 3)
    assert shown is not None
    assert {card.name for card in shown.parts[0].cards} <= set(table["name"])


def test_several_epochs_of_decoding_are_told_and_how_to_save_them(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(data: object, epochs: int) -> str:
        options = [*QUICK, f"--epochs={epochs}", "--out=run", "--overwrite"]
        assert main(["train", str(data), *options]) == 0
        seen = capsys.readouterr()
        return " ".join((seen.out + seen.err).split())

    advice = "photo will be decoded in every epoch; to decode once: equimodal data prepare"
    assert advice in told(pets, 2)
    assert "decode" not in told(pets, 1)
    said(capsys, 0, "data", "prepare", pets, "--out=ready")
    assert "decode" not in told("ready/data.toml", 2)


def test_what_is_left_out_is_listed_in_the_run(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets.parent / "photos" / "4.png").write_bytes(b"no picture")
    refused = said(capsys, 2, "train", pets, *QUICK, "--epochs=1", "--out=refused")
    assert "pets.csv row 6, photo: " in refused and "is not an image" in refused
    assert refused.splitlines()[-1].startswith("equimodal: ")
    assert refused.endswith(
        "--skip-unreadable (of train, predict and data prepare) leaves such rows out.\n"
    )
    assert not Path("refused").exists()
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run", "--skip-unreadable")
    ((place, reason),) = json.loads(Path("run/split.json").read_text())["left_out"].items()
    assert place.endswith("pets.csv row 6") and "4.png is not an image" in reason


@pytest.mark.parametrize("damage", ["no picture", "gone"])
def test_new_rows_whose_files_cannot_be_read_are_left_out_and_told(
    damage: str, pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    new = own.write_pets(tmp_path / "new")
    photo = new.parent / "photos" / "4.png"
    photo.unlink() if damage == "gone" else photo.write_bytes(damage.encode())
    refused = said(capsys, 2, "predict", "run", "--data", new, "--out=p.parquet")
    assert "new/pets.csv row 6" in refused and "4.png" in refused
    assert "--skip-unreadable" in refused and not Path("p.parquet").exists()
    told = said(capsys, 0, "predict", "run", "--data", new, "--out=p.parquet", "--skip-unreadable")
    told = " ".join(told.split())
    assert re.search(r"left out: \S*new/pets.csv row 6: photo: \S*4.png", told)
    assert "44 samples" in told
    table = pq.read_table("p.parquet")
    assert table["name"].to_pylist() == [row["id"] for row in own.rows() if row["id"] != "p4"]
    ((place, reason),) = left_out(Path("p.parquet")).items()
    assert place.endswith("pets.csv row 6") and "4.png" in reason
    said(capsys, 0, "predict", "run", f"--data={pets}", "--out=all.parquet", "--skip-unreadable")
    assert left_out(Path("all.parquet")) == {}
    rest = pq.read_table("all.parquet").filter(pc.field("name") != "p4")
    assert table.drop_columns("index").equals(rest.drop_columns("index"))


def test_of_its_own_data_a_run_leaves_out_rows_and_keeps_its_split(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is damaged has the size that it had; one that is gone is a change that is refused."""
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    names = pq.read_table("run/predictions.parquet")["name"].to_pylist()
    lost = next(row for row in own.rows() if row["id"] in names and row["photo"])
    photo = pets.parent / lost["photo"]
    photo.write_bytes(b"x" * photo.stat().st_size)
    assert "--skip-unreadable" in said(capsys, 2, "predict", "run")
    told = said(capsys, 0, "predict", "run", "--out=p.parquet", "--skip-unreadable")
    assert f"left out: {pets.with_suffix('.csv')} row" in " ".join(told.split())
    names.remove(lost["id"])
    assert pq.read_table("p.parquet")["name"].to_pylist() == names
    photo.unlink()
    refused = said(capsys, 2, "predict", "run", "--skip-unreadable")
    assert "are not what they were" in refused and photo.name in refused
    assert "--skip-unreadable" not in refused


def test_where_no_row_can_be_read_nothing_is_written(
    pets: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, 0, "train", pets, *QUICK, "--epochs=1", "--out=run")
    new = own.write_pets(tmp_path / "new")
    own.write_table(new.with_suffix(".csv"), [r | {"photo": "no.png"} for r in own.rows()])
    options = ["--out=p.parquet", "--skip-unreadable"]
    refused = said(capsys, 2, "predict", "run", "--data", new, *options)
    assert "no row has files that can all be read" in refused and "no.png" in refused
    assert not Path("p.parquet").exists()


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
    assert (
        "leak: 1 photo file with the same contents in more than one split, such as row 3 ("
        in seen.out
    )
    assert "= row 42 (test)" in seen.out
    assert "groups cross: 1 of column 'owner' in train and in test, such as o10" in seen.out
    assert "pets.toml has 3 problems" in seen.err


def test_check_says_what_training_would_refuse(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.write_table(pets.with_suffix(".csv"), [r | {"weight": ""} for r in own.rows()])
    assert main(["data", "check", str(pets)]) == 2
    assert "modality facts: The column 'weight' has no value in train" in capsys.readouterr().out
    own.write_table(
        pets.with_suffix(".csv"), [r | {"photo": "no.png", "weight": "1"} for r in own.rows()]
    )
    told = said(capsys, 2, "data", "check", pets)
    assert "pets.csv row 2, photo: " in told and "(45 of 45 rows cannot be read" in told


def test_a_text_that_is_too_long_for_a_name_is_no_file(
    pets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [r | {"note": f"{i % 2 * 300 * 'x'}note.png"} for i, r in enumerate(own.rows())]
    own.write_table(pets.with_suffix(".csv"), table)
    said(capsys, 0, "data", "init", pets.with_suffix(".csv"), "--overwrite")


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


def trained_from_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `init` guessed; `check` finds nothing wrong with it, and one epoch is trained from it."""
    told = said(capsys, 0, "data", "init", folder)
    path = folder / f"{folder.name}.toml"
    said(capsys, 0, "data", "check", path)
    options = [*QUICK, "--epochs=1", "--val-fraction=0.2", "--batch-size=8", f"--out={folder}/run"]
    said(capsys, 0, "train", path, *options)
    tested = json.loads((folder / "run" / "results.json").read_text())["test"]
    assert set(tested["modalities"]) == {m.name for m in Recipe.read(path).modalities}
    return told


@pytest.mark.parametrize("table", [False, True])
def test_videos_give_pictures_and_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: bool
) -> None:
    pytest.importorskip("av", reason="needs the extra media")
    folder, rows = tmp_path / "films", []
    for i in range(14):
        label, suffix = ("wave", "jump")[i % 2], ("mp4", "flv")[i // 2 % 2]
        clip = write_video(folder / label / f"{i}.{suffix}", 0.5 + i / 100, hertz=300 + 30 * i)
        rows.append({"clip": str(clip.relative_to(folder)), "label": label})
    if table:
        own.write_table(folder / "films.csv", rows)
        told = said(capsys, 0, "data", "init", folder)
        checked = said(capsys, 0, "data", "check", folder / "films.toml")
        assert "read the same file" not in checked  # once its pictures, once its sound
    else:
        told = trained_from_a_folder(folder, capsys)
    name = "clip" if table else "video"
    assert "their sound as well, as the modality sound" in told
    found = {m.name: m for m in Recipe.read(folder / "films.toml").modalities}
    assert [(n, m.kind, m.columns) for n, m in found.items()] == [
        (name, "video", (name,)),
        ("sound", "audio", (name,)),
    ]
    assert dict(found["sound"].options)["seconds"] == 0.5


def test_videos_without_sound_give_pictures_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="needs the extra media")
    for i in range(4):
        write_video(tmp_path / "films" / "ab"[i % 2] / f"{i}.mp4", 0.5, sound=i == 0)
    said(capsys, 0, "data", "init", tmp_path / "films")
    assert [m.name for m in Recipe.read(tmp_path / "films" / "films.toml").modalities] == ["video"]


def test_point_clouds_of_several_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trimesh = pytest.importorskip("trimesh", reason="needs the extra media")
    folder, rng = tmp_path / "clouds", np.random.default_rng(0)
    for i in range(15):
        place = folder / ("cube", "ball", "rod")[i % 3] / f"{i}"
        place.parent.mkdir(parents=True, exist_ok=True)
        points = rng.normal(size=(60 + i, 3))
        if i % 3 == 0:
            write_cube(place.with_suffix(".off"), scale=1 + i)
        elif i % 3 == 1:
            trimesh.PointCloud(points).export(place.with_suffix(".ply"))
        else:
            np.savetxt(place.with_suffix(".xyz"), points)
    np.savetxt(folder / "cube" / "0.xyz", points)  # the first cube in another format
    told = trained_from_a_folder(folder, capsys)
    assert "cube/0.xyz" in told and "1 left out: another of the same kind and name" in told
    assert (folder / "samples.csv").read_text().count("\n") == 16


def test_pictures_and_sounds_of_one_name_are_one_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    for i in range(16):
        place = folder / "ab"[i % 2] / str(i)
        own.write_slope(place.with_suffix(".png"), (9, 5 * i, 7))
        if i % 4:
            write_wav(place.with_suffix(".wav"), 0.2 + i / 50, 8000)
    trained_from_a_folder(folder, capsys)
    lines = (folder / "samples.csv").read_text().splitlines()
    assert lines[0] == "image,audio,label" and len(lines) == 17
    assert {"a/0.png,,a", "b/1.png,b/1.wav,b"} < set(lines)


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
        (["train", "pets"], "pets is a folder: 'equimodal data init pets' writes a TOML"),
        (["train", "digits3d", "--skip-unreadable"], "digits3d has no files to be skipped"),
    ],
)
def test_mistakes(
    pets: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in said(capsys, 2, *arguments)
