"""The command line as a user meets it: help, mistakes, and a run from training to prediction."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from equimodal.cli import app, main
from equimodal.cli.options import Options
from equimodal.training.settings import Settings

pytestmark = pytest.mark.whole

SMALL = [
    "--encoders.image=cnn(channels=1, widths=(4,), kernels=(3,), width=8)",
    "--encoders.points=pointnet(width=8, widths=(8,))",
    "--precision=64",
    "--device=cpu",
    "--threads=1",
]
TINY = [*SMALL, "--no-report"]  # a report costs as much as all the rest
DATA = "digits3d(points=8)"
QUICK = ["synthetic(count=2, samples=(80, 20, 20))", "--no-probe", "--no-report"]
COMMANDS = [
    (),
    ("train",),
    ("predict",),
    ("diagnose",),
    ("report",),
    ("bench",),
    ("methods",),
    ("data",),
    ("data", "list"),
    ("data", "init"),
    ("data", "check"),
    ("data", "get"),
    ("data", "prepare"),
    ("data", "export"),
    ("data", "unpack"),
    ("demo",),
]


# A new interpreter finds the package where this one does.
HERE = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a mistake: one line on the error stream, exit code 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("equimodal: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture(scope="session")  # test classes are spread over processes
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that `train` has made."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    assert main(["train", DATA, *TINY, "--epochs=2", "--method=bio()", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written by default lands in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", list(sys.path)
    )  # commands add the folder that they are given in


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_has_help(
        self, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*command, "--help"]) == 0
        page = capsys.readouterr().out
        assert " ".join(["Usage: equimodal", *command]) in page
        assert "//" not in page  # <names> are taken for markup and vanish

    @pytest.mark.processes
    def test_help_needs_neither_pytorch_nor_scikit_learn(self) -> None:
        pages = [[*command, "--help"] for command in COMMANDS]
        program = (
            "import sys\nfrom equimodal.cli import main\n"
            f"for page in {pages!r}: main(page)\n"
            "heavy = {'torch', 'sklearn', 'scipy', 'pandas', 'pyarrow', 'lightning_fabric'}\n"
            "print('heavy:', heavy & set(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=HERE, capture_output=True, text=True
        )
        assert done.stderr == "heavy: set()\n"
        assert done.returncode == 0

    def test_a_bench_lists_the_options_of_every_run_but_those_of_its_own(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["bench", "--help"])
        listed = set(re.findall(r"^│ (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
        assert {"--methods", "--seeds", "--epochs", "--task"} <= listed
        assert not {"--method", "--seed"} & listed

    def test_train_has_an_option_for_every_setting_with_its_default(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["train", "--help"])
        page = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
        words = {"None": "none", "{}": "none", "True": "yes", "False": "no"}
        for name, field in Settings.model_fields.items():
            if name == "data":
                continue
            option = page.rpartition(f" --{name.replace('_', '-')} ")[2]
            default = words.get(str(field.default), str(field.default))
            assert re.match(
                rf"[^\]]*(\[choices: [^\]]*\] )?\[default: {re.escape(default)}\]", option
            )

    def test_options_are_settings(self) -> None:
        assert list(Options.model_fields) == list(Settings.model_fields)

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.strip() == app.version


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("trian",), 'Did you mean "train"?'),
            (("train",), "Say what to train on"),
            (("train", "digits3d", "--epoch", "3"), "Did you mean --epochs?"),
            (
                ("train", "digits3d", "--epochs", "0"),
                "'epochs' should be greater than or equal to 1",
            ),
            (("train", "digits3d", "--epochs", "many"), "'epochs' should be a valid integer"),
            (("train", "digits3d", "--precision", "33"), "'32', 'bf16' or '64'"),
            (("train", "digits3d", "--checkpoint-every", "5m"), "such as '60s'"),
            (("train", "digits3d", "--method", "imbl()"), "did you mean 'ibml'?"),
            (("train", "digits3d", "--method", "bio() +"), "cannot be read"),
            (("train", "digits3d", "--method", "uniform(wieght=2)"), "did you mean 'weight'?"),
            (("train", "digits3d", "--modalities", "image,point"), "did you mean 'points'?"),
            (("train", "digit3d"), "did you mean 'digits3d'?"),
            (("train", "synthetic", "--batch-size", "100000"), "100000"),
            (("train", "synthetic", "--encoders.m1", "ml()"), "did you mean 'mlp'?"),
            (("train", "synthetic", "--encoders.sound", "cnn()"), "'sound'"),
            (("train", "mfeat", "--data-root", "nowhere"), "nowhere"),
            (("train", "mfeat"), "mfeat"),
            (("train", "--config", "missing.toml"), "missing.toml cannot be read"),
            (("train", "--resume", "nothing"), "nothing is not the folder of a run"),
            (("train", "digits3d", "--resume", "nothing"), "leave out DATA"),
            (("train", "--resume", "nothing", "--lr", "1"), "leave out --lr"),
            (("predict", "nothing"), "nothing is not the folder of a run"),
            (("predict", "nothing", "--split", "tset"), 'Did you mean "test"?'),
            (("train", "digits3d", "--head", "os:path()"), "'os:path' is no head"),
            (
                ("train", "digits3d", "--method", "bio(margin='x')"),
                "bio(): margin must be a number; here 'x'",
            ),
            (("methods", "infobrige"), "did you mean 'infobridge'?"),
            (("data", "check", "avmnits"), "did you mean 'avmnist'?"),
            (("data", "get", "mfeat", "--data-root", "here"), "cannot be downloaded"),
            (("data", "get", "avmnist"), "--data-root"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_is_one_sentence_that_says_what_would_be_right(
        self, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert says in refused(capsys, *arguments)
        assert not list(Path.cwd().iterdir())  # nothing half-written

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("data = ", "is not valid TOML"),
            ("data = 'digits3d'\nepoch = 3", "did you mean 'epochs'?"),
            ("data = 'digits3d'\nlr = -1", "'lr' should be greater than 0"),
            ("epochs = 3", "'data' is needed"),
        ],
    )
    def test_in_an_experiment_file_names_the_file(
        self, text: str, says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("wrong.toml").write_text(text, encoding="utf-8")
        said = refused(capsys, "train", "--config", "wrong.toml")
        assert "wrong.toml" in said
        assert says in said

    def test_an_existing_run_is_not_touched(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        said = refused(capsys, "train", DATA, *TINY, "--out", str(run))
        assert "--resume" in said
        assert "--overwrite" in said
        assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before

    def test_a_folder_that_is_no_run_is_never_replaced(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("mine").mkdir()
        Path("mine/thesis.txt").write_text("years of work", encoding="utf-8")
        refused(capsys, "train", DATA, *TINY, "--out", "mine", "--overwrite")
        assert Path("mine/thesis.txt").read_text(encoding="utf-8") == "years of work"


class TestTrain:
    def test_says_what_the_results_file_says(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = "again"
        assert main(["train", DATA, *SMALL, "--epochs=2", "--method=bio()", "--out", out]) == 0
        found = json.loads(Path(out, "results.json").read_text(encoding="utf-8"))
        said = capsys.readouterr()
        assert f"{100 * found['test']['fused']['accuracy']:.1f}" in said.out
        assert out in said.out
        assert f"Report: {Path(out, 'report.html')}" in said.out
        assert Path(out, "report.html").stat().st_size > 4e6
        assert [line for line in said.err.splitlines() if line.startswith("epoch")][1:] != []
        first = json.loads((run / "results.json").read_text(encoding="utf-8"))
        assert first["test"] == found["test"]  # the same command, the same figures

    def test_options_go_over_the_file_and_the_file_over_the_defaults(self) -> None:
        Path("mine.toml").write_text(
            f"data = {QUICK[0]!r}\nepochs = 7\nlr = 0.5\nmodalities = ['m2']\n"
            "[encoders]\nm2 = 'mlp(32)'\n",
            encoding="utf-8",
        )
        assert main(["train", "--config=mine.toml", "--epochs=1", "--out=run", "--no-probe"]) == 0
        stored = Settings.from_toml("run/config.toml")
        assert (stored.epochs, stored.lr, stored.momentum) == (1, 0.5, 0.9)
        assert (stored.modalities, stored.probe) == (("m2",), False)

    def test_an_option_for_one_modality_keeps_the_files_others(self) -> None:
        Path("mine.toml").write_text(
            f"data = {DATA!r}\nepochs = 1\n[encoders]\npoints = 'pointnet(width=4, widths=(4,))'\n"
            "image = 'cnn()'\n[augment]\npoints = 'rotate()'\nimage = 'flip()'\n",
            encoding="utf-8",
        )
        changed = "--encoders.image=cnn(widths=(4,), kernels=(3,), width=4)"
        still = "--augment.image=none"
        assert main(["train", "--config=mine.toml", changed, still, "--out=run"]) == 0
        config = Settings.from_toml("run/config.toml")
        assert config.augment == {"points": "rotate()", "image": "none"}
        stored = config.encoders
        assert stored["image"] == "cnn(widths=(4,), kernels=(3,), width=4)"
        assert stored["points"] == "pointnet(width=4, widths=(4,))"

    def test_components_of_ones_own_may_lie_where_the_command_is_given(self) -> None:
        Path("mine_here.py").write_text(
            "from equimodal import Method\n\nclass Same(Method):\n    pass\n", encoding="utf-8"
        )
        method = "--method=mine_here:Same()"
        assert main(["train", *QUICK, "--epochs=1", "--out=run", method]) == 0
        assert Settings.from_toml("run/config.toml").method == "mine_here:Same()"

    @pytest.mark.parametrize(
        ("option", "base", "takes"),
        [
            ("method", "Method", ""),
            ("head", "heads.Linear", "widths, classes"),
            ("encoders.m1", "nn.Module", ""),
        ],
    )
    def test_of_ones_own_what_forgets_its_init_is_told(
        self, option: str, base: str, takes: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module = f"forgets_{option.replace('.', '_')}"  # one that no other test has imported
        Path(f"{module}.py").write_text(
            f"from torch import nn\nfrom equimodal import Method, heads\n\nclass Mine({base}):\n"
            "    def __init__(self, *given):\n        self.strength = 2\n",
            encoding="utf-8",
        )
        told = refused(capsys, "train", *QUICK, f"--{option}={module}:Mine()", "--out=run")
        assert f"Mine.__init__() must begin with super().__init__({takes})" in told
        assert not Path("run").exists()

    def test_the_run_folder_is_named_after_data_method_and_seed(self) -> None:
        method = "(bio() + tcm()).during(1, 0.9)"
        assert main(["train", *QUICK, "--method", method, "--seed=3", "--epochs=1"]) == 0
        (folder,) = Path("runs").iterdir()
        data = "synthetic_count=2_samples=_80_20_20"
        assert folder.name == f"{data}-bio+tcm_.during_1_0.9-3"

    @pytest.mark.parametrize("names", [["m2,m1"], ["m2", "m1"]])
    def test_modalities_are_names_with_commas_or_without(self, names: list[str]) -> None:
        command = ["train", *QUICK, "--epochs=1", "--out=run", "--modalities", *names]
        assert main(command) == 0
        found = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
        assert list(found["test"]["modalities"]) == ["m2", "m1"]

    @pytest.mark.processes
    def test_an_interrupted_run_says_how_to_go_on_and_ends_the_same(self, run: Path) -> None:
        command = ["train", DATA, *TINY, "--epochs=2", "--method=bio()", "--out", "stopped run"]
        with subprocess.Popen(
            [sys.executable, "-m", "equimodal", *command],
            env=HERE,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            process.stderr.readline()  # what is trained: training begins
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        if process.returncode == 130:  # else it was done before the signal came
            assert "equimodal train --resume 'stopped run'" in said
            assert main(["train", "--resume", "stopped run"]) == 0
        there = json.loads(Path("stopped run/results.json").read_text(encoding="utf-8"))
        assert (
            there["test"] == json.loads((run / "results.json").read_text(encoding="utf-8"))["test"]
        )

    @pytest.mark.processes
    def test_processes_of_a_launcher_say_everything_once(self) -> None:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = ["train", QUICK[0], "--no-probe", "--epochs=1", "--out=run"]
        done = subprocess.run(
            [*launcher, "--nproc-per-node=2", "-m", "equimodal", *command],
            env=HERE,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        for words in ("test accuracy, 20 samples", "Run folder: run", "Report: "):
            assert done.stdout.count(words) == 1
        found = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
        assert found["processes"] == 2

    def test_a_finished_run_may_be_resumed_and_stays_what_it_is(self, run: Path) -> None:
        before = json.loads((run / "results.json").read_text(encoding="utf-8"))
        assert main(["train", "--resume", str(run), "--workers", "0"]) == 0
        after = json.loads((run / "results.json").read_text(encoding="utf-8"))
        assert after["test"] == before["test"]

    @pytest.mark.parametrize(("protocol", "part"), [("honest", "val"), ("paper", "test")])
    def test_an_epoch_says_on_which_split_it_was_judged(
        self, protocol: str, part: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", *QUICK, "--epochs=1", f"--protocol={protocol}"]) == 0
        said = capsys.readouterr().err
        assert re.search(rf"epoch 1 · loss [\d.]+ · {part} [\d.]+%", said)


class TestReport:
    def test_lies_in_the_run_and_shows_samples_as_they_are(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", str(run), "--format", "json", "--samples", "2"]) == 0
        assert capsys.readouterr().out == f"Wrote {run / 'report.json'}\n"
        page = json.loads((run / "report.json").read_text(encoding="utf-8"))
        [section] = [section for section in page["sections"] if section["title"] == "Samples"]
        [shown] = section["parts"]  # no sentence that says why they cannot be shown
        assert len(shown["rows"]) == 2

    def test_without_its_packages_training_says_what_it_needs(
        self,
        run: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "plotly", None)  # as if it were not installed
        out = Path("bare")
        assert main(["train", QUICK[0], "--epochs=1", "--out", str(out)]) == 0
        said = capsys.readouterr().out.splitlines()[-1]
        assert said == 'Report: pip install "equimodal[report]", then equimodal report bare'
        assert not (out / "report.html").exists()
        assert "equimodal[report]" in refused(capsys, "report", str(run))
        assert main(["report", str(run), "--format=markdown", "--samples=0", "--out=r.md"]) == 0

    def test_can_be_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", *QUICK, "--epochs=1", "--out=none"]) == 0
        assert "Report" not in capsys.readouterr().out
        assert not Path("none/report.html").exists()


class TestPredict:
    def test_writes_probabilities_of_the_split(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["predict", str(run), "--split", "val", "--out", "val.parquet"]) == 0
        assert "val.parquet" in capsys.readouterr().out
        table = pq.read_table("val.parquet").to_pydict()
        assert len(table["target"]) == 128
        fused = [sum(table[f"p_fused_{c}"][i] for c in range(10)) for i in range(128)]
        assert fused == pytest.approx([1.0] * 128)

    def test_of_test_equals_what_train_wrote(self, run: Path) -> None:
        assert main(["predict", str(run), "--out", "test.parquet"]) == 0
        assert pq.read_table("test.parquet").equals(pq.read_table(run / "predictions.parquet"))

    def test_files_are_tried_of_a_data_toml_only(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = refused(capsys, "predict", str(run), "--out=p.parquet", "--skip-unreadable")
        assert "digits3d is not described by a data TOML: leave out skip_unreadable" in said
        assert not Path("p.parquet").exists()


class TestMethods:
    def test_table_reads_the_flows_off_the_classes(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["methods"]) == 0
        rows = {
            line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()
        }
        assert "inputs, losses, rate" in rows["ibml"]
        assert rows["ibml"].split()[-4:] == ["one", "yes", "no", "yes"]  # a record per sample
        assert rows["infobridge"].split()[-4:] == ["one", "no", "yes", "yes"]  # critics of its own
        assert rows["ogm_ge"].split()[-4:] == ["no", "no", "noise", "only"]
        assert re.match(r" ?uniform +losses +one ", rows["uniform"])
        assert re.match(r" ?warmup +rate +one ", rows["warmup"])
        assert re.match(r" ?joint +– +one ", rows["joint"])

    def test_papers_are_named_shortly(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["methods"]) == 0
        page = capsys.readouterr().out
        assert "Qin et al., IEEE TPAMI 2026" in page
        assert "Li et al., ICCV 2025" in page  # and not the second paper that its page cites
        assert max(map(len, page.splitlines())) < 200

    def test_one_method_is_explained_with_its_options(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["methods", "uniform"]) == 0
        page = capsys.readouterr().out
        assert page.startswith("uniform(weight=1.0)\n")
        assert "CVPR 2020" in page


class TestData:
    def test_list_names_every_set(self, capsys: pytest.CaptureFixture[str]) -> None:
        from equimodal.data import names

        assert main(["data", "list"]) == 0
        page = capsys.readouterr().out
        assert all(f" {name} " in page for name in names())
        assert "points (128, 3)" in page

    def test_check_counts(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", "digits3d"]) == 0
        page = capsys.readouterr().out
        assert "1,130 samples" in page
        assert "(128, 3)" in page

    def test_check_takes_the_options_of_the_set(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", "synthetic(samples=(400, 100, 130), count=2)"]) == 0
        page = capsys.readouterr().out
        assert "130 samples" in page and "modality m2" in page and "modality m3" not in page
        assert "did you mean 'samples'" in refused(capsys, "data", "check", "synthetic(sample=3)")

    def test_check_of_damaged_files_lists_them_and_fails(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("mfeat").mkdir()
        Path("mfeat/mfeat.npz").write_bytes(b"no archive")
        assert main(["data", "check", "mfeat", "--data-root", "."]) == 2
        said = capsys.readouterr()
        assert "unreadable: " in said.out
        assert "mfeat.npz" in said.out
        assert "1 unreadable of 1 files" in said.err
