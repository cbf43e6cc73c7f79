"""Devices and processes."""

from __future__ import annotations

import pytest
import torch

from equimodal.errors import ConfigError, DataError, TrainingError
from equimodal.training import runtime
from equimodal.training.progress import Silent
from equimodal.training.runtime import Runtime, in_processes, must_spawn
from equimodal.training.settings import Settings
from fixtures import small


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.processes
def test_an_error_in_a_process_is_raised_here_and_progress_is_heard() -> None:
    heard = Heard()
    with pytest.raises(DataError, match=r"^Row 3 is wrong\.$"):
        in_processes(small.refuse_in_second, "reading", 2, heard)
    assert set(heard.lines) <= {"reading in process 0", "reading in process 1"}


@pytest.mark.processes
def test_a_process_that_dies_is_reported() -> None:
    with pytest.raises(TrainingError, match=r"process died: .*SIGKILL"):
        in_processes(small.die, "", 1, Silent())


def test_what_cannot_be_sent_to_processes_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"must be sent to other processes, and cannot be.*torchrun"
    ):
        in_processes(small.die, lambda: None, 2, Silent())


def test_a_launcher_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data="x", processes=2)
    assert must_spawn(settings)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not must_spawn(settings)
    with pytest.raises(ConfigError, match="launcher started 4 processes and processes=2"):
        Runtime(settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="finds no CUDA device: use 'cpu'"):
        Runtime(Settings(data="x", device="cuda"))


@pytest.mark.parametrize(
    ("precision", "weights", "product", "made"),
    [
        ("32", torch.float32, torch.float32, torch.float32),
        ("bf16", torch.float32, torch.bfloat16, torch.float32),
        ("64", torch.float64, torch.float64, torch.float64),
    ],
)
def test_precision(
    precision: str, weights: torch.dtype, product: torch.dtype, made: torch.dtype
) -> None:
    place = Runtime(Settings(data="x", precision=precision, device="cpu"))
    matrix = torch.ones(2, 2, dtype=place.dtype)
    with place.autocast():
        assert (matrix @ matrix).dtype == product
        assert torch.zeros(1).dtype == made  # as an encoder may make one
    assert place.dtype == weights
    assert (matrix @ matrix).dtype == weights
    assert torch.zeros(1).dtype == torch.float32


def test_one_process_agrees_with_itself() -> None:
    place = Runtime(Settings(data="x", device="cpu"))
    assert place.agree(True, False) == [True, False]
    assert place.share(0.1) == 0.1
    place.seed(3)
    first = torch.rand(2)
    place.seed(3)
    assert torch.equal(torch.rand(2), first)


def test_each_process_on_a_machine_has_a_cuda_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert runtime._device("auto", launched=True) == torch.device("cuda", 0)
    assert runtime._device("auto", launched=False) == torch.device("cuda", 1)  # the host's choice
    assert runtime._device("cpu", launched=True) == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="finds 2 devices for at least 3 processes"):
        runtime._device("cuda", launched=True)
