"""Random draws that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

__all__ = ["numpy_generator", "torch_generator"]


def _seed(key: tuple[int | str, ...]) -> int:
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes 63 bits


def numpy_generator(*key: int | str) -> np.random.Generator:
    """A generator that is a function of its key, such as ``(seed, "pairing", "train", 17)``.

    Draws of one sample therefore depend neither on the order of samples, nor on the number of worker processes, nor on
    how many samples are asked for.
    """
    return np.random.default_rng(_seed(key))


def torch_generator(*key: int | str) -> torch.Generator:
    """The same for draws by torch, on the CPU."""
    return torch.Generator().manual_seed(_seed(key))
