"""Frames and spectrograms of a published set as files, in the layout that the field's repositories read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import ConfigError, DataError
from ..files import whole, write
from .filed import Filed
from .media.npz import npy
from .media.reader import needs
from .pool import Progress
from .splits import Splits

__all__ = ["export"]


def export(splits: Splits, out: Path, progress: Progress | None = None) -> dict[str, str]:
    """Write what was decoded: images and frames as ``OUT/<modality>/<sample>/00001.jpg``, all else as ``<sample>.npy``.

    Images are those that are kept, before any crop; arrays are what validation and test see, such as a spectrogram. What is
    there stays, so that it can be repeated.

    Args:
        splits: a published data set of media.
        out: a folder; made if it is not there.
        progress: called with how many samples are done, and of how many.

    Returns:
        For each sample that cannot be read the reason.

    Raises:
        ConfigError: the set is not one of media.
    """
    parts = [part for part in splits.parts.values() if isinstance(part, Filed)]
    if len(parts) < len(splits.parts):
        raise ConfigError(f"{splits.name} is read as a whole; there is nothing to export.")
    samples = [(part.seen(augment=False), i) for part in parts for i in range(len(part))]
    failed = {}
    for done, (part, i) in enumerate(samples, start=1):
        try:
            for name in part.modalities:
                if part.items[name][i] is not None and part.readers[name].costly:
                    _export(part, name, i, out / name)
        except DataError as error:
            failed[part.names[i]] = str(error)
        if progress is not None:
            progress(done, len(samples))
    return failed


def _export(part: Filed, name: str, index: int, out: Path) -> None:
    place = out / re.sub(r"[^\w.-]+", "_", part.names[index])
    images = part.readers[name].images
    target = place if images else place.with_name(f"{place.name}.npy")
    if target.exists():
        return
    stored = part.stored(name, index)
    if images:
        with whole(target, durable=False) as folder:
            _write_images(folder, stored if stored.ndim == 4 else stored[None])
    else:
        write(target, npy(part.readers[name].finish(stored).numpy()), durable=False)


def _write_images(folder: Path, images: Tensor) -> None:
    """Bytes [T, C, H, W] as JPEG files."""
    pillow = needs("PIL.Image", "Writing images")
    folder.mkdir()
    for number, image in enumerate(images, start=1):
        pixels = image.numpy().transpose(1, 2, 0)
        grey = pixels.shape[2] == 1
        made = pillow.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))
        made.save(folder / f"{number:05d}.jpg", quality=95)
