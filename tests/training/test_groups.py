"""What samples of one group are worth, by hand and by statistics that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from equimodal.benchmark import tables
from equimodal.benchmark.grid import Grid
from equimodal.benchmark.run import bench
from equimodal.benchmark.statistics import bootstraps
from equimodal.benchmark.summary import Summary
from equimodal.cli import main
from equimodal.data import Arrays, Splits
from equimodal.diagnostics.intervals import rate
from equimodal.report.runs.intervals import difference, mean
from equimodal.report.text import results
from equimodal.training.evaluate import batches, collect, evaluate
from equimodal.training.fit import fit
from equimodal.training.fused_weights import fit_weights
from equimodal.training.groups import effective_samples, mean_spread, worth
from fixtures import small
from fixtures.bench import Here

RIGHT = np.array([1, 1, 1, 0, 1, 0, 0, 1, 1, 1], dtype=float)
THRICE = np.repeat(np.arange(10), 3)


def test_the_spread_of_a_mean() -> None:
    assert mean_spread(RIGHT) == pytest.approx(RIGHT.std(ddof=1) / 10**0.5, rel=1e-12)
    # Of groups of one size it is that of the groups' means.
    mixed = np.repeat(RIGHT, 3) + np.tile([0.1, -0.3, 0.2], 10)
    wanted = mixed.reshape(10, 3).mean(1).std(ddof=1) / 10**0.5
    assert mean_spread(mixed, THRICE) == pytest.approx(wanted, rel=1e-12)
    assert mean_spread(mixed, np.zeros(30, dtype=int)) == np.inf


def test_answers_that_are_the_same_within_a_group_are_worth_one() -> None:
    assert effective_samples(RIGHT) == 10
    assert effective_samples(np.repeat(RIGHT, 3), THRICE) == pytest.approx(9, rel=1e-12)  # G - 1
    assert effective_samples(np.ones(30), THRICE) == 10
    assert effective_samples(np.repeat(RIGHT, 3), np.zeros(30, dtype=int)) == 1
    # In each group 2 of 3 are right: the groups say nothing apart, and no sample is worth more than itself.
    assert effective_samples(np.tile([1.0, 0.0, 1.0], 10), THRICE) == pytest.approx(30, rel=1e-12)
    assert effective_samples(np.full(8, 0.5)) == 8 and effective_samples(np.zeros(0)) == 0
    assert worth({"effective_samples": 9.0}, 30) == 9 and worth({}, 30) == 30


def test_figures_of_a_report_are_over_groups() -> None:
    one, other = np.repeat(RIGHT, 3) > 0, np.repeat(RIGHT[::-1], 3) > 0
    wanted = difference(RIGHT > 0, RIGHT[::-1] > 0)
    found = difference(one, other, THRICE)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-12)
    assert difference(one, one, THRICE) == difference(RIGHT > 0, RIGHT > 0)
    values = np.random.default_rng(0).normal(size=10)
    assert mean(np.repeat(values, 3), THRICE).low == pytest.approx(mean(values).low, rel=1e-12)


def grouped(data: Arrays, size: int) -> Arrays:
    """Every sample so many times, of one patient."""
    rows = torch.arange(len(data)).repeat_interleave(size)
    names = [f"patient {row}" for row in rows.tolist()]
    inputs = {name: values[rows] for name, values in data.inputs.items()}
    present = {name: mask[rows] for name, mask in data.present.items()}
    return Arrays(inputs, data.targets[rows], data.classes, present=present, groups=names)


@pytest.fixture(scope="module")
def splits() -> Splits:
    data = small.splits(2, 0.3)
    return Splits("small", data.train, grouped(data.val, 2), grouped(data.test, 3))


def test_a_run_says_what_its_test_samples_are_worth(
    splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(small.model(), splits, epochs=2, batch_size=8, device="cpu", out=tmp_path / "run")
    test = run.results["test"]
    assert test["samples"] == 72 and test["groups"] == 24
    assert run.results["val"]["groups"] == 21
    asked = collect(run.learner, batches(splits.val, 8))
    known = fit_weights(
        asked.unimodal, asked.target, asked.present, groups=splits.val.groups.numpy()
    )
    assert run.results["fusion"]["standard_error"] == known.standard_error
    once = evaluate(run.model, small.splits(2, 0.3).test)
    for name, score in once.decoupled.items():
        assert test["modalities"][name]["decoupled"] == score.accuracy
        assert test["modalities"][name]["effective_samples"] == pytest.approx(score.samples - 1)
        assert test["modalities"][name]["probe_effective_samples"] == pytest.approx(
            score.samples - 1
        )
    table = pq.read_table(tmp_path / "run/predictions.parquet")
    assert table["group"].to_pylist() == np.repeat(np.arange(24), 3).tolist()
    right = np.array(table["target"]) == np.array(table["prediction"])
    known = rate(right.astype(float), table["group"].to_numpy())
    assert known is not None
    interval = f"{100 * known.value:.1f} {100 * known.low:.1f} to {100 * known.high:.1f}"
    results(run.results)
    said = " ".join(capsys.readouterr().out.split())
    assert "test accuracy, 72 samples of 24 groups" in said and f"fused {interval}" in said
    page = tmp_path / "page.json"
    assert main(["report", str(tmp_path / "run"), "--out", str(page)]) == 0
    lead = f"of 72 test samples of 24 groups correctly; with 95% confidence the accuracy lies between {known.low:.1%} and"
    assert lead in page.read_text()


def patients(folder: Path) -> Path:
    """A table in which each of 40 patients stands three times, and its TOML."""
    rng = np.random.default_rng(0)
    lines = ["a1,a2,b1,b2,label,patient"]
    for patient in range(40):
        label = patient % 2
        values = ",".join(f"{value:.4f}" for value in rng.normal(size=4) + label)
        lines += [f"{values},{'xy'[label]},p{patient}"] * 3
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "data.toml").write_text(
        'manifest = "table.csv"\nlabel = "label"\ngroup = "patient"\ntest = 0.4\nvalidation = 0.2\n'
        '[modalities.a]\nkind = "table"\ncolumns = ["a1", "a2"]\n'
        '[modalities.b]\nkind = "table"\ncolumns = ["b1", "b2"]\n'
    )
    return folder / "data.toml"


def test_predictions_of_a_file_keep_their_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user: a table in which each patient stands three times."""
    command = ["train", str(patients(tmp_path)), "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "48 samples of 16 groups" in capsys.readouterr().out
    assert main(["predict", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "48 samples of 16 groups" in said
    table = pq.read_table(tmp_path / "run/predictions.parquet")
    right = np.array(table["target"]) == np.array(table["prediction"])
    known = rate(right.astype(float), table["group"].to_numpy())
    assert known is not None
    assert f"95% interval {100 * known.low:.1f} to {100 * known.high:.1f}" in said


def test_the_intervals_of_a_bench_are_over_groups(tmp_path: Path) -> None:
    """As over one row of each patient, drawn with the same seeds."""
    settings = {"epochs": 1, "probe": False, "schedule": "none"}
    values = {"data": [{"name": "patients", "data": str(patients(tmp_path))}], "alone": False}
    made = Grid.of({**values, "methods": ["joint()"], "seeds": "0-2", "settings": settings}, "b")
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here()))
    [line] = summary.lines
    assert line.groups is not None and np.bincount(line.groups).tolist() == [3] * 16
    once = line.right([0, 1, 2])[:, np.unique(line.groups, return_index=True)[1]]
    wanted = bootstraps([once])[0]
    found = tables.intervals(summary, summary.places[0], [line])[0]
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    assert found.high - found.low > 0
