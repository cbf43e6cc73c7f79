"""Refusals of option values, each in one sentence."""

from __future__ import annotations

from typing import get_args

from ...core import Batch
from ...core.batch import class_ids
from ...errors import ConfigError, nearest

__all__ = [
    "refuse_unfit",
    "refuse_unless_above",
    "refuse_unless_at_least",
    "refuse_unless_one_of",
]


def refuse_unless_one_of(**options: tuple[str, object]) -> None:
    """Each option's value must be one of its `Literal`, given beside it."""
    for option, (value, choices) in options.items():
        known = get_args(choices)
        if value not in known:
            hint = nearest(str(value), known)
            raise ConfigError(f"infobridge(): there is no {option}={value!r}: {hint}")


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


def refuse_unfit(batch: Batch, who: str, record: bool) -> None:
    """A batch has class ids, and says which samples these are where a record of each is kept."""
    class_ids(batch.target, who)
    if record and batch.index is None:
        raise ConfigError(
            f"{who} keeps a record per sample: give every Batch the index of its samples."
        )
