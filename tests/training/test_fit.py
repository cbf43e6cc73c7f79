"""`fit`: the loop, selection, stopping, and resuming bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from equimodal import Batch, methods
from equimodal.data import Arrays, Loader, Splits
from equimodal.errors import CheckpointError, ConfigError, DataError, TrainingError, WriteError
from equimodal.models import Multimodal, heads
from equimodal.testing import Workers
from equimodal.training.evaluate import evaluate
from equimodal.training.fit import Run, fit
from equimodal.training.folder import RunFolder
from equimodal.training.progress import Silent
from fixtures import small
from fixtures.disk import file_limit

OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 0.1}
DISTURBED = "uniform() + fixtures.small:Signalled()"


class Unreadable(Arrays):
    def fetch(self, indices: Any, epoch: int = 0) -> Batch:
        raise DataError("clip7.wav cannot be read.")


def _unreadable() -> Splits:
    data = small.splits()
    data.train.__class__ = Unreadable
    return data


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    ("model", "data", "refusal"),
    [
        (small.model(), _unreadable(), DataError),
        (
            Multimodal({m: nn.Linear(4, 5) for m in "ab"}, heads.Linear({"a": 6, "b": 6}, 3)),
            small.splits(),
            ConfigError,  # features that do not fit the head, which the first step sees
        ),
    ],
)
def test_what_fails_before_a_checkpoint_leaves_nothing(
    model: Multimodal, data: Splits, refusal: type[Exception], before: bool, tmp_path: Path
) -> None:
    """So that the call can be given again as it was, also where it was to replace another run."""
    if before:
        fit(small.model(), small.splits(), "joint()", out=tmp_path / "run", **OPTIONS)
    with pytest.raises(refusal):
        fit(model, data, "joint()", out=tmp_path / "run", overwrite=before, **OPTIONS)
    assert not (tmp_path / "run").exists()


@pytest.mark.processes
def test_what_fails_in_another_process_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="clip7"):
        fit(
            small.model(), small.second_unreadable(), "joint()", out=tmp_path / "run", processes=2, **OPTIONS
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_resumed_in_vain_stays(tmp_path: Path) -> None:
    """One that was killed before its first checkpoint."""
    out = tmp_path / "run"
    fit(small.model(), small.splits(), "joint()", out=out, **OPTIONS)
    shutil.rmtree(out / "checkpoint")
    with pytest.raises(DataError):
        fit(small.model(), _unreadable(), "joint()", out=out, resume=True, **OPTIONS)
    assert RunFolder(out).is_run()


def _with_classes(classes: int) -> Multimodal:
    encoders = {name: nn.Linear(4, 6) for name in "ab"}
    return Multimodal(encoders, heads.Linear(dict.fromkeys("ab", 6), classes))


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.learner.state_dict()


def same(a: Run, b: Run) -> bool:
    """Bit for bit, but for the time it took."""
    for run in (a, b):
        assert run.results["seconds"] > 0
    tensors = all(torch.equal(t, weights(b)[n]) for n, t in weights(a).items())
    timeless = [{**run.results, "seconds": 0, "method": ""} for run in (a, b)]
    lines = [[{**line, "seconds": 0} for line in run.history] for run in (a, b)]
    return tensors and timeless[0] == timeless[1] and lines[0] == lines[1]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_plain_loop(smoothing: float) -> None:
    """Against PyTorch's own: SGD, decay, order of the data, cross-entropy or a loss of one's own."""
    data, model, plain = small.splits(), small.model(dropout=0.3), small.model(dropout=0.3)
    options = {**OPTIONS, "select": "last", "schedule": "step", "seed": 3, "precision": "64"}
    fit(model, data, "joint()", task=small.Smoothed(smoothing) if smoothing else None, **options)
    plain.double()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader = Loader(data.train, 8, seed=3)
    torch.manual_seed(3 * 1_000_003)
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 if epoch < 2.1 else 0.01
        for batch in loader.iterate(epoch):
            logits = plain.train()(batch).fused
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, batch.target, label_smoothing=smoothing).backward()
            optimizer.step()
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in plain.state_dict().items())


def test_the_results_are_those_of_the_model() -> None:
    data, model = small.splits(missing=0.2), small.model()
    run = fit(model, data, "uniform()", **OPTIONS)
    assert run.model is model and not model.training and run.folder is None
    found = evaluate(model, data.test)
    assert run.results["test"]["fused"]["accuracy"] == found.fused.accuracy
    for m in ("a", "b"):
        assert run.results["test"]["modalities"][m]["decoupled"] == found.decoupled[m].accuracy
        assert 0 <= run.results["test"]["modalities"][m]["probe"] <= 1
    assert run.results["val"]["fused"]["accuracy"] == evaluate(model, data.val).fused.accuracy
    assert run.results["method"] == "uniform()" and run.results["protocol"] == "honest"
    assert [line["epoch"] for line in run.history] == [0, 1, 2]
    assert run.history[0]["loss"].keys() == {"task", "uniform/a", "uniform/b"}


@pytest.mark.parametrize("modalities", [1, 3])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_any_number_of_modalities(modalities: int, missing: float) -> None:
    data = small.splits(modalities, missing)
    run = fit(
        small.model(modalities), data, "uniform()", precision="bf16", **{**OPTIONS, "epochs": 9}
    )
    assert run.results["test"]["fused"]["accuracy"] > 0.4
    assert sum(run.results["train"]["share"].values()) == pytest.approx(1)


def test_what_is_trained_on_is_said_and_how_few_samples_choose() -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def start(self, total_steps: int, description: str) -> None:
            self.lines.append(description)

        def message(self, text: str) -> None:
            self.lines.append(text)

    def told(**options: Any) -> list[str]:
        fit(small.model(), small.splits(), "joint()", progress=(heard := Heard()), **options)
        return heard.lines

    what = "joint() on small · samples: 40 train, 21 val, 24 test · batches of 8"
    few = "the epoch is chosen by only 21 samples, 4.8 points each: mostly chance"
    assert told(**OPTIONS) == [what, few]
    assert told(**OPTIONS, select="last") == [what]


def test_the_best_epoch_is_the_first_on_a_tie() -> None:
    run = fit(small.model(), small.splits(), "joint()", **{**OPTIONS, "epochs": 8})
    accuracies = [line["val"]["accuracy"] for line in run.history]
    assert accuracies.count(max(accuracies)) > 1, "the test needs a tie"
    assert run.results["epoch"] == accuracies.index(max(accuracies))
    again = fit(
        small.model(),
        small.splits(),
        "joint()",
        **{**OPTIONS, "epochs": 8},
        select="last",
    )
    assert again.results["epoch"] == 7
    assert not torch.equal(
        weights(run)["model.head.linear.weight"], weights(again)["model.head.linear.weight"]
    )


@pytest.mark.parametrize("by", ["accuracy", "balanced_accuracy", "cross_entropy"])
def test_the_best_epoch_is_best_in_what_was_asked(by: str) -> None:
    chosen: list[int] = []
    options = {**OPTIONS, "epochs": 8, "seed": 4}
    for asked in (by, None):
        run = fit(small.model(1), _unequal(), "joint()", select_by=asked, **options)
        values = [(-1 if by == "cross_entropy" else 1) * line["val"][by] for line in run.history]
        assert run.results["select_by"] == (asked or "accuracy")
        chosen.append(run.results["epoch"])
    assert chosen[0] == values.index(max(values))
    assert (chosen[0] == chosen[1]) == (by == "accuracy"), "the test needs epochs that differ"


def _unequal() -> Splits:
    """One class has most of the samples, and one modality too little to tell the others."""
    train, val = small.part(300, 1, 1, 0.0), small.part(120, 2, 1, 0.0)
    parts = [
        part.subset([i for i in range(len(part)) if i % 3 == 0 or i % 24 < 3])
        for part in (train, val)
    ]
    return Splits("small", *parts, small.part(24, 3, 1, 0.0))


def test_epochs_that_name_one_class_only_are_told() -> None:
    class Said(Silent):
        lines: list[str] = []

        def message(self, text: str) -> None:
            self.lines.append(text)

    said = Said()
    options = {**OPTIONS, "lr": 1e-6, "epochs": 1}
    model = small.model(1)
    with torch.no_grad():
        model.head.linear.bias[0] += 100
    fit(model, _unequal(), "joint()", progress=said, **options)
    assert (
        "always naming its most frequent class (80.0%): --select-by cross_entropy" in said.lines[-1]
    )
    fit(small.model(1), _unequal(), "joint()", progress=said, select_by="cross_entropy", **options)
    fit(small.model(), small.splits(), "joint()", progress=said, **OPTIONS)
    assert sum("most frequent" in line for line in said.lines) == 1


def test_patience() -> None:
    options = {**OPTIONS, "epochs": 30, "schedule": "none"}
    whole = fit(small.model(), small.splits(), "joint()", **options)
    stopped = fit(small.model(), small.splits(), "joint()", patience=2, **options)
    accuracies = [line["val"]["accuracy"] for line in whole.history]
    best, expected = 0, None
    for epoch, accuracy in enumerate(accuracies):
        best = epoch if accuracy > accuracies[best] else best
        if epoch - best == 2:
            expected = epoch
            break
    assert expected is not None and expected < 29, "the test needs a run that stops early"
    assert stopped.results["epochs"] == expected + 1
    assert stopped.results["epoch"] == best


def test_the_protocol_of_the_papers_selects_on_test_and_says_so() -> None:
    data = small.splits()
    swapped = Splits("small", data.train, data.test, data.val)
    paper = fit(small.model(), data, "joint()", protocol="paper", **OPTIONS)
    honest = fit(small.model(), swapped, "joint()", **OPTIONS)
    assert (paper.results["protocol"], paper.results["selected_on"]) == ("paper", "test")
    assert {line["selected_on"] for line in paper.history} == {"test"}
    assert {line["selected_on"] for line in honest.history} == {"val"}
    assert [line["val"] for line in paper.history] == [line["val"] for line in honest.history]
    assert paper.results["epoch"] == honest.results["epoch"]


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_no_method_learns_from_the_test_split(protocol: str) -> None:
    """Whatever the run is selected on: other test labels, same weights."""
    data, ends = small.splits(), []
    test = data.test
    assert isinstance(test, Arrays)
    for targets in (test.targets, torch.zeros_like(test.targets)):
        changed = Splits("small", data.train, data.val, Arrays(test.inputs, targets, test.classes))
        run = fit(
            small.model(),
            changed,
            "relearn(every=1)",
            protocol=protocol,
            select="last",
            **{**OPTIONS, "epochs": 4},
        )
        assert int(run.learner.method.count) == 2
        ends.append(weights(run))
    assert all(torch.equal(ends[1][name], tensor) for name, tensor in ends[0].items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": methods.IBML}, r"give an object, as methods\.IBML\(\)"),
        ({"data": {"train": None}}, "The data are a dict; give equimodal.data.Splits"),
        ({"data": small.splits(1)}, "The model has the modality 'b', which small lacks"),
        ({"model": nn.Linear(4, 3)}, r"The model is a Linear; give equimodal\.Multimodal"),
        ({"model": _with_classes(2)}, "The model's head has 2 classes; small has 3"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: dict[str, Any], said: str) -> None:
    given = {"model": small.model(), "data": small.splits(), "method": "joint()", **change}
    with pytest.raises(ConfigError, match=said):
        fit(given["model"], given["data"], given["method"], **OPTIONS)


def test_without_validation_nothing_can_be_selected() -> None:
    data = small.splits()
    without = Splits("small", data.train, data.val.subset([]), data.test)
    with pytest.raises(ConfigError, match="no validation samples to select by.*select='last'"):
        fit(small.model(), without, "joint()", **OPTIONS)
    with pytest.raises(ConfigError, match=r"relearn\(\) reads validation samples.*small has none"):
        fit(small.model(), without, "relearn() + tcm()", select="last", **OPTIONS)
    run = fit(small.model(), without, "joint()", select="last", **OPTIONS)
    assert run.results["val"] is None and run.history[0]["val"] is None


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_micro_batches_are_one_batch(missing: float) -> None:
    runs = [
        fit(
            small.model(3),
            small.splits(3, missing),
            "uniform()",
            precision="64",
            accumulate=parts,
            **OPTIONS,
        )
        for parts in (1, 3)
    ]
    for name, tensor in weights(runs[0]).items():
        torch.testing.assert_close(tensor, weights(runs[1])[name], rtol=0, atol=1e-12)
    ratios = [[line["train"]["discrepancy_ratio"] for line in run.history] for run in runs]
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-12)


def test_the_norm_of_the_gradient_is_cut() -> None:
    before = small.model().state_dict()
    options = {**OPTIONS, "epochs": 1, "batch_size": 40, "momentum": 0, "weight_decay": 0}
    run = fit(small.model(), small.splits(), "joint()", clip=0.01, select="last", **options)
    moved = [(run.model.state_dict()[n] - t).flatten() for n, t in before.items()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.1 * 0.01, rel=1e-3)


# Stopping and resuming.


@pytest.fixture
def disturb(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda signal_at: monkeypatch.setenv("SMALL_SIGNAL", signal_at)


SGD = {"accumulate": 2, "patience": 9}
ADAMW = {"optimizer": "adamw", "lr": 0.01, "clip": 0.5, "schedule": "cosine"}

IBML = {"method": "ibml() + fixtures.small:Signalled()", "accumulate": 2}


@pytest.mark.whole
@pytest.mark.parametrize("special", [SGD, ADAMW, IBML])
@pytest.mark.parametrize("step", [0, 2, 4, 5, 8, 14])
def test_an_interrupted_run_ends_as_if_nothing_had_been(
    tmp_path: Path, disturb: Callable[[str], None], special: dict[str, Any], step: int
) -> None:
    def once(out: Path, resume: bool = False) -> Run:
        model = small.model(3, dropout=0.4, norm="accumulate" not in special)
        options = {"method": DISTURBED, **OPTIONS, **special}
        return fit(model, small.splits(3, 0.3), out=out, resume=resume, **options)

    whole = once(tmp_path / "whole")
    disturb(f"SIGINT:{step}")
    with pytest.raises(KeyboardInterrupt, match=f"after step {step + 1}; go on with --resume"):
        once(tmp_path / "stopped")
    disturb("")
    torch.manual_seed(99)
    resumed = once(tmp_path / "stopped", resume=True)
    assert same(whole, resumed)
    tables = [pq.read_table(tmp_path / n / "predictions.parquet") for n in ("whole", "stopped")]
    assert tables[0].equals(tables[1])
    lines = (tmp_path / "stopped/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)  # so that the process can be forked
sys.path.insert(0, {tests!r})
from pathlib import Path
from fixtures import small
from fixtures.disk import file_limit
from equimodal.training.fit import fit

def once(out, resume=False):
    model = small.model(2, dropout=0.4)
    return fit(model, small.splits(), {method!r}, out=out, resume=resume, epochs=3, batch_size=8,
               checkpoint_every="2", probe=False)

def killed(out, when):
    child = os.fork()
    if not child:
        when()
        once(out)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

def at_step(step):
    os.environ["SMALL_SIGNAL"] = f"SIGKILL:{{step}}"

def at_rename(count, before):
    real, left = os.replace, [count]
    def replace(a, b):
        left[0] -= 1
        if before and not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        real(a, b)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace

place = Path(sys.argv[1])
whole = once(place / "whole")
whens = {{f"step{{s}}": (lambda s=s: at_step(s)) for s in (1, 7, 14)}}
whens |= {{f"rename{{c}}{{b}}": (lambda c=c, b=b: at_rename(c, b)) for c in (3, 5, 6) for b in (0, 1)}}
for name, when in whens.items():
    killed(place / name, when)
    again = once(place / name, resume=True)
    states = [run.learner.state_dict() for run in (whole, again)]
    assert all(torch.equal(t, states[1][n]) for n, t in states[0].items()), name
    results = [{{**run.results, "seconds": 0}} for run in (whole, again)]
    assert results[0] == results[1], name
    assert not list((place / name / "checkpoint").glob("*2-process*")), name
print("as if nothing had been", len(whens))
"""


@pytest.mark.processes
def test_a_killed_run_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """At several steps, and before and after the renames of configuration, tensors and state."""
    tests = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    code = KILLED.format(tests=tests, method=DISTURBED)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "as if nothing had been 9\n", done.stderr[-2000:]


def test_resuming_before_the_first_checkpoint_starts_again(
    tmp_path: Path, disturb: Callable[[str], None]
) -> None:
    whole = fit(small.model(), small.splits(), "joint()", out=tmp_path / "run", **OPTIONS)
    (tmp_path / "run/checkpoint/state.json").unlink()
    again = fit(
        small.model(), small.splits(), "joint()", out=tmp_path / "run", resume=True, **OPTIONS
    )
    assert same(whole, again)


def test_a_finished_run_may_be_resumed(tmp_path: Path) -> None:
    whole = fit(small.model(), small.splits(), "joint()", out=tmp_path / "run", **OPTIONS)
    again = fit(
        small.model(), small.splits(), "joint()", out=tmp_path / "run", resume=True, **OPTIONS
    )
    assert same(whole, again)


def test_a_run_with_another_loss_is_not_resumed(tmp_path: Path) -> None:
    options = {**OPTIONS, "out": tmp_path / "run"}
    fit(small.model(), small.splits(), "joint()", task=small.Smoothed(0.2), **options)
    was = r"task='fixtures.small:Smoothed\(smoothing=0.2\)', this one has "
    with pytest.raises(CheckpointError, match=was + "None"):
        fit(small.model(), small.splits(), "joint()", resume=True, **options)
    other = small.Smoothed(0.3)
    with pytest.raises(CheckpointError, match=was + r"'.*\(smoothing=0.3\)'"):
        fit(small.model(), small.splits(), "joint()", task=other, resume=True, **options)


def test_metrics_that_are_lost_are_named(tmp_path: Path) -> None:
    fit(small.model(), small.splits(), "joint()", out=tmp_path / "run", **OPTIONS)
    (tmp_path / "run/metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl has 0 of the 3 epochs"):
        fit(small.model(), small.splits(), "joint()", out=tmp_path / "run", resume=True, **OPTIONS)


def test_a_run_that_exists_is_kept_or_replaced(tmp_path: Path) -> None:
    data = small.splits()
    fit(small.model(), data, "joint()", out=tmp_path / "run", **OPTIONS)
    with pytest.raises(ConfigError, match=r"--resume.*--overwrite"):
        fit(small.model(), data, "uniform()", out=tmp_path / "run", **OPTIONS)
    new = fit(small.model(), data, "uniform()", out=tmp_path / "run", overwrite=True, **OPTIONS)
    assert json.loads((tmp_path / "run/results.json").read_text()) == new.results
    with pytest.raises(ConfigError, match="nothing to resume"):
        fit(small.model(), data, "uniform()", resume=True, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 41}, "larger than the training data of 40"),
        ({"method": "unifrom()"}, "did you mean 'uniform'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_mistakes_leave_nothing_behind(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        fit(
            small.model(),
            small.splits(),
            out=tmp_path / "run",
            **{**OPTIONS, "method": "joint()", **options},
        )
    assert not (tmp_path / "run").exists()


# What cannot go on.


def position(folder: Path) -> int:
    step: int = json.loads((folder / "checkpoint/state.json").read_text())["position"]["step"]
    return step


@pytest.mark.parametrize(("every", "kept"), [("3", 6), ("1", 7), ("0s", 7)])
def test_a_loss_that_is_not_finite(tmp_path: Path, every: str, kept: int) -> None:
    with pytest.raises(
        TrainingError,
        match=r"step 7 \(epoch 1, batch 2\), where loss 'broken' is not finite; the last good "
        r"checkpoint is in .*checkpoint; the learning rate was 0\.1 \(0\.1 times 1 ",
    ):
        fit(
            small.model(),
            small.splits(),
            small.Broken(at=7),
            out=tmp_path / "run",
            checkpoint_every=every,
            **OPTIONS,
        )
    assert position(tmp_path / "run") == kept
    assert not (tmp_path / "run/results.json").exists()


def test_a_checkpoint_is_not_promised_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"loss 'broken' is not finite; the learning rate was"):
        fit(
            small.model(),
            small.splits(),
            small.Broken(at=1),
            out=tmp_path / "run",
            checkpoint_every="100",
            **OPTIONS,
        )
    assert not list((tmp_path / "run").glob("checkpoint/*"))


def test_more_micro_batches_than_samples_in_a_batch() -> None:
    with pytest.raises(ConfigError, match="A batch of 4 samples cannot be split into 5 micro-bat"):
        fit(small.model(), small.splits(), "joint()", **{**OPTIONS, "batch_size": 4}, accumulate=5)


def test_a_modality_that_is_not_finite_is_named() -> None:
    good = small.model().encoders["a"]
    model = Multimodal({"a": good, "b": small.Poisoned(6)}, heads.Linear({"a": 6, "b": 6}, 3))
    with pytest.raises(TrainingError, match=r"step 6 .*loss 'task', modality 'b' is not finite;"):
        fit(model, small.splits(), "joint()", **OPTIONS)


def test_the_method_s_factor_on_the_rate_is_named() -> None:
    with pytest.raises(TrainingError, match=r"learning rate was 1e\+20 \(1e\+20 times 1 by"):
        fit(small.model(), small.splits(), "joint()", **{**OPTIONS, "lr": 1e20})


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, disturb: Callable[[str], None]
) -> None:
    def once(out: Path, resume: bool = False) -> Run:
        options = {**OPTIONS, "checkpoint_every": "2"}
        return fit(small.model(), small.splits(), DISTURBED, out=out, resume=resume, **options)

    whole = once(tmp_path / "whole")
    disturb("SIGINT:5")
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "full")
    disturb("")
    full = pytest.raises(WriteError, match="no room to write .*safetensors.*resume")
    with full, file_limit(4000):  # metrics fit, tensors do not
        once(tmp_path / "full", resume=True)
    assert position(tmp_path / "full") == 6
    assert same(whole, once(tmp_path / "full", resume=True))


# Several processes.


@pytest.mark.processes
@pytest.mark.parametrize("resume", [False, True])
def test_every_process_of_a_launcher_has_the_same_run(
    tmp_path: Path, workers: Workers, resume: bool
) -> None:
    """Also the averages of batch norm, which differ while training, and the history of what was done before."""
    out = str(tmp_path / "run")
    if resume:
        workers.run(small.fitted_with_norm, out, False)
    first, second = workers.run(small.fitted_with_norm, out, resume)
    assert first[:3] == second[:3]
    assert first[0]["processes"] == 2
    assert len(first[1]) == 2
    assert (first[3], second[3]) == (True, False)


@pytest.mark.processes
def test_two_processes_that_read_validation_are_one(workers: Workers) -> None:
    for found in workers.run(small.relearned):
        for here, wanted in zip(found, small.relearned(), strict=True):
            torch.testing.assert_close(here, wanted, atol=1e-12, rtol=0)


@pytest.mark.processes
def test_two_processes_stopped_and_resumed_are_one(
    tmp_path: Path, disturb: Callable[[str], None]
) -> None:
    """Float64, no batch norm, missing modalities, micro-batches; batches of 8, 8, 8, 8 and 9."""

    def once(processes: int, resume: bool = False) -> Run:
        return fit(
            small.model(3),
            small.splits(3, 0.3, train=41),
            DISTURBED,
            out=tmp_path / str(processes),
            resume=resume,
            precision="64",
            processes=processes,
            accumulate=2,
            probe=False,
            **OPTIONS,
        )

    one = once(1)
    disturb("SIGINT:6")
    with pytest.raises(KeyboardInterrupt, match="after step 7; go on with --resume"):
        once(2)
    disturb("")
    two = once(2, resume=True)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], rtol=0, atol=1e-10)
    for here, there in zip(one.history, two.history, strict=True):
        assert here["train"]["share"] == pytest.approx(there["train"]["share"], abs=1e-10)
        for name in ("accuracy", "discrepancy_ratio"):
            assert here["train"][name] == pytest.approx(there["train"][name], abs=1e-10)
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-10)
        assert here["val"]["accuracy"] == there["val"]["accuracy"]
    assert two.results["processes"] == 2
    assert two.results["test"]["fused"]["accuracy"] == one.results["test"]["fused"]["accuracy"]
    assert len(list((tmp_path / "2/checkpoint").glob("*.safetensors"))) == 2
