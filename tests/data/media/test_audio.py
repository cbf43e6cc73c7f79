from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

pytest.importorskip("soundfile", reason="needs the extra media")
pytest.importorskip("soxr", reason="needs the extra media")

from equimodal.data.media import spectra
from equimodal.data.media.audio import PRESETS, Audio, waveform
from equimodal.data.media.video import Video
from equimodal.errors import ConfigError, DataError
from fixtures.media import tone, write_video, write_wav


def noise(samples: int, *batch: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.uniform(-0.5, 0.5, (*batch, samples)))


def slow_magnitudes(wave: np.ndarray, window: int, hop: int) -> np.ndarray:
    """By the definition: frame by frame, the ends mirrored, one sum for each frequency."""
    padded = np.pad(wave, window // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(window // 2 + 1), np.arange(window)) / window)
    starts = range(0, len(wave) + 1, hop)
    return np.stack([np.abs(waves @ (hann * padded[s : s + window])) for s in starts], 1)


def test_stft_follows_its_definition() -> None:
    wave = noise(1000)
    assert spectra.stft(wave, 64, 24).numpy() == pytest.approx(
        slow_magnitudes(wave.numpy(), 64, 24), abs=1e-9
    )
    batch = noise(1000, 2, 3)
    assert torch.allclose(spectra.stft(batch, 64, 24)[1, 2], spectra.stft(batch[1, 2], 64, 24))


def test_power_density_is_that_of_scipy() -> None:
    wave = noise(4000)
    _, _, expected = scipy.signal.spectrogram(wave.numpy(), 16000, nperseg=512, noverlap=353)
    found = spectra.power_density(wave, 16000, 512, 159).numpy()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(
    ("scale", "top", "at", "side", "total"),
    [  # of the banks of transformers 5.23, which are bit for bit those of librosa and of Kaldi
        ("slaney", 0.011547696263423014, 26, 0.0005768064040079632, 1.2806043636311826),
        ("htk", 0.8437804652316129, 23, 0.3654925538458141, 246.47587070563213),
        ("kaldi", 0.8397188070445842, 23, 0.35848455305037086, 246.40018715305652),
    ],
)
def test_mel_banks_are_those_of_librosa_and_kaldi(
    scale: spectra.Scale, top: float, at: int, side: float, total: float
) -> None:
    found = spectra.mel_bank(40, 512, 16000, 20.0, 8000.0, scale)
    assert found.shape == (40, 257)
    assert (float(found[10].max()), int(found[10].argmax())) == (pytest.approx(top), at)
    assert float(found[39, 250]) == pytest.approx(side)
    assert float(found.sum()) == pytest.approx(total)


def test_values_of_the_mel_scale_that_librosa_documents() -> None:
    # librosa.hz_to_mel(60) is 0.9, and hz_to_mel([110, 220, 440]) is [1.65, 3.3, 6.6].
    for hertz, mel in ((60, 0.9), (110, 1.65), (220, 3.3), (440, 6.6)):
        assert spectra._mel(hertz, "slaney") == pytest.approx(mel)
    # librosa.mel_to_hz([1, 2, 3, 4, 5]) is [66.667, 133.333, 200, 266.667, 333.333].
    assert spectra._hertz(torch.arange(1.0, 6), "slaney").tolist() == pytest.approx(
        [66.667, 133.333, 200, 266.667, 333.333], abs=1e-3
    )


def test_fbank_is_that_of_kaldi() -> None:
    wave = torch.from_numpy(np.sin(np.arange(8000) ** 2 / 3e4) * 0.5)
    found = spectra.fbank(wave, 16000, 40)
    assert found.shape == (48, 40)
    # Of transformers 5.23, whose filter bank stands in for Kaldi's.
    expected = {(0, 0): 0.6263745, (10, 20): -15.942385, (47, 39): -15.942385, (30, 5): -11.423762}
    for where, value in expected.items():
        assert float(found[where]) == pytest.approx(value, abs=1e-5)
    assert float(found.sum()) == pytest.approx(-23799.104, rel=1e-6)


@pytest.mark.parametrize(
    ("preset", "shape"),
    [
        ("ogm_ge", (1, 257, 188)),
        ("pmr", (1, 257, 299)),
        ("vggsound", (1, 129, 626)),
        ("fbank", (1, 1024, 128)),
        ("mla", (1, 1024, 128)),
        ("ibml", (1, 257, 188)),
        ("infobridge", (1, 224, 224)),
    ],
)
def test_presets_have_the_published_shapes(preset: str, shape: tuple[int, ...]) -> None:
    reader = PRESETS[preset]
    for seconds in (1.0, 12.0):
        wave = torch.from_numpy(tone(seconds, reader.rate))
        for rng in (None, np.random.default_rng(0)):
            found = reader.finish(wave, rng)
            assert found.shape == shape and found.dtype == torch.float32
            assert torch.isfinite(found).all()


def test_filter_banks_are_normalised_as_ogm_ge_and_mla_do() -> None:
    wave = torch.from_numpy(tone(2.0, 16000))
    ogm_ge, mla = (PRESETS[preset].finish(wave).double() for preset in ("fbank", "mla"))
    assert torch.allclose(ogm_ge * 2 * 5.141276 - 4.503877, mla * 4.4849 - 5.081, atol=1e-4)
    assert float(ogm_ge[0, -1, 0]) == pytest.approx(4.503877 / (2 * 5.141276))  # after the sound
    assert float(mla[0, -1, 0]) == pytest.approx(5.081 / 4.4849)


@pytest.mark.parametrize("preset", ["vggsound", "fbank"])
def test_a_click_stands_where_its_time_is(preset: str) -> None:
    """Two clicks apart in time, at all frequencies alike: the axis along which loudness changes is that of time."""
    reader = PRESETS[preset]
    wave = torch.zeros(5 * reader.rate)
    wave[[reader.rate, 3 * reader.rate]] = 1.0
    image = reader.finish(wave)[0].double()
    rows, columns = image.mean(1).std(), image.mean(0).std()
    assert reader.time_first == bool(rows > columns)


def test_ogm_ge_repeats_what_is_short_and_takes_the_logarithm_of_magnitudes() -> None:
    wave = tone(1.0, 22050)
    found = PRESETS["ogm_ge"].finish(torch.from_numpy(wave))[0]
    magnitudes = spectra.stft(torch.from_numpy(np.tile(wave, 3)), 512, 353)
    assert found.numpy() == pytest.approx(np.log(magnitudes.numpy() + 1e-7), abs=1e-5)


def test_a_random_part_in_training_and_the_middle_in_test() -> None:
    reader = Audio(rate=10, seconds=2, crop="random")
    wave = torch.arange(60.0)
    assert reader.finish(wave)[0] == 20
    starts = {int(reader.finish(wave, np.random.default_rng(i))[0]) for i in range(300)}
    assert starts == set(range(41))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_sound_files_are_read_and_resampled(tmp_path: Path, suffix: str) -> None:
    import soundfile

    path = tmp_path / f"tone.{suffix}"
    stereo = np.stack([tone(1.0, 44100), np.zeros(44100, np.float32)], 1)
    soundfile.write(path, stereo, 44100)
    found = waveform(path, 16000)
    assert found.dtype == np.float32
    assert abs(len(found) - 16000) < 0.12 * 16000  # codecs add a little silence
    spectrum = np.abs(np.fft.rfft(found[2000:10000]))
    assert spectrum.argmax() * 16000 / 8000 == pytest.approx(440, abs=4)
    assert np.abs(found[2000:10000]).max() == pytest.approx(
        0.15, abs=0.02
    )  # the mean of the two channels
    if suffix in ("wav", "flac"):
        part = waveform(path, 44100, 0.25, 0.5)
        assert part == pytest.approx(stereo[11025:22050].mean(1), abs=1e-4)


@pytest.mark.parametrize("suffix", ["flv", "mp4"])
def test_sound_of_videos(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("av", reason="needs the extra media")
    found = waveform(write_video(tmp_path / f"film.{suffix}", 1.0, hertz=500), 16000)
    assert abs(len(found) - 16000) < 2500
    spectrum = np.abs(np.fft.rfft(found[2000:10000]))
    assert spectrum.argmax() * 2 == pytest.approx(500, abs=4)


def test_what_cannot_be_heard_is_refused_by_name(tmp_path: Path) -> None:
    import soundfile

    whole = write_wav(tmp_path / "whole.wav")
    content = whole.read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(content[: len(content) // 2])
    empty = tmp_path / "empty.wav"
    empty.write_bytes(content[:40] + struct.pack("<I", 0))
    noise = tmp_path / "noise.wav"
    noise.write_bytes(bytes(range(256)))
    broken = tmp_path / "nan.wav"
    soundfile.write(broken, np.array([0, np.nan, 0], dtype=np.float32), 8000, subtype="FLOAT")
    for path, reason in (
        (cut, r"cut.wav is cut off: \d+ of 16000 bytes of sound are there"),
        (empty, "empty.wav has no sound: its length is zero"),
        (noise, "noise.wav is not readable sound"),
        (broken, "nan.wav has a sample that is not finite"),
        (tmp_path / "none.wav", "none.wav does not exist"),
    ):
        with pytest.raises(DataError, match=reason):
            waveform(path)
    with pytest.raises(DataError, match=r"has no sound between 3 and 4 s"):
        waveform(whole, 16000, 3, 4)


@pytest.mark.parametrize(
    ("start", "stop", "said"),
    [
        (-0.5, None, "-0.5 s to its end"),
        (0.0, -0.25, "0 s to -0.25 s"),
        (0.25, 0.25, "0.25 s to 0.25 s"),
        (float("nan"), None, "nan s to its end"),
    ],
)
def test_a_part_that_cannot_be_is_refused(
    tmp_path: Path, start: float, stop: float | None, said: str
) -> None:
    path = write_wav(tmp_path / "whole.wav")
    for decode in (Audio().decode, Video().decode):
        with pytest.raises(DataError, match=rf"whole.wav cannot be read from {said}"):
            decode(path, start, stop)


def test_options_that_cannot_be() -> None:
    for options in ({"form": "mfcc"}, {"rate": 0}, {"seconds": 0}, {"form": "stft"}):
        with pytest.raises(ConfigError):
            Audio(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "stft", "seconds": 1.0, "hop": 0}, "hop must be at least 1; here 0"),
        ({"form": "stft", "seconds": 1.0, "window": 1}, "window must be at least 2; here 1"),
        ({"form": "logmel", "seconds": 1.0, "bands": 0}, "bands must be at least 1; here 0"),
        ({"form": "fbank", "bands": -1}, "bands must be at least 1; here -1"),
        ({"form": "fbank", "frames": -1}, "frames must be at least 0; here -1"),
        ({"form": "fbank", "rate": 30}, "needs a rate of at least 100; here 30"),
        (
            {"form": "stft", "seconds": 0.01},
            r"160 samples; form='stft' with window=512 needs at least 257",
        ),
        ({"form": "logmel", "seconds": 0.016}, "rate=16000 are 256 samples; .* at least 257"),
        ({"form": "density", "seconds": 0.03}, "480 samples; .* at least 512"),
        ({"seconds": 1e-6}, "seconds=1e-06 at rate=16000 are 0 samples; .* at least 1"),
        ({"form": "fbank", "frames": 9, "size": (9, 0)}, r"size must be two .* here \(9, 0\)"),
    ],
)
def test_a_spectrogram_that_cannot_be_made_is_refused(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Audio(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"form": "stft", "seconds": 257 / 16000}, (1, 257, 2)),
        ({"form": "logmel", "seconds": 257 / 16000, "bands": 1}, (1, 1, 2)),
        ({"form": "density", "seconds": 512 / 16000}, (1, 257, 1)),
        ({"form": "fbank", "rate": 100, "seconds": 0.01, "bands": 2, "frames": 3}, (1, 3, 2)),
        ({"form": "fbank", "rate": 100, "bands": 1}, (-1, 1)),
        ({"seconds": 1 / 16000}, (1,)),
    ],
)
def test_the_least_that_can_be_made(options: dict[str, object], shape: tuple[int, ...]) -> None:
    reader = Audio(**options)  # type: ignore[arg-type]
    assert reader.shape == shape
    found = reader.finish(torch.from_numpy(tone(1.0, reader.rate)))
    assert torch.isfinite(found).all()
