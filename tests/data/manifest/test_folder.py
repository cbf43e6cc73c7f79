"""What `data init` makes of a folder of media, whose names can be those of splits, classes or modalities, and of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import encoders
from equimodal.core.expression import build
from equimodal.data.manifest import load
from equimodal.data.manifest.folder import draft_folder
from equimodal.data.manifest.guess import SIZES, draft_table
from equimodal.data.manifest.recipe import Recipe
from equimodal.data.manifest.start import start
from equimodal.errors import DataError
from fixtures.media import write_image, write_wav
from fixtures.own import write_table


def write(folder: Path, *places: str, count: int = 4) -> Path:
    for place in places:
        for i in range(count):
            write_image(folder / place / f"{i}.png", (8, 8))
    return folder


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (("My photos", "my-photos"), ["my_photos", "my_photos_2"]),
        (("a b", "a_b", "a-b"), ["a_b", "a_b_2", "a_b_3"]),
        (("label", "photo"), ["label_2", "photo"]),
        (("Split", "photo"), ["split_2", "photo"]),
        (("x", "x 2", "x_2"), ["x", "x_2", "x_2_2"]),
    ],
)
def test_folders_of_one_plain_name_are_modalities_of_their_own(
    tmp_path: Path, folders: tuple[str, ...], names: list[str]
) -> None:
    write(tmp_path, *(f"{folder}/{label}" for folder in folders for label in ("cat", "dog")))
    draft, rows = draft_folder(tmp_path)
    assert sorted(m.name for m in draft.modalities) == sorted(names)
    assert {row["label"] for row in rows} == {"cat", "dog"} and len(rows) == 8
    assert all(len({row[name] for name in names}) == len(names) for row in rows)
    assert not any("left out" in said for _, said in draft.notes)
    start([tmp_path])
    assert sorted(load(tmp_path / f"{tmp_path.name}.toml").modalities) == sorted(names)


def test_files_of_two_kinds_that_share_no_name_are_no_samples(tmp_path: Path) -> None:
    """Else the folders of the modalities would be taken for classes."""
    write(tmp_path, "image/cat", "image/dog")
    for i in range(4):
        for label in ("cat", "dog"):
            write_wav(tmp_path / "sound" / label / f"call{i}.wav", 0.1)
    with pytest.raises(DataError, match="has audio and image, but no file of one has the name"):
        draft_folder(tmp_path)


def test_ids_that_name_the_files_of_another_column_are_no_modality(tmp_path: Path) -> None:
    write(tmp_path, "photos", count=6)
    rows = [{"id": i, "path": f"photos/{i}.png", "label": "ab"[i % 2]} for i in range(6)]
    draft = draft_table(
        write_table(tmp_path / "t.csv", [{k: str(v) for k, v in r.items()} for r in rows]), "label"
    )
    assert [(m.name, m.lines["column"][0]) for m in draft.modalities] == [("image", "path")]
    assert ("id", "the names of the same image files") in draft.notes
    bare = [{"id": str(r["id"]), "label": str(r["label"])} for r in rows]
    draft = draft_table(write_table(tmp_path / "t.csv", bare), "label")
    assert [m.lines["column"][0] for m in draft.modalities] == ["id"]


def test_a_column_that_names_files_of_another_column_is_the_id(tmp_path: Path) -> None:
    """Though most of the rows lack the one modality, and a few the other."""
    write(tmp_path, "photos", count=30)
    for i in range(30):
        write_image(tmp_path / "scans" / f"v{i}.png", (8, 8))
    rows = [
        {
            "visit": f"v{i}",
            "scan": f"scans/v{i}.png" if i % 4 == 3 else "",
            "photo": f"photos/{i}.png" if i % 4 else "",
            "label": "ab"[i % 2],
        }
        for i in range(30)
    ]
    path = write_table(tmp_path / "t.csv", rows)
    draft = draft_table(path, "label")
    assert draft.id == "visit"
    assert [m.lines["column"][0] for m in draft.modalities] == ["scan", "photo"]
    for row in rows:  # a pair of files that is sometimes the same one twice is two modalities
        row["photo"] = "scans/v7.png"
    draft = draft_table(write_table(path, rows), "label")
    assert [m.lines["column"][0] for m in draft.modalities] == ["scan", "photo"]


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ([(5,)] * 4, "vector"),
        ([(1, 5)] * 4, "vector"),
        ([(5,), (5,), (5,), (6,)], "sequence"),
        ([(5, 1)] * 4, "sequence"),
        ([(2, 5)] * 4, "sequence"),
    ],
)
@pytest.mark.parametrize("table", [True, False])
def test_arrays_are_vectors_or_sequences(
    tmp_path: Path, table: bool, shapes: list[tuple[int, ...]], kind: str
) -> None:
    rows = []
    for i, shape in enumerate(shapes):
        label = "ab"[i % 2]
        (tmp_path / label).mkdir(exist_ok=True)
        np.save(tmp_path / label / f"{i}.npy", np.full(shape, i))
        rows.append({"feature": f"{label}/{i}.npy", "label": label})
    (tmp_path / "a" / "0.npy").write_bytes(b"damaged")
    if table:
        write_table(tmp_path / "t.csv", rows)
    started = start([tmp_path])
    (modality,) = Recipe.read(started.path).modalities
    assert (modality.kind, dict(modality.options)) == (
        kind, {"width": 5} if kind == "vector" else {}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("https://a.org/{}.png", "addresses; get the files, and write where they lie"),
        ("s3://bucket/{}.wav", "addresses; get the files, and write where they lie"),
        ("photos\\{}.png", r"paths with \; write them with /"),
        ("photos/{}.jpg", "image files that are not there"),
        ("-{},25", "numbers with a decimal comma; write a point"),
        ("2020-01-1{}", "dates; write numbers or categories"),
        ("x{}", "neither file, number, category nor text"),
    ],
)
def test_what_a_column_is_that_cannot_be_used(tmp_path: Path, cell: str, said: str) -> None:
    write(tmp_path, "photos", count=6)
    rows = [
        {"what": cell.format(i), "w": f"{i}.5", "label": "ab"[i % 2], "of": f"photos/{i}.png"}
        for i in range(6)
    ]
    draft = draft_table(write_table(tmp_path / "t.csv", rows), "label")
    assert ("what", f"left out: {said}") in draft.notes


@pytest.mark.parametrize(
    ("name", "options"), [("cnn", "channels=3"), ("pointnet", ""), ("resnet18", "channels=3")]
)
def test_the_sizes_beside_encoders_are_theirs(name: str, options: str) -> None:
    encoder = build(f"{name}({options})", encoders.BY_NAME, "encoder", torch.nn.Module)
    weights = sum(p.numel() for p in encoder.parameters())
    said = f"{weights / 1e6:.0f} million" if weights > 1e6 else f"{weights / 1e3:.0f} thousand"
    assert SIZES[name] == f"{said} weights, {encoder.width} features"


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    draft, rows = draft_folder(write(tmp_path, "control", "test"))
    assert {row["label"] for row in rows} == {"control", "test"} and not draft.split
    said = "none: not all folders beside test are named as splits, so that all are classes"
    assert ("split", said) in draft.notes


@pytest.mark.parametrize("place", ["{part}/{label}", "{label}/{part}", "photos/{part}/{label}"])
def test_folders_of_splits(tmp_path: Path, place: str) -> None:
    places = [
        place.format(part=part, label=label)
        for part in ("Train", "valid", "test")
        for label in ("cat", "dog")
    ]
    if place.startswith("photos"):
        places += [name.replace("photos", "scans") for name in places]
    draft, rows = draft_folder(write(tmp_path, *places))
    assert draft.split == "split" and len(rows) == 24
    assert {(row["split"], row["label"]) for row in rows} == {
        (part, label) for part in ("train", "val", "test") for label in ("cat", "dog")
    }


@pytest.mark.parametrize("place", ["beside", "link", "within"])
def test_files_outside_the_folder_of_their_table_are_allowed(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "table"
    pictures = folder / "photos" if place == "within" else tmp_path / "photos"
    for i in range(12):
        write_image(pictures / f"{i}.png", (8, 8))
    write_table(folder / "t.csv", [{"file": f"{i}.png", "label": "ab"[i % 2]} for i in range(12)])
    if place == "link":
        (folder / "photos").symlink_to(pictures)
    start([folder / "t.csv"] if place != "beside" else [folder / "t.csv", pictures])
    assert load(folder / "t.toml").train.fetch([0]).mask("image").all()
    assert ("allow_outside = true" in (folder / "t.toml").read_text()) == (place != "within")
