"""Checks of what a user wrote as an option."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigError, nearest

__all__ = ["at_least", "one_of"]


def one_of(method: str, option: str, value: str, known: Sequence[str]) -> str:
    """The value, or a refusal that says the nearest known one."""
    if value not in known:
        raise ConfigError(f"{method}({option}={value!r}) is unknown: {nearest(str(value), known)}")
    return value


def at_least(method: str, option: str, value: float, least: float) -> float:
    """The value, or a refusal that says the smallest possible one; a number that is none is refused, too."""
    if not value >= least:
        raise ConfigError(f"{method}({option}={value}) must be at least {least}.")
    return value
