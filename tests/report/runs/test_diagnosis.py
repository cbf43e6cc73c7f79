"""What a diagnosis found stands in the report as it was found."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equimodal.diagnostics import Diagnosis, Interval
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


def diagnosed_again(folder: Path, run: Path, found: Diagnosis) -> Path:
    """The same run with another diagnosis."""
    shutil.copytree(folder, run)
    (run / "diagnosis.json").write_text(json.dumps(found.to_dict()), encoding="utf-8")
    return run


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
            drawn["Without it, and by it only"].data["lost without it"][i]
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
    run = diagnosed_again(folder, tmp_path / "run", replace(found, information=known))
    data = figures(of_runs(read_all([run]), show=0), "Information")
    assert data["Redundant, unique, synergistic"].data["run"] == [0.1, 0.2, 0.3, 0.4]


def test_geometry(page: Page, found: Diagnosis) -> None:
    assert found.geometry is not None
    [pair], [one] = found.geometry.pairs, found.geometry.maps
    drawn = figures(page, "Geometry")
    together = f"{pair.first} · {pair.second}"
    lying = drawn["Within and between classes"].data
    assert lying["category"] == [*MODALITIES, together]
    of = [*found.geometry.clouds.values(), pair]
    assert lying["within classes"] == [one.within.value for one in of]
    assert lying["between classes, high"] == [one.between.high for one in of]
    assert drawn["CKA"].data["run"] == [pair.cka.value]
    assert drawn["Alignment"].data["run, low"] == [pair.alignment.low]
    uniform = [found.geometry.clouds[m].uniformity.value for m in MODALITIES]
    assert drawn["Uniformity"].data["run"] == uniform
    points = drawn["Map of features"].data
    assert points["x"] == list(one.x) and points["modality"] == list(one.modality)
    assert points["class"] == [found.classes[c] for c in one.target]


def test_features_of_different_widths(folder: Path, found: Diagnosis, tmp_path: Path) -> None:
    assert found.geometry is not None
    [pair], [one] = found.geometry.pairs, found.geometry.maps
    apart = replace(pair, within=None, between=None, alignment=None)
    maps = [
        replace(one, **{key: tuple(v for v, of in zip(values, one.modality, strict=True) if of == m)
                        for key, values in vars(one).items()})
        for m in MODALITIES
    ]  # fmt: skip
    known = replace(found.geometry, pairs=(apart,), maps=tuple(maps))
    run = diagnosed_again(folder, tmp_path / "run", replace(found, geometry=known))
    drawn = figures(of_runs(read_all([run]), show=0), "Geometry")
    assert drawn["Within and between classes"].data["category"] == list(MODALITIES)
    assert "Alignment" not in drawn and "CKA" in drawn
    assert {f"Map of features, {m}" for m in MODALITIES} < drawn.keys()


def test_distances_over_the_strength_of_infobridge(
    folder: Path, found: Diagnosis, tmp_path: Path
) -> None:
    assert found.geometry is not None
    [pair] = found.geometry.pairs
    runs = []
    for i, (method, within) in enumerate(
        [("infobridge(alpha=0.5) + warmup()", 0.3), ("infobridge()", 0.4),
         ("infobridge(0.5)", 0.5), ("joint()", 0.6)]
    ):  # fmt: skip
        known = replace(pair, within=Interval(within, within - 0.1, within + 0.1))
        of = replace(found, geometry=replace(found.geometry, pairs=(known,), maps=()))
        run = diagnosed_again(folder, tmp_path / f"run{i}", of)
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        (run / "results.json").write_text(json.dumps({**results, "method": method}))
        runs.append(run)
    title = f"Distance of {pair.first} · {pair.second} over α"
    drawn = figures(of_runs(read_all(runs), show=0), "Geometry")[title].data
    assert drawn["α"] == ["0.1", "0.5"]
    assert drawn["within classes"] == pytest.approx([0.4, 0.4])
    assert drawn["within classes, low"] == pytest.approx([0.3, 0.2])
    assert drawn["within classes, high"] == pytest.approx([0.5, 0.6])
    assert title not in figures(of_runs(read_all(runs[1:2] + runs[3:]), show=0), "Geometry")


def test_robustness(page: Page, found: Diagnosis) -> None:
    shown = found.robustness
    assert shown is not None
    drawn = figures(page, "Robustness")
    rates = drawn["Missing modalities"].data
    assert rates["missing rate, %"] == [str(10 * k) for k in range(10)]
    assert rates["each of them"] == [i.value for i in shown.missing_any.accuracy]
    for m in MODALITIES:
        assert rates[f"{m}, low"] == [i.low for i in shown.missing[m].accuracy]
        noise = drawn["Noise"].data
        assert noise["standard deviations of noise"] == ["0", "0.25", "0.5", "1", "2"]
        assert noise[m] == [i.value for i in shown.noise[m].accuracy]
        assert drawn["Wrong inputs"].data[m] == [i.value for i in shown.wrong[m].accuracy]


def test_an_input_without_noise_is_named(folder: Path, found: Diagnosis, tmp_path: Path) -> None:
    assert found.robustness is not None
    first, second = MODALITIES
    some = replace(found.robustness, noise={**found.robustness.noise, second: None})
    run = diagnosed_again(folder, tmp_path / "run", replace(found, robustness=some))
    noise = figures(of_runs(read_all([run]), show=0), "Robustness")["Noise"]
    assert first in noise.data and second not in noise.data
    assert f"No noise is added to {second}" in noise.how


def test_a_diagnosis_without_these_parts_has_no_such_sections(
    folder: Path, found: Diagnosis, tmp_path: Path
) -> None:
    run = diagnosed_again(folder, tmp_path / "run", replace(found, geometry=None, robustness=None))
    titles = [section.title for section in of_runs(read_all([run]), show=0).sections]
    assert "Use" in titles and not {"Geometry", "Robustness"} & set(titles)


def test_every_figure_draws(page: Page) -> None:
    pytest.importorskip("plotly")
    for section in ("Use", "Potential", "Information", "Geometry", "Robustness"):
        for figure in figures(page, section).values():
            assert figure.draw().data


def test_a_diagnosis_of_another_version_is_refused(folder: Path, tmp_path: Path) -> None:
    assert DIAGNOSIS == VERSION
    for name in ("config.toml", "results.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "diagnosis.json").write_text(json.dumps({"version": VERSION + 1}))
    with pytest.raises(ConfigError, match="diagnose the run again"):
        read_all([tmp_path])
