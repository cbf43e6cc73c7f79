from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("h5py", reason="needs the extra media")
pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import data
from equimodal.data.datasets import modelnet40
from equimodal.errors import ConfigError, DataError
from fixtures.media import write_image
from fixtures.runs import one_epoch
from fixtures.trees import write_lines, write_modelnet40


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("modelnet40")
    write_modelnet40(root, modelnet40.CLASSES)
    return root


def write_h5(folder: Path, part: str, names: list[str], **changed: object) -> None:
    """Clouds whose points tell their rows."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    labels = [[modelnet40.CLASSES.index(name.rpartition("_")[0])] for name in names]
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(len(names), 64, 3)) + np.arange(len(names))[:, None, None]
    with h5py.File(folder / f"ply_data_{part}0.h5", "w") as file:
        file["data"] = clouds.astype("f4")
        file["label"] = np.array(changed.get("labels", labels), dtype="u1")
    files = [f"{name.rpartition('_')[0]}/{name}.ply" for name in names]
    (folder / f"ply_data_{part}0_id2file.json").write_text(json.dumps(files))


def test_an_epoch_from_the_command_line(tree: Path, tmp_path: Path) -> None:
    cloud = "pointnet(width=4, widths=(4,))"
    expression = "modelnet40(size=16, points=32, validation=0)"
    done = one_epoch(expression, tree, tmp_path, "--select", "last", views=3, points=cloud)
    assert done["samples"] == {"train": 40, "val": 0, "test": 2}
    assert done["classes"] == list(modelnet40.CLASSES)


@pytest.mark.parametrize("label", [40, 255])
def test_a_label_that_no_class_has_is_refused(tmp_path: Path, label: int) -> None:
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    write_h5(folder, "train", ["xbox_0001"], labels=[[label]])
    with pytest.raises(DataError, match=rf"row 0 has the label {label}, but .* label is 39"):
        modelnet40.clouds(tmp_path, "h5")


def test_views_and_points_of_a_shape(tree: Path) -> None:
    splits = data.load("modelnet40", tree, size=16, points=32, validation=0)
    assert dict(splits.train.shapes) == {"views": (4, 3, 16, 16), "points": (32, 3)}
    assert splits.recipe["points_from"] == "off" and splits.recipe["views_from"] == "12"
    views = splits.test.sample(0).inputs["views"][:, 0, 0, 0] * 0.229 + 0.485
    assert (views * 255 / 20).round().tolist() == [2, 5, 8, 11]  # the middle of each quarter
    drawn = [splits.train.sample(3, epoch).inputs for epoch in range(4)]
    assert len({tuple(d["views"][:, 0, 0, 0].tolist()) for d in drawn}) > 1
    assert not torch.equal(drawn[0]["points"], drawn[1]["points"])
    assert torch.equal(
        splits.test.sample(1, 5).inputs["points"], splits.test.sample(1).inputs["points"]
    )


def test_clouds_of_h5_are_paired_by_name(tmp_path: Path) -> None:
    folder = write_modelnet40(tmp_path, modelnet40.CLASSES)
    names = [
        f"{label}_0001" for label in reversed(modelnet40.CLASSES)
    ]  # another order than that of the views
    write_h5(folder / modelnet40.FOLDERS["h5"], "train", names)
    write_h5(folder / modelnet40.FOLDERS["h5"], "test", ["bathtub_0101", "airplane_0101"])
    splits = data.load("modelnet40", tmp_path, validation=0)
    assert splits.recipe["points_from"] == "h5"
    assert splits.test.names == ["airplane_0101", "bathtub_0101"]  # type: ignore[attr-defined]
    assert [round(float(splits.test.stored("points", i).mean())) for i in (0, 1)] == [1, 0]  # type: ignore[attr-defined]
    write_h5(
        folder / modelnet40.FOLDERS["h5"],
        "test",
        ["bathtub_0101", "airplane_0101"],
        labels=[[1], [2]],
    )
    with pytest.raises(
        DataError, match="row 1 has the label 2, but .* says 'airplane_0101', whose label is 0"
    ):
        data.load("modelnet40", tmp_path)
    (folder / modelnet40.FOLDERS["h5"] / "ply_data_test0_id2file.json").unlink()
    with pytest.raises(DataError, match="which shape each row"):
        data.load("modelnet40", tmp_path)


def test_resampled_clouds_and_180_views(tmp_path: Path) -> None:
    folder = tmp_path / "modelnet40"
    clouds = folder / modelnet40.FOLDERS["txt"]
    names = [f"{label}_0001" for label in modelnet40.CLASSES]
    write_lines(clouds / "modelnet40_train.txt", names)
    write_lines(clouds / "modelnet40_test.txt", ["sofa_0700"])
    for name in [*names, "sofa_0700"]:
        label = name.rpartition("_")[0]
        (clouds / label).mkdir(exist_ok=True)
        np.savetxt(
            clouds / label / f"{name}.txt",
            np.random.default_rng(1).normal(size=(9, 6)),
            delimiter=",",
        )
        for view in range(24) if name == "sofa_0700" else (0,):
            place = folder / modelnet40.FOLDERS["180"] / label / name
            write_image(place / f"{name}.{view}.png", (8, 8), colour=(10 * view, 0, 0))
    splits = data.load("modelnet40", tmp_path, size=8, points=4, views=2, validation=0)
    views = splits.test.sample(0).inputs["views"][:, 0, 0, 0] * 0.229 + 0.485
    assert (views * 25.5).round().tolist() == [
        7,
        19,
    ]  # 12 of 24 are kept, of those the fourth and the tenth are seen
    assert len(splits.train) == 40


def test_what_is_missing(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no points: it needs one of modelnet40_ply_hdf5_2048"):
        data.load("modelnet40", tree, points_from="h5")
    with pytest.raises(ConfigError, match="points_from has no value 'ply'"):
        data.load("modelnet40", tree, points_from="ply")
    folder = write_modelnet40(tmp_path, modelnet40.CLASSES)
    (folder / "ModelNet40" / "bed" / "train" / "bed_0001.off").rename(
        folder / "ModelNet40" / "bed" / "train" / "beds_0001.off"
    )
    with pytest.raises(DataError, match="has the shape 'beds_0001'; did you mean 'bed'"):
        data.load("modelnet40", tmp_path)
