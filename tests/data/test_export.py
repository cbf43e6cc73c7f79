"""Frames and spectrograms as files, and a set that is read from them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra media")
pytest.importorskip("soundfile", reason="needs the extra media")

from equimodal import data
from equimodal.cli import main
from equimodal.data.export import export
from equimodal.errors import ConfigError
from fixtures.published import write_mfeat
from fixtures.trees import write_cremad


def test_what_is_exported_is_read_as_the_published_layout(tmp_path: Path) -> None:
    folder = write_cremad(tmp_path, actors=(1001, 1002))
    out = tmp_path / "out"
    expression = "cremad(size=42, validation=0)"  # frames are kept as they are
    command = ["data", "export", expression, "--data-root", str(tmp_path), "--out", str(out)]
    assert main(command) == 0
    options = {"size": 42, "validation": 0, "cache": "off"}
    films = data.load("cremad", tmp_path, **options)
    clip = films.test.names[2]  # type: ignore[attr-defined]
    spectrogram = np.load(out / "audio" / f"{clip}.npy")
    assert np.array_equal(spectrogram, films.test.sample(2).inputs["audio"].numpy())
    before = films.test.stored("video", 2).int()  # type: ignore[attr-defined]
    shutil.rmtree(folder / "VideoFlash")
    shutil.move(out / "video", folder / "Image-01-FPS")
    frames = data.load("cremad", tmp_path, **options)
    after = frames.test.stored("video", 2).int()  # type: ignore[attr-defined]
    assert before.shape == after.shape and (before - after).abs().max() <= 4  # of JPEG
    write_mfeat(tmp_path)
    with pytest.raises(ConfigError, match="nothing to export"):
        export(data.load("mfeat", tmp_path, validation=0), out)
