"""What a diagnosis found stands in the report as it was found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equimodal.diagnostics import Diagnosis
from equimodal.diagnostics.bootstrap import Interval
from equimodal.diagnostics.findings import VERSION
from equimodal.diagnostics.information import Decomposition
from equimodal.errors import ConfigError
from equimodal.report.page import Figure, Page, Points, Side
from equimodal.report.runs import of_runs, read_all
from equimodal.report.runs.record import DIAGNOSIS
from fixtures.reports import MODALITIES, hostile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile(tmp_path_factory.mktemp("runs") / "run", diagnosed=True)


@pytest.fixture(scope="module")
def found(folder: Path) -> Diagnosis:
    return Diagnosis.from_dict(json.loads((folder / "diagnosis.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return of_runs(read_all([folder]), show=0)


def figures(page: Page, section: str) -> dict[str, Figure]:
    [one] = [s for s in page.sections if s.title == section]
    parts: list[Any] = list(one.parts)
    parts += [inner for part in parts if isinstance(part, Side) for inner in part.parts]
    return {part.title: part for part in parts if isinstance(part, Figure)}


def test_the_verdict_comes_first(page: Page, found: Diagnosis) -> None:
    [points] = [part for part in page.sections[0].parts if isinstance(part, Points)]
    assert [statement for statement, _ in points.items] == [s.text for s in found.verdict]


def test_use(page: Page, found: Diagnosis) -> None:
    drawn = figures(page, "Use")
    shares = drawn["Shapley values of accuracy"].data
    assert shares["category"] == list(MODALITIES)
    for i, m in enumerate(MODALITIES):
        figure = found.use[m].shapley_accuracy
        assert [shares[f"run{end}"][i] for end in ("", ", low", ", high")] == [
            figure.value,
            figure.low,
            figure.high,
        ]
        assert (
            drawn["Without it, and by it alone"].data["without it"][i]
            == found.use[m].leave_one_out.value
        )
    subsets = drawn["Every subset of modalities"].data
    assert dict(zip(subsets["category"], subsets["run"], strict=True)) == {
        " + ".join(s.modalities): s.accuracy.value for s in found.subsets if s.modalities
    }
    assert drawn["Interactions"].data["run"] == [i.accuracy.value for i in found.interactions]


def test_potential(page: Page, found: Diagnosis) -> None:
    held, lost = figures(page, "Potential").values()
    for i, m in enumerate(MODALITIES):
        known = found.potential[m]
        assert known.probe is not None and known.unused is not None and known.adds is not None
        assert held.data["probe, in this model"][i] == known.probe.value
        assert lost.data["unused"][i] == known.unused.value
        assert lost.data["adds to the others"][i] == known.adds.value
    assert "probe, trained alone" not in held.data  # it was not trained alone


def test_decomposition(folder: Path, found: Diagnosis, tmp_path: Path) -> None:
    assert found.information is not None
    assert found.information.decomposition == ()  # 30 samples are too few for one
    values = [Interval(v, v - 0.1, v + 0.1) for v in (0.1, 0.2, 0.3, 0.4, 1.0)]
    known = replace(found.information, decomposition=(Decomposition(*MODALITIES, *values),))
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    text = json.dumps(replace(found, information=known).to_dict())
    (run / "diagnosis.json").write_text(text, encoding="utf-8")
    data = figures(of_runs(read_all([run]), show=0), "Information")
    assert data["Redundant, unique, synergistic"].data["run"] == [0.1, 0.2, 0.3, 0.4]


def test_every_figure_draws(page: Page) -> None:
    pytest.importorskip("plotly")
    for section in ("Use", "Potential", "Information"):
        for figure in figures(page, section).values():
            assert figure.draw().data


def test_a_diagnosis_of_another_version_is_refused(folder: Path, tmp_path: Path) -> None:
    assert DIAGNOSIS == VERSION
    for name in ("config.toml", "results.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "diagnosis.json").write_text(json.dumps({"version": VERSION + 1}))
    with pytest.raises(ConfigError, match="diagnose the run again"):
        read_all([tmp_path])
