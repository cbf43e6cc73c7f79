"""A cell of the grid: one run, under a name that is the hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ANEW", "Cell", "Kind", "key_of"]

Kind = Literal["alone", "method", "tuned", "trial"]

ANEW = frozenset({"data_root", "device", "workers", "threads", "checkpoint_every"})
"""Settings that change neither what is learned nor what is written down about it."""


LATER = frozenset({"augment", "select_by", "split_seed", "task"})
"""Settings that the first stores did not know: nothing is hashed of them where they are not used, so that keys stay."""


@dataclass(frozen=True)
class Cell:
    """One run and where it stands in the table.

    Attributes:
        key: of its run; two rows with the same settings share one run.
        kind: a modality alone, a method with its own options, one with tuned options, or a trial of tuning.
        row: the label of its row, such as ``"bio() + tcm()"``.
        data, model: the labels of data set and model; the model's is empty where there is one.
        seed: of the run.
        settings: of the run, resolved, as in its `config.toml`.
        fingerprint: of the data.
    """

    key: str
    kind: Kind
    row: str
    data: str
    model: str
    seed: int
    settings: Mapping[str, Any]
    fingerprint: str

    @property
    def label(self) -> str:
        """For progress and refusals."""
        model = f" on {self.model}" if self.model else ""
        return f"{self.row}{model}, {self.data}, seed {self.seed}"


def key_of(settings: Mapping[str, Any], fingerprint: str) -> str:
    """24 hexadecimal digits: the hash of resolved settings and data."""
    unused = {name for name in LATER if settings.get(name) in (None, {})}
    kept = {name: value for name, value in settings.items() if name not in ANEW | unused}
    text = json.dumps([kept, fingerprint], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
