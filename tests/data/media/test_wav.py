from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile

from equimodal.data.media import wav
from equimodal.errors import DataError
from fixtures.published import write_wav


def test_samples_are_read_as_written(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    scipy.io.wavfile.write(tmp_path / "a.wav", 8000, samples)
    assert wav.read(tmp_path / "a.wav", 8000).tolist() == (samples / 32768).tolist()


def test_what_is_no_recording_of_this_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, 0)
    with pytest.raises(DataError, match="no sound"):
        wav.read(path, 8000)
    write_wav(path, 100, rate=16000)
    with pytest.raises(DataError, match="16000 Hz; it must be 8000 Hz"):
        wav.read(path, 8000)
    scipy.io.wavfile.write(path, 8000, np.zeros((10, 2), dtype=np.int16))
    with pytest.raises(DataError, match="2 channel"):
        wav.read(path, 8000)


@pytest.mark.parametrize("keep", [0, 10, 44, 100])
def test_a_recording_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.wav"
    write_wav(path, 100)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=str(path)):
        wav.read(path, 8000)


def test_edges_of_the_mel_bands() -> None:
    golden = "0 1 2 4 5 7 9 11 13 15 17 19 22 25 27 30 34 37 41 44 48 53 57 62 67 72 78 84 90 97 104 112 120 128"
    assert wav.mel_edges(32, 256, 8000).tolist() == [int(edge) for edge in golden.split()]


def test_log_mel_equals_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=8000)
    edges = wav.mel_edges(32, 256, 8000)
    window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 255) for n in range(256)]
    fast = wav.log_mel(samples)
    assert fast.shape == (61, 32)
    for frame in (0, 17, 60):
        cut = samples[128 * frame : 128 * frame + 256] * window
        for band in (0, 1, 12, 31):
            low, centre, high = edges[band : band + 3]
            power = 0.0
            for k in range(129):
                angle = 2 * np.pi * k * np.arange(256) / 256
                strength = (cut @ np.cos(angle)) ** 2 + (cut @ np.sin(angle)) ** 2
                up, down = (k - low) / (centre - low), (high - k) / (high - centre)
                power += strength * max(0, min(up, down))
            assert fast[frame, band] == pytest.approx(np.log(power + 1e-6), abs=1e-9)


def test_length_is_cut_or_padded_at_the_end() -> None:
    samples = np.arange(1, 4, dtype=np.float32)
    assert wav.fit_length(samples, 2).tolist() == [1, 2]
    assert wav.fit_length(samples, 5).tolist() == [1, 2, 3, 0, 0]


def test_an_empty_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "3_george_7.wav"
    path.touch()
    with pytest.raises(DataError, match=r"3_george_7.wav is not a readable WAV file \(it ends in"):
        wav.read(path, 8000)
