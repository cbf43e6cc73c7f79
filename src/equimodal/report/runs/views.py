"""One modality of one sample as something to look at or listen to, made small enough to stand in a page."""

from __future__ import annotations

import base64
import io
import re
import struct
import textwrap
import wave
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Cloud", "Drawing", "Picture", "Sound", "View", "Words", "png", "view"]

SIDE = 192  # pixels of a picture's longer side, at most
POINTS = 1024
CHANNELS = 6
SECONDS = 4
RATE = 16_000  # Hz, where the data do not say
CHARACTERS = 400
WAVE = 2_000  # a row of at least so many values is sound

# Cividis, which grows evenly in lightness: Nuñez, Anderton and Renslow, PLoS ONE 2018.
_CIVIDIS = np.array(
    [
        [0, 34, 78],
        [42, 63, 109],
        [87, 93, 109],
        [124, 123, 120],
        [165, 156, 116],
        [211, 193, 100],
        [254, 232, 56],
    ],
    dtype=float,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """A PNG as data URI, its size, and whether its pixels are to be seen as squares."""

    source: str
    width: int
    height: int
    note: str = ""

    @property
    def small(self) -> bool:
        return max(self.width, self.height) <= 64


@dataclass(frozen=True)
class Cloud:
    """Points in space, as base64 of signed bytes x, y, z, …, which fill the cube from -127 to 127."""

    points: str
    note: str = ""


@dataclass(frozen=True)
class Drawing:
    """Curves as the path data of SVG, in a box of the given size."""

    paths: Sequence[str]
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True)
class Sound:
    """A WAV file as data URI, its curve and its spectrogram."""

    source: str
    curve: Drawing
    spectrogram: Picture
    note: str = ""


@dataclass(frozen=True)
class Words:
    """Text."""

    text: str
    note: str = ""


View = Picture | Cloud | Drawing | Sound | Words


def view(name: str, value: Tensor, encoder: str = "", text: str = "") -> View:
    """What can be shown of a sample.

    Args:
        name: of the modality; one that says that it is sound has its spectrograms in colours.
        value: as the encoder sees it: a picture [C, H, W], frames [T, C, H, W] or [C, T, H, W], a point cloud [N, 3], a
            sequence [T, D], sound [T] or [1, T], a vector [D], token ids [T].
        encoder: the expression of the encoder that reads it, which tells point clouds from sequences of three channels.
        text: as it was written, where the value is one.
    """
    if text:
        short = textwrap.shorten(text, CHARACTERS, placeholder=" …")
        return Words(short, f"{len(value)} tokens")
    if not value.dtype.is_floating_point and value.ndim == 1:
        return Words(" ".join(map(str, value.tolist()[:60])), f"{len(value)} token ids")
    found = value.double().numpy()
    if found.ndim in (1, 2) and found.shape[-1] >= WAVE and found.size == found.shape[-1]:
        return _sound(found.reshape(-1))
    if found.ndim == 4:
        return _frames(found)
    if found.ndim == 3:
        return _picture(found, coloured=_is_sound(name))
    if found.ndim == 2 and found.shape[1] == 3 and _is_cloud(name, encoder):
        return _cloud(found)
    if found.ndim == 2:
        return _sequence(found)
    return _vector(found.reshape(-1))


def _is_sound(name: str) -> bool:
    return re.search("audio|sound|speech|music|spectr|mel", name.lower()) is not None


def _is_cloud(name: str, encoder: str) -> bool:
    return re.match("pointnet|dgcnn", encoder) is not None or "point" in name.lower()


# Pictures.


def _picture(value: Floats, *, coloured: bool = False) -> Picture:
    """[C, H, W]: three channels as colours, else the mean of all as grey."""
    channels, height, width = value.shape
    if channels == 3:
        seen = _scaled(value.transpose(1, 2, 0))
    else:
        grey = _scaled(value.mean(0))
        seen = _colours(grey) if coloured else grey
    seen = _smaller(seen)
    note = f"{height} × {width}, from the lowest value to the highest"
    return Picture(png(seen), seen.shape[1], seen.shape[0], note)


def _frames(value: Floats) -> Picture:
    """Up to four frames beside each other."""
    if value.shape[1] not in (1, 3) and value.shape[0] in (1, 3):
        value = value.transpose(1, 0, 2, 3)
    chosen = np.unique(np.linspace(0, len(value) - 1, 4).round().astype(int))
    strip = np.concatenate(list(value[chosen]), axis=2)
    seen = _smaller(
        _scaled(strip.transpose(1, 2, 0) if len(strip) == 3 else strip.mean(0)), 2 * SIDE
    )
    return Picture(png(seen), seen.shape[1], seen.shape[0], f"{len(chosen)} of {len(value)} frames")


def _scaled(value: Floats) -> Floats:
    """To [0, 1]."""
    low, high = float(value.min()), float(value.max())
    scaled: Floats = (value - low) / (high - low) if high > low else np.zeros_like(value)
    return scaled


def _smaller(value: Floats, side: int = SIDE) -> Floats:
    """Means of blocks of pixels, so that the longer side fits."""
    step = -(-max(value.shape[:2]) // side)
    if step == 1:
        return value
    height, width = (max(size // step, 1) for size in value.shape[:2])
    if min(value.shape[:2]) < step:
        return value[::step, ::step]
    blocks = value[: height * step, : width * step].reshape(height, step, width, step, -1)
    means: Floats = blocks.mean((1, 3))
    return means.squeeze(-1) if value.ndim == 2 else means


def _colours(grey: Floats) -> Floats:
    places = np.linspace(0, 1, len(_CIVIDIS))
    return np.stack([np.interp(grey, places, _CIVIDIS[:, i]) for i in range(3)], axis=-1) / 255


def png(value: Floats) -> str:
    """A picture as data URI.

    Args:
        value: [H, W] grey or [H, W, 3] colours, in [0, 1].
    """
    pixels = (np.clip(value, 0, 1) * 255).round().astype(np.uint8)
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # no filter

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    return _uri("image/png", b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# Points, curves, sound.


def _cloud(value: Floats) -> Cloud:
    step = -(-len(value) // POINTS)
    kept = value[::step] - (value.max(0) + value.min(0)) / 2
    largest = float(np.abs(kept).max()) or 1.0
    bytes_ = (kept / largest * 127).round().astype(np.int8).tobytes()
    note = f"{len(value)} points" if step == 1 else f"{len(kept)} of {len(value)} points"
    return Cloud(base64.b64encode(bytes_).decode(), note)


def _sequence(value: Floats) -> Drawing:
    """[T, D]: the channels that vary most, on one scale."""
    spread = value.std(0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:CHANNELS])
    kept = value[:, chosen]
    length, width = value.shape
    of = f"{length} steps of {width} channels"
    note = of if width <= CHANNELS else f"{of}, of which the {CHANNELS} that vary most"
    return Drawing(_curves(kept), 240, 96, note)


def _curves(value: Floats, width: int = 240, height: int = 96) -> list[str]:
    step = -(-len(value) // (2 * width))
    value = value[::step]
    down = (1 - _scaled(value)) * (height - 4) + 2
    across = np.linspace(0, width, len(value)) if len(value) > 1 else np.array([width / 2])
    return [
        "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, column, strict=True))
        for column in down.T
    ]


def _vector(value: Floats) -> Drawing:
    """Stems from zero."""
    width, height = 240, 96
    kept = value[:240]
    high, low = max(float(kept.max()), 0.0), min(float(kept.min()), 0.0)
    scale = (height - 4) / ((high - low) or 1.0)
    zero = 2 + high * scale
    step = width / len(kept)
    stems = " ".join(
        f"M{(i + 0.5) * step:.1f},{zero:.1f}V{zero - v * scale:.1f}" for i, v in enumerate(kept)
    )
    note = (
        f"{len(value)} values"
        if len(kept) == len(value)
        else f"the first 240 of {len(value)} values"
    )
    return Drawing([stems, f"M0,{zero:.1f}H{width}"], width, height, note)


def _sound(value: Floats) -> Sound:
    kept = value[: SECONDS * RATE]
    largest = float(np.abs(kept).max()) or 1.0
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, RATE, len(kept), "NONE", ""))
        file.writeframes((kept / largest * 32767).astype("<i2").tobytes())
    note = f"{len(value):,} values, played at {RATE // 1000} kHz and full volume"
    if len(kept) < len(value):
        note += f", the first {SECONDS} s"
    return Sound(_uri("audio/wav", data.getvalue()), _envelope(kept), _spectrogram(kept), note)


def _envelope(value: Floats, width: int = 240, height: int = 64) -> Drawing:
    """From the lowest to the highest value of each column."""
    columns = np.array_split(value / (float(np.abs(value).max()) or 1.0), width)
    middle, half = height / 2, height / 2 - 1
    path = " ".join(
        f"M{i + 0.5},{middle - half * c.max():.1f}V{middle - half * c.min() + 0.5:.1f}"
        for i, c in enumerate(columns)
    )
    return Drawing([path], width, height)


def _spectrogram(value: Floats, window: int = 512) -> Picture:
    """Decibels over 60 dB, low frequencies at the bottom."""
    hop = max(len(value) // 240, 64)
    starts = range(0, max(len(value) - window, 1), hop)
    frames = np.stack([value[s : s + window] for s in starts]) * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    decibels = 10 * np.log10(power / (power.max() or 1.0) + 1e-6)
    seen = _colours(_scaled(decibels.T[::-4]))
    return Picture(png(seen), seen.shape[1], seen.shape[0])
