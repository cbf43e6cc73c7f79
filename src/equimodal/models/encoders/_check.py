"""One sentence for an input that an encoder cannot read, or an option that cannot build one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ...core.batch import Input, Padded
from ...errors import ConfigError, DataError

__all__ = ["one_of", "positive", "tensor"]


def tensor(
    encoder: str, value: Input, shape: str, ndims: tuple[int, ...], sizes: Mapping[int, int]
) -> Tensor:
    """The input as a tensor of the expected shape.

    Args:
        encoder: the encoder's name, for the sentence.
        value: what it was given.
        shape: what it reads, in words, such as ``"[B, N, 3]"``.
        ndims: the numbers of dimensions that it can read.
        sizes: dimension -> the size that it must have; negative dimensions count from the end.

    Raises:
        DataError: sequences of different lengths, or another shape.
    """
    if isinstance(value, Padded):
        raise DataError(
            f"{encoder} reads tensors {shape}, not sequences of different lengths (Padded)."
        )
    if value.ndim in ndims and all(value.shape[dim] == size for dim, size in sizes.items()):
        return value
    raise DataError(f"{encoder} reads {shape}, but the input has shape {list(value.shape)}.")


def positive(encoder: str, **options: int | Sequence[int]) -> None:
    """Refuse the options that are not positive integers, or that hold one that is not.

    Raises:
        ConfigError: naming the encoder and the option.
    """
    for name, value in options.items():
        for size in [value] if isinstance(value, int) else value:
            if size < 1:
                raise ConfigError(f"{encoder} needs {name} of at least 1, not {size}.")


def one_of(encoder: str, name: str, value: object, known: Collection[str]) -> None:
    """Refuse an option that is none of the known ones.

    Raises:
        ConfigError: naming the encoder and what it knows.
    """
    if value not in known:
        said = " and ".join(f"{name}={choice!r}" for choice in known)
        raise ConfigError(f"{encoder} knows {said}, not {value!r}.")
