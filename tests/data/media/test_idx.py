from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from equimodal.data.media import idx
from equimodal.errors import DataError
from fixtures.published import idx_images, idx_labels, write_gzip

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images.gz", "images"])
def test_images_are_read_compressed_or_not(tmp_path: Path, name: str) -> None:
    content = idx_images(IMAGES)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert np.array_equal(idx.read(tmp_path / name, 3), IMAGES)


@pytest.mark.parametrize("keep", [0, 3, 10, 15, 20, 30])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    plain, packed = tmp_path / "images", tmp_path / "images.gz"
    plain.write_bytes(idx_images(IMAGES)[:keep])
    packed.write_bytes(gzip.compress(idx_images(IMAGES))[:keep])
    for path in (plain, packed):
        with pytest.raises(DataError, match=str(path)):
            idx.read(path, 3)


def test_the_wrong_magic_number_is_refused(tmp_path: Path) -> None:
    write_gzip(tmp_path / "labels.gz", idx_labels(np.arange(5)))
    with pytest.raises(DataError, match="begins with 2049; an idx file of 3"):
        idx.read(tmp_path / "labels.gz", 3)


def test_more_or_fewer_labels_than_images_are_refused(tmp_path: Path) -> None:
    write_gzip(tmp_path / "images.gz", idx_images(IMAGES))
    write_gzip(tmp_path / "labels.gz", idx_labels(np.arange(3)))
    with pytest.raises(DataError, match="2 images and .* 3 labels"):
        idx.read_pair(tmp_path / "images.gz", tmp_path / "labels.gz")


def test_a_file_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data get"):
        idx.read(tmp_path / "none.gz", 3)


def test_real_mnist(shared_data: Path) -> None:
    folder = shared_data / "mnist"
    images, labels = idx.read_pair(
        folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"
    )
    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
