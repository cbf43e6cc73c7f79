"""`equimodal demo`: the main job on data that need no download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..training.settings import Settings
from .report import written

__all__ = ["demo"]

METHODS = ("joint", "uniform", "ibml", "infobridge")
ENCODERS = {
    "image": "cnn(channels=1, widths=(16, 32), kernels=(3, 3), width=64)",
    "points": "pointnet(width=64)",  # several times as fast as the data set's own dgcnn
}

Results = Mapping[str, Any]


def demo(*, out: Path = Path("runs/demo"), epochs: int = 15, seed: int = 0) -> None:
    """Train joint, uniform, IBML and InfoBridge on real digits as image and as point cloud, and compare.

    Needs no download and takes a few minutes on two CPU cores. Each modality is also trained alone. The runs of an
    earlier demo in the same folder are replaced.

    Args:
        out: folder for the runs
        epochs: passes over the training data, for each run
        seed: of weights, order of the data and noise
    """
    from ..report.text import print_text

    settings = Settings(
        data="digits3d", encoders=ENCODERS, epochs=epochs, lr=0.02, schedule="auto", seed=seed
    )
    print_text(_introduction(settings))
    alone = {name: _run(settings.alone(name), out / f"{name}-alone") for name in ENCODERS}
    methods = {name: _run(settings.changed(method=f"{name}()"), out / name) for name in METHODS}
    _table(methods, {name: run["test"]["fused"]["accuracy"] for name, run in alone.items()})
    print_text(
        "One seed and few epochs: this shows what is measured; it does not rank the methods.\n"
        f"The runs are in {out}"
    )
    runs = [out / name for name in (*methods, *(f"{m}-alone" for m in alone))]
    print_text(written(runs, out / "report.html"))


def _introduction(settings: Settings) -> str:
    encoders = "\n".join(f"  {name}: {text}" for name, text in settings.encoders.items())
    return (
        "digits3d: 1,797 real digits (scikit-learn), each as a noisy 10×10 image and as a turned cloud of 128 points; "
        f"70% to train, of which a tenth to validate, 30% to test.\n{encoders}\n"
        f"  (the cloud's encoder is lighter than the data set's own)\n"
        f"  {settings.epochs} epochs, SGD {settings.lr}, batch {settings.batch_size}, seed {settings.seed}\n"
    )


def _run(settings: Settings, folder: Path) -> Results:
    from ..report.text import Bar
    from ..training.run import train

    return train(settings, folder, overwrite=True, progress=Bar(f"{folder.name:12}")).results


def _table(runs: Mapping[str, Results], alone: Mapping[str, float]) -> None:
    from ..report.text import figure, percent, print_table, print_text

    headers = ["method", "fused"]
    headers += [
        f"{name}\n{what}" for name in alone for what in ("trained\nalone", "de-\ncoupled", "probe")
    ]
    rows = []
    for method, run in runs.items():
        row = [method, percent(run["test"]["fused"]["accuracy"])]
        for name, accuracy in alone.items():
            found = run["test"]["modalities"][name]
            row += [percent(accuracy), percent(found["decoupled"]), percent(found["probe"])]
        rows.append([*row, figure(run["train"]["discrepancy_ratio"]), f"{run['seconds']:.0f}"])
    print_table([*headers, "ratio", "s"], rows)
    print_text(
        "Test accuracies in %; trained alone: with no other modality; decoupled: its own logits in the joint model; probe: a linear "
        "classifier on its features; ratio: how far one leads the other in training (1 is level); s: seconds of training."
    )
