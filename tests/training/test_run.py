"""Runs from settings alone: the same on every call, loaded again without data, and predictions to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from equimodal.core import Batch, Classification, Gradients, Method, Output, Step
from equimodal.errors import CheckpointError, ConfigError, EquimodalError
from equimodal.training import evaluate
from equimodal.training.fit import fit
from equimodal.training.fused_weights import fuse
from equimodal.training.run import load, load_data, make_model, predict, train
from equimodal.training.settings import Settings

DATA = "synthetic(samples=(96, 32, 40), count=2, dim=8, noise=0.2, missing=0.2)"


def settings(**changed: Any) -> Settings:
    said = {"data": DATA, "method": "uniform()", "epochs": 2, "batch_size": 16, "lr": 0.1}
    return Settings(**{**said, **changed})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    train(settings(), path)
    return path


def test_the_folder_holds_what_is_promised(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} >= {
        "checkpoint",
        "config.toml",
        "metrics.jsonl",
        "predictions.parquet",
        "results.json",
        "split.json",
    }
    results = json.loads((folder / "results.json").read_text())
    assert 0 <= results["test"]["fused"]["accuracy"] <= 1
    assert results["test"]["modalities"]["m1"].keys() >= {"decoupled", "probe"}
    assert results["train"]["discrepancy_ratio"] > 0
    assert results["seconds"] > 0


def test_the_resolved_file_makes_the_same_run(folder: Path, tmp_path: Path) -> None:
    again = train(Settings.from_toml(folder / "config.toml"), tmp_path / "again")
    first = json.loads((folder / "results.json").read_text())
    assert {**again.results, "seconds": 0} == {**first, "seconds": 0}
    assert (tmp_path / "again/config.toml").read_text() == (folder / "config.toml").read_text()


def test_a_run_that_was_begun_in_python_is_resumed_there(tmp_path: Path) -> None:
    chosen = settings(epochs=1)
    data = load_data(chosen)
    model = make_model(settings(encoders=dict.fromkeys(data.modalities, "mlp(inputs=8)")), data)
    fit(model, data, "joint()", epochs=1, out=tmp_path / "run")
    stored = Settings.from_toml(tmp_path / "run/config.toml")
    with pytest.raises(ConfigError, match=r"by the same fit\(\.\.\.\) with resume=True"):
        train(stored, tmp_path / "run", resume=True)


def test_a_loaded_run_is_the_run(folder: Path) -> None:
    run = load(folder)
    found = evaluate.evaluate(run.learner, load_data(run.settings).test)
    assert found.figures()["fused"] == pytest.approx(run.results["test"]["fused"], abs=1e-6)
    assert [line["epoch"] for line in run.history] == [0, 1]
    assert not run.learner.training


def test_a_task_by_its_expression(tmp_path: Path) -> None:
    """The run says it, trains by it, is loaded with it, and is not resumed without it."""
    chosen = settings(task="classification(label_smoothing=0.3)", epochs=1)
    run = train(chosen, tmp_path / "run")
    assert Settings.from_toml(tmp_path / "run/config.toml").task == chosen.task
    data, plain = load_data(chosen), train(chosen.changed(task=None), tmp_path / "plain")
    same = fit(
        make_model(run.settings, data), data, "uniform()", settings=run.settings,
        task=Classification(label_smoothing=0.3),
    )  # fmt: skip
    fused = [r.results["test"]["fused"]["cross_entropy"] for r in (run, same, plain)]
    assert fused[0] == fused[1] != fused[2]
    loaded = evaluate.evaluate(load(tmp_path / "run").learner, data.test).figures()["fused"]
    assert loaded == pytest.approx(run.results["test"]["fused"], abs=1e-6)
    with pytest.raises(CheckpointError, match=r"task='classification\(label_smoothing=0.3\)'"):
        train(run.settings.changed(task=None), tmp_path / "run", resume=True)


def test_balanced_class_weights_are_written_down_as_numbers(tmp_path: Path) -> None:
    chosen = settings(task="classification(class_weights='balanced')", epochs=1)
    run = train(chosen, tmp_path / "run")
    targets = load_data(chosen).train.targets
    by_hand = [len(targets) / (8 * int((targets == c).sum())) for c in range(8)]
    assert run.settings.task == f"classification(class_weights={tuple(by_hand)})"
    again = train(chosen.changed(task=run.settings.task), tmp_path / "again")
    assert run.results["test"] == again.results["test"]
    same = load(tmp_path / "run").learner.task
    assert isinstance(same, Classification) and list(same.class_weights) == by_hand


def test_a_model_of_ones_own_is_loaded(folder: Path, tmp_path: Path) -> None:
    resolved, out = load(folder).settings, tmp_path / "run"
    data = load_data(resolved)
    run = fit(make_model(resolved, data), data, "uniform()", out=out, epochs=1, batch_size=16)
    with pytest.raises(ConfigError, match=r"say equimodal\.load\(.*, model\) there"):
        load(out)
    batch = data.test.fetch(range(9))
    torch.manual_seed(7)
    found = load(out, make_model(resolved, data))
    assert torch.equal(found.predict(batch).fused, run.predict(batch).fused)
    assert found.results["test"] == run.results["test"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("clasification()", "There is no task 'clasification': did you mean 'classification'"),
        ("classification(smoothing=0.1)", "no option 'smoothing'"),
        ("classification(class_weights=(1, 2))", "2 class weights.* 8 classes apart"),
        ("fixtures.small:Broken()", "'fixtures.small:Broken' is no task"),
    ],
)
def test_a_task_that_cannot_be_is_refused_before_anything_is_written(
    task: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(EquimodalError, match=words):
        train(settings(task=task), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_predictions(folder: Path) -> None:
    run = load(folder)
    data = load_data(run.settings).test
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    batch: Batch = data.fetch(range(len(data)))
    output = run.learner.predict(batch)
    assert table["index"] == list(range(40))
    assert table["target"] == [data.classes[int(y)] for y in data.targets]
    assert set(table["split"]) == {"test"}
    fitted = fuse(output.unimodal, run.results["fusion"]["weights"], batch.present)
    assert run.results["fusion"]["kept"]  # so that it is the prediction
    assert torch.equal(run.predict(batch).fused, fitted)
    for name, logits in {"fused": output.fused, "fitted": fitted, **output.unimodal}.items():
        here = batch.mask(name).tolist() if name in output.unimodal else [True] * 40
        expected = logits.double().softmax(1)
        for c, label in enumerate(data.classes):
            column = table[f"p_{name}_{label}"]
            assert [value is not None for value in column] == here
            kept = [value for value in column if value is not None]
            np.testing.assert_allclose(kept, expected[torch.tensor(here), c], atol=1e-6)
    best = [data.classes[int(c)] for c in fitted.argmax(1)]
    assert table["prediction"] == best
    assert table["present_m1"] == batch.mask("m1").tolist()


def test_predict_writes_other_splits_and_other_data(folder: Path, tmp_path: Path) -> None:
    assert predict(folder, "val") == folder / "predictions-val.parquet"
    assert pq.read_table(folder / "predictions-val.parquet").num_rows == 32
    other = DATA.replace("40)", "55)").replace("count", "seed=4, count")
    file = predict(folder, data=other, out=tmp_path / "other.parquet")
    assert file == tmp_path / "other.parquet" and pq.read_table(file).num_rows == 55
    assert predict(folder) == folder / "predictions.parquet"
    assert pq.read_table(folder / "predictions.parquet").num_rows == 40


def test_data_with_other_classes_are_refused(folder: Path) -> None:
    other = "synthetic(samples=(200, 32, 40), shared=3, count=2, dim=8, noise=0.1)"
    with pytest.raises(ConfigError, match=r"tells 8 classes .* apart; synthetic has 12 others"):
        predict(folder, data=other)
    with pytest.raises(ConfigError, match="no split 'tset'; did you mean 'test'"):
        predict(folder, "tset")


def test_the_model_depends_on_the_seed_alone() -> None:
    data = load_data(settings())

    def weights(seed: int) -> torch.Tensor:
        return make_model(settings(seed=seed), data).head.linear.weight

    torch.manual_seed(1)
    first = weights(0)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, weights(0))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, weights(1))


def test_modalities_encoders_and_head(tmp_path: Path) -> None:
    run = train(
        settings(
            modalities=("m2",), encoders={"m2": "mlp(inputs=8, hidden=(5,), width=3)"}, head="sum()"
        ),
        tmp_path / "run",
    )
    assert run.model.modalities == ("m2",)
    assert run.model.head.widths == {"m2": 3} and type(run.model.head).__name__ == "Sum"
    assert run.results["train"]["discrepancy_ratio"] is None  # of one modality
    assert load(tmp_path / "run").model.head.widths == {"m2": 3}


OWN = """
from torch import nn
from equimodal import heads

class Scaled(heads.Head):
    additive = True

    def __init__(self, widths, classes, scale=1.0):
        super().__init__(widths, classes)
        self.scale = scale
        self.layers = nn.ModuleDict({m: nn.Linear(d, classes) for m, d in widths.items()})

    def forward(self, features, batch):
        unimodal = {m: self.scale * self.layers[m](z) for m, z in features.items()}
        return unimodal, sum(unimodal.values())

class Narrow(heads.Head):
    def __init__(self, classes):
        super().__init__({}, classes)
"""


def test_a_head_of_ones_own_is_made_for_the_widths_and_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_heads.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    full = "synthetic(samples=(96, 32, 40), count=2, dim=8, noise=0.2)"
    chosen = settings(data=full, head="own_heads:Scaled(scale=2.0)")
    run = train(chosen, tmp_path / "run")
    head = load(tmp_path / "run").model.head
    assert (head.scale, head.classes) == (2.0, 8)
    assert head.widths == run.model.head.widths
    assert torch.equal(head.layers["m1"].weight, run.model.head.layers["m1"].weight)
    with pytest.raises(ConfigError, match=r"own_heads:Scaled\(\) has no option 'scal': did you"):
        train(chosen.changed(head="own_heads:Scaled(scal=2)"), tmp_path / "other")
    with pytest.raises(ConfigError, match=r"own_heads:Narrow\(\)"):
        train(chosen.changed(head="own_heads:Narrow()"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_discrepancy_ratio_is_the_mean_over_all_steps(tmp_path: Path) -> None:
    """Written down by a method of its own, at every step, as IBML's Table 4 has it."""
    data = "synthetic(modalities=('m1', 'm2'), samples=(96, 32, 40), count=2, dim=8, noise=0.2)"
    seen: list[float] = []

    class Watch(Method):
        def observe(self, output: Output, grads: Gradients, step: Step) -> None:
            first, second = (
                sum(float(row.softmax(0)[y]) for row, y in zip(z, step.target, strict=True))
                for z in output.unimodal.values()
            )
            seen.append(first / second)

    chosen = settings(data=data, epochs=3, lr=0.5)
    splits = load_data(chosen)
    run = fit(
        make_model(chosen, splits),
        splits,
        Watch(),
        settings=chosen.changed(epochs=3),
        select="best",
    )
    assert len(seen) == 3 * 6
    found = run.results["train"]["discrepancy_ratio"]
    assert found == pytest.approx(sum(seen) / len(seen), rel=1e-6)
    assert found != pytest.approx(sum(seen[-6:]) / 6, rel=1e-3)  # not the last epoch's


def test_validation_is_carved_out_as_asked(tmp_path: Path) -> None:
    run = train(
        settings(data="digits3d(points=8)", modalities=("image",), epochs=1, val_fraction=0.2),
        tmp_path / "run",
    )
    kept = json.loads((tmp_path / "run/split.json").read_text())
    assert len(kept["val_indices"]) == kept["samples"]["val"] == run.results["val"]["samples"]
    whole = kept["samples"]["train"] + kept["samples"]["val"]
    assert kept["samples"]["val"] == pytest.approx(0.2 * whole, abs=5)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"data": "sinthetic()"}, "no data set 'sinthetic': did you mean 'synthetic'"),
        ({"data": "synthetic(dims=3)"}, "no option 'dims'.*did you mean 'dim'"),
        ({"data": "digits3d", "method": "imbl()"}, "no method 'imbl'"),
        ({"modalities": ("m7",)}, "no modality 'm7'"),
        ({"encoders": {"m7": "mlp(inputs=3)"}}, "'encoders' names the modality 'm7'"),
        ({"encoders": {"m1": "mpl()"}}, "no encoder 'mpl': did you mean 'mlp'"),
        ({"encoders": {"m1": "mlp(inputs=3)"}}, "encoder of 'm1'"),
        ({"head": "sun()"}, "no head 'sun': did you mean 'sum'"),
        ({"val_fraction": 0.2}, "synthetic has a validation part of its own"),
        ({"data": "avmnist", "data_root": "/nowhere"}, "/nowhere"),
        ({"batch_size": 1000}, "larger than the training data"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    with pytest.raises(EquimodalError, match=expected) as refusal:
        train(settings(**changed), tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_cannot_be_loaded(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        load(tmp_path)
    (tmp_path / "config.toml").write_text((folder / "config.toml").read_text())
    (tmp_path / "split.json").write_text((folder / "split.json").read_text())
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load(tmp_path)
