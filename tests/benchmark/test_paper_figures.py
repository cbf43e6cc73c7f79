"""Figures of the papers over a bench: curves, complementarity by hand, and what the page shows of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from equimodal.benchmark.cell_geometry import kernel_distances
from equimodal.benchmark.curves import around, over_epochs, padded
from equimodal.benchmark.page import of_bench
from equimodal.benchmark.paper_figures import complementarity
from equimodal.benchmark.run import bench
from equimodal.benchmark.statistics import spread
from equimodal.benchmark.summary import Summary
from equimodal.benchmark.train_cell import Shelf
from equimodal.data import Arrays
from equimodal.report.page import Figure, Page, Side
from equimodal.training.evaluate import Predictions, batches
from equimodal.training.folder import RunFolder
from equimodal.training.predictions import right, write_predictions
from equimodal.training.run import load, load_data
from fixtures.bench import Here, grid

pytestmark = pytest.mark.whole


def figures_of(page: Page) -> dict[str, Figure]:
    parts = [part for section in page.sections for part in section.parts]
    flat = [one for part in parts for one in (part.parts if isinstance(part, Side) else [part])]
    return {part.title: part for part in flat if isinstance(part, Figure)}


def test_a_curve_goes_as_far_as_all_runs_and_says_how_far_they_are_apart() -> None:
    runs = [[{"a": 1.0}, {"a": 2.0}, {"a": 9.0}], [{"a": 3.0}, {"a": 2.0}]]
    found = over_epochs("x", runs, lambda epoch: epoch["a"])
    assert (found.values, found.low, found.high) == (
        [2.0, 2.0],
        pytest.approx([2 - 2**0.5, 2.0]),
        pytest.approx([2 + 2**0.5, 2.0]),
    )
    gap = over_epochs("y", [[{"a": 1.0}, {"a": None}, {"a": 4.0}]], lambda epoch: epoch["a"])
    assert gap.values == [1.0, None, 4.0] and not gap.low
    nothing = around("z", [None, None])
    epochs, shown = padded([found, gap, nothing])
    assert epochs == [1, 2, 3] and [one.name for one in shown] == ["x", "y"]
    assert shown[0].values == [2.0, 2.0, None] and len(shown[0].low) == 3
    assert spread([1.0]).n == 1 and padded([])[1] == []


def _two_classes(target: torch.Tensor) -> Arrays:
    return Arrays({"a": torch.zeros(len(target), 1)}, target, ("no", "yes"))


def test_no_modality_is_right_on_a_sample_that_lacks_it(tmp_path: Path) -> None:
    """Also where the class is the first, which a row of nothing would name."""
    logits = 3 * torch.eye(2)[[0, 0, 1]]
    said = Predictions(
        fused=logits,
        unimodal={"a": logits},
        present={"a": torch.tensor([False, True, False])},
        target=torch.tensor([0, 0, 1]),
        index=torch.arange(3),
    )
    write_predictions(tmp_path / "p.parquet", said, _two_classes(said.target), "test")
    assert right(tmp_path / "p.parquet", "a").tolist() == [False, True, False]
    assert right(tmp_path / "p.parquet").tolist() == [True, True, True]


def test_complementarity_by_hand(tmp_path: Path) -> None:
    """Four samples of two classes; "b" is missing in the last and would be right there."""
    folder = RunFolder(tmp_path)
    target = torch.tensor([0, 0, 1, 1])

    def says(*classes: int) -> torch.Tensor:
        return 3 * torch.eye(2)[list(classes)]

    said = Predictions(
        fused=says(0, 1, 1, 1),
        unimodal={"a": says(0, 1, 0, 0), "b": says(1, 0, 1, 1)},
        present={"a": torch.ones(4).bool(), "b": torch.tensor([True, True, True, False])},
        target=target,
        index=torch.arange(4),
    )
    write_predictions(folder.predictions, said, _two_classes(target), "test")
    folder.results.write_text(json.dumps({"modalities": ["a", "b"]}))
    # a is right on 1 of 4, b on 2, one of them on 3, the fusion on 3.
    assert complementarity(folder) == pytest.approx((3 / 4 - 2 / 4, 3 / 4 - 2 / 4))


@pytest.mark.parametrize(("protocol", "part"), [("honest", "val"), ("paper", "test")])
def test_curves_with_their_ceilings(protocol: str, part: str, tmp_path: Path) -> None:
    settings = {"epochs": 2, "probe": False, "schedule": "none", "protocol": protocol}
    made = grid(figures=["modalities", "ratio"], seeds="0-1", settings=settings)
    store = bench(made, tmp_path / "b", executor=Here())
    shown = figures_of(of_bench(Summary.read(store)))
    figure = shown["m1 over training"]
    lines = Summary.read(store).lines
    alone = next(x for x in lines if x.label == "m1 alone")
    level = np.mean([r[part]["fused"]["accuracy"] for r in alone.done.values()])
    assert figure.draw().data[-1].y == pytest.approx((level, level))
    word = {"val": "Validation", "test": "Test"}[part]
    assert figure.how.startswith(f"{word} accuracy of the modality's own logits")
    for drawn in (figure, shown[f"{word} accuracy by epoch"]):
        assert drawn.draw().layout.yaxis.title.text == f"{word.lower()} accuracy"
    joint = next(x for x in lines if x.label == "joint()")
    metrics = [store.folder(c.key).metrics.read_text().splitlines() for c in joint.cells]
    last = [json.loads(run[-1]) for run in metrics]
    assert figure.data["joint()"][-1] == pytest.approx(
        np.mean([epoch["val"]["modalities"]["m1"] for epoch in last])
    )
    assert shown["Discrepancy ratio over training"].data["joint()"][-1] == pytest.approx(
        np.mean([epoch["train"]["discrepancy_ratio"] for epoch in last])
    )


def test_figures_against_an_option(tmp_path: Path) -> None:
    methods = ["joint()", "infobridge(alpha=1.0)", "infobridge(alpha=0.0)"]
    made = grid(
        methods=methods, seeds="0-1", alone=False, figures=["complementarity"],
        against="infobridge.alpha",
    )  # fmt: skip
    store = bench(made, tmp_path / "b", executor=Here())
    summary = Summary.read(store)
    shown = figures_of(of_bench(summary))["Complementarity against infobridge.alpha"]
    assert shown.data["infobridge.alpha"] == ["0.0", "1.0"]
    line = next(x for x in summary.lines if x.label == "infobridge(alpha=1.0)")
    found = [complementarity(store.folder(cell.key)) for cell in line.cells]
    assert shown.data["fused"][1] == pytest.approx(np.mean(found, axis=0)[0])
    assert shown.draw().layout.xaxis.type == "category"


def test_kernel_distances_by_a_slow_loop_and_computed_once(tmp_path: Path) -> None:
    methods = ["infobridge(alpha=1.0)", "infobridge(alpha=0.0)"]
    made = grid(
        methods=methods, seeds="0", alone=False, figures=["kernel-distance"],
        against="infobridge.alpha",
    )  # fmt: skip
    store = bench(made, tmp_path / "b", executor=Here())
    summary = Summary.read(store)
    shown = figures_of(of_bench(summary))["Kernel distance of m1 × m2"]
    folder = store.folder(summary.lines[0].cells[0].key)
    run = load(folder.path)
    batch = next(iter(batches(load_data(run.settings).test, 1000)))
    with torch.no_grad():
        z = {m: f.double().numpy() for m, f in run.learner.predict(batch).features.items()}
    x, y = ([row / np.linalg.norm(row) for row in z[m]] for m in ("m1", "m2"))
    target = batch.target.tolist()
    apart: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.permutations(range(len(target)), 2):
        kernel = np.exp(-((x[i] - y[j]) ** 2).sum() / 2)
        apart[target[i] == target[j]].append(2 - 2 * kernel)
    assert shown.data["infobridge.alpha"] == ["0.0", "1.0"]
    assert shown.data["within a class"][1] == pytest.approx(np.mean(apart[True]))
    assert shown.data["between classes"][1] == pytest.approx(np.mean(apart[False]))
    kept = folder.path / "kernel-distance.json"
    kept.write_text(json.dumps({"m1 × m2": [0.25, 0.5]}))
    assert kernel_distances(folder, Shelf()) == {"m1 × m2": (0.25, 0.5)}
