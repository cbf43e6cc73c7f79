"""The report on one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ... import __version__
from ..page import Page
from .about import provenance, settings
from .diagnosis import potential
from .front import front, together
from .geometry import geometry
from .information import information
from .record import Record, read_all
from .robustness import robustness
from .samples import samples
from .training import training
from .use import use

__all__ = ["Record", "of_runs", "read_all"]


def of_runs(runs: Sequence[Record], *, show: int = 8) -> Page:
    """The report: what was found first, then the evidence, then how it came about.

    Args:
        runs: one or more; those of one modality are the ceilings of those that have several.
        show: how many test samples are shown; 0: none, and the data are not read.
    """
    sections = [front(runs), use(runs), potential(runs), information(runs)]
    sections += [geometry(runs), robustness(runs), training(runs)]
    if show:
        sections.append(samples(runs, show))
    sections += [settings(runs), provenance(runs)]
    data = ", ".join(dict.fromkeys(run.settings.data for run in runs))
    return Page(
        _title(together(runs)),
        [section for section in sections if section is not None],
        f"{data} · {len(runs)} {'run' if len(runs) == 1 else 'runs'}",
        f"Written by equimodal {__version__} from {', '.join(Path(run.folder).name for run in runs)}.",
    )


def _title(runs: Sequence[Record]) -> str:
    names = [run.name for run in runs]
    if len(names) == 1:
        return names[0]
    return (
        ", ".join(names[:-1]) + f" and {names[-1]}"
        if len(names) <= 4
        else f"{len(names)} runs compared"
    )
