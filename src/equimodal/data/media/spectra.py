"""Spectra of sound, in PyTorch: on any device, for one recording or a batch of them.

Sources: the mel scales of M. Slaney, *Auditory Toolbox*, 1998 (that of librosa), of HTK (S. Young et al., *The HTK Book*)
and of Kaldi (D. Povey et al., 2011), which draws its triangles on the mel axis where the others draw them in Hz.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Scale", "fbank", "log_mel", "mel_bank", "power_density", "stft"]

Scale = Literal["slaney", "htk", "kaldi"]
TINY = 1.1920928955078125e-07  # the smallest power whose logarithm is taken, as Kaldi has it


def stft(waves: Tensor, window: int, hop: int) -> Tensor:
    """Magnitudes [..., window // 2 + 1, 1 + T // hop]: periodic Hann, frames centred, the ends mirrored.

    Args:
        waves: [..., T], T above window / 2.
        window, hop: samples.
    """
    hann = torch.hann_window(window, dtype=waves.dtype, device=waves.device)
    flat = waves.reshape(-1, waves.shape[-1])
    spectrum = torch.stft(flat, window, hop, window=hann, return_complex=True).abs()
    return spectrum.reshape(*waves.shape[:-1], *spectrum.shape[-2:])


def log_mel(
    waves: Tensor, rate: int, window: int, hop: int, bands: int, scale: Scale = "slaney"
) -> Tensor:
    """log(p + 1e-6) of mel powers p [..., bands, 1 + T // hop], frames as in `stft`."""
    power = stft(waves, window, hop) ** 2
    bank = mel_bank(bands, window, rate, 0.0, rate / 2, scale).to(power)
    return torch.log(bank @ power + 1e-6)


def power_density(waves: Tensor, rate: int, window: int, hop: int) -> Tensor:
    """The one-sided power density [..., window // 2 + 1, 1 + (T - window) // hop], as `scipy.signal.spectrogram` has it.

    Tukey window of which a quarter is tapered; each frame without its mean; no padding. Units: square of the waves' per Hz.
    """
    taper = _tukey(window).to(waves)
    frames = waves.unfold(-1, window, hop)
    frames = (frames - frames.mean(-1, keepdim=True)) * taper
    power = torch.fft.rfft(frames).abs() ** 2 / (rate * (taper**2).sum())
    middle = slice(1, -1) if window % 2 == 0 else slice(1, None)
    power[..., middle] *= 2  # the negative frequencies
    return torch.transpose(power, -1, -2)


def fbank(waves: Tensor, rate: int, bands: int = 128) -> Tensor:
    """Kaldi's log filter bank [..., frames, bands]: 25 ms every 10 ms, Hann, 20 Hz to half the rate, no dither, no energy.

    Args:
        waves: [..., T], at least 25 ms.
        rate: Hz.
        bands: number of mel bands.
    """
    window, hop = rate * 25 // 1000, rate * 10 // 1000
    size = 1 << (window - 1).bit_length()
    frames = waves.unfold(-1, window, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    frames = frames - 0.97 * before  # pre-emphasis, the first sample beside itself
    hann = torch.hann_window(window, periodic=False, dtype=waves.dtype, device=waves.device)
    power = torch.fft.rfft(F.pad(frames * hann, (0, size - window))).abs() ** 2
    bank = mel_bank(bands, size, rate, 20.0, rate / 2, "kaldi").to(power)
    return torch.log((power @ bank.T).clamp(min=TINY))


@functools.lru_cache(maxsize=16)
def mel_bank(bands: int, window: int, rate: int, low: float, high: float, scale: Scale) -> Tensor:
    """Triangles [bands, window // 2 + 1] between low and high Hz, float64; those of Slaney have area 1, others height 1."""
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    edges = torch.linspace(_mel(low, scale), _mel(high, scale), bands + 2, dtype=torch.float64)
    if scale == "kaldi":
        bins = 1127 * torch.log1p(bins / 700)
    else:
        edges = _hertz(edges, scale)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    bank = torch.minimum(rising, falling).clamp(min=0)
    return bank * 2 / (right - left) if scale == "slaney" else bank


def _mel(hertz: float, scale: Scale) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    if scale == "kaldi":
        return 1127 * math.log1p(hertz / 700)
    # Slaney: linear below 1 kHz, where 15 mel are; above, 27 steps for a factor of 6.4.
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mel: Tensor, scale: Scale) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return torch.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


@functools.lru_cache(maxsize=16)
def _tukey(window: int) -> Tensor:
    """The periodic Tukey window, a quarter of it tapered."""
    n = torch.arange(window, dtype=torch.float64)
    edge = window * 0.25 / 2
    distance = torch.minimum(n, window - n)  # from the nearer end
    taper = 0.5 * (1 - torch.cos(math.pi * distance / edge))
    return torch.where(distance < edge, taper, torch.ones_like(taper))
