"""Tables and progress as they are printed."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

from equimodal.report.text import Bar, DownloadBar, figure, percent, print_table, results


def test_percent_and_figure_have_a_dash_for_nothing() -> None:
    assert (percent(0.81666), percent(None)) == ("81.7", "–")
    assert (figure(1.005001), figure(2.5, 0), figure(None)) == ("1.01", "2", "–")


def test_table_aligns_words_left_and_numbers_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ("name", "n", "kind"), [("a", "1", "x"), ("long one", "100", "[y]")], words=["kind"]
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == " name        n  kind"
    assert lines[2:] == [" a           1  x", " long one  100  [y]"]


def test_table_is_as_wide_as_it_needs_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("a", "b"), [("x" * 150, "y" * 150)])
    assert "x" * 150 in capsys.readouterr().out


def test_without_a_terminal_there_is_a_line_per_epoch_with_its_last_figures() -> None:
    stream = io.StringIO()
    bar = Bar("joint", stream)
    bar.start(20, "joint() on digits3d")
    bar.advance(5, {"epoch": 1, "loss": 2.0, "val_accuracy": math.nan})
    bar.advance(5, {"epoch": 1, "loss": 1.5, "val_accuracy": math.nan})
    bar.advance(5, {"epoch": 2, "loss": 1.25, "val_accuracy": 0.5, "ratio": 3.0})
    assert stream.getvalue() == "joint epoch 1 · loss 1.500\n"
    bar.close()
    bar.close()
    assert stream.getvalue().splitlines()[1:] == [
        "joint epoch 2 · loss 1.250 · val 50.0% · ratio 3.00"
    ]


def test_a_bar_without_a_name_says_first_what_is_trained() -> None:
    stream = io.StringIO()
    bar = Bar(stream=stream)
    bar.start(20, "bio()[x] on digits3d")
    bar.close()
    assert stream.getvalue() == "bio()[x] on digits3d\n"


def test_in_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    stream = io.StringIO()
    bar = Bar("joint", stream)
    bar.start(10, "")
    bar.advance(10, {"epoch": 1, "loss": 1.5})
    bar.close()
    assert "━━" in stream.getvalue()
    assert "loss 1.500" in stream.getvalue()


def test_downloads_are_named_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    with DownloadBar() as bar:
        bar("a.gz", 5, 10)
        bar("a.gz", 10, 10)
        bar("b.gz", 1, None)
    assert capsys.readouterr().err == "a.gz\nb.gz\n"


RESULTS: dict[str, Any] = {
    "test": {
        "samples": 1200,
        "fused": {"accuracy": 0.8167, "balanced_accuracy": 0.6},
        "confusion": [[900, 100], [120, 80]],
        "modalities": {
            "a": {"decoupled": 0.5, "probe": 0.75, "samples": 100},
            "b": {"decoupled": None, "samples": 0},
        },
    },
    "train": {"discrepancy_ratio": 2.345},
    "epoch": 3,
    "epochs": 5,
    "select": "best",
    "protocol": "paper",
    "seconds": 61.7,
}


def test_results_show_percent_and_the_weights_that_were_tested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results(RESULTS)
    said = " ".join(capsys.readouterr().out.split())
    # Wilson's interval of 980 of 1,200 and of 50 of 100
    assert "test accuracy, 1,200 samples" in said
    assert (
        "fused 81.7 79.4 to 83.8 – a, decoupled 50.0 40.4 to 59.6 75.0 b, decoupled – – –" in said
    )
    assert "mean over the classes 60.0% · always naming the most frequent class 83.3%" in said
    assert "ratio 2.35 · weights of epoch 4 of 5 (best on test: not comparable" in said
    assert "62 s" in said


def test_where_classes_are_unequal_the_fitted_prediction_is_averaged_over_them_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitted = {"accuracy": 0.9, "balanced_accuracy": 0.5}
    fusion = {"kept": True, "weights": {"a": 2.0, "b": 0.5}}
    results({**RESULTS, "test": {**RESULTS["test"], "fitted": fitted}, "fusion": fusion})
    assert "mean over the classes 60.0%, fitted 50.0% ·" in capsys.readouterr().out
    equal = {**RESULTS["test"], "confusion": [[500, 100], [100, 500]]}
    results({**RESULTS, "test": equal})
    assert "mean over" not in capsys.readouterr().out
