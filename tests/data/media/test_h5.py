"""The published layout of 3D MNIST, on a file of twenty groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from equimodal import data
from equimodal.data.check import check
from equimodal.data.media.h5 import read_h5, write_h5
from equimodal.data.media.points import bordered, cloud
from equimodal.errors import DataError
from fixtures.runs import one_epoch

h5py = pytest.importorskip("h5py", reason="the published layout needs the extra media")


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Twenty real digits, 8×8, in the middle of 28×28."""
    found = load_digits()
    grey = (found.images[:20] / 16 * 255).round().astype(np.uint8)
    return np.pad(grey, ((0, 0), (10, 10), (10, 10))), found.target[:20]


@pytest.fixture
def file(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "train_point_clouds.h5"
    write_h5(path, *digits)
    return path


def test_the_layout_is_the_published_one(file: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    with h5py.File(file) as stored:
        assert set(stored) == {str(i) for i in range(20)}
        for i, label in enumerate(digits[1]):
            group = stored[str(i)]
            assert group.attrs["label"] == label
            assert group["img"].shape == (30, 30) and group["img"].dtype == np.float64
            assert group["points"].shape == group["normals"].shape
    assert list(file.parent.iterdir()) == [file]


def test_what_is_written_is_read(file: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    found = list(read_h5(file))
    assert [digit.label for digit in found] == digits[1].tolist()
    for digit, image in zip(found, digits[0], strict=True):
        np.testing.assert_array_equal(digit.image[1:-1, 1:-1] * 255, image)
        assert digit.image[0].max() == digit.image[:, -1].max() == 0
        assert np.linalg.norm(digit.normals, axis=1) == pytest.approx(1)
    # The golden cloud of the first digit: where it lies in the image does not matter.
    assert len(found[0].points) == 7750
    assert np.abs(found[0].points).sum() == pytest.approx(5467.3496, abs=5e-5)


def test_groups_come_in_the_order_of_their_numbers(file: Path) -> None:
    with h5py.File(file, "a") as stored:
        stored["10"].attrs["label"] = 7  # as text, "10" comes before "2"
        stored["2"].attrs["label"] = 4
    labels = [digit.label for digit in read_h5(file, 11)]
    assert (len(labels), labels[2], labels[10]) == (11, 4, 7)


def test_what_is_wrong_is_named(file: Path, tmp_path: Path) -> None:
    def refused(path: Path, count: int | None = None) -> str:
        with pytest.raises(DataError) as error:
            list(read_h5(path, count))
        return str(error.value)

    assert "nothing.h5 does not exist" in refused(tmp_path / "nothing.h5")
    assert "has 20 groups where 21 are needed" in refused(file, 21)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(file.read_bytes()[:5000])
    assert "cut.h5 is cut off" in refused(cut)
    with h5py.File(file, "a") as stored:
        stored["3"].attrs["label"] = 12
    assert "group '3' has the label 12" in refused(file)
    with h5py.File(file, "a") as stored:
        stored["2"]["points"][5, 1] = np.nan
    assert "group '2': points must be finite" in refused(file)
    with h5py.File(file, "a") as stored:
        del stored["1"]["normals"]
    assert "group '1' has no 'normals'" in refused(file)


def test_the_published_files_are_trained_on(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    folder = tmp_path / "3d-mnist"
    folder.mkdir()
    write_h5(folder / "train_point_clouds.h5", *digits)
    write_h5(folder / "test_point_clouds.h5", digits[0][:6], digits[1][:6])
    expression = "mnist3d(layout='h5', samples=(20, 6), points=16, validation=0.5)"
    net = "pointnet(width=4, widths=(4,))"
    done = one_epoch(expression, tmp_path, tmp_path, image=1, points=net)
    assert done["samples"] == {"train": 10, "val": 10, "test": 6}
    splits = data.load("mnist3d", tmp_path, layout="h5", samples=(20, 6), points=16, validation=0)
    clouds = [splits.train.sample(3, epoch).inputs["points"] for epoch in (0, 1)]
    assert not np.array_equal(*clouds)
    stored = {tuple(point) for point in cloud_of(digits[0][3])}
    assert {tuple(point) for point in clouds[0].numpy()} <= stored
    with pytest.raises(DataError, match="has 20 groups where 30 are needed"):
        data.load("mnist3d", tmp_path, layout="h5", samples=(30, 6))


def test_published_clouds_are_made_harder_in_test_too(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    for part in ("train", "test"):
        write_h5(tmp_path / f"{part}_point_clouds.h5", *digits)
    options = {"layout": "h5", "samples": (20, 20), "points": 16, "validation": 0}
    plain, turned, same, other = (
        data.load("mnist3d", tmp_path, **options, **more)
        for more in ({}, {"rotation": 90.0}, {"rotation": 90.0}, {"rotation": 90.0, "seed": 1})
    )

    def cloud_in_test(splits: data.Splits, epoch: int = 0) -> torch.Tensor:
        return splits.test.sample(3, epoch).inputs["points"]

    assert not torch.allclose(cloud_in_test(plain), cloud_in_test(turned), atol=0.01)
    lengths = [cloud_in_test(splits).norm(dim=1) for splits in (plain, turned)]
    assert torch.allclose(*lengths, atol=1e-5)  # turned, not moved
    assert torch.equal(cloud_in_test(turned), cloud_in_test(same, epoch=1))
    assert not torch.equal(cloud_in_test(turned), cloud_in_test(other))


def test_the_published_files_are_checked_without_mnist(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    folder = tmp_path / "3d-mnist"
    folder.mkdir()
    with pytest.raises(DataError, match="has no mnist/"):
        check("mnist3d", tmp_path, layout="h5")
    paths = [folder / f"{part}_point_clouds.h5" for part in ("train", "test")]
    for path in paths:
        write_h5(path, *digits)
    report = check("mnist3d", tmp_path, layout="h5", samples=(20, 20), validation=0)
    assert report.ok and report.files == 2
    with h5py.File(paths[1], "a") as stored:
        del stored["19/points"]
    report = check("mnist3d", tmp_path, layout="h5", samples=(20, 20), validation=0)
    assert "group '19' has no 'points'" in report.unreadable[paths[1]]


def cloud_of(image: np.ndarray) -> np.ndarray:
    return cloud(bordered(image)).points.astype(np.float32)
