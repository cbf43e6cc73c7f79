"""What a recorder saw, and what a diagnosis knows of each sample, stand in the report as they were found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equimodal.diagnostics import Conditional, Diagnosis, Interval
from equimodal.report.page import Figure, Section, Side, Table
from equimodal.report.runs import of_runs, read_all
from equimodal.report.runs.record import Record
from equimodal.report.runs.recorded import overfitting
from equimodal.report.runs.seeds import over_seeds
from fixtures.reports import CLASSES, MODALITIES, hostile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "run"
    return hostile(place, "uniform() + recorder(every=1)", diagnosed=True)


@pytest.fixture(scope="module")
def run(folder: Path) -> Record:
    return read_all([folder])[0]


def section(runs: list[Record], name: str) -> Section:
    [found] = [s for s in of_runs(runs, show=0).sections if s.title == name]
    return found


def figures(runs: list[Record], name: str) -> dict[str, Figure]:
    parts: list[Any] = list(section(runs, name).parts)
    parts += [inner for part in parts if isinstance(part, Side) for inner in part.parts]
    return {part.title: part for part in parts if isinstance(part, Figure)}


def test_curves_are_those_of_the_epochs(run: Record) -> None:
    drawn = figures([run], "Training")
    first, second = (line["recorded"]["modalities"] for line in run.history)
    for title, figure in (
        ("Gradient of each encoder", "gradient_norm"),
        ("Own against joint gradient", "cosine"),
    ):
        for m in MODALITIES:
            assert drawn[title].data[m] == [first[m][figure], second[m][figure]]
    one, other = MODALITIES
    errors = [line["recorded"]["mapping_error"] for line in run.history]
    assert drawn["Mapping error"].data[f"{one} → {other}"] == [
        pairs[0]["error"] for pairs in errors
    ]
    assert drawn["Mapping error"].data[f"{other} → {one}"] == [
        pairs[1]["error"] for pairs in errors
    ]
    table = drawn["Confidence in each class"].data
    assert table["row"][:: len(CLASSES)] == [
        f"{name}, epoch {epoch}" for name in (*MODALITIES, "fused") for epoch in (1, 2)
    ]
    assert (
        table["value"][: 2 * len(CLASSES)] == first[one]["confidence"] + second[one]["confidence"]
    )


def test_overfitting_to_generalisation(run: Record) -> None:
    def line(epoch: int, train: float, val: float) -> dict[str, Any]:
        told = {"modalities": {"a": {"loss": train}}, "fused": {"loss": 2 * train}}
        return {
            "epoch": epoch, "recorded": told, "val": {"losses": {"a": val}, "cross_entropy": 2 * val}
        }  # fmt: skip

    # The gap goes from 0.1 to 0.3 while validation falls by 0.5; then validation is no better than at first.
    made = replace(run, history=(line(0, 1.0, 1.1), line(1, 0.3, 0.6), line(2, 0.1, 1.2)))
    for name in ("a", "fused"):
        assert overfitting(made, name) == [None, pytest.approx(0.2 / 0.5), None]
    assert overfitting(made, "b") == [None, None, None]
    assert overfitting(replace(run, history=({"epoch": 0},)), "a") == [None]


def test_without_a_recorder_there_is_nothing_of_it(run: Record) -> None:
    bare = [{k: v for k, v in line.items() if k != "recorded"} for line in run.history]
    drawn = figures([replace(run, history=tuple(bare))], "Training")
    assert "Losses" in drawn and "Mapping error" not in drawn


def test_information_of_each_sample(run: Record) -> None:
    drawn = figures([run], "Information")
    known = (run.diagnosis or {})["information"]
    both = drawn["Information of each sample"].data
    for name, spread in {"fused": known["pointwise_fused"], **known["pointwise"]}.items():
        assert sum(both[name]) == pytest.approx(1)
        assert both[name][3] == spread["counts"][3] / sum(spread["counts"])
    width = (spread["high"] - spread["low"]) / len(spread["counts"])
    assert both["nats"][0] == pytest.approx(spread["low"] + width / 2)
    kept = drawn["What each modality and the fused prediction both know"].data
    counts = known["retained"][MODALITIES[1]]["counts"]
    assert kept[MODALITIES[1]] == [count / sum(counts) for count in counts]
    assert "What features share beyond the class" not in drawn


def test_the_share_of_each_modality_in_each_sample(run: Record) -> None:
    both = figures([run], "Use")["Share of each modality in each sample"].data
    for name, use in (run.diagnosis or {})["use"].items():
        counts = use["by_sample"]["counts"]
        assert both[name] == [count / sum(counts) for count in counts]


def test_what_features_share_beyond_the_class(folder: Path, tmp_path: Path) -> None:
    found = Diagnosis.from_dict(json.loads((folder / "diagnosis.json").read_text()))
    assert found.information is not None
    pair = Conditional(*MODALITIES, Interval(0.5, 0.4, 0.6), Interval(0.3, 0.2, 0.4), 3.0, 99)
    known = replace(found.information, conditional=(pair,))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "diagnosis.json").write_text(json.dumps(replace(found, information=known).to_dict()))
    figure = figures(read_all([other]), "Information")["What features share beyond the class"]
    assert figure.data["category"] == [" · ".join(MODALITIES)]
    assert (figure.data["estimate"], figure.data["lower bound, low"]) == ([0.5], [0.2])
    assert "cannot exceed 3.00 nats" in figure.how


def test_every_figure_draws(run: Record) -> None:
    pytest.importorskip("plotly")
    for name in ("Training", "Information"):
        for figure in figures([run], name).values():
            assert figure.draw().data


def test_seeds_are_summed_up_with_their_diagnoses(run: Record) -> None:
    diagnosis = json.loads(json.dumps(run.diagnosis))
    shares = [diagnosis["use"][MODALITIES[0]]["shapley_accuracy"]["value"]] * 2
    shares[1] += 0.1
    diagnosis["use"][MODALITIES[0]]["shapley_accuracy"]["value"] = shares[1]
    twin = replace(run, name="b", settings=run.settings.changed(seed=1), diagnosis=diagnosis)
    figures, found = over_seeds([run, twin], lambda of: of.method)
    assert [column.name for column in found.columns][:3] == [
        "method",
        "seeds",
        f"{MODALITIES[0]} share",
    ]
    [row] = found.cells()
    assert (row[0].value, row[1].value) == ("uniform()", 2)
    mean = 100 * sum(shares) / 2
    assert row[2].text == f"{mean:.1f} ± {10 / 2**0.5:.1f}"
    named = dict(zip([column.name for column in found.columns], row, strict=True))
    only = next(s for s in diagnosis["subsets"] if s["modalities"] == [MODALITIES[1]])
    assert named[f"only {MODALITIES[1]}"].text == f"{100 * only['accuracy']['value']:.1f} ± 0.0"
    assert f"{MODALITIES[0]} gap" not in named  # no encoder was trained alone
    assert isinstance(figures, Table)
    # Where one of them was not diagnosed there is nothing to sum up.
    assert len(over_seeds([run, replace(twin, diagnosis=None)], lambda of: of.method)) == 1
    assert over_seeds([run], lambda of: of.method) == []


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("joint() + recorder()", "joint()"),
        ("recorder(every=3)", "joint()"),
        ("recorder() + ibml()", "ibml()"),
        (
            "(bio() + tcm()).during(1, 0.9) + recorder(every=2) + warmup()",
            "(bio() + tcm()).during(1, 0.9) + warmup()",
        ),
        ("mine:recorder()", "mine:recorder()"),
    ],
)
def test_a_recorder_is_no_other_method(run: Record, written: str, shown: str) -> None:
    assert replace(run, results={**run.results, "method": written}).method == shown
