"""Train, validation and test of a manifest: as its split column says, or held out; groups stay whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, counted
from ..splits import stratified

__all__ = ["divide", "hold_out_groups"]

Rows = NDArray[np.int64]
Groups = NDArray[np.int32] | Rows
PARTS = ("train", "val", "test")


def divide(
    targets: Rows,
    split: NDArray[np.str_] | None,
    groups: Groups | None,
    test: float,
    validation: float,
    seed: int,
) -> dict[str, Rows]:
    """The positions of train, val and test.

    Args:
        targets: [N] class ids.
        split: [N] parts, or None; parts that it does not name are held out of train.
        groups: [N] codes of what must not be on both sides, or None.
        test, validation: fractions held out: of all samples, and of what is then train.
        seed: of what is held out.

    Raises:
        DataError: train is empty or would be, or nothing is left to test on.
    """
    if split is None:
        found = {"train": np.arange(len(targets)), "val": _none(), "test": _none()}
    else:
        found = {part: np.flatnonzero(split == part) for part in PARTS}
    if not len(found["train"]):
        raise DataError("The manifest has no train row.")
    for i, (part, fraction) in enumerate((("test", test), ("val", validation))):
        if len(found[part]) or not fraction:
            continue
        train = found["train"]
        held = held_out(
            targets[train], None if groups is None else groups[train], fraction, seed + i
        )
        if len(held) == len(train):
            raise DataError(
                f"Nothing is left to train on when {part} is held out: {counted(len(targets), 'row')} with "
                f"{len(np.unique(targets))} different labels; add rows, or name another label column if these are no classes."
            )
        found[part], found["train"] = train[held], np.delete(train, held)
    if not len(found["test"]):
        raise DataError(
            "The manifest has no test row, and none can be held out of so few; add rows, or a larger test fraction."
        )
    return found


def _none() -> Rows:
    return np.zeros(0, dtype=np.int64)


def held_out(targets: Rows, groups: Groups | None, fraction: float, seed: int) -> Rows:
    """Sorted positions: about a fraction of each class, one sample at the least, or whole groups."""
    if groups is not None:
        return hold_out_groups(targets, groups, fraction, seed)
    one = 1 / np.bincount(targets).max()  # of a class that has the most
    held, _ = stratified(targets, max(fraction, one), seed)
    return held


def hold_out_groups(targets: Rows, groups: Groups, fraction: float, seed: int) -> Rows:
    """Sorted positions of whole groups, in random order until the fraction is reached.

    A group is passed over if its going would leave a class without a sample, or take more than half as much again as
    the fraction; if all are so large, the smallest that can go is held out.

    Raises:
        DataError: no group can go.
    """
    order = np.argsort(groups, kind="stable")
    together = groups[order]
    starts = np.flatnonzero(np.append(True, together[1:] != together[:-1]))
    sizes = np.diff(starts, append=len(order))
    shuffled = np.random.default_rng(seed).permutation(len(starts))

    def members(numbers: Rows) -> Iterator[Rows]:
        return (order[starts[i] : starts[i] + sizes[i]] for i in numbers)

    wanted = fraction * len(targets)
    held = _taken(targets, members(shuffled), wanted, 1.5 * wanted)
    if not held:
        smallest = shuffled[np.argsort(sizes[shuffled], kind="stable")]
        held = _taken(targets, members(smallest), 1, len(targets))
    if not held:
        raise DataError(
            f"{counted(len(starts), 'group')}: too few or too large to hold {fraction:.0%} of the samples out in whole groups; "
            "say by a split column who is in train, val and test."
        )
    return np.sort(np.concatenate(held))


def _taken(targets: Rows, groups: Iterable[Rows], wanted: float, most: float) -> list[Rows]:
    """Groups, one after another until so many samples are taken, that leave a sample of each class."""
    left = np.bincount(targets)
    taken: list[Rows] = []
    count = 0
    for rows in groups:
        if count >= wanted:
            break
        going = np.bincount(targets[rows], minlength=len(left))
        if count + len(rows) > most or ((left <= going) & (going > 0)).any():
            continue
        left -= going
        taken.append(rows)
        count += len(rows)
    return taken
