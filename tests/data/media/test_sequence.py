from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.data.media.sequence import Sequence


def write(path: Path, values: np.ndarray) -> Path:
    np.savetxt(path, values, delimiter=",", fmt="%.17g")
    return path


def test_each_channel_is_standardised_with_all_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal((3, -1e5), (2, 1e-3), (steps, 2)) for steps in (1, 40, 7)]
    paths = [write(tmp_path / f"{i}.csv", part) for i, part in enumerate(parts)]
    reader = Sequence()
    reader = reader.fitted(map(reader.decode, paths))
    every = np.concatenate(parts)
    assert reader.mean == pytest.approx(every.mean(0), rel=1e-12)
    assert reader.deviation == pytest.approx(every.std(0), rel=1e-6)
    seen = reader.read(paths[1])
    assert seen.dtype == torch.float32
    assert seen.numpy() == pytest.approx((parts[1] - every.mean(0)) / every.std(0), abs=1e-4)


@pytest.mark.parametrize("steps", [0, 60])
def test_a_channel_of_times_moves_and_a_constant_one_stays_0(tmp_path: Path, steps: int) -> None:
    times = 1.7e9 + np.arange(100.0)
    paths = [
        write(tmp_path / f"{i}.csv", np.stack([part, np.full(50, 0.1)], 1))
        for i, part in enumerate(np.split(times, 2))
    ]
    reader = Sequence(steps=steps)
    reader = reader.fitted(map(reader.decode, paths))
    assert reader.deviation == pytest.approx((times.std(), 1), rel=1e-9)
    seen = torch.cat([reader.read(path) for path in paths])
    end = 49.5 / times.std()
    assert seen[[0, -1], 0].tolist() == pytest.approx([-end, end], rel=1e-5)
    assert float(seen[:, 1].abs().max()) < 1e-9
