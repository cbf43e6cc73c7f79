"""What a file says of itself: sides of images, seconds and rate of sound, frames of videos, points, steps, values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..media.audio import SOUND_SUFFIXES
from ..media.reader import needs

__all__ = ["measures"]


def measures(kind: str, path: Path, decoded: Tensor) -> Mapping[str, float]:
    """Figures of a file, by what they count.

    Args:
        kind: of the modality.
        path: of the file.
        decoded: what its reader makes of it.
    """
    return MEASURES[kind](path, decoded)


def _image(path: Path, decoded: Tensor) -> dict[str, float]:
    with needs("PIL.Image", "Reading images").open(path) as file:
        width, height = file.size
    return {"width": width, "height": height}


def _audio(path: Path, decoded: Tensor) -> dict[str, float]:
    if path.suffix.lower() in SOUND_SUFFIXES:
        told = needs("soundfile", "Reading sound").info(str(path))
        return {"seconds": told.duration, "rate (Hz)": told.samplerate}
    with needs("av", "Reading the sound of a video").open(str(path)) as container:
        stream = container.streams.audio[0]
        return {"seconds": _seconds(container), "rate (Hz)": stream.rate}


def _video(path: Path, decoded: Tensor) -> dict[str, float]:
    if path.is_dir():
        return {"frames": len(decoded)}
    with needs("av", "Reading videos").open(str(path)) as container:
        stream = container.streams.video[0]
        return {"seconds": _seconds(container), "width": stream.width, "height": stream.height}


def _seconds(container: Any) -> float:
    return float(container.duration or 0) / 1e6


def _length(what: str) -> Callable[[Path, Tensor], dict[str, float]]:
    return lambda path, decoded: {what: len(decoded)}


MEASURES: Mapping[str, Callable[[Path, Tensor], dict[str, float]]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "text": _length("tokens"),
    "points": _length("points"),
    "sequence": _length("steps"),
    "vector": _length("values"),
}
