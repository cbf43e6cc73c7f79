"""`equimodal diagnose`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .train import RUNS_OWN

__all__ = ["diagnose"]


def diagnose(
    run: Path,
    /,
    *,
    alone: Annotated[
        tuple[Path, ...], Parameter(negative="", consume_multiple=False, show_default=False)
    ] = (),
    train_alone: Annotated[bool, Parameter(negative="")] = False,
    absence: Literal["missing", "zero", "mean", "permute"] = "missing",
    conditional: Annotated[bool, Parameter(negative="")] = False,
    data_root: Annotated[str | None, RUNS_OWN] = None,
    format: Literal["text", "json"] = "text",  # noqa: A002
) -> None:
    """Say how much a trained run uses each modality, how much each could give, and whether balancing can help.

    This includes the accuracy of every subset of modalities and at missing rates of 0 to 90%, under noise and with wrong
    inputs, and how the features lie. Every figure has a 95% interval over the test samples. The diagnosis is also written
    to diagnosis.json in the run's folder.

    Args:
        run: folder of a finished run
        alone: run on one modality alone (train ... --modalities NAME); give it once for each
        train_alone: train each modality alone that --alone does not name, as the run was trained; kept in RUN/alone
        absence: how a modality is taken away: the model is told, or its input is zero, the mean, or another sample's
        conditional: also estimate what the modalities' features share beyond the label (some seconds for each pair)
        data_root: folder that holds the data sets
        format: of what is printed
    """
    from ..diagnostics import run as runs
    from ..report.text import Bar, print_text

    if train_alone:
        try:
            made = runs.train_alone(run, data_root=data_root, given=alone, progress=Bar)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on.") from None
        alone = (*alone, *made)
    found = runs.diagnose_run(
        run, data_root=data_root, alone=alone, absence=absence, conditional=conditional
    )
    print_text(json.dumps(found.to_dict(), indent=2) if format == "json" else found.text())
