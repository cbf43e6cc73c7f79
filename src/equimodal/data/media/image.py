"""Images: Pillow decodes them, within limits; crops and resizing are done on tensors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from .augment import flip, resize, stretch
from .reader import Reader, needs, require

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "Crop", "Image", "look", "open_image"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
MAX_PIXELS = (
    1 << 26
)  # 67 million: a picture of 8192 x 8192; a file that claims more is taken for a bomb
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
Crop = Literal["random", "frame", "none"]


@dataclass(frozen=True)
class Image(Reader):
    """An image as [channels, size, size], normalised with ImageNet's mean and deviation (0.5 and 0.5 if grey).

    In training a random resized crop, mirrored half of the time; in validation and test the whole image, squeezed into
    the square, as the field's repositories do.

    Args:
        size: pixels of a side.
        channels: 3, or 1 for grey.
        crop: random (in training), or none.
        flip: whether images are mirrored in training.
        keep: larger images are kept with a shorter side of so many pixels; 0: size · 8 / 7, as 256 for 224; -1: as they
            are.
        truncated: fill what is missing of a file that is cut off with grey, where it would be refused.

    >>> Image(size=32, channels=1).keep_size
    36
    """

    images: ClassVar[bool] = True

    size: int = 224
    channels: int = 3
    crop: Crop = "random"
    flip: bool = True
    keep: int = 0
    truncated: bool = False

    def __post_init__(self) -> None:
        check_look(self.size, self.crop, self.keep)
        if self.channels not in (1, 3):
            raise ConfigError(f"channels must be 3 or 1; here {self.channels}.")

    @property
    def keep_size(self) -> int | None:
        """The shorter side of what is kept; None: as it is."""
        return kept(self.size, self.keep)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.size, self.size)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("image", self.channels, self.keep_size, self.truncated)

    def decode(self, path: Path) -> Tensor:
        """[channels, H, W], bytes."""
        return open_image(path, self.channels, self.keep_size, self.truncated)

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        return look(stored, self.size, self.crop, self.flip, rng)


def check_look(size: int, crop: str, keep: int) -> None:
    """Refuse options of images that cannot be."""
    if size < 1 or keep < -1:
        raise ConfigError(f"size must be at least 1 and keep at least -1; here {size} and {keep}.")
    if crop not in ("random", "frame", "none"):
        raise ConfigError(f"crop must be random, frame or none; here {crop!r}.")


def kept(size: int, keep: int) -> int | None:
    """The shorter side of what is kept of larger images; None: as they are."""
    return None if keep < 0 else keep or size * 8 // 7


def look(
    images: Tensor, size: int, crop: Crop, mirror: bool, rng: np.random.Generator | None
) -> Tensor:
    """Images [..., C, H, W] in bytes as encoders see them: [..., C, size, size], cropped in training, normalised.

    Args:
        images: one, or the frames of a clip.
        size: pixels of a side.
        crop: random: one crop for all frames; frame: one for each; none: the whole image.
        mirror: half of the time in training, all frames alike.
        rng: for training; None squeezes the whole image into the square.
    """
    if rng is None or crop == "none":
        seen = resize(images, size, size)
    elif crop == "frame" and images.ndim == 4:
        seen = torch.stack([stretch(frame, size, rng) for frame in images])
    else:
        seen = stretch(images, size, rng)
    if rng is not None and mirror:
        seen = flip(seen, rng)
    grey = images.shape[-3] == 1
    mean = torch.tensor((0.5,) if grey else MEAN)[:, None, None]
    deviation = torch.tensor((0.5,) if grey else DEVIATION)[:, None, None]
    return seen.float().sub_(255 * mean).div_(255 * deviation)


def open_image(
    path: Path, channels: int = 3, keep: int | None = None, truncated: bool = False
) -> Tensor:
    """The pixels [channels, H, W] of an image file, bytes.

    Args:
        path: the file.
        channels: 3 for RGB, 1 for grey.
        keep: an image whose shorter side is longer than this is reduced to it.
        truncated: accept a file that is cut off; what is missing is grey.

    Raises:
        DataError: the file is missing, damaged or cut off, is no image, or has more than `MAX_PIXELS` pixels.
        ConfigError: Pillow is not installed.
    """
    pillow = needs("PIL.Image", "Reading images")
    require(path)
    try:
        with warnings.catch_warnings(), _tolerating(truncated):
            warnings.simplefilter("ignore")  # of oddities in metadata
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(path) as file:
                _refuse_bomb(path, file.size)
                return _pixels(file, "RGB" if channels == 3 else "L", keep)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large to be read safely: {error}") from None
    except pillow.UnidentifiedImageError:
        raise DataError(
            f"{path} is not an image, or of a format that Pillow cannot read."
        ) from None
    except DataError:
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        raise DataError(f"{path} is damaged or cut off ({error}); get it again.") from error


def _refuse_bomb(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{path} claims {size[0]} x {size[1]} pixels, more than the {MAX_PIXELS:,} that are read; make it smaller."
        )


def _pixels(file: Any, mode: str, keep: int | None) -> Tensor:
    from PIL import ImageOps

    if keep is not None:  # JPEG decodes at a half, a quarter or an eighth much faster
        file.draft(mode, (2 * keep, 2 * keep))
    picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        picture = _eight_bits(np.asarray(picture))
    picture = picture.convert(mode)
    if keep is not None and min(picture.size) > keep:
        factor = keep / min(picture.size)
        picture = picture.resize(
            [max(1, round(side * factor)) for side in picture.size], resample=2, reducing_gap=2.0
        )
    values = np.array(picture, dtype=np.uint8)
    return torch.from_numpy(values[None] if values.ndim == 2 else values.transpose(2, 0, 1).copy())


def _eight_bits(wide: NDArray[Any]) -> Any:
    from PIL.Image import fromarray

    return fromarray((wide.astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


@contextlib.contextmanager
def _tolerating(truncated: bool) -> Iterator[None]:
    """Pillow knows this as a global flag only."""
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
