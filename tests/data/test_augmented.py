"""Augmentation by expression: within its bounds, in training alone, and the same whoever asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.core.batch import Padded
from equimodal.core.expression import build
from equimodal.data import Arrays, Loader, Splits
from equimodal.data.augmentations import BY_NAME, Augmentation, Jitter, Rotate, Scale, Shift
from equimodal.data.augmented import augmented
from equimodal.data.dropout import ModalityDropout
from equimodal.data.manifest import load
from equimodal.errors import ConfigError, DataError, EquimodalError
from equimodal.training.evaluate import batches
from equimodal.training.fit import fit
from equimodal.training.run import ready
from equimodal.training.settings import Settings
from fixtures import own, small

F, T = 12, 30


def made(expression: str) -> Augmentation:
    return build(expression, BY_NAME, "augmentation", Augmentation)


def spectra(time_first: bool = False, samples: int = 24) -> Arrays:
    """Every cell another value; the second modality is not augmented, and is missing in one row."""
    shape = (samples, 1, T, F) if time_first else (samples, 1, F, T)
    values = torch.arange(samples * F * T, dtype=torch.float64).reshape(shape)
    there = torch.arange(samples) != 3
    inputs = {"sound": values, "other": torch.ones(samples, 2)}
    return Arrays(
        inputs,
        [i % 2 for i in range(samples)],
        "ab",
        present={"sound": there},
        time_first=["sound"] if time_first else [],
    )


@pytest.mark.parametrize("time_first", [False, True])
def test_masks_are_whole_bands_and_stretches_within_bounds_filled_with_the_mean(
    time_first: bool,
) -> None:
    plain = spectra(time_first)
    changed = augmented(plain, {"sound": "spec_augment(time=7, frequency=3)"})
    widths: dict[str, set[int]] = {"time": set(), "frequency": set()}
    for epoch in range(20):
        batch, before = changed.fetch(range(24), epoch), plain.fetch(range(24))
        assert torch.equal(batch.inputs["other"], before.inputs["other"])
        assert not bool(batch.inputs["sound"][3].any())  # what is missing stays so
        for i in set(range(24)) - {3}:
            was, seen = before.inputs["sound"][i, 0], batch.inputs["sound"][i, 0]
            was, seen = (was.T, seen.T) if time_first else (was, seen)
            masked = (seen != was).numpy()
            assert seen[masked].numpy() == pytest.approx(float(was.mean()))
            bands, times = masked.all(1), masked.all(0)
            assert np.array_equal(masked, bands[:, None] | times[None])
            for name, hidden in (("frequency", bands), ("time", times)):
                at = np.flatnonzero(hidden)
                assert len(at) == 0 or at[-1] - at[0] == len(at) - 1  # one piece
                widths[name].add(len(at))
    assert widths == {"time": set(range(8)), "frequency": set(range(4))}


def test_several_masks_are_drawn_one_by_one() -> None:
    change, values = made("spec_augment(time=4, masks=3)"), spectra().inputs["sound"][0]
    seen = [change(values, np.random.default_rng(i)) != values for i in range(100)]
    widths = [int(masked[0].all(0).sum()) for masked in seen]
    assert max(widths) > 8 and max(widths) <= 12


def test_the_first_axis_of_a_sequence_is_time() -> None:
    values = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    data = augmented(Arrays({"sound": values[None]}, [0], "ab"), {"sound": "spec_augment(time=5)"})
    masked = torch.stack([data.sample(0, i).inputs["sound"] != values for i in range(50)])
    steps = masked.all(2)
    assert torch.equal(masked, steps[..., None].expand_as(masked))
    assert set(steps.sum(1).tolist()) == set(range(6))


def test_padding_of_sequences_is_not_touched() -> None:
    from equimodal.core.batch import Batch

    class Sequences(Arrays):
        def fetch(self, indices: object, epoch: int = 0) -> Batch:
            values = torch.zeros(2, 9, 4)
            values[0], values[1, :5] = 1 + torch.rand(9, 4), 1 + torch.rand(5, 4)
            inputs = {"sound": Padded(values, torch.tensor([9, 5]))}
            return Batch(inputs, torch.tensor([0, 1]), torch.tensor([0, 1]))

    data = Sequences({"sound": torch.ones(2, 9, 4)}, [0, 1], "ab")
    data.shapes = {"sound": (-1, 4)}
    change = augmented(data, {"sound": "spec_augment(time=9)"})
    found = [change.fetch([0, 1], epoch).inputs["sound"] for epoch in range(20)]
    assert all(not bool(padded.values[1, 5:].any()) for padded in found)
    assert any(len(padded.values[1, :5].unique(dim=0)) < 5 for padded in found)


def test_a_look_depends_on_seed_epoch_and_sample_alone() -> None:
    expression = {"sound": "spec_augment(time=7, frequency=3) + crop(0.5) + flip()"}
    data = augmented(spectra(), expression, seed=5)
    whole = data.fetch(range(24), 2).inputs["sound"]
    assert torch.equal(data.fetch([7, 20], 2).inputs["sound"], whole[[7, 20]])
    assert torch.equal(data.sample(7, 2).inputs["sound"], whole[7])
    for workers in (0, 2):
        for batch in Loader(data, 5, workers=workers).iterate(2):
            assert torch.equal(batch.inputs["sound"], whole[batch.index])
    for other in (
        data.fetch(range(24), 3),
        augmented(spectra(), expression, 6).fetch(range(24), 2),
    ):
        assert not torch.equal(other.inputs["sound"], whole)


def test_what_is_stored_is_not_changed() -> None:
    data = spectra()
    before = data.inputs["sound"].clone()
    augmented(data, {"sound": "spec_augment(time=7) + flip()"}).fetch(range(24))
    assert torch.equal(data.inputs["sound"], before)


def test_pictures() -> None:
    rng = np.random.default_rng
    image = torch.arange(60.0).reshape(1, 6, 10)
    flips = [made("flip()")(image, rng(i)) for i in range(40)]
    assert {tuple(f[0, 0].tolist()) for f in flips} == {
        tuple(range(10)),
        tuple(range(9, -1, -1)),
    }
    frames = image.expand(3, 1, 6, 10)
    cropped = made("crop(0.3)")(frames, rng(1))
    assert cropped.shape == frames.shape and torch.equal(cropped[0], cropped[2])
    assert not torch.equal(cropped, frames)
    assert float(cropped.min()) >= 0 and float(cropped.max()) <= 59


def test_points() -> None:
    rng = np.random.default_rng
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = made("rotate()")(points, rng(0))
    assert torch.allclose(turned[:, 1], points[:, 1])
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(points, points), atol=1e-4)
    shaken = [(made("jitter(0.05)")(points, rng(i)) - points).abs() for i in range(20)]
    assert 0.09 < float(torch.stack(shaken).max()) <= 0.1 + 1e-6
    for i in range(20):
        offset = made("shift(0.2)")(points, rng(i)) - points
        assert torch.allclose(offset, offset[:1].expand(50, 3), atol=1e-6)
        assert float(offset.abs().max()) <= 0.2 + 1e-6
        factor = made("scale(1.5)")(points, rng(i)) / points
        assert torch.allclose(factor, factor[:1].expand(50, 3), atol=1e-4)
        assert float(factor.min()) >= 2 / 3 - 1e-4 and float(factor.max()) <= 1.5 + 1e-4


@pytest.mark.parametrize(
    ("modality", "expression", "expected"),
    [
        ("sond", "flip()", "names the modality 'sond'; did you mean 'sound'"),
        ("sound", "spec_augment()", "needs time or frequency above 0"),
        ("sound", "specaugment(time=2)", "did you mean 'spec_augment'"),
        (
            "sound",
            "rotate()",
            r"Rotate of 'sound' is for points \[N, 3\]; a sample is \[1, 12, 30\]",
        ),
        ("sound", "crop(0)", "smallest of crop"),
        ("other", "flip()", "is for images"),
        ("sound", "jitter(-1)", "deviation of jitter"),
    ],
)
def test_what_cannot_be(modality: str, expression: str, expected: str) -> None:
    with pytest.raises(EquimodalError, match=expected):
        augmented(spectra(), {modality: expression})


def test_an_evaluation_of_the_training_split_sees_it_as_it_is() -> None:
    plain = spectra()
    changed = augmented(plain, {"sound": "spec_augment(time=9)"})
    dropped = ModalityDropout(changed, 0.5)
    for data in (changed, dropped, changed.subset(range(24)), dropped.only(["sound"])):
        (batch,) = batches(data, 24)
        assert torch.equal(batch.inputs["sound"], plain.fetch(range(24)).inputs["sound"])
        assert torch.equal(batch.mask("sound"), plain.fetch(range(24)).mask("sound"))
    assert changed.seen(augment=True).fetch(range(24)).inputs.keys() == {"sound", "other"}
    moved = changed.seen(augment=True).fetch(range(24)).inputs["sound"]
    assert torch.equal(moved, changed.fetch(range(24)).inputs["sound"])


def test_training_alone_is_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Spy(Augmentation):
        def fits(self, shape: tuple[int, ...]) -> bool:
            return True

        def __call__(self, values: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
            seen.append("a look")
            return values

    monkeypatch.setitem(BY_NAME, "spy", Spy)
    data = small.splits()
    name = data.modalities[0]
    options = {"epochs": 2, "batch_size": 8, "probe": False, "fit_fusion": "off"}
    fit(small.model(), data, "joint()", augment={name: "spy()"}, **options)
    there = data.train.present.get(name, torch.ones(len(data.train)))
    assert len(seen) == 2 * int(there.sum())


def test_a_data_toml_says_it_and_the_user_has_the_last_word(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="needs the extra media")
    path = own.write_pets(tmp_path / "pets")
    text = path.read_text()
    path.write_text(text.replace("size = 8", 'size = 8\naugment = "crop(0.5) + flip()"'))
    splits = load(path)
    assert splits.augment == {"photo": "crop(0.5) + flip()"}
    assert splits.only(["facts"]).augment == {}
    asked = Settings(data=str(path), method="joint()")
    assert ready(asked, splits).augment == {"photo": "crop(0.5) + flip()"}
    said = asked.changed(augment={"photo": "none"})
    assert ready(said, splits).augment == {"photo": "none"}
    assert torch.equal(splits.test[0].inputs["facts"], load(path).test[0].inputs["facts"])
    path.write_text(text.replace("size = 8", 'size = 8\naugment = "spin()"'))
    with pytest.raises((ConfigError, DataError), match="There is no augmentation 'spin'"):
        load(path)


def test_no_augmentation_is_the_data_itself() -> None:
    data = spectra()
    assert augmented(data, {"sound": "none"}) is data
    assert isinstance(Splits("s", data, data, data).augment, dict)


def looks(change: Augmentation, points: torch.Tensor, count: int = 200) -> torch.Tensor:
    return torch.stack([change(points, np.random.default_rng(i)) for i in range(count)])


def test_clouds_are_turned_about_the_upright_axis() -> None:
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = looks(Rotate(), points)
    assert torch.equal(turned[..., 1], points[:, 1].expand(200, -1))
    flat, turned_flat = (torch.complex(p[..., 0], p[..., 2]) for p in (points, turned))
    turns = turned_flat / flat  # one angle for all points of a look
    assert torch.allclose(turns, turns[:, :1]) and torch.allclose(
        turns.abs(), torch.ones(1).double()
    )
    quadrants = torch.bincount((turns[:, 0].angle() // (torch.pi / 2) + 2).long(), minlength=4)
    assert quadrants.min() > 25


def test_clouds_are_scaled_and_moved_within_their_bounds() -> None:
    ones = torch.ones(2, 3)
    scaled = looks(Scale(2.0), ones)
    assert torch.equal(scaled[:, 0], scaled[:, 1])
    assert 0.5 <= scaled.min() < 0.6 and 1.9 < scaled.max() <= 2.0
    moved = looks(Shift(0.3), ones) - 1
    assert moved.min() + 1e-6 >= -0.3 and moved.min() < -0.27
    assert 0.27 < moved.max() <= 0.3 + 1e-6


def test_a_chain_does_all_of_it_in_order() -> None:
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    chain, rng = Rotate() + (Shift(0.3) + Jitter(0.01)), np.random.default_rng(5)
    expected = Jitter(0.01)(Shift(0.3)(Rotate()(points, rng), rng), rng)
    assert torch.equal(chain(points, np.random.default_rng(5)), expected)
