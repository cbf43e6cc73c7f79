"""Recordings in WAV files, by Python's own reader, and their log-mel spectrograms."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...errors import DataError

__all__ = ["fit_length", "log_mel", "mel_bank", "mel_edges", "read"]


def read(path: Path, rate: int) -> NDArray[np.float32]:
    """The samples [T] of a mono PCM16 recording, in [-1, 1).

    Args:
        path: the file.
        rate: the rate that it must have, in Hz.

    Raises:
        DataError: the file is missing or damaged, has no samples, or another rate or form.
    """
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            declared = file.getnframes()
            data = file.readframes(declared)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (wave.Error, EOFError) as error:
        raise DataError(
            f"{path} is not a readable WAV file ({str(error) or 'it ends in its header'}); get it again."
        ) from error
    if form[2] != rate:
        raise DataError(f"{path} has a rate of {form[2]} Hz; it must be {rate} Hz.")
    if form[:2] != (1, 2):
        raise DataError(
            f"{path} has {form[0]} channel(s) of {8 * form[1]} bits; it must be mono PCM16."
        )
    if not data:
        raise DataError(f"{path} has no sound: its length is zero.")
    if len(data) != 2 * declared:
        raise DataError(f"{path} is cut off: {len(data) // 2} of {declared} samples are there.")
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768)


def fit_length(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Cut at the end, or padded there with zeros."""
    cut = samples[:length]
    return np.pad(cut, (0, length - len(cut)))


def mel_edges(bands: int, frame: int, rate: int) -> NDArray[np.int64]:
    """The bands + 2 edges, in bins, of triangular bands on the HTK mel scale from 0 to rate / 2."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    # The last edge is rate / 2 up to rounding; a hair is added so that the floor is that of exact arithmetic.
    return np.floor((frame + 1) * hertz / rate + 1e-9).astype(np.int64)


def mel_bank(bands: int, frame: int, rate: int) -> NDArray[np.float64]:
    """[bands, frame // 2 + 1] triangles of height 1."""
    edges = mel_edges(bands, frame, rate)
    bins = np.arange(frame // 2 + 1)
    low, centre, high = (edges[i : i + bands, None] for i in range(3))
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    return np.clip(np.minimum(rising, falling), 0, None)


def log_mel(
    samples: NDArray[Any], *, rate: int = 8000, frame: int = 256, hop: int = 128, bands: int = 32
) -> NDArray[np.float64]:
    """[..., frames, bands]: log(p + 1e-6) of the mel powers p; symmetric Hann window, no padding.

    Args:
        samples: [..., T].
        rate: Hz.
        frame, hop: samples.
        bands: number of mel bands.
    """
    frames: NDArray[Any] = sliding_window_view(samples, frame, axis=-1)[..., ::hop, :]
    power = np.abs(np.fft.rfft(frames * np.hanning(frame))) ** 2
    return np.asarray(np.log(power @ mel_bank(bands, frame, rate).T + 1e-6))
