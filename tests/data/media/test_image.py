from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal.data.media import augment
from equimodal.data.media.image import Image, open_image
from equimodal.errors import ConfigError, DataError
from fixtures.media import write_image


def test_an_image_is_squeezed_into_the_square_and_normalised(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", (40, 20), (255, 0, 51))
    seen = Image(size=8).read(path)
    assert seen.shape == (3, 8, 8)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    assert seen[:, 3, 4].tolist() == pytest.approx(expected, abs=1e-5)
    grey = Image(size=8, channels=1).read(write_image(tmp_path / "b.png", colour=(255, 255, 255)))
    assert grey.shape == (1, 8, 8) and grey.unique().tolist() == [1.0]


def test_large_images_are_kept_smaller_and_turned_as_their_camera_says(tmp_path: Path) -> None:
    from PIL import Image as pillow

    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:, 60:] = 255
    picture = pillow.fromarray(pixels)
    orientation = picture.getexif()
    orientation[0x0112] = 6  # turn by 90° clockwise
    picture.save(tmp_path / "turned.png", exif=orientation)
    found = open_image(tmp_path / "turned.png", keep=30)
    assert found.shape == (3, 60, 30)
    assert found[0, 5].tolist() == [0] * 30 and found[0, 55].tolist() == [255] * 30


def test_palettes_transparency_and_sixteen_bits_become_what_is_asked_for(tmp_path: Path) -> None:
    from PIL import Image as pillow

    pillow.new("P", (4, 4), 0).save(tmp_path / "p.png")
    pillow.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    pillow.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "wide.png")
    assert open_image(tmp_path / "p.png").shape == (3, 4, 4)
    assert open_image(tmp_path / "a.png")[:, 0, 0].tolist() == [10, 20, 30]
    assert open_image(tmp_path / "wide.png", 1).unique().tolist() == [128]


def test_training_sees_parts_and_mirror_images() -> None:
    stored = torch.arange(64, dtype=torch.uint8).expand(3, 64, 64)
    seen = [Image(size=16).finish(stored, np.random.default_rng(i)) for i in range(20)]
    rising = [bool(s[0, 0, -1] > s[0, 0, 0]) for s in seen]
    assert 3 < sum(rising) < 17
    assert len({float(s[0, 0, 0]) for s in seen}) > 10
    plain = Image(size=64, crop="none", flip=False, keep=-1)
    assert torch.equal(plain.finish(stored, np.random.default_rng(0)), plain.finish(stored))


def test_boxes_lie_inside_and_have_allowed_sizes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        top, left, height, width = augment.crop_box(50, 80, rng)
        assert 0 <= top <= 50 - height and 0 <= left <= 80 - width
        assert 0.07 < height * width / 4000 <= 1 and 0.7 < width / height < 1.4
    assert augment.crop_box(10, 1000, rng, scale=(1, 1)) == (0, 493, 10, 13)


def test_masks_cover_at_most_what_is_allowed() -> None:
    image = torch.arange(200.0).reshape(10, 20)
    for i in range(50):
        masked = augment.spec_augment(image, np.random.default_rng(i), 3, 5)
        covered = masked == image.mean()
        assert int(covered.all(1).sum()) <= 3 and int(covered.all(0).sum()) <= 5
        assert torch.equal(masked[~covered], image[~covered])


def bomb(path: Path) -> Path:
    """A png of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" * 100)),
        chunk(b"IEND", b""),
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    from PIL import Image as pillow

    whole = tmp_path / "whole.jpg"
    rng = np.random.default_rng(0)
    pillow.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("no image")
    large = tmp_path / "large.png"
    pillow.new("1", (8200, 8200)).save(large)
    for path, reason in (
        (cut, "cut.jpg is damaged or cut off"),
        (tmp_path / "text.jpg", "text.jpg is not an image"),
        (bomb(tmp_path / "bomb.png"), "bomb.png is too large to be read safely"),
        (large, "large.png claims 8200 x 8200 pixels"),
        (tmp_path / "none.jpg", "none.jpg does not exist"),
    ):
        with pytest.raises(DataError, match=reason):
            Image().decode(path)
    assert Image(truncated=True, size=64).decode(cut).shape == (3, 64, 64)
    with pytest.raises(DataError):  # the option holds for its own files only
        Image().decode(cut)


def test_options_that_cannot_be() -> None:
    for options in ({"size": 0}, {"channels": 2}, {"crop": "left"}):
        with pytest.raises(ConfigError):
            Image(**options)  # type: ignore[arg-type]
