"""Sound: soundfile reads wav, flac, ogg and mp3, PyAV the sound of videos, soxr resamples; spectra are made in PyTorch.

The presets are the inputs that the field's repositories train on; `PRESETS` says whose each is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import ConfigError, DataError
from . import spectra
from .augment import resize, window
from .container import opened, refuse_cut
from .reader import Reader, check_span, needs, require

__all__ = ["PRESETS", "SOUND_SUFFIXES", "Audio", "waveform"]

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aiff", ".aif", ".au")
Form = Literal["waveform", "stft", "density", "logmel", "fbank"]
Samples = NDArray[np.float32]
FLOOR = 1e-7  # what is added before the logarithm of a magnitude


@dataclass(frozen=True)
class Audio(Reader):
    """A recording as a waveform [T] or as a spectrogram [1, F, T]; fbank is [1, T, F], or a sequence [T, F] if `frames` is 0.

    Stereo is averaged, other rates are resampled, values are clipped to [-1, 1] (decoded AAC may exceed them).

    Args:
        rate: Hz.
        seconds: the length that all are cut or filled to; None: as they are, sequences of different lengths.
        form: waveform; stft: log(magnitude + 1e-7); density: the log of SciPy's power density; logmel; fbank: Kaldi's.
        short: what fills a recording that is too short: repeat (it begins again), or zero.
        crop: where a recording that is too long is cut: start (the first seconds), or random (in training; the middle in
            validation and test).
        window, hop: of the spectrogram, samples; fbank has its own, 25 and 10 ms.
        bands: of logmel and fbank.
        scale: of the spectrogram: none; sample: mean 0 and deviation 1 in each; or a mean and the divisor, such as
            (-4.503877, 10.282552).
        frames: of fbank, cut or filled with zeros; 0: as they are.
        size: the spectrogram is resized to these pixels, such as (224, 224).

    Raises:
        ConfigError: an option that cannot be.
    """

    rate: int = 16000
    seconds: float | None = None
    form: Form = "waveform"
    short: Literal["repeat", "zero"] = "zero"
    crop: Literal["start", "random"] = "start"
    window: int = 512
    hop: int = 160
    bands: int = 128
    scale: Literal["none", "sample"] | tuple[float, float] = "none"
    frames: int = 0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        forms = ("waveform", "stft", "density", "logmel", "fbank")
        if self.form not in forms:
            raise ConfigError(f"form must be one of {', '.join(forms)}; here {self.form!r}.")
        if self.rate < 1 or (self.seconds is not None and self.seconds <= 0):
            raise ConfigError(
                f"rate and seconds must be above 0; here {self.rate} and {self.seconds}."
            )
        if self.seconds is None and self.form not in ("waveform", "fbank"):
            raise ConfigError(
                f"form={self.form!r} needs seconds: spectrograms of a batch have one length."
            )
        self._check_spectrogram()

    def _check_spectrogram(self) -> None:
        """Refuse options by which no spectrogram can be made."""
        least = {"window": 2, "hop": 1, "bands": 1, "frames": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ConfigError(
                    f"{name} must be at least {smallest}; here {getattr(self, name)}."
                )
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"size must be two numbers of pixels above 0; here {self.size}.")
        if self.form == "fbank" and self.rate < 100:
            raise ConfigError(
                f"form='fbank' has a frame every 10 ms and needs a rate of at least 100; here {self.rate}."
            )
        mirrored = self.window // 2 + 1  # the ends are filled with what lies before them
        samples = {"stft": mirrored, "logmel": mirrored, "density": self.window}.get(self.form, 1)
        length = samples if self.seconds is None else round(self.seconds * self.rate)
        if length < samples:
            raise ConfigError(
                f"seconds={self.seconds} at rate={self.rate} are {length} samples; form={self.form!r} with "
                f"window={self.window} needs at least {samples}."
            )

    @property
    def time_first(self) -> bool:
        return self.form == "fbank" and bool(self.frames)

    @property
    def shape(self) -> tuple[int, ...]:
        seen = tuple(self.finish(torch.zeros(self.rate)).shape)
        if self.form == "waveform":
            return (-1,) if self.seconds is None else seen
        return (1, *seen[1:]) if self.frames or self.form != "fbank" else (-1, self.bands)

    @property
    def decoding(self) -> tuple[object, ...]:
        return ("audio", self.rate)

    def decode(self, path: Path, start: float = 0.0, stop: float | None = None) -> Tensor:
        """[T], float32 in [-1, 1]; `start` and `stop` in seconds cut out a part."""
        return torch.from_numpy(waveform(path, self.rate, start, stop))

    def finish(self, stored: Tensor, rng: np.random.Generator | None = None) -> Tensor:
        wave = stored if self.seconds is None else self._fit(stored, rng)
        if self.form == "waveform":
            return wave
        image = self._spectrogram(wave)
        if self.size is not None:
            image = resize(image[None], *self.size)[0]
        image = self._scaled(image)
        return image if self.form == "fbank" and not self.frames else image[None]

    def _fit(self, wave: Tensor, rng: np.random.Generator | None) -> Tensor:
        assert self.seconds is not None
        length = round(self.seconds * self.rate)
        if len(wave) < length and self.short == "repeat":
            wave = wave.repeat(-(-length // len(wave)))
        wave = torch.nn.functional.pad(wave, (0, max(0, length - len(wave))))
        return wave[:length] if self.crop == "start" else window(wave, length, rng)

    def _spectrogram(self, wave: Tensor) -> Tensor:
        if self.form == "stft":
            return torch.log(spectra.stft(wave, self.window, self.hop) + FLOOR)
        if self.form == "density":
            density = spectra.power_density(wave, self.rate, self.window, self.hop)
            return torch.log(density + FLOOR)
        if self.form == "logmel":
            return spectra.log_mel(wave, self.rate, self.window, self.hop, self.bands)
        shortest = self.rate * 25 // 1000
        wave = torch.nn.functional.pad(wave - wave.mean(), (0, max(0, shortest - len(wave))))
        bank = spectra.fbank(wave, self.rate, self.bands)
        if not self.frames:
            return bank
        return torch.nn.functional.pad(bank, (0, 0, 0, max(0, self.frames - len(bank))))[
            : self.frames
        ]

    def _scaled(self, image: Tensor) -> Tensor:
        if self.scale == "none":
            return image
        if self.scale == "sample":
            return (image - image.mean()) / (image.std(correction=0) + 1e-9)
        mean, divisor = self.scale
        return (image - mean) / divisor


_FBANK = Audio(16000, form="fbank", bands=128, frames=1024, scale=(-4.503877, 2 * 5.141276))
_OGM_GE = Audio(22050, 3.0, "stft", "repeat", window=512, hop=353)
PRESETS: Mapping[str, Audio] = {
    # X. Peng et al., OGM-GE, CVPR 2022, CREMA-D (AGM the same): 257 x 188
    "ogm_ge": _OGM_GE,
    # Y. Fan et al., PMR, CVPR 2023, CREMA-D: 257 x 299; with seconds=10, AVE: 257 x 1004
    "pmr": Audio(16000, 3.0, "density", "repeat", window=512, hop=159, scale="sample"),
    # OGM-GE and PMR, VGGSound: 129 x 626; at test the middle five seconds, where theirs are random there too
    "vggsound": Audio(16000, 5.0, "stft", "repeat", "random", window=256, hop=128),
    # OGM-GE, Kinetics-Sounds: 1024 x 128
    "fbank": _FBANK,
    # X. Zhang et al., MLA, CVPR 2024, CREMA-D: the same, otherwise normalised
    "mla": replace(_FBANK, scale=(-5.081, 4.4849)),
    # Y. Qin et al., IBML, TPAMI 2026: as OGM-GE
    "ibml": _OGM_GE,
    # InfoBridge, ICCV 2025, gives the size only; frame rate and window are those of OGM-GE
    "infobridge": Audio(22050, 3.0, "stft", "repeat", window=512, hop=353, size=(224, 224)),
}


def waveform(
    path: Path, rate: int | None = None, start: float = 0.0, stop: float | None = None
) -> Samples:
    """The samples [T] of a recording, or of a video's sound, in [-1, 1].

    Args:
        path: the file.
        rate: Hz that it is resampled to; None: its own.
        start, stop: seconds that are read; None: to the end.

    Raises:
        DataError: the file is missing, damaged or cut off, has no sound, or a value that is not finite; or the start is
            below 0 or not before the stop.
        ConfigError: a package of the extra `media` is not installed.
    """
    require(path)
    check_span(path, start, stop)
    sounds = path.suffix.lower() in SOUND_SUFFIXES
    samples, own = _recording(path) if sounds else _of_video(path)
    samples = samples[round(start * own) : None if stop is None else round(stop * own)]
    if not len(samples):
        where = f" between {start:g} and {stop:g} s" if start or stop else ": its length is zero"
        raise DataError(f"{path} has no sound{where}.")
    if not np.isfinite(samples).all():
        raise DataError(f"{path} has a sample that is not finite (NaN or infinite).")
    mono: Any = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
    if rate is not None and rate != own:
        mono = needs("soxr", "Resampling sound").resample(mono, own, rate)
    return np.ascontiguousarray(mono, dtype=np.float32).clip(-1, 1)


def _recording(path: Path) -> tuple[Samples, int]:
    """Samples [T, channels] and the rate in Hz of a sound file."""
    soundfile = needs("soundfile", "Reading sound")
    if path.suffix.lower() == ".wav":
        _refuse_cut(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            declared, rate = len(file), int(file.samplerate)
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise DataError(f"{path} is not readable sound ({reason}); get it again.") from error
    # What an mp3 says of its length is not exact; an endless stream says the largest number.
    if len(samples) < 0.95 * declared - 0.2 * rate and declared < 1 << 40:
        raise DataError(f"{path} is cut off: {len(samples)} of {declared} samples are there.")
    return samples, rate


def _refuse_cut(path: Path) -> None:
    """Refuse a wav file that is cut off, of which libsndfile reads what is there without a word."""
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF":
            return
        size = path.stat().st_size
        for name, length, at in _chunks(file, size):
            if name == b"data" and length < 0xFFFFF000 and at + length > size:
                raise DataError(
                    f"{path} is cut off: {size - at} of {length} bytes of sound are there."
                )


def _chunks(file: Any, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and place of the chunks of a RIFF file."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        yield name, length, at + 8
        at += 8 + length + length % 2


def _of_video(path: Path) -> tuple[Samples, int]:
    """Samples [T, channels] and the rate in Hz of the first sound stream of a video."""
    av = needs("av", "Reading the sound of a video")
    parts, latest = [], {}
    with opened(path) as container:
        if not container.streams.audio:
            raise DataError(f"{path} has no sound: it has a picture only.")
        stream = container.streams.audio[0]
        planar = av.AudioResampler(format="fltp")  # the form; rate and channels stay
        for packet in container.demux():
            if packet.pts is not None:
                latest[packet.stream_index] = packet.pts
            if packet.stream_index == stream.index:
                parts += [p.to_ndarray() for f in packet.decode() for p in planar.resample(f)]
        refuse_cut(path, container, latest)
        rate = int(stream.rate)
    if not parts:
        return np.zeros((0, 1), dtype=np.float32), rate
    return np.concatenate(parts, axis=1).T, rate
