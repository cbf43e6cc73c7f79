"""UTD-MHAD: human actions by a depth camera, its skeleton, and a wearable inertial sensor.

Source: C. Chen, R. Jafari, N. Kehtarnavaz, *UTD-MHAD: A multimodal dataset for human action recognition utilizing a depth
camera and a wearable inertial sensor*, ICIP 2015.

`Inertial` and `Skeleton` are as released. `depth_motion_maps.npz` is made of the released depth videos (240, 320, T), of which
every second row and column is taken: ``id`` holds the trials, such as a10_s1_t1, and ``maps`` [trials, 3, 32, 32]. Front: how
often a pixel changes by more than 50 mm from one frame to the next. Side and top: the same of the occupancy of (row, depth) and
(depth, column), with 64 depths up to 4,000 mm, by pixels above 0. Each map is cut to the rectangle of its values above 3 % of
the largest, resized to 32 x 32 and divided by T. Without that file leave ``depth`` out of the modalities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from .. import cache as store
from ..about import About, Source
from ..arrays import choose, resample, standardise
from ..dataset import Arrays, known_modalities
from ..media import mat, npz
from ..media.files import locate
from ..splits import Splits

__all__ = ["ABOUT", "load"]

ACTIONS = (
    *("swipe left", "swipe right", "wave", "clap", "throw", "arm cross", "basketball shoot"),
    *("draw x", "draw circle clockwise", "draw circle counter-clockwise", "draw triangle"),
    *("bowling", "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve", "push"),
    *("knock", "catch", "pick up and throw", "jog", "walk", "sit to stand", "stand to sit"),
    *("forward lunge", "squat"),
)
TRAIN_SUBJECTS = (1, 3, 5, 7)
CENTRES = {"spine": 2, "hip_center": 3}
DEPTH = "depth_motion_maps.npz"
TRIAL = re.compile(r"a(\d+)_s([1-8])_t([1-4])")
SHAPES = {
    "skeleton": (32, 60),
    "inertial": (64, 6),
    "depth": (3, 32, 32),
    "accelerometer": (64, 3),
    "gyroscope": (64, 3),
}
ENCODERS = {
    "skeleton": "conv1d(channels=60, kernels=(9, 5, 3), width=64)",
    "inertial": "conv1d(channels=6, kernels=(9, 5, 3), width=64)",
    "depth": "cnn(channels=3, widths=(16, 32, 32), kernels=(3, 3, 3), width=64)",
    "accelerometer": "conv1d(channels=3, kernels=(9, 5, 3), width=64)",
    "gyroscope": "conv1d(channels=3, kernels=(9, 5, 3), width=64)",
}
STORED = {"accelerometer": "inertial", "gyroscope": "inertial"}
Array = NDArray[Any]


def inertial(path: Path) -> Array:
    """[64, 6]: three columns of the accelerometer, three of the gyroscope."""
    return resample(mat.read(path, "d_iner", (None, 6)), 64)


def skeleton(path: Path, centre: int) -> Array:
    """[32, 60]: 20 joints relative to one of them in every frame."""
    joints = mat.read(path, "d_skel", (20, 3, None))
    frames = (joints - joints[centre]).transpose(2, 0, 1)
    return resample(frames.reshape(len(frames), 60), 32)


def depth(path: Path) -> dict[str, Array]:
    """For each trial three maps [3, 32, 32]: front, side, top."""
    stored = npz.read(path, ["id", "maps"])
    maps = stored["maps"].astype(np.float32)
    if maps.shape != (len(stored["id"]), *SHAPES["depth"]):
        raise DataError(
            f"{path}: maps has shape {maps.shape} for {len(stored['id'])} ids; it must be [ids, 3, 32, 32]."
        )
    return dict(zip(stored["id"].tolist(), maps, strict=True))


def trials(folder: Path, kind: str) -> dict[str, Path]:
    """For each trial its file, by id such as ``a10_s1_t1``, sorted as strings."""
    found = {}
    for path in sorted((folder / kind.capitalize()).glob(f"*_{kind}.mat")):
        name = path.name.removesuffix(f"_{kind}.mat")
        match = TRIAL.fullmatch(name)
        if not match or not 1 <= int(match[1]) <= len(ACTIONS):
            raise DataError(
                f"{path} is not named like a10_s1_t1_{kind}.mat (27 actions, 8 subjects, 4 trials)."
            )
        found[name] = path
    return dict(sorted(found.items()))


def sources(root: Path | None) -> Iterator[Source]:
    folder = locate(root, "utd_mhad", "Inertial")
    for path in trials(folder, "inertial").values():
        yield path, partial(inertial, path)
    for path in trials(folder, "skeleton").values():
        yield path, partial(skeleton, path, 0)
    if (folder / DEPTH).exists():  # who does not use depth needs none
        yield folder / DEPTH, partial(depth, folder / DEPTH)


ABOUT = About(
    task="action",
    classes="27",
    modalities={name: str(shape) for name, shape in SHAPES.items()},
    split="431 / 430, by subject",
    files=f"utd_mhad/Inertial, utd_mhad/Skeleton, utd_mhad/{DEPTH}",
    licence="public domain by its paper",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("skeleton", "inertial", "depth"),
    centre: str = "spine",
    val_subject: int = 7,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """27 actions by 8 people; subjects 1, 3, 5, 7 are train, of which one becomes validation.

    The streams of a trial are resampled each on its own: their time axes are not aligned. A trial that has a file for one
    modality and not for another lacks the latter. Standardised with train: per feature over samples and time, depth per
    view.

    Args:
        root: the data folder, with ``utd_mhad/Inertial`` and so on.
        modalities: of skeleton (32 steps, 60), inertial (64 steps, 6), accelerometer and gyroscope (the two halves of
            inertial), depth (motion maps, front, side, top).
        centre: the joint that the skeleton is relative to: spine or hip_center.
        val_subject: the train subject that becomes validation; 0 for none.
        cache: where resampled arrays are kept: auto (under the data folder, if that is writable), off, or a folder.
        seed: accepted as for all sets; nothing here is random.

    Raises:
        DataError: a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    names = known_modalities(modalities, tuple(SHAPES), "utd_mhad")
    joint = CENTRES[choose("centre", centre, tuple(CENTRES))]
    if val_subject not in (0, *TRAIN_SUBJECTS):
        raise ConfigError(
            f"val_subject must be one of the train subjects 1, 3, 5, 7, or 0 for none; here {val_subject}."
        )
    folder = locate(root, "utd_mhad", "Inertial")
    kinds = sorted({STORED.get(name, name) for name in names})
    values = {kind: _read(folder, kind, joint, cache) for kind in kinds}
    ids = sorted(set().union(*values.values()))
    numbers = np.array([[int(n) for n in _numbers(trial)] for trial in ids])
    train = np.flatnonzero(np.isin(numbers[:, 1], TRAIN_SUBJECTS))
    fit = np.flatnonzero(numbers[train, 1] != val_subject)
    rows = np.isin(np.arange(len(ids)), train[fit])
    data = _arrays(names, values, ids, rows, numbers[:, 0] - 1)
    return Splits.carved(
        "utd_mhad",
        data,
        train=train,
        test=np.flatnonzero(~np.isin(numbers[:, 1], TRAIN_SUBJECTS)),
        fit=fit,
        recipe={"modalities": names, "centre": centre, "val_subject": val_subject, "seed": seed},
        encoders={name: ENCODERS[name] for name in names},
        training={"batch_size": 64, "epochs": 40},
    )


def _numbers(trial: str) -> tuple[str, ...]:
    match = TRIAL.fullmatch(trial)
    if match is None:
        raise DataError(f"{DEPTH}: the id {trial!r} is not like a10_s1_t1.")
    return match.groups()


def _read(folder: Path, kind: str, centre: int, cache: str) -> Mapping[str, Array]:
    """For each trial that has this modality its values."""
    if kind == "depth":
        return depth(folder / DEPTH)
    files = trials(folder, kind)
    if not files:
        raise DataError(
            f"{folder / kind.capitalize()} has no *_{kind}.mat; get the data set again."
        )
    readers: dict[str, Callable[[Path], Array]] = {
        "inertial": inertial,
        "skeleton": partial(skeleton, centre=centre),
    }
    key = {"kind": kind, "centre": centre, "files": store.state(files.values()), "version": 1}
    stored = store.cached(
        store.folder(cache, folder.parent),
        f"utd_mhad-{kind}",
        key,
        lambda: {"values": np.stack([readers[kind](path) for path in files.values()])},
    )
    return dict(zip(files, stored["values"], strict=True))


def _arrays(
    names: Sequence[str],
    values: Mapping[str, Mapping[str, Array]],
    ids: Sequence[str],
    train: NDArray[np.bool_],
    targets: Array,
) -> Arrays:
    inputs, present = {}, {}
    for name in names:
        known = values[STORED.get(name, name)]
        here = np.array([trial in known for trial in ids])
        if not (here & train).any():
            raise DataError(f"utd_mhad: no train trial has modality {name!r}.")
        empty = np.zeros_like(next(iter(known.values())))
        stacked = np.stack([known.get(trial, empty) for trial in ids])
        half = {"accelerometer": slice(0, 3), "gyroscope": slice(3, 6)}.get(name, slice(None))
        axes = (0, 2, 3) if name == "depth" else (0, 1)
        chosen = stacked if name == "depth" else stacked[..., half]
        inputs[name] = standardise(chosen, here & train, axes)
        present[name] = here
    return Arrays(inputs, targets, ACTIONS, present=present)
