"""Settings: what a file says is what the run does, and a mistake is named."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from equimodal.errors import ConfigError
from equimodal.training.settings import HEADER, Settings


def test_a_file_says_the_same(tmp_path: Path) -> None:
    said = Settings(
        data='avmnist(size="small", snr=-5.0)',
        data_root="C:\\data\nü",
        modalities=["image", "audio"],
        encoders={"image": "cnn(channels=1)"},
        lr=1e-05,
        patience=3,
        probe=False,
        checkpoint_every="0.5s",
    )
    file = tmp_path / "config.toml"
    file.write_text(said.to_toml(), encoding="utf-8")
    assert Settings.from_toml(file) == said
    assert said.to_toml().startswith(HEADER + "\n")
    assert tomllib.loads(said.to_toml())["lr"] == 1e-05


def test_every_default_is_written_out() -> None:
    written = tomllib.loads(Settings(data="digits3d").to_toml())
    left_out = {
        "data_root",
        "modalities",
        "head",
        "task",
        "clip",
        "patience",
        "select_by",
        "val_fraction",
        "threads",
        "split_seed",
    }
    assert set(written) == set(Settings.model_fields) - left_out
    assert (written["epochs"], written["method"]) == (20, "ibml()")


def test_steps_and_seconds() -> None:
    by_steps, by_time = (Settings(data="x", checkpoint_every=e) for e in ("200", "1.5s"))
    assert (by_steps.checkpoint_steps, by_steps.checkpoint_seconds) == (200, None)
    assert (by_time.checkpoint_steps, by_time.checkpoint_seconds) == (None, 1.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"epoch": 3}, "There is no option 'epoch': did you mean 'epochs'?"),
        ({"epochs": 0}, "'epochs'.*greater than or equal to 1; here it is 0"),
        ({"lr": float("nan")}, "'lr'.*nan"),
        ({"optimizer": "adam"}, "'optimizer'.*'sgd' or 'adamw'.*'adam'"),
        ({"checkpoint_every": "often"}, "'checkpoint_every' must be.*'200'.*'60s'.*'often'"),
        ({"checkpoint_every": "0"}, "'checkpoint_every'"),
        ({"encoders": {"image": 3}}, "'encoders.image'.*3"),
        ({"val_fraction": 1.0}, "'val_fraction'.*less than 1"),
    ],
)
def test_a_mistake_is_named(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Settings(data="digits3d", **values)


def test_data_are_needed() -> None:
    with pytest.raises(ConfigError, match="'data' is needed"):
        Settings()


@pytest.mark.parametrize("text", ["epochs = ", "data = 'x'\nepochz = 3"])
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.toml.*(not valid TOML|did you mean 'epochs')"):
        Settings.from_toml(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        Settings.from_toml(tmp_path / "none.toml")


def test_settings_need_no_pytorch() -> None:
    code = "import sys; import equimodal.training.settings; sys.exit('torch' in sys.modules)"
    path = str(Path(__file__).parents[2] / "src")
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}).returncode == 0
