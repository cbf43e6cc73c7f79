"""Data sets of others as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from equimodal.data import Arrays, Loader, Wrapped
from equimodal.errors import DataError


class Torch(torch.utils.data.Dataset[Any]):
    """Samples as a function of their index, in one of the forms."""

    def __init__(self, form: str, samples: int = 12) -> None:
        self.form, self.samples = form, samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Any:
        if index >= self.samples:
            raise IndexError(index)
        image, sound = torch.full((2, 2), float(index)), np.arange(3) + index / 2
        label = "abc"[index % 3]
        match self.form:
            case "mapping":
                return {"sound": sound, "image": image, "label": label, "more": "x"}
            case "pair":
                return {"image": image, "sound": sound}, label
        return image, sound, label


@pytest.mark.parametrize("form", ["mapping", "pair", "tuple"])
def test_all_forms_give_what_the_same_arrays_give(form: str) -> None:
    wrapped = Wrapped(Torch(form), ["image", "sound"])
    images = torch.arange(12.0)[:, None, None].expand(12, 2, 2)
    sounds = (np.arange(12)[:, None] / 2 + np.arange(3)).astype(np.float32)
    same = Arrays({"image": images, "sound": sounds}, np.arange(12) % 3, "abc")
    assert wrapped.classes == same.classes and dict(wrapped.shapes) == dict(same.shapes)
    for a, b in zip(Loader(wrapped, 5).iterate(0), Loader(same, 5).iterate(0), strict=True):
        for name in ("image", "sound"):
            assert torch.equal(a.inputs[name], b.inputs[name])
        assert torch.equal(a.target, b.target) and torch.equal(a.index, b.index)


def test_parts_of_it() -> None:
    data = Wrapped(Torch("pair"), ["image", "sound"])
    some = data.subset([7, 2]).only(["sound"])
    assert [some[i].target for i in range(2)] == [1, 2]
    assert some[0].inputs["sound"].tolist() == [3.5, 4.5, 5.5]
    assert list(some[0].inputs) == ["sound"]
    assert len({data.fingerprint(), some.fingerprint(), data.subset([2, 7]).fingerprint()}) == 3


def test_none_is_a_missing_modality_and_lengths_may_vary() -> None:
    rows = [{"x": [[1.0]] * (i + 1) if i % 2 else None, "y": i, "label": i % 2} for i in range(6)]
    data = Wrapped(rows, ["x", "y"], varying=["x"])
    batch = data.fetch([0, 1, 5])
    assert batch.mask("x").tolist() == [False, True, True]
    assert batch.inputs["x"].lengths.tolist() == [1, 2, 6]
    assert batch.inputs["y"].tolist() == [0, 1, 5]


def test_known_targets_are_not_asked_for_again() -> None:
    class Slow(list[Any]):
        reads = 0

        def __getitem__(self, index: Any) -> Any:
            Slow.reads += 1
            return super().__getitem__(index)

    rows = Slow({"x": [float(i)], "label": i % 2} for i in range(100))
    data = Wrapped(rows, ["x"], targets=[i % 2 for i in range(100)], classes=["no", "yes"])
    assert Slow.reads <= 2
    assert data.class_counts == {"no": 50, "yes": 50}


def test_pictures_and_recordings_of_hugging_face() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the extra media")
    picture = image.new("RGB", (4, 3), (255, 0, 51))
    sound = {"array": np.zeros(5), "sampling_rate": 16000, "path": None}
    rows = [{"image": picture, "audio": sound, "label": i} for i in range(2)]
    inputs = Wrapped(rows, ["image", "audio"])[0].inputs
    assert inputs["image"].shape == (3, 3, 4) and inputs["audio"].shape == (5,)
    assert inputs["image"][:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"x": [1.0]}, {}, "Sample 0 has no 'label'; known are x.$"),
        ({"label": 1}, {}, "Sample 0 has no 'x'; known are label. Of a modality .* is None"),
        ({"x": "word", "label": 0}, {}, "Sample 0: x is no array of numbers"),
        ({"x": [float("nan")], "label": 0}, {}, "Sample 0: x has a value that is not finite"),
        ({"x": [1.0], "label": 2}, {"classes": ["a", "b"]}, "Sample 0 has the class 2"),
        ({"x": [1.0], "label": 0}, {"targets": [0, 1]}, "The targets are 2, the samples 1"),
    ],
)
def test_mistakes(row: dict[str, Any], options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        Wrapped([row], ["x"], **options)


def test_one_modality_of_a_sequence_is_the_one_that_is_named() -> None:
    wrapped = Wrapped(Torch("tuple"), ["image", "sound"])
    for names in (["sound"], ["sound", "image"]):
        part = wrapped.only(names)
        assert part.modalities == tuple(names)
        assert torch.equal(part.sample(4).inputs["sound"], wrapped.sample(4).inputs["sound"])


def test_who_lacks_what_is_known_before_training() -> None:
    rows = [{"a": [1.0], "b": None if i % 2 else [2.0], "label": i % 2} for i in range(6)]
    wrapped = Wrapped(rows, ["a", "b"])
    assert wrapped.missing == {"a": 0.0, "b": 0.5}
    assert wrapped.subset([1, 2]).present["b"].tolist() == [False, True]
    assert wrapped.only(["a"]).missing == {"a": 0.0}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_whole_numbers_beside_fractions(order: list[int]) -> None:
    rows = [{"a": [1, 2], "label": 0}, {"a": [0.25, 1.5], "label": 1}]
    batch = Wrapped(rows, ["a"]).fetch(order)
    wanted = torch.tensor([[1.0, 2.0], [0.25, 1.5]])[order]
    assert torch.equal(batch.inputs["a"], wanted)


@pytest.mark.parametrize(
    ("mode", "value", "wanted"), [("1", 1, 1.0), ("I;16", 65535, 1.0), ("L", 51, 0.2)]
)
def test_pictures_of_any_depth_are_in_0_to_1(mode: str, value: int, wanted: float) -> None:
    pictures = pytest.importorskip("PIL.Image", reason="the extra 'media' is not installed")
    rows = [{"a": pictures.new(mode, (2, 2), value), "label": i} for i in range(2)]
    seen = Wrapped(rows, ["a"]).sample(0).inputs["a"]
    torch.testing.assert_close(seen, torch.full((1, 2, 2), wanted))


@pytest.mark.parametrize("labels", [[None, 1], [0.5, 1.0], ["a", 1], [float("nan"), 1]])
def test_labels_that_are_no_classes(labels: list[Any]) -> None:
    rows = [{"a": [1.0], "label": label} for label in labels]
    with pytest.raises(DataError, match=r"Sample \d has the class"):
        Wrapped(rows, ["a"], classes=["x", "y"])
