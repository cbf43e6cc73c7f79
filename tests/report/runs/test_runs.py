"""The report on runs: every figure is that of the runs' files, or follows from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from equimodal.cli import main
from equimodal.diagnostics.run import train_alone
from equimodal.errors import ConfigError
from equimodal.report import latex, markdown
from equimodal.report.page import Figure, Page, Side, Table
from equimodal.report.runs import Record, of_runs, read_all
from equimodal.report.runs.front import front
from equimodal.report.runs.intervals import difference, wilson
from equimodal.report.runs.samples import Samples, disagreement, samples
from equimodal.report.runs.training import training
from equimodal.report.runs.use import agreement
from equimodal.report.write import default_file, write
from equimodal.training.run import load_data, train
from equimodal.training.settings import Settings
from fixtures.reports import BAD, CLASSES, MODALITIES, hostile


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    runs = [hostile(folder / name, f"{name}()") for name in ("uniform", "joint")]
    return [*runs, hostile(folder / "alone", "joint()", MODALITIES[1:])]


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[Record]:
    return read_all(folders)


def stored(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def parts(page: Page, kind: type) -> list[Any]:
    flat = [part for section in page.sections for part in section.parts]
    flat += [inner for part in flat if isinstance(part, Side) for inner in part.parts]
    return [part for part in flat if isinstance(part, kind)]


def test_the_front_table_is_that_of_the_results(folders: list[Path], runs: list[Record]) -> None:
    table = next(part for part in front(runs).parts if isinstance(part, Table))
    names = [column.name for column in table.columns]
    assert len(table.rows) == 2  # the run of one modality is a ceiling, not a row
    for row, folder in zip(table.cells(), folders[:2], strict=True):
        found, test = {n: c.value for n, c in zip(names, row, strict=True)}, stored(folder)["test"]
        assert found["fused"] == test["fused"]["accuracy"]
        for name in MODALITIES:
            assert found[f"{name} decoupled"] == test["modalities"][name]["decoupled"]
            assert found[f"{name} probe"] == test["modalities"][name]["probe"]
        alone = stored(folders[2])["test"]["fused"]["accuracy"]
        assert found[f"{MODALITIES[1]} trained alone"] == alone
        assert found[f"{MODALITIES[0]} trained alone"] is None
    only = next(part for part in front(runs[2:]).parts if isinstance(part, Table))
    old = replace(runs[2], results={**runs[2].results, "train": {"discrepancy_ratio": 1.0}})
    for one in (only, next(part for part in front([old]).parts if isinstance(part, Table))):
        assert one.cells()[0][[c.name for c in one.columns].index("ratio")].text == "–"
    [less] = [i for i, name in enumerate(names) if name.startswith("less")]
    assert names[less] == "less joint" and table.cells()[1][less].value is None
    apart = (
        stored(folders[0])["test"]["fused"]["accuracy"]
        - stored(folders[1])["test"]["fused"]["accuracy"]
    )
    assert table.cells()[0][less].value == pytest.approx(apart, abs=1e-12)


def test_runs_that_were_trained_for_a_run_are_its_ceilings(tmp_path: Path) -> None:
    """As `diagnose --train-alone` leaves them; what belongs to other settings, or is not finished, is left out."""
    settings = Settings(data="synthetic(count=2, samples=(90, 30, 60))", epochs=1)
    train(settings.changed(method="warmup()", head="gated()"), tmp_path / "run")
    first, second = train_alone(tmp_path / "run")

    def shown() -> dict[str, Any]:
        table = next(p for p in front(read_all([tmp_path / "run"])).parts if isinstance(p, Table))
        [row] = table.rows
        return dict(zip([column.name for column in table.columns], row, strict=True))

    for m, folder in (("m1", first), ("m2", second)):
        assert shown()[f"{m} trained alone"] == stored(folder)["test"]["fused"]["accuracy"]
    [record] = read_all([tmp_path / "run"])
    assert [one.folder for one in record.alone] == [first, second]
    page = of_runs([record], show=0)
    assert page.subtitle.endswith("1 run") and "| trained alone | m1, m2 |" in markdown.render(page)
    (first / "results.json").unlink()
    assert shown()["m1 trained alone"] is None and shown()["m2 trained alone"] is not None
    config = second / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1", "epochs = 3"), encoding="utf-8")
    assert "m2 trained alone" not in shown()


def test_seeds_are_summed_up(runs: list[Record]) -> None:
    other = replace(runs[0], name="b", settings=runs[0].settings.changed(seed=1))
    accuracy = runs[0].results["test"]["fused"]["accuracy"]
    test = {**runs[0].results["test"], "fused": {"accuracy": accuracy + 0.1}}
    other = replace(other, results={**runs[0].results, "test": test})
    tables = [part for part in front([runs[0], other, runs[1]]).parts if isinstance(part, Table)]
    assert len(tables) == 2 and len(tables[1].rows) == 1
    method, seeds, fused, *_ = tables[1].cells()[0]
    assert (method.value, seeds.value) == ("uniform()", 2)
    assert fused.text == f"{100 * accuracy + 5:.1f} ± {10 / 2**0.5:.1f}"
    assert len([part for part in front(runs).parts if isinstance(part, Table)]) == 1


def test_only_what_excludes_zero_is_called_a_difference(runs: list[Record]) -> None:
    first, said = runs[1], runs[1].said
    assert said is not None
    perfect = np.eye(3)[said.target]
    results = {**first.results, "method": "uniform()"}
    better = replace(first, name="better", said=replace(said, fused=perfect), results=results)
    lead = front([first, better]).parts[0].text
    wrong = 1 - said.right().mean()
    assert lead.startswith(f"better is {100 * wrong:.1f} [")
    same = replace(better, name="same", said=said)
    assert front([first, same]).parts[0].text.startswith("No run differs from joint")
    elsewhere = replace(better, data={"fingerprint": "of other data"})
    assert front([first, elsewhere]).parts[0].text.startswith("The runs are not compared: none")


def test_markdown_and_latex_hold_the_results(folders: list[Path], runs: list[Record]) -> None:
    page = of_runs(runs, show=0)
    for text, sign in ((markdown.render(page), "%"), (latex.render(page), "\\%")):
        for folder in folders[:2]:
            test = stored(folder)["test"]
            figures = [test["fused"]["accuracy"]]
            figures += [
                of[what] for of in test["modalities"].values() for what in ("decoupled", "probe")
            ]
            [line] = [
                s
                for s in text.splitlines()
                if f"{folder.name}()" in s and "seconds" not in s and sign in s
            ]
            for figure in figures:
                assert f" {100 * figure:.1f}{sign} " in line


def test_who_is_right_follows_from_the_predictions(folders: list[Path], runs: list[Record]) -> None:
    rows = pq.read_table(folders[0] / "predictions.parquet").to_pylist()
    counts = {"both": 0, f"only {MODALITIES[0]}": 0, f"only {MODALITIES[1]}": 0, "none": 0}
    for row in rows:
        right = []
        for name in MODALITIES:
            p = {label: row[f"p_{name}_{label}"] for label in CLASSES}
            if row[f"present_{name}"] and max(p, key=lambda label: p[label]) == row["target"]:
                right.append(name)
        counts["both" if len(right) == 2 else f"only {right[0]}" if right else "none"] += 1
    assert agreement(runs[0]) == {name: n / len(rows) for name, n in counts.items()}
    assert sum(agreement(runs[0]).values()) == pytest.approx(1)


def test_every_figure_has_data_and_says_what_it_shows(runs: list[Record]) -> None:
    pytest.importorskip("plotly")
    figures = parts(of_runs(runs, show=0), Figure)
    assert len(figures) >= 9
    for figure in figures:
        assert figure.see.endswith(".") and figure.how.endswith(".")
        assert len({len(column) for column in figure.data.values()}) == 1
        assert figure.draw().data


def test_curves_say_which_split_they_are_of(runs: list[Record]) -> None:
    def words(protocol: str) -> str:
        said = [replace(run, settings=run.settings.changed(protocol=protocol)) for run in runs]
        section = training(said)
        assert section is not None
        drawn = [figure for side in section.parts for figure in side.parts]
        return " ".join(
            [f"{figure.title} {figure.see} {figure.how} {[*figure.data]}" for figure in drawn]
        )

    assert "Validation accuracy" in words("honest") and "test" not in words("honest").lower()
    assert "Test accuracy" in words("paper") and "validation" not in words("paper").lower()


def test_sections_without_data_are_left_out(runs: list[Record]) -> None:
    bare = [replace(run, said=None, history=()) for run in runs]
    titles = [section.title for section in of_runs(bare).sections]
    assert titles == ["Overview", "Method", "Provenance"]
    assert {"Use", "Training", "Samples"} < {section.title for section in of_runs(runs).sections}


def test_samples_that_cannot_be_shown_are_told_of(runs: list[Record]) -> None:
    section = samples(runs, 3)
    assert section is not None
    cards, why = section.parts
    assert len(cards.cards) == 3 and why.text.startswith("The samples themselves cannot be shown")
    table = cards.table()
    assert [column.name for column in table.columns] == ["sample", "class", "fused", *MODALITIES]


def test_disagreement_is_the_divergence_of_jensen_and_shannon(runs: list[Record]) -> None:
    said = runs[0].said
    assert said is not None
    found = disagreement(said)
    for row in range(len(found)):
        p, q = (values[row] for values in said.modalities.values())
        if np.isnan(p).any() or np.isnan(q).any():
            assert found[row] == 0
            continue
        middle = (p + q) / 2
        expected = (p * np.log(p / middle)).sum() / 2 + (q * np.log(q / middle)).sum() / 2
        assert found[row] == pytest.approx(expected, abs=1e-12)
    assert found.max() > 0 and (found == 0).any()


def test_wilson() -> None:
    """Newcombe 1998 (Statistics in Medicine 17: 857), table I: 81/263, 15/148, 0/20, 1/29."""
    for right, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(right / of, of)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_difference_on_the_same_samples() -> None:
    """10 and 4 discordant pairs of 50: 0.12 ± 1.96 · √((14 − 36/50) / (50 · 49))."""
    one = np.array([True] * 10 + [False] * 4 + [True] * 36)
    other = np.array([False] * 10 + [True] * 4 + [True] * 36)
    found = difference(one, other)
    half = 1.959963984540054 * ((14 - 36 / 50) / (50 * 49)) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((0.12, 0.12 - half, 0.12 + half))
    assert not found.differs and difference(one, ~one).differs
    same = difference(one, one)  # that no sample of 50 differs does not show that none ever does
    assert same.value == 0 and same.high == -same.low == pytest.approx(wilson(0.0, 50).high)


def test_runs_have_names_of_their_own(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "joint").symlink_to(folders[0])
    assert [run.name for run in read_all(folders)] == ["uniform", "joint", "alone"]
    with pytest.raises(ConfigError, match="named twice"):
        read_all([folders[0], tmp_path / "joint"])


def test_what_is_no_finished_run_is_refused(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        read_all([tmp_path])
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.toml").write_bytes((folders[0] / "config.toml").read_bytes())
    with pytest.raises(ConfigError, match=r"no results\.json: the run is not finished"):
        read_all([half])
    (half / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no 'test'"):
        read_all([half])
    (half / "results.json").write_bytes((folders[0] / "results.json").read_bytes())
    (half / "predictions.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"predictions\.parquet"):
        read_all([half])


def test_files(folders: list[Path]) -> None:
    assert default_file(folders[:1]) == folders[0] / "report.html"
    place = folders[0].parent.resolve()
    assert default_file(folders, "latex") == place / "report-uniform+joint+alone.tex"
    assert default_file(folders[1:]) == place / "report-joint+alone.html"
    elsewhere = place / "a" / "b c" / "run"
    assert default_file([folders[0], elsewhere]).name == "report-uniform+a-b_c-run.html"
    assert default_file([elsewhere, folders[0]]).name == "report-run+uniform.html"
    many = [[place / f"run-{i}" for i in (*range(40), last)] for last in (40, 41)]
    names = [default_file(runs).name for runs in many]
    assert names[0] != names[1] and all("-41-runs-" in n and len(n) < 120 for n in names)
    path = write(folders, form="json", samples=0)
    page = json.loads(path.read_text(encoding="utf-8"))
    assert page["title"] == "uniform and joint" and BAD in page["subtitle"]
    with pytest.raises(ConfigError, match="at least one run"):
        write([])


def test_the_ending_says_the_format(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begins = {
        "a.md": "# ",
        "a.json": "{",
        "a.tex": "%",
        "a.HTML": "<!doctype html>",
        "a": "<!doctype",
    }
    for name, begin in begins.items():
        path = write(folders, tmp_path / name, samples=0)
        assert path.read_text(encoding="utf-8").startswith(begin), name
    path = write(folders, tmp_path / "b.md", form="json", samples=0)
    assert json.loads(path.read_text(encoding="utf-8"))
    assert main(["report", str(folders[0]), "--out", str(tmp_path / "b.csv")]) == 2
    assert "csv is for a bench" in capsys.readouterr().err and not (tmp_path / "b.csv").exists()


def test_ten_runs_fit_into_eight_megabytes(folders: list[Path], runs: list[Record]) -> None:
    html = pytest.importorskip("equimodal.report.html")
    if not html.available():
        pytest.skip("plotly and jinja2 are not installed")
    many = [replace(runs[0], name=f"run {i}", history=runs[0].history * 50) for i in range(10)]
    size = len(html.render(of_runs(many)).encode())
    assert 4e6 < size < 8e6


@pytest.mark.parametrize("prepared", [False, True])
def test_texts_are_shown_as_they_were_written(prepared: bool, tmp_path: Path) -> None:
    says = [("Fine", "up"), ("Dreary, rain & <b>wind</b>", "down")] * 20
    splits = ["train"] * 20 + ["val"] * 8 + ["test"] * 12
    heat = (
        'kind = "sequence"\ncolumn = "heat"' if prepared else 'kind = "table"\ncolumns = ["heat"]'
    )
    rows = ["split,label,said,heat"]
    for i, (split, (text, label)) in enumerate(zip(splits, says, strict=True)):
        said, warm = f'"{text}"', str(i % 3)
        if prepared:  # texts in files, and something to decode beside them
            said, warm = f"{i}.txt", f"{i}.csv"
            (tmp_path / said).write_text(text, encoding="utf-8")
            (tmp_path / warm).write_text(f"{i % 3},1\n2,{i % 5}\n", encoding="utf-8")
        rows.append(f"{split},{label},{'' if i % 10 == 9 else said},{warm}")
    (tmp_path / "days.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    made = tmp_path / "days.toml"
    made.write_text(
        'manifest = "days.csv"\nlabel = "label"\nsplit = "split"\n[modalities.words]\nkind = "text"\n'
        f'column = "said"\nfiles = {str(prepared).lower()}\n[modalities.heat]\n{heat}\n',
        encoding="utf-8",
    )
    if prepared:
        assert main(["data", "prepare", str(made), "--out", str(tmp_path / "shards")]) == 0
        made = tmp_path / "shards" / "data.toml"
    settings = Settings(data=str(made), epochs=1, batch_size=8)
    train(settings, tmp_path / "run")
    section = samples(read_all([tmp_path / "run"]), 12)
    assert section is not None
    cards = next(part for part in section.parts if isinstance(part, Samples)).cards
    test = load_data(settings).test
    position = {test.name(i): i for i in range(len(test))}
    seen = {position[c.name]: c.views["words"] for c in cards if "words" in c.views}
    assert len(seen) >= 10  # of twelve tests two lack it
    for index, shown in seen.items():
        text = "Fine" if int(test.targets[index]) == test.classes.index("up") else says[1][0]
        assert shown.text == test.text("words", index) == text
    assert test.text("words", 1) is None and test.text("heat", 0) is None
    page = write([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "rain &amp; &lt;b&gt;wind&lt;/b&gt;" in page and "<b>wind" not in page
