"""AV-MNIST: handwritten digits paired with spoken ones, both made harder.

After V. Vielzeuf et al., *CentralNet: a multilayer approach for multimodal fusion*, ECCV Workshops 2018, but with the real
recordings of the Free Spoken Digit Dataset, so that all of it may be passed on. Images: Y. LeCun et al., *Gradient-based
learning applied to document recognition*, 1998.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, nearest
from .. import cache as store
from ..about import About, Source
from ..arrays import choose, standardise
from ..dataset import Arrays
from ..draws import numpy_generator
from ..media import idx, wav
from ..media.files import locate
from ..splits import Splits, kept_for_training

__all__ = ["ABOUT", "Recordings", "components_of", "load", "mnist", "recordings"]

Array = NDArray[Any]
RATE = 8000  # Hz, and the samples of one second
VOICES = 5  # recordings in the babble
SIZES = {"full": (60_000, 10_000), "small": (6_000, 3_000), "tiny": (3_000, 1_000)}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
RECORDING = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
TEST_TAKES = 5  # of each digit and speaker the first five recordings are test
ENCODER = "cnn(channels=1, widths=(8, 16, 32), kernels=(5, 3, 3), width=64)"


@dataclass(frozen=True)
class Recordings:
    """The spoken digits of one part: waves [R, 8000], digits [R]."""

    waves: NDArray[np.float32]
    digits: NDArray[np.int64]


def mnist_files(root: str | Path | None) -> dict[str, Path]:
    """The four files by name, compressed or not."""
    folder = locate(root, "mnist", "*-ubyte*")
    names = [name for pair in FILES.values() for name in pair]
    plain = {name: folder / name for name in names}
    return {n: p if p.exists() else p.with_name(f"{n}.gz") for n, p in plain.items()}


def mnist(root: str | Path | None, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [N, 28, 28] and labels [N] of ``"train"`` or ``"test"``."""
    files = mnist_files(root)
    images, labels = (files[name] for name in FILES[part])
    pixels, classes = idx.read_pair(images, labels)
    if classes.max(initial=0) > 9:
        row = int(np.flatnonzero(classes > 9)[0])
        raise DataError(f"{labels} row {row} has the label {classes[row]}; a digit is 0 to 9.")
    return pixels, classes


def recordings(root: str | Path | None) -> dict[Path, tuple[int, str, int]]:
    """The files of FSDD, sorted by name, each with digit, speaker, and take."""
    folder = locate(root, "fsdd/recordings", "*.wav")
    found = {}
    for path in sorted(folder.glob("*.wav")):
        match = RECORDING.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path} is not named like 7_theo_12.wav (digit, speaker, number).")
        found[path] = (int(match[1]), match[2], int(match[3]))
    return found


def sources(root: Path | None) -> Iterator[Source]:
    files = mnist_files(root)
    for images, labels in FILES.values():
        yield files[images], partial(idx.read, files[images], 3)
        yield files[labels], partial(idx.read, files[labels], 1)
    for path in recordings(root):
        yield path, partial(wav.read, path, RATE)


ABOUT = About(
    task="digit",
    classes="10",
    modalities={"image": "(1, 28, 28)", "audio": "(1, 61, 32)"},
    split="small 6,000 / 3,000, tiny 3,000 / 1,000, full 60,000 / 10,000",
    files="mnist/*-ubyte.gz, fsdd/recordings/*.wav",
    licence="CC BY-SA",
    sources=sources,
)


def load(
    root: str | Path | None = None,
    *,
    modalities: Sequence[str] = ("image", "audio"),
    components: int = 4,
    snr: float = -5.0,
    noise: str = "babble",
    size: str = "small",
    speakers: Sequence[str] = (),
    validation: float = 0.1,
    cache: str = "auto",
    seed: int = 0,
) -> Splits:
    """A digit seen through a few principal components and heard in a crowd.

    Args:
        root: the data folder, with ``mnist`` and ``fsdd/recordings``.
        modalities: of image, audio.
        components: principal components that the image keeps (4 have 28 % of the variance); 784 is plain MNIST.
        snr: of speech against noise, in dB; inf is clean.
        noise: babble (five other recordings of the same part) or white.
        size: small (6,000 / 3,000), tiny (3,000 / 1,000) or full (60,000 / 10,000).
        speakers: who is heard in the test part and nowhere else; by default all are in both parts, and the first five
            recordings of each are test.
        validation: the stratified fraction of train that becomes validation; 0 keeps all for training.
        cache: where prepared arrays are kept: auto (under the data folder, if that is writable), off, or a folder.
        seed: of every draw: subset, pairing, noise, validation.

    Raises:
        DataError: a file is missing or damaged.
        ConfigError: an option has no such value.
    """
    _check(components, snr)
    counts = dict(zip(("train", "test"), SIZES[choose("size", size, tuple(SIZES))], strict=True))
    made = {
        "components": components,
        "snr": snr,
        "noise": choose("noise", noise, ("babble", "white")),
    }
    made |= {"size": size, "speakers": tuple(speakers), "seed": seed}
    files = [*mnist_files(root).values(), *recordings(root)]
    lacking = [path for path in files if not path.exists()]
    if lacking:
        raise DataError(f"{lacking[0]} does not exist; `equimodal data get avmnist` downloads it.")
    stored = store.cached(
        store.folder(cache, Path(str(root))),
        "avmnist",
        {**made, "files": store.state(files), "version": 1},
        lambda: _build(root, components, snr, noise, counts, speakers, seed),
    )
    targets, train = stored["target"], np.arange(counts["train"])
    fit = kept_for_training(targets[train], validation, seed)
    rows = np.isin(np.arange(len(targets)), fit)
    every = {
        name: standardise(stored[name][:, None], rows, (0, 1, 2, 3)) for name in ("image", "audio")
    }
    return Splits.carved(
        "avmnist",
        Arrays(every, targets, [str(digit) for digit in range(10)], time_first=["audio"]),
        train=train,
        test=np.arange(counts["train"], len(targets)),
        fit=fit,
        recipe={"modalities": tuple(modalities), **made, "validation": validation},
        encoders={"image": ENCODER, "audio": ENCODER},
        training={"batch_size": 64, "epochs": 20, "lr": 0.01},
    ).only(modalities)


def _check(components: int, snr: float) -> None:
    if not 1 <= components <= 784:
        raise ConfigError(f"components must be 1 to 784; here {components}.")
    if math.isnan(snr) or snr == -math.inf:
        raise ConfigError(f"snr must be a number of dB, or inf for clean speech; here {snr}.")


def _build(
    root: str | Path | None,
    components: int,
    snr: float,
    noise: str,
    counts: dict[str, int],
    speakers: Sequence[str],
    seed: int,
) -> dict[str, Array]:
    official = mnist(root, "train")
    mean, directions = components_of(official[0], components)
    spoken = _spoken(root, speakers)
    images, audio, targets = [], [], []
    for part, (pixels, labels) in (("train", official), ("test", mnist(root, "test"))):
        if len(pixels) < counts[part]:
            raise DataError(
                f"MNIST has {len(pixels)} images in {part} where {counts[part]} are needed."
            )
        order = numpy_generator(seed, "subset", part).permutation(len(pixels))
        rows = order[: counts[part]]
        flat = pixels[rows].reshape(len(rows), -1) / 255 - mean
        images.append((mean + flat @ directions @ directions.T).reshape(-1, 28, 28))
        audio.append(_audio(rows, labels[rows], spoken[part], snr, noise, part, seed))
        targets.append(labels[rows].astype(np.int64))
    return {
        "image": np.concatenate(images).astype(np.float32),
        "audio": np.concatenate(audio).astype(np.float32),
        "target": np.concatenate(targets),
    }


def components_of(pixels: NDArray[np.uint8], count: int) -> tuple[Array, Array]:
    """Mean [D] and the first principal directions [D, count] of images [N, ...], pixels over 255.

    Sums of bytes are exact in float64, so that the result does not depend on their order or on the number of threads.
    """
    flat = pixels.reshape(len(pixels), -1)
    total = flat.sum(0, dtype=np.int64).astype(np.float64)
    gram = np.zeros((flat.shape[1], flat.shape[1]))
    for start in range(0, len(flat), 5000):
        block = flat[start : start + 5000].astype(np.float64)
        gram += block.T @ block
    covariance = gram - np.outer(total, total) / len(flat)
    directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :count]
    return total / len(flat) / 255, directions


def _spoken(root: str | Path | None, speakers: Sequence[str]) -> dict[str, Recordings]:
    """The recordings of the two parts."""
    files = recordings(root)
    known = sorted({speaker for _, speaker, _ in files.values()})
    for name in speakers:
        if name not in known:
            raise ConfigError(f"There is no speaker {name!r}; {nearest(name, known)}")
    parts: dict[str, list[Path]] = {"train": [], "test": []}
    for path, (_, speaker, take) in files.items():
        heard_in_test = speaker in speakers if speakers else take < TEST_TAKES
        parts["test" if heard_in_test else "train"].append(path)
    return {part: _recordings(part, paths, files) for part, paths in parts.items()}


def _recordings(
    part: str, paths: Sequence[Path], files: dict[Path, tuple[int, str, int]]
) -> Recordings:
    digits = np.array([files[path][0] for path in paths], dtype=np.int64)
    for digit in range(10):
        if digit not in digits:
            raise DataError(f"fsdd/recordings has no recording of the digit {digit} for {part}.")
    return Recordings(np.stack([wav.fit_length(wav.read(p, RATE), RATE) for p in paths]), digits)


def _audio(
    rows: Array,
    labels: Array,
    spoken: Recordings,
    snr: float,
    noise: str,
    part: str,
    seed: int,
) -> Array:
    """Log-mel spectrograms [N, 61, 32] of a recording for each image, in noise.

    Every draw is a function of (seed, purpose, part, position of the image in its official part).
    """
    of_class = [np.flatnonzero(spoken.digits == digit) for digit in range(10)]
    twice = np.tile(spoken.waves, 2)  # a cyclic shift is then a slice
    out = []
    for chunk in np.array_split(np.arange(len(rows)), max(1, len(rows) // 256)):
        speech = np.stack(
            [_speech(rows[i], of_class[labels[i]], spoken, part, seed) for i in chunk]
        )
        if snr < math.inf:
            crowd = [_noise(rows[i], twice, noise, part, seed) for i in chunk]
            speech = mix(speech, np.stack(crowd), snr)
        out.append(wav.log_mel(speech))
    return np.concatenate(out)


def _speech(row: int, choices: Array, spoken: Recordings, part: str, seed: int) -> Array:
    chosen = numpy_generator(seed, "pairing", part, int(row)).integers(len(choices))
    wave: Array = spoken.waves[choices[chosen]]
    return wave


def _noise(row: int, twice: Array, kind: str, part: str, seed: int) -> Array:
    rng = numpy_generator(seed, kind, part, int(row))
    if kind == "white":
        return rng.standard_normal(RATE)
    voices = rng.integers(len(twice), size=VOICES)
    starts = RATE - rng.integers(RATE, size=VOICES)
    slices = [twice[v, s : s + RATE] for v, s in zip(voices, starts, strict=True)]
    return np.asarray(np.sum(slices, axis=0, dtype=np.float64))


def mix(speech: Array, noise: Array, snr: float) -> Array:
    """Speech [B, T] plus noise [B, T] at a signal-to-noise ratio in dB.

    The power of speech is the mean square of its samples that are not zero, that of the noise of all its samples.
    """
    power = (speech.astype(np.float64) ** 2).sum(1) / np.maximum((speech != 0).sum(1), 1)
    loud = (noise.astype(np.float64) ** 2).mean(1)
    gain = np.sqrt(power / np.maximum(loud, np.finfo(np.float64).tiny) / 10 ** (snr / 10))
    return np.asarray(speech + gain[:, None] * noise)
