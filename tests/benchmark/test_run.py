"""A grid from start to table, in this process: what is run, what is not, and what a table says of it."""

from __future__ import annotations

import csv
import io
import itertools
import math
import queue
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from equimodal.benchmark import published, tables
from equimodal.benchmark.cell import Cell
from equimodal.benchmark.executor import Event
from equimodal.benchmark.grid import TRIAL_SEED, Grid
from equimodal.benchmark.local import Local
from equimodal.benchmark.page import Contest, of_bench
from equimodal.benchmark.paper_figures import _order
from equimodal.benchmark.plan import Plan, cells_of, refusals
from equimodal.benchmark.run import bench
from equimodal.benchmark.space import options
from equimodal.benchmark.store import Record, Store
from equimodal.benchmark.summary import Line, Summary
from equimodal.benchmark.train_cell import Shelf
from equimodal.benchmark.work import Choice
from equimodal.benchmark.write import write
from equimodal.errors import ConfigError
from equimodal.methods import TCM
from equimodal.report import latex, markdown
from equimodal.training.settings import Settings
from fixtures import own
from fixtures.bench import Here, grid

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return bench(grid(), tmp_path_factory.mktemp("bench") / "b", executor=Here())


def test_nothing_is_run_twice_and_what_was_not_written_down_is(tmp_path: Path) -> None:
    first = Here(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        bench(grid(), tmp_path / "b", executor=first)
    second = Here()
    store = bench(grid(), tmp_path / "b", executor=second)
    summary = Summary.read(store)
    assert summary.finished == summary.total == 3 * (2 + len(_modalities(summary)))
    assert len(first.trained) + 1 + len(second.trained) == summary.total
    bench(grid(), tmp_path / "b", executor=(third := Here()))
    assert not third.trained
    bench(grid(seeds="0-3"), tmp_path / "b", executor=(more := Here()))
    assert {cell.seed for cell in more.trained} == {3}


def _modalities(summary: Summary) -> list[str]:
    return next(
        r["modalities"] for x in summary.lines if x.kind == "method" for r in x.done.values()
    )


@pytest.mark.parametrize("older", [False, True])
def test_one_modality_has_no_discrepancy_ratio(done: Store, older: bool) -> None:
    """Also where an older run has written 1."""
    summary = Summary.read(done)
    alone = [line for line in summary.lines if line.kind == "alone"]
    for line in alone:
        for results in line.done.values():
            assert results["train"]["discrepancy_ratio"] is None
            results["train"]["discrepancy_ratio"] = 1.0 if older else None
    table = tables.comparison(summary, summary.places[0])
    at = [column.name for column in table.columns].index("ratio")
    shown = {cells[0].text: (cells[at].value, cells[at].text) for cells in table.cells()}
    lines = csv.DictReader(io.StringIO(tables.csv_text(summary)))
    written = {row["method"]: row["ratio"] for row in lines}
    for line in summary.lines:
        if line in alone:
            assert shown[line.label] == (None, "–") and written[line.label] == ""
        else:
            assert float(shown[line.label][0]) > 0 and float(written[line.label]) > 0


def test_a_failure_is_recorded_and_stops_nothing(tmp_path: Path) -> None:
    bad = {"name": "too fast", "method": "joint()", "lr": 1e38}
    made = grid(methods=["joint()", bad], seeds="0", alone=False)
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here()))
    failed = tables.failures(summary)
    assert [row[:3] for row in failed.rows] == [
        ["too fast", "synthetic(count=2, samples=(200, 60, 80))", "0"]
    ]
    assert "not finite" in str(failed.rows[0][3])
    text = latex.table(tables.comparison(summary, summary.places[0]))
    assert r"0/1\textsuperscript{" in text and "of 1 run 1 failed." in text
    bench(made, tmp_path / "b", executor=(again := Here()))
    assert not again.trained
    bench(made, tmp_path / "b", executor=again, choice=Choice(retry_failed=True))
    assert [cell.row for cell in again.trained] == ["too fast"]


def test_data_that_only_left_out_are_in_no_table(tmp_path: Path) -> None:
    named = [
        {"name": n, "data": f"synthetic(count=2, samples=(200, 60, {s}))"}
        for n, s in (("one", 80), ("two", 90))
    ]
    made = grid(data=named, seeds="0", alone=False)
    chosen = Choice(only=("two",))
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here(), choice=chosen))
    assert summary.places == [("two", "")]
    assert (summary.finished, summary.total) == (2, 4)
    text = markdown.render(of_bench(summary))
    assert "## two" in text and "## one" not in text


def test_only_some(tmp_path: Path) -> None:
    bench(grid(), tmp_path / "b", executor=(some := Here()), choice=Choice(only=("uniform()",)))
    assert [(c.row, c.seed) for c in some.trained] == [("uniform()", i) for i in range(3)]


def test_what_is_right_is_what_the_predictions_say(done: Store) -> None:
    summary = Summary.read(done)
    line = next(x for x in summary.lines if x.label == "uniform()")
    right = line.right([0, 1, 2])
    assert right.mean(1) == pytest.approx(line.accuracy)
    file = pq.read_table(done.folder(line.cells[0].key).predictions).to_pydict()
    assert right[0].tolist() == [
        max((c for c in file if c.startswith("p_fused_")), key=lambda c: file[c][i])
        == f"p_fused_{t}"
        for i, t in enumerate(file["target"])
    ]


def test_the_ending_of_a_file_says_its_format(done: Store, tmp_path: Path) -> None:
    text = write(done, tmp_path / "a.csv").read_text(encoding="utf-8")
    assert text == tables.csv_text(Summary.read(done))
    assert write(done, tmp_path / "a.md").read_text(encoding="utf-8").startswith("# ")
    assert write(done, tmp_path / "b.md", form="csv").read_text(encoding="utf-8") == text


def test_tables(done: Store) -> None:
    summary = Summary.read(done)
    found = tables.comparison(summary, summary.places[0])
    rows = {row[0].text: row for row in found.cells()}
    line = next(x for x in summary.lines if x.label == "uniform()")
    mean, sd = 100 * line.accuracy.mean(), 100 * np.std(line.accuracy, ddof=1)
    assert rows["uniform()"][1].text == f"{mean:.1f} ± {sd:.1f}"
    assert rows["joint()"][3].text == "–"
    text = markdown.render(of_bench(summary)) + latex.render(of_bench(summary))
    assert "No method is shown to be better than joint()" in text or "Shown to be better" in text
    assert r"\toprule" in text
    assert len(tables.csv_text(summary).splitlines()) == 1 + summary.total


def test_resplits_are_compared_by_the_corrected_test(tmp_path: Path) -> None:
    fast = {"name": "fast", "method": "joint()", "lr": 0.05}
    image = {"name": "digits", "data": "digits3d", "modalities": ["image"]}
    values = {"data": [image], "methods": ["joint()", fast], "alone": False, "resplits": 3}
    settings = {"epochs": 1, "probe": False, "schedule": "none"}
    made = Grid.of({**values, "settings": settings}, "b.toml")
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here()))
    place = summary.places[0]
    assert summary.split_of(place) == (539, 1258)
    joint, other = summary.at(place)
    d = other.accuracy - joint.accuracy
    t = d.mean() / (d.std(ddof=1) * math.sqrt(1 / 3 + 539 / 1258))
    found = tables.compared(summary, place)[1]
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 2))
    mean, half = joint.accuracy.mean(), stats.t.ppf(0.975, 2) * joint.accuracy.std(ddof=1)
    half *= math.sqrt(1 / 3 + 539 / 1258)
    interval = tables.intervals(summary, place, [joint])[0]
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half))
    text = markdown.render(of_bench(summary))
    assert (
        "corrected resampled t-test over splits" in text and "paired t-test over seeds" not in text
    )


def test_over_data_sets_methods_are_ranked_on_the_seeds_that_all_of_them_have() -> None:
    def line(label: str, place: str, accuracies: dict[int, float]) -> Line:
        cells = [
            Cell(f"{label}{place}{s}", "method", label, place, "", s, {}, "") for s in range(3)
        ]
        scores = {s: {"test": {"fused": {"accuracy": a}}} for s, a in accuracies.items()}
        records = [Record(c.key, "done", results=scores[c.seed]) if c.seed in scores else None
                   for c in cells]  # fmt: skip
        return Line(tuple(cells), tuple(records))

    full = {0: 0.5, 1: 0.6, 2: 0.7}
    seen = {
        "a": {"x": full, "y": {0: 0.2, 1: 0.4}, "z": {0: 0.9}},
        "b": {"x": full, "y": {0: 0.3, 1: 0.1, 2: 0.9}, "z": {1: 0.9}},
        "c": {"x": {1: 0.8, 2: 0.9}, "y": {0: 0.1, 1: 0.5}, "z": {0: 0.9}},
        "not begun on z": {"x": full, "y": full, "z": {}},
    }
    places = [("x", ""), ("y", ""), ("z", "")]
    rows = {k: {(p, ""): line(k, p, v[p]) for p, _ in places} for k, v in seen.items()}
    found = Contest.among(rows, places)
    assert found.labels == ("a", "b", "c")
    assert found.places == (("x", ""), ("y", ""))
    np.testing.assert_allclose(found.means, [[0.65, 0.65, 0.85], [0.3, 0.2, 0.3]])
    ranked = found.ranks()
    assert ranked is not None
    np.testing.assert_allclose(ranked.mean, [(2.5 + 1.5) / 2, (2.5 + 3) / 2, (1 + 1.5) / 2])


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    summary = Summary.read(bench(grid(seeds="0"), tmp_path / "b", executor=Here()))
    assert any("one seed only" in text for text in tables.remarks(summary))
    assert not any(one.significant for one in tables.compared(summary, summary.places[0]))


def test_tuning_has_equal_budgets_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    from equimodal.benchmark.tuning import ledger

    made = grid(methods=["joint()", "uniform()"], seeds="0", alone=False, tune=3)
    with pytest.raises(KeyboardInterrupt):
        bench(made, tmp_path / "b", executor=Here(stop_after=1))
    torn = bench(made, tmp_path / "b", executor=Here())
    whole = bench(made, tmp_path / "c", executor=(calm := Here()))
    assert [len(one.trials) for one in ledger(torn)] == [3]
    assert ledger(torn) == ledger(whole)
    trials = [cell for cell in calm.trained if cell.kind == "trial"]
    assert {cell.seed for cell in trials} == {TRIAL_SEED}
    rows = {line.label for line in Summary.read(whole).lines}
    assert rows == {"joint()", "uniform()", "uniform() tuned"}
    some = bench(made, tmp_path / "d", executor=Here(), choice=Choice(only=("joint()",)))
    assert ledger(some) == []  # what nobody tried has not failed


def test_a_trial_whose_values_cannot_be_does_not_stop_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strength must be at least the number of the modalities, which a space does not know."""
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    from equimodal.benchmark.tuning import ledger

    monkeypatch.setattr(TCM, "search_space", {"strength": (1.0, 2.5)})
    made = grid(methods=["tcm()"], seeds="0", alone=False, tune=4)
    (found,) = ledger(bench(made, tmp_path / "b", executor=Here()))
    values = {float(said.partition("=")[2]): value for said, value in found.trials}
    assert any(strength < 2 for strength in values) and values[10.0] is not None
    assert all((value is None) == (strength < 2) for strength, value in values.items())


def test_methods_that_agree_in_every_run_are_not_told_apart(tmp_path: Path) -> None:
    made = grid(methods=["joint()", "uniform(weight=0.0)"], seeds="0-1", alone=False)
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here()))
    assert any(
        text.endswith("not told apart from joint(): uniform(weight=0.0).")
        for text in tables.remarks(summary)
    )


class Failing(Here):
    """The trials whose label holds a text fail."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        for cell in cells:
            if self.text in cell.label:
                yield Event(cell, {}, 1.0, Record(cell.key, "failed", "killed"))
            else:
                yield from super().run(store, [cell])


def test_a_failed_trial_that_is_tried_again_counts(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    from equimodal.benchmark.tuning import ledger

    made = grid(methods=["uniform()"], seeds="0", alone=False, tune=2)
    (failed,) = ledger(bench(made, tmp_path / "b", executor=Failing("trial 1")))
    assert [value is None for _, value in failed.trials] == [False, True]
    again = bench(made, tmp_path / "b", executor=Here(), choice=Choice(retry_failed=True))
    whole = bench(made, tmp_path / "c", executor=Here())
    assert ledger(again) == ledger(whole)


class Judged(Here):
    """The trials have figures such that each criterion prefers another one."""

    FIGURES: ClassVar[dict[str, tuple[float | None, ...]]] = {
        "accuracy": (0.9, 0.7, 0.8, 0.8),
        "balanced_accuracy": (0.3, 0.6, 0.5, 0.6),  # the first on a tie
        "cross_entropy": (1.1, None, 0.4, 0.7),  # one that is not finite
    }

    def run(self, store: Store, cells: Sequence[Cell]) -> Iterator[Event]:
        for event in super().run(store, cells):
            if event.cell.kind == "trial" and event.record is not None:
                number, fused = (
                    int(event.cell.row.split()[-1]),
                    event.record.results["val"]["fused"],
                )  # type: ignore[index]
                fused.update({name: values[number] for name, values in self.FIGURES.items()})
            yield event


def judged(out: Path, by: str | None) -> Store:
    """Four trials of one method, chosen by a criterion."""
    settings = {"epochs": 1, "probe": False, "schedule": "none", "select_by": by}
    settings = {name: value for name, value in settings.items() if value is not None}
    made = grid(methods=["uniform()"], seeds="0", alone=False, tune=4, settings=settings)
    return bench(made, out, executor=Judged())


@pytest.mark.parametrize(
    ("by", "best", "shown"),
    [
        (None, 0, ("validation accuracy", "90.0%")),
        ("accuracy", 0, ("validation accuracy", "90.0%")),
        ("balanced_accuracy", 1, ("validation balanced accuracy", "60.0%")),
        ("cross_entropy", 2, ("validation cross-entropy", "0.400")),
    ],
)
def test_trials_are_chosen_by_what_epochs_are(
    by: str | None, best: int, shown: tuple[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    from equimodal.benchmark.tuning import ledger

    store = judged(tmp_path / "b", by)
    (found,) = ledger(store)
    assert tuple(value for _, value in found.trials) == Judged.FIGURES[by or "accuracy"]
    assert found.best == found.trials[best][0]
    assert found.taken == found.trials[best][1]
    (tuned,) = [x for x in Summary.read(store).lines if x.kind == "tuned"]
    taken = options(tuned.cells[0].settings["method"])["uniform.weight"]
    assert found.best == f"uniform.weight={taken:.3g}"
    text = markdown.render(of_bench(Summary.read(store)))
    assert f"chosen by {shown[0]}" in text and f"| {shown[0]} |" in text and shown[1] in text


def test_what_was_tuned_by_accuracy_before_is_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older store, of a tuning that did not heed `select_by`, neither mixes criteria nor trains a trial twice."""
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    from equimodal.benchmark import tuning

    with monkeypatch.context() as patch:
        patch.setattr(Settings, "criterion", "accuracy")
        patch.setattr(tuning, "CRITERION", "not written down")
        store = judged(tmp_path / "b", "cross_entropy")
    (before,) = tuning.ledger(store)
    assert (before.select_by, before.taken) == ("accuracy", 0.9)
    trained = store.results_file.read_text().count("\n")
    (now,) = tuning.ledger(judged(tmp_path / "b", "cross_entropy"))
    assert (now.select_by, now.taken) == ("cross_entropy", 0.4)
    assert [options for options, _ in now.trials] == [options for options, _ in before.trials]
    seeds_of_another_winner = 1
    assert store.results_file.read_text().count("\n") == trained + seeds_of_another_winner


def test_without_fixed_rows_the_reference_stays(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'bench' is not installed")
    made = grid(methods=["joint()", "uniform()"], seeds="0", alone=False, fixed=False, tune=1)
    summary = Summary.read(bench(made, tmp_path / "b", executor=Here()))
    assert {line.label for line in summary.lines} == {"joint()", "uniform() tuned"}
    assert summary.reference(summary.places[0]) is not None


def test_augmentation_is_that_of_the_modalities_of_a_row() -> None:
    """The rows alone have one of them."""
    rows, wrong = refusals(Plan(grid(data=[{"data": "digits3d", "augment": {"image": "none"}}])))
    assert not wrong
    alone = {row.label: row.settings.augment for row in rows if row.kind == "alone"}
    assert sorted(map(len, alone.values())) == [0, 1]


def test_data_are_read_as_the_settings_say(tmp_path: Path) -> None:
    """With and without files that cannot be read."""
    pytest.importorskip("PIL", reason="needs the extra media")
    path = own.write_pets(tmp_path)
    (tmp_path / "photos" / "7.png").write_bytes(b"no picture")
    settings, shelf = Settings(data=path.name, data_root=str(tmp_path)), Shelf()
    left = shelf.get(settings.changed(skip_unreadable=True))
    assert len(left.left_out) == 1
    assert not shelf.get(settings).left_out  # the file is met when it is read


def test_numbers_in_order_before_words() -> None:
    values = [2.0, "b", 1, 0.5, 0, "a"]
    assert sorted(values, key=_order) == [0, 0.5, 1, 2.0, "a", "b"]


@pytest.mark.parametrize(("values", "middle"), [([1, 100], 50.5), ([1, 2, 3, 100], 2.5)])
def test_the_middle_of_an_even_number_is_between_two(values: list[float], middle: float) -> None:
    assert tables._median(values) == middle


@pytest.mark.processes
def test_local_workers_train_the_same(done: Store, tmp_path: Path) -> None:
    made = grid(seeds="0", alone=False)
    other = Summary.read(bench(made, tmp_path / "b", executor=Local(1)))
    here = {x.label: x.accuracy[0] for x in Summary.read(done).lines}
    assert {x.label: x.accuracy[0] for x in other.lines} == {
        label: value for label, value in here.items() if label in ("joint()", "uniform()")
    }


@pytest.mark.processes
def test_a_worker_that_is_still_starting_stops_without_its_run(tmp_path: Path) -> None:
    """As a bench in the background has it, whose processes begin deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        made = grid(seeds="0", alone=False)
        store = Store.create(tmp_path / "b")
        cells = cells_of(refusals(Plan(made))[0], made.seeds)
        news = Local(1).run(store, cells)
        assert next(news).part == 0.0  # it has been given to a process, which imports for seconds
        news.close()  # as Ctrl-C does
    finally:
        signal.signal(signal.SIGINT, before)
    assert not store.folder(cells[0].key).results.exists()


@pytest.mark.processes
def test_a_worker_that_starts_after_the_stop_ends_without_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread was about to start it when Ctrl-C came."""
    started: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
    numbers, start = itertools.count(), subprocess.Popen

    def late(*args: Any, **options: Any) -> subprocess.Popen[str]:
        if next(numbers) == 0:
            started.put(first := start(*args, **options))
            return first
        started.get().wait()  # it ends when the bench stops, and not before
        return start(*args, **options)

    made = grid(seeds="0-1", alone=False)
    store = Store.create(tmp_path / "b")
    cells = cells_of(refusals(Plan(made))[0], made.seeds)
    news = Local(2).run(store, cells)
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", late)
        next(news)
        news.close()
    assert next(numbers) == 2
    assert not any(store.folder(cell.key).results.exists() for cell in cells)


def test_a_finished_run_that_lost_its_predictions_is_tested_again(tmp_path: Path) -> None:
    made = grid(seeds="0", alone=False)
    store = bench(made, tmp_path / "b", executor=Here())
    cell = store.plan()[0][0]
    before = store.records()[cell.key]
    store.folder(cell.key).predictions.unlink()
    store.results_file.unlink()  # the bench was killed before it wrote the run down
    bench(made, tmp_path / "b", executor=(again := Here()))
    assert [c.key for c in again.trained] == [cell.key]
    assert store.records()[cell.key].right == before.right


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": "sintetic()"}, "no data set"),
        ({"settings": {"task": "nope"}}, "There is no task 'nope'"),
    ],
)
def test_a_bench_that_is_refused_leaves_nothing(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        bench(grid(**changed), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_the_status_of_a_bench_that_has_not_begun(tmp_path: Path) -> None:
    """It was killed after its first file."""
    Store.create(tmp_path / "b")
    with pytest.raises(ConfigError, match="has no grid yet"):
        Summary.read(Store.at(tmp_path / "b"))


def test_published_tables() -> None:
    assert set(published.names()) >= {"ibml-table2", "ibml-table5", "infobridge-table1"}
    found = published.published("ibml-table3").table()
    texts = [cell.text for row in found.cells() for cell in row]
    assert "87.12 ± 0.41 (!)" in texts and "98.63 ± 0.06" in texts
    for name in published.names():
        assert published.published(name).table().rows
