from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.data.augmented import augmented
from equimodal.data.datasets import avmnist
from equimodal.errors import ConfigError, DataError
from fixtures.published import write_fsdd, write_mnist, write_wav


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny published layout; the smallest size is made to fit it."""
    write_mnist(tmp_path, train=120)
    write_fsdd(tmp_path)
    monkeypatch.setitem(avmnist.SIZES, "tiny", (120, 20))
    return tmp_path


def test_shapes_split_and_standardisation(root: Path) -> None:
    splits = avmnist.load(root, size="tiny", validation=0.25)
    assert dict(splits.train.shapes) == {"image": (1, 28, 28), "audio": (1, 61, 32)}
    assert [len(part) for part in splits.parts.values()] == [90, 30, 20]
    assert len(splits.val_indices) == 30
    for values in splits.train.inputs.values():  # type: ignore[attr-defined]
        assert values.double().mean() == pytest.approx(0, abs=1e-5)
        assert values.double().std(correction=0) == pytest.approx(1, abs=1e-5)


def test_frames_of_the_sound_are_masked_whole(root: Path) -> None:
    train = avmnist.load(root, size="tiny").train
    seen = augmented(train, {"audio": "spec_augment(time=20)"})
    changed = torch.stack(
        [seen[i].inputs["audio"][0] != train[i].inputs["audio"][0] for i in range(20)]
    )
    frames = changed.all(2)
    assert torch.equal(changed, frames[..., None].expand_as(changed)) and frames.sum(1).max() > 5


def test_the_cache_gives_the_same_and_is_made_anew_when_damaged(root: Path) -> None:
    first = avmnist.load(root, size="tiny").fingerprint
    (stored,) = (root / ".equimodal-cache").iterdir()
    assert avmnist.load(root, size="tiny").fingerprint == first
    stored.write_bytes(stored.read_bytes()[:-500])
    assert avmnist.load(root, size="tiny").fingerprint == first
    assert avmnist.load(root, size="tiny", cache="off").fingerprint == first
    assert avmnist.load(root, size="tiny", snr=0).fingerprint != first
    assert len(list((root / ".equimodal-cache").iterdir())) == 2


def test_a_pair_does_not_depend_on_how_many_are_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = avmnist._build(root, 4, -5, "babble", {"train": 120, "test": 20}, (), 0)
    fewer = avmnist._build(root, 4, -5, "babble", {"train": 11, "test": 7}, (), 0)
    for name in ("image", "audio", "target"):
        together = np.concatenate([built[name][:11], built[name][120:127]])
        assert together == pytest.approx(fewer[name], abs=1e-6)
    other = avmnist._build(root, 4, -5, "babble", {"train": 11, "test": 7}, (), 1)
    assert not np.allclose(other["audio"], fewer["audio"])


def test_all_components_give_the_plain_image(root: Path) -> None:
    built = avmnist._build(root, 784, np.inf, "babble", {"train": 120, "test": 20}, (), 0)
    pixels, labels = avmnist.mnist(root, "train")
    for image, label in zip(built["image"][:120], built["target"][:120], strict=True):
        assert any(np.allclose(image, p / 255, atol=1e-5) for p in pixels[labels == label])


@pytest.mark.parametrize("snr", [-5.0, 10.0])
def test_noise_has_the_power_asked_for(snr: float) -> None:
    rng = np.random.default_rng(0)
    speech = np.where(np.arange(8000) < 3000, rng.normal(size=(4, 8000)), 0)
    noise = 3 * rng.normal(size=(4, 8000))
    added = avmnist.mix(speech, noise, snr) - speech
    for clean, loud in zip(speech, added, strict=True):
        ratio = (clean[:3000] ** 2).mean() / (loud**2).mean()
        assert 10 * np.log10(ratio) == pytest.approx(snr, abs=1e-9)


def test_held_out_speakers_are_heard_in_test_only(root: Path) -> None:
    spoken = avmnist._spoken(root, ["ben"])
    assert len(spoken["test"].waves) == len(spoken["train"].waves) == 70
    official = avmnist._spoken(root, [])
    assert len(official["test"].waves) == 100 and len(official["train"].waves) == 40
    with pytest.raises(ConfigError, match="did you mean 'anna'"):
        avmnist.load(root, speakers=["ana"])


def test_options_and_damaged_files_are_refused(root: Path) -> None:
    for options, reason in (
        ({"noise": "wite"}, "did you mean 'white'"),
        ({"size": "smal"}, "did you mean 'small'"),
        ({"components": 0}, "1 to 784"),
        ({"snr": float("nan")}, "number of dB"),
        ({"size": "small"}, "120 images in train where 6000"),
    ):
        with pytest.raises((ConfigError, DataError), match=reason):
            avmnist.load(root, cache="off", **options)  # type: ignore[arg-type]
    recording = root / "fsdd" / "recordings" / "3_anna_6.wav"
    write_wav(recording, 500, rate=11025)
    with pytest.raises(DataError, match=r"3_anna_6.wav has a rate of 11025"):
        avmnist.load(root, size="tiny")
    recording.rename(recording.with_name("three.wav"))
    with pytest.raises(DataError, match="not named like"):
        avmnist.load(root, size="tiny")


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    for root, reason in (
        (None, "--data-root"),
        (tmp_path / "no", "not exist"),
        (tmp_path, "has no"),
    ):
        with pytest.raises(DataError, match=reason):
            avmnist.load(root)


def test_four_components_of_real_mnist_have_28_percent_of_the_variance(shared_data: Path) -> None:
    pixels, _ = avmnist.mnist(shared_data, "train")
    mean, directions = avmnist.components_of(pixels, 4)
    flat = pixels.reshape(len(pixels), -1) / 255 - mean
    assert directions.T @ directions == pytest.approx(np.eye(4), abs=1e-9)
    kept = ((flat @ directions) ** 2).sum() / (flat**2).sum()
    assert round(100 * kept, 1) == 28.4
    assert len(avmnist.recordings(shared_data)) == 3000
