"""Refusals of option values, each in one sentence."""

from __future__ import annotations

from typing import get_args

from ...errors import ConfigError, nearest

__all__ = ["refuse_unless_above", "refuse_unless_at_least", "refuse_unless_one_of"]


def refuse_unless_one_of(option: str, value: str, choices: object) -> None:
    """`choices` is a `Literal`."""
    known = get_args(choices)
    if value not in known:
        raise ConfigError(
            f"infobridge(): there is no {option}={value!r}: {nearest(str(value), known)}"
        )


def refuse_unless_at_least(least: float, **options: float) -> None:
    """Each option must be the least value or more; NaN is refused too."""
    for option, value in options.items():
        if not value >= least:
            raise ConfigError(f"infobridge({option}={value}): {option} must be at least {least}.")


def refuse_unless_above(bound: float, **options: float) -> None:
    """Each option must be more than the bound."""
    for option, value in options.items():
        if not value > bound:
            raise ConfigError(f"infobridge({option}={value}): {option} must be above {bound}.")
