from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.data.media.clouds import Points, read_cloud, read_off
from equimodal.errors import ConfigError, DataError
from fixtures.media import write_cube


@pytest.mark.parametrize("glued", [False, True])
def test_meshes_are_read_with_and_without_a_glued_header(tmp_path: Path, glued: bool) -> None:
    vertices, faces = read_off(write_cube(tmp_path / "cube.off", glued))
    assert vertices.shape == (8, 3) and faces.shape == (12, 3)
    corners = vertices[faces]
    area = (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        / 2
    )
    assert area.sum() == pytest.approx(6)


def test_points_lie_on_the_surface_evenly(tmp_path: Path) -> None:
    path = write_cube(tmp_path / "cube.off")
    cloud = read_cloud(path, 6000)
    assert np.array_equal(cloud, read_cloud(path, 6000))
    on_side = np.isclose(cloud, 0) | np.isclose(cloud, 1)
    assert on_side.any(1).all() and cloud.min() >= 0 and cloud.max() <= 1
    sides = [np.isclose(cloud[:, axis], value).sum() for axis in range(3) for value in (0, 1)]
    assert min(sides) > 880 and max(sides) < 1120  # 1,000 each, four deviations of 29
    assert cloud.mean(0) == pytest.approx([0.5] * 3, abs=0.03)


def test_the_formats_hold_the_same_cloud(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra media")
    trimesh = pytest.importorskip("trimesh", reason="needs the extra media")
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "a.npy", points)
    np.savetxt(tmp_path / "a.txt", np.concatenate([points, points], 1), delimiter=",")
    np.savetxt(tmp_path / "a.xyz", points)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.stack([points, points + 1])
    trimesh.PointCloud(points).export(tmp_path / "a.ply")
    for name, row in (
        ("a.npy", None),
        ("a.txt", None),
        ("a.xyz", None),
        ("a.ply", None),
        ("a.h5", 0),
    ):
        assert read_cloud(tmp_path / name, row=row) == pytest.approx(points, abs=1e-5)
    assert read_cloud(tmp_path / "a.h5", row=1) == pytest.approx(points + 1)
    with pytest.raises(DataError, match="holds 2 clouds; say which, 0 to 1"):
        read_cloud(tmp_path / "a.h5")
    trimesh.creation.box().export(tmp_path / "box.ply")
    assert read_cloud(tmp_path / "box.ply", 50).shape == (50, 3)


def test_a_cloud_is_scaled_and_in_training_drawn_anew() -> None:
    stored = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (100, 3)).astype(np.float32))
    reader = Points(points=32)
    seen = reader.finish(stored)
    assert seen.shape == (32, 3)
    assert seen.norm(dim=1).max() == pytest.approx(1) and seen.mean(0).abs().max() < 1e-6
    assert torch.equal(seen, reader.finish(stored))
    first, again, other = (reader.finish(stored, np.random.default_rng(i)) for i in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert Points(points=300).finish(stored).shape == (300, 3)


def test_augmentation_turns_about_the_upright_axis_and_keeps_lengths() -> None:
    stored = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
    still = Points(points=64).finish(stored, np.random.default_rng(3))
    turned = Points(points=64, rotate=True).finish(stored, np.random.default_rng(3))
    assert torch.allclose(still[:, 1], turned[:, 1])
    assert torch.allclose(still.norm(dim=1), turned.norm(dim=1), atol=1e-6)
    assert not torch.allclose(still, turned)
    shaken = Points(points=64, jitter=0.01).finish(stored, np.random.default_rng(3))
    assert 0.001 < (shaken - still).abs().max() <= 0.02 + 1e-6
    moved = Points(points=64, stretch=1.5, shift=0.2).finish(stored, np.random.default_rng(3))
    for axis in range(3):  # one factor and one offset for each axis
        factor, offset = np.polyfit(still[:, axis].numpy(), moved[:, axis].numpy(), 1)
        assert 2 / 3 <= factor <= 1.5 and abs(offset) <= 0.2
        assert factor * still[:, axis].numpy() + offset == pytest.approx(
            moved[:, axis].numpy(), abs=1e-5
        )


def test_what_is_no_cloud_is_refused_by_name(tmp_path: Path) -> None:
    whole = write_cube(tmp_path / "cube.off").read_text()
    files = {
        "header.off": ("FFO\n1 0 0\n0 0 0\n", "does not begin with OFF"),
        "cut.off": (whole[:80], "cut.off is cut off or damaged"),
        "face.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", "names a vertex outside 0 to 2"),
        "flat.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "surface without area"),
        "nan.txt": ("0 0 0\n1 nan 1\n", "point 1 is not finite"),
        "words.xyz": ("a b c\n", "not a table of numbers"),
        "two.xyz": ("1 2\n3 4\n", r"shape \(2, 2\)"),
        "empty.xyz": ("", "empty.xyz is empty"),
        "text.npy": ("no array", "no array of numbers"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=reason):
            read_cloud(tmp_path / name)
    for options in ({"points": 0}, {"stretch": 0.5}, {"jitter": -1}):
        with pytest.raises(ConfigError):
            Points(**options)  # type: ignore[arg-type]
