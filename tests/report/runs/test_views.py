"""What is shown of a sample is the sample."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pytest
import torch

from equimodal.report.runs.views import Cloud, Drawing, Picture, Sound, Words, png, view


def data(uri: str) -> io.BytesIO:
    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def pixels(uri: str) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(data(uri)))


def test_png_is_read_by_others() -> None:
    colours = np.random.default_rng(0).random((5, 7, 3))
    assert np.array_equal(pixels(png(colours)), (colours * 255).round().astype(np.uint8))
    grey = np.array([[0.0, 1.0, 0.5]])
    assert pixels(png(grey)).tolist() == [[0, 255, 128]]


def test_a_picture_is_scaled_and_made_smaller_by_means() -> None:
    value = torch.zeros(1, 400, 200)
    value[:, :200] = 3.0
    shown = view("x", value)
    assert isinstance(shown, Picture) and (shown.width, shown.height) == (66, 133)
    seen = pixels(shown.source)
    assert seen[0, 0] == 255 and seen[-1, -1] == 0 and seen[66, 0] == 170  # rows 198 to 200: 2 of 3
    assert not shown.small and view("x", torch.rand(3, 28, 28)).small  # type: ignore[union-attr]


def test_a_spectrogram_is_coloured() -> None:
    value = torch.rand(1, 20, 30)
    assert pixels(view("audio", value).source).shape == (20, 30, 3)  # type: ignore[union-attr]
    assert pixels(view("x", value).source).shape == (20, 30)  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(8, 3, 10, 12), (3, 8, 10, 12)])
def test_frames_stand_beside_each_other(shape: tuple[int, ...]) -> None:
    value = torch.zeros(shape)
    first = value[0] if shape[1] == 3 else value[:, 0]
    first[:] = 1
    shown = view("x", value)
    assert isinstance(shown, Picture) and (shown.width, shown.height) == (48, 10)
    assert pixels(shown.source)[0, :, 0].tolist() == [255] * 12 + [0] * 36


def test_a_cloud_keeps_its_shape() -> None:
    value = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 1]]) + 7
    shown = view("points", value)
    assert isinstance(shown, Cloud)
    found = np.frombuffer(base64.b64decode(shown.points), np.int8).reshape(-1, 3).astype(int)
    assert (found[1] - found[0]).tolist() == [254, 0, 0]
    assert (found[2] - found[0])[1] == pytest.approx(127, abs=1)
    assert "1024 of 3072" in view("points", torch.rand(3072, 3)).note
    assert isinstance(view("x", torch.rand(64, 3), "dgcnn(k=5)"), Cloud)
    assert isinstance(
        view("x", torch.rand(64, 3), "conv1d(channels=3)"), Drawing
    )  # a sensor's three axes


def test_of_a_sequence_the_channels_that_vary_most() -> None:
    value = torch.zeros(10, 9)
    value[:, 2:8] = torch.arange(10.0)[:, None] * torch.arange(1, 7)
    shown = view("x", value)
    assert isinstance(shown, Drawing) and len(shown.paths) == 6
    assert all(
        path.split()[0].endswith(",94.0") for path in shown.paths
    )  # all begin at the lowest value
    assert shown.paths[-1].split()[-1] == "240.0,2.0"


def test_a_vector_is_stems_from_zero() -> None:
    shown = view("x", torch.tensor([1.0, -1.0, 0.0]))
    assert isinstance(shown, Drawing)
    assert shown.paths == ["M40.0,48.0V2.0 M120.0,48.0V94.0 M200.0,48.0V48.0", "M0,48.0H240"]


def test_sound_can_be_played() -> None:
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(100_000) / 16000) * 0.25
    shown = view("x", tone[None])
    assert isinstance(shown, Sound) and "the first 4 s" in shown.note
    with wave.open(data(shown.source)) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 64_000)
        played = np.frombuffer(file.readframes(64_000), "<i2") / 32767 * 0.25
    assert np.allclose(played, tone[:64_000].numpy(), atol=1e-4)
    seen = pixels(shown.spectrogram.source).astype(int).sum(2)
    brightest = (
        len(seen) - 1 - seen.mean(1).argmax()
    )  # rows from the bottom, 4 bins of 31.25 Hz each
    assert brightest * 4 * 16_000 / 512 == pytest.approx(440, abs=125)


def test_ids_are_words() -> None:
    assert view("x", torch.tensor([5, 3])) == Words("5 3", "2 token ids")


def test_what_is_constant_has_no_scale() -> None:
    for value in (torch.ones(1, 4, 4), torch.ones(5, 2), torch.zeros(3), torch.zeros(2500)):
        view("x", value)
    assert isinstance(view("points", torch.ones(40, 3)), Cloud)
