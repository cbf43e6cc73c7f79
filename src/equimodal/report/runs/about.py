"""How the figures came about: method, settings, data, versions."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from ..page import Cell, Code, Column, Raw, Section, Table, shown
from .record import Record

__all__ = ["provenance", "settings"]


def settings(runs: Sequence[Record]) -> Section:
    """The settings, side by side if there are several runs, and what they came to besides accuracy."""
    if len(runs) == 1:
        parts: list[Any] = [Code(runs[0].config, "config.toml")]
    else:
        parts = [_side_by_side(runs)]
    if weights := [run for run in runs if run.results.get("fusion")]:
        parts.append(_fusion(weights))
    parts.append(_calibration(runs))
    return Section(
        "Method", parts, "What was trained, and how; a run's config.toml trains it again."
    )


def _side_by_side(runs: Sequence[Record]) -> Table:
    told = [_flat(tomllib.loads(run.config)) for run in runs]
    names = list(dict.fromkeys(name for of in told for name in of))
    rows = [_row(name, [of.get(name) for of in told]) for name in names]
    return Table(
        [Column("setting"), *(Column(run.name) for run in runs)],
        rows,
        "All settings as they were resolved. Bold: they differ.",
    )


def _row(name: str, values: Sequence[Raw]) -> list[Raw | Cell]:
    differ = len({repr(value) for value in values}) > 1
    return [name, *(Cell(None if v is None else str(v), strong=differ) for v in values)]


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Raw]:
    found: dict[str, Raw] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        elif isinstance(value, list):
            found[before + name] = ", ".join(map(str, value))
        else:
            found[before + name] = value if isinstance(value, bool | int | float) else str(value)
    return found


def _fusion(runs: Sequence[Record]) -> Table:
    names = list(dict.fromkeys(name for run in runs for name in run.results["fusion"]["weights"]))
    rows = []
    for run in runs:
        fusion, fitted = run.results["fusion"], run.results["test"].get("fitted") or {}
        row: list[Raw | Cell] = [run.name, bool(fusion["kept"])]
        row += [fusion["fitted"].get(name) for name in names]
        rows.append([*row, run.results["test"]["fused"]["accuracy"], fitted.get("accuracy")])
    columns = [Column("run"), Column("used"), *(Column(name, "{:.2f}") for name in names)]
    columns += [Column("fused", "{:.1%}"), Column("with fitted weights", "{:.1%}")]
    return Table(
        columns,
        rows,
        "Fusion weights fitted on validation, and test accuracy without and with them; used only where they were better by "
        "more than chance.",
    )


def _calibration(runs: Sequence[Record]) -> Table:
    rows: list[list[Raw]] = []
    for run in runs:
        fused = run.results["test"]["fused"]
        rows.append([run.name, "fused", fused["cross_entropy"], fused["calibration_error"]])
        for name in run.modalities if len(run.modalities) > 1 else ():
            of = run.of(name)
            rows.append([run.name, name, of["cross_entropy"], of["calibration_error"]])
    return Table(
        [
            Column("run"),
            Column("logits"),
            Column("cross-entropy", "{:.3f}"),
            Column("calibration error", "{:.3f}"),
        ],
        rows,
        "On test: cross-entropy in nats, and the expected calibration error, 0 where confidence equals accuracy.",
    )


def provenance(runs: Sequence[Record]) -> Section:
    """Where each run is, what it was made with, and what its data were."""
    told = [_origin(run) for run in runs]
    rows = [[name, *(of[name] for of in told)] for name in told[0]]
    columns = [Column(""), *(Column(run.name) for run in runs)]
    return Section(
        "Provenance",
        [
            Table(
                columns,
                rows,
                "Fingerprint: the first 16 digits of the SHA-256 of everything that the data set holds. Epoch: the one "
                "whose weights were tested.",
            )
        ],
        "Each figure in this report follows from these runs and their files.",
    )


def _origin(run: Record) -> dict[str, str | None]:
    results, data = run.results, run.data
    sizes, versions = data.get("samples", {}), results["versions"]
    parts = [f"{name} {sizes[name]:,}" for name in ("train", "val", "test") if name in sizes]
    return {
        "data": str(results["data"]),
        "samples": ", ".join(parts) or None,
        "fingerprint": str(data["fingerprint"])[:16] if "fingerprint" in data else None,
        "seed": str(results["seed"]),
        "epoch": f"{results['epoch'] + 1} of {results['epochs']}",
        "trained alone": ", ".join(one.modalities[0] for one in run.alone) or None,
        "selected": f"{results['select']} on {results['selected_on']}",
        "parameters": f"{results['parameters']:,}",
        "seconds": shown(results.get("seconds"), "{:.0f}"),
        "device": results.get("device"),
        "processes": shown(results.get("processes")),
        **{name: str(version) for name, version in versions.items()},
    }
