"""mfeat, glioma, utd_mhad, digits3d and mnist3d: their published layouts, rules and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from equimodal import data
from equimodal.data.arrays import resample
from equimodal.data.splits import Splits
from equimodal.errors import ConfigError, DataError
from fixtures.published import write_glioma, write_mfeat, write_mnist, write_utd


def test_mfeat_has_six_views_standardised_with_train(tmp_path: Path) -> None:
    write_mfeat(tmp_path)
    views = ("pix", "fou", "fac", "zer", "kar", "mor")
    splits = data.load("mfeat", tmp_path, modalities=views, validation=0.5)
    assert {name: shape[0] for name, shape in splits.train.shapes.items()} == dict(
        zip(views, (240, 76, 216, 47, 64, 6), strict=True)
    )
    values = splits.train.fetch(range(len(splits.train))).inputs["mor"]
    assert values.mean(0).abs().max() < 1e-6  # type: ignore[union-attr]
    assert values.std(0, correction=0) == pytest.approx(torch.ones(6))  # type: ignore[union-attr]
    assert data.load("mfeat", tmp_path.joinpath("mfeat"), validation=0).modalities == (
        "fou",
        "zer",
        "mor",
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"fou_tr": np.full((20, 76), np.nan)}, "fou_tr has a value that is not finite"),
        ({"zer_te": np.zeros((10, 46))}, r"zer_te has shape \(10, 46\)"),
        ({"y_te": np.full(10, 11)}, "label of row 20 is 11"),
        ({"y_tr": np.arange(20) % 9}, "no sample of class '9'"),
        ({"mor_tr": np.array([None] * 20)}, "pickled"),
    ],
)
def test_mfeat_refuses(tmp_path: Path, changed: dict[str, np.ndarray], reason: str) -> None:
    write_mfeat(tmp_path, **changed)
    with pytest.raises(DataError, match=reason):
        data.load("mfeat", tmp_path, validation=0)


def test_real_mfeat(shared_data: Path) -> None:
    splits = data.load("mfeat", shared_data)
    assert [len(part) for part in splits.parts.values()] == [1440, 160, 400]
    assert set(splits.test.class_counts.values()) == {40}


def test_glioma_encodes_as_written(tmp_path: Path) -> None:
    write_glioma(tmp_path)
    splits = data.load("glioma", tmp_path)
    assert splits.classes == ("LGG", "GBM")
    assert dict(splits.train.shapes) == {"genomic": (20,), "clinical": (6,)}
    clinical = splits.train.fetch(range(len(splits.train))).inputs["clinical"]
    assert clinical[:, 4:].abs().max() == 0  # type: ignore[index]  # two races that nobody has
    other = data.load("glioma", tmp_path, split_seed=3)
    assert other.fingerprint == data.load("glioma", tmp_path, seed=3).fingerprint
    assert other.fingerprint != splits.fingerprint


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"Race": "4"}, "line 3: Race is '4'; it must be 0 to 3"),
        ({"Age_at_diagnosis": "nan"}, "line 3: Age_at_diagnosis is 'nan'"),
        ({"TP53": "MUTATED"}, "line 3: TP53 is 'MUTATED'; it must be 0 to 1"),
        ({"Grade": ""}, "line 3: Grade is ''"),
    ],
)
def test_glioma_names_the_line(tmp_path: Path, changed: dict[str, str], reason: str) -> None:
    write_glioma(tmp_path, **changed)
    with pytest.raises(DataError, match=reason):
        data.load("glioma", tmp_path)


def test_glioma_needs_its_columns(tmp_path: Path) -> None:
    path = write_glioma(tmp_path)
    path.write_text(path.read_text().replace("IDH1", "IDHX"))
    with pytest.raises(DataError, match="no column IDH1"):
        data.load("glioma", tmp_path)
    path.write_text(path.read_text().replace("IDHX", "IDH1").splitlines()[0])
    with pytest.raises(DataError, match="no patients"):
        data.load("glioma", tmp_path)


def test_real_glioma(shared_data: Path) -> None:
    splits = data.load("glioma", shared_data, validation=0)
    assert splits.train.class_counts == {"LGG": 341, "GBM": 246}
    assert splits.test.class_counts == {"LGG": 146, "GBM": 106}


@pytest.fixture(scope="module")
def utd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("utd")
    write_utd(root)
    return root


def test_utd_mhad_splits_by_subject(utd: Path) -> None:
    splits = data.load("utd_mhad", utd, cache="off")
    assert [len(part) for part in splits.parts.values()] == [27 * 3, 27, 27 * 4]
    everyone = data.load("utd_mhad", utd, cache="off", val_subject=0)
    assert [len(part) for part in everyone.parts.values()] == [27 * 4, 0, 27 * 4]
    train = sorted(f"a{a}_s{s}_t1" for a in range(1, 28) for s in (1, 3, 5, 7))
    assert splits.val_indices == tuple(i for i, name in enumerate(train) if "_s7_" in name)
    with pytest.raises(ConfigError, match="val_subject must be"):
        data.load("utd_mhad", utd, val_subject=2)


def test_accelerometer_and_gyroscope_are_the_halves_of_inertial(utd: Path) -> None:
    names = ("gyroscope", "inertial", "accelerometer")
    batch = data.load("utd_mhad", utd, modalities=names).train.fetch(range(10))
    both = torch.cat([batch.inputs["accelerometer"], batch.inputs["gyroscope"]], -1)  # type: ignore
    assert torch.equal(both, batch.inputs["inertial"])  # type: ignore[arg-type]


def test_skeletons_are_relative_to_their_centre(utd: Path) -> None:
    for centre, joint in (("spine", 2), ("hip_center", 3)):
        splits = data.load("utd_mhad", utd, modalities=["skeleton"], centre=centre, cache="off")
        frames = splits.train.fetch(range(5)).inputs["skeleton"].unflatten(-1, (20, 3))  # type: ignore
        still = frames.abs().amax((0, 1, 3)) == 0
        assert still.nonzero().flatten().tolist() == [joint]


def test_resampling_equals_numpy_interp() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3))
    at = np.linspace(0, 6, 11)
    slow = np.stack([np.interp(at, np.arange(7), column) for column in values.T], 1)
    assert resample(values, 11) == pytest.approx(slow, abs=1e-12)
    assert resample(values[:1], 4) == pytest.approx(np.repeat(values[:1], 4, 0))


def test_a_trial_without_a_file_lacks_that_modality(tmp_path: Path) -> None:
    folder = write_utd(tmp_path)
    (folder / "Skeleton" / "a1_s1_t1_skeleton.mat").unlink()
    train = data.load("utd_mhad", tmp_path, cache="off").train
    (lacking,) = (~train.present["skeleton"]).nonzero().flatten().tolist()
    assert set(train[lacking].inputs) == {"inertial", "depth"}
    assert train.targets[lacking] == 0


def test_utd_mhad_names_damaged_files(tmp_path: Path) -> None:
    folder = write_utd(tmp_path)
    path = folder / "Inertial" / "a2_s3_t1_inertial.mat"
    scipy.io.savemat(path, {"d_iner": np.ones((4, 5))})
    with pytest.raises(DataError, match=r"a2_s3_t1_inertial.mat: d_iner has shape \(4, 5\)"):
        data.load("utd_mhad", tmp_path)
    path.rename(path.with_name("a28_s3_t1_inertial.mat"))
    with pytest.raises(DataError, match="not named like"):
        data.load("utd_mhad", tmp_path)


def test_real_utd_mhad(shared_data: Path) -> None:
    splits = data.load("utd_mhad", shared_data, val_subject=0, cache="off")
    assert [len(part) for part in splits.parts.values()] == [431, 0, 430]
    assert not splits.train.present


def test_digits3d_needs_nothing_and_is_split_as_written() -> None:
    splits = data.load("digits3d", validation=0, points=16)
    assert [len(part) for part in splits.parts.values()] == [1258, 0, 539]
    assert dict(splits.train.shapes) == {"image": (1, 10, 10), "points": (16, 3)}
    points = splits.train.fetch(range(1258)).inputs["points"]
    assert 1.0 < points.abs().max() < 2.6  # type: ignore[union-attr]  # doubled
    with pytest.raises(ConfigError, match="image_noise must be at least 0"):
        data.load("digits3d", image_noise=-1)


def test_digits3d_is_split_by_a_seed_of_its_own() -> None:
    """Of the split alone: the noise stays what `seed` says."""

    def load(**seeds: int) -> Splits:
        return data.load("digits3d", modalities=["image"], image_noise=0.0, **seeds)

    first, second, third = load(seed=0, split_seed=3), load(seed=5, split_seed=3), load(seed=0)
    for part in ("train", "val", "test"):
        images = [s.parts[part].fetch(range(20)).inputs["image"] for s in (first, second, third)]
        assert torch.equal(images[0], images[1]), part
        assert not torch.equal(images[0], images[2]), part
    assert first.val_indices == second.val_indices != third.val_indices


def test_digits3d_noise_has_its_deviation() -> None:
    def images(**options: float) -> torch.Tensor:
        splits = data.load("digits3d", points=1, modalities=["image"], **options)
        return splits.test.fetch(range(539)).inputs["image"]  # type: ignore[return-value]

    clean, noisy = images(image_noise=0.0), images()
    assert (noisy - clean).std() == pytest.approx(0.4, rel=0.02)
    assert clean.min() == 0 and clean.max() == 1
    assert clean[:, 0, 0].abs().max() == 0  # the border


def test_mnist3d_draws_points_in_each_epoch_of_train_only(tmp_path: Path) -> None:
    write_mnist(tmp_path, train=60, test=20)
    splits = data.load("mnist3d", tmp_path, samples=(60, 20), points=32, validation=0.3)
    assert dict(splits.train.shapes) == {"image": (1, 30, 30), "points": (32, 3)}

    def points(part: str, epoch: int) -> torch.Tensor:
        return splits.part(part).fetch([3], epoch).inputs["points"]  # type: ignore[return-value]

    assert torch.equal(points("train", 1), points("train", 1))
    assert not torch.equal(points("train", 1), points("train", 2))
    assert torch.equal(points("test", 1), points("test", 2))
    with pytest.raises(DataError, match="60 images in train where 61"):
        data.load("mnist3d", tmp_path, samples=(61, 20))
    with pytest.raises(ConfigError, match="needs points of at least 1"):
        data.load("mnist3d", tmp_path, points=0)
