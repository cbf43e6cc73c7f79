"""Devices, processes and precision.

The model is never wrapped: `equimodal.core.Balanced` averages gradients over processes itself, before the method sees
them. Process r takes the r-th slice of every global batch. Batch norm is computed per process, on its own slice; with
encoders that have none, several processes give the result of one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from .. import distributed, errors
from ..errors import ConfigError, EquimodalError, TrainingError, counted
from .progress import Progress
from .settings import Settings

__all__ = ["Interrupt", "Runtime", "in_processes", "must_spawn", "speaks"]

T = TypeVar("T")

PATIENCE = timedelta(hours=2)


def must_spawn(settings: Settings) -> bool:
    """Whether processes are asked for and nobody (such as torchrun) has started them."""
    return settings.processes > 1 and _world() == 1


def speaks() -> bool:
    """Whether this process is the one that prints: the first of those that a launcher started, or the only one."""
    return "LOCAL_RANK" not in os.environ or os.environ.get("RANK", "0") == "0"


def _world() -> int:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


class Runtime:
    """This process's place among devices and processes.

    Raises:
        ConfigError: CUDA is asked for and there is none, or fewer devices than processes on this machine, or the number of
            processes is not that of the launcher.
    """

    def __init__(self, settings: Settings) -> None:
        world = _world()
        if settings.processes not in (1, world):
            raise ConfigError(
                f"The launcher started {world} processes and processes={settings.processes} was asked for: leave it out."
            )
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._joined = world > 1 and not dist.is_initialized()
        self.device = _device(settings.device, launched=self._joined)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.deterministic = True  # the same run twice gives the same bits
        if self._joined:
            # The others wait while the first evaluates, which may take longer than NCCL's own ten minutes.
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=PATIENCE)
        self.precision = settings.precision
        self.dtype = torch.float64 if settings.precision == "64" else torch.float32
        self.rank, self.world = distributed.rank(), distributed.processes()

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates and writes."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward pass and losses."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return _made_double() if self.precision == "64" else contextlib.nullcontext()

    def seed(self, seed: int) -> None:
        """Seed the global generators, each process its own way; what a step needs alike everywhere is not drawn here."""
        mixed = (seed * 1_000_003 + self.rank) % 2**32
        torch.manual_seed(mixed)
        np.random.seed(mixed)
        random.seed(mixed)

    def agree(self, *flags: bool) -> list[bool]:
        """Each flag, raised if it is raised in any process; nothing is sent where there is one process."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.float32, device=self.device)
        return [vote > 0 for vote in distributed.sum(votes).tolist()]

    def share(self, value: T) -> T:
        """The first process's value, in every process; the others wait for it."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *error: object) -> None:
        if self._joined and dist.is_initialized():
            dist.destroy_process_group()


def _device(wanted: str, *, launched: bool) -> torch.device:
    """Of this process; a launcher says which place it has on its machine, and each place has a device of its own."""
    if wanted == "cpu" or not torch.cuda.is_available():
        if wanted == "cuda":
            raise ConfigError(
                "device='cuda' was asked for, and PyTorch finds no CUDA device: use 'cpu'."
            )
        return torch.device("cpu")
    place = int(os.environ["LOCAL_RANK"]) if launched else torch.cuda.current_device()
    there = torch.cuda.device_count()
    if place >= there:
        raise ConfigError(
            f"Each process on a machine trains on a CUDA device of its own, and PyTorch finds {counted(there, 'device')} for "
            f"at least {place + 1} processes: start at most {there}, or use device='cpu'."
        )
    return torch.device("cuda", place)


@contextlib.contextmanager
def _made_double() -> Iterator[None]:
    """Within, a tensor that is made with no type said, as in an encoder's forward, is of float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Interrupt:
    """Ctrl-C as a flag that is read between two steps; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Within, Ctrl-C only raises the flag; only a program's main thread can do this."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


# Starting processes.


def in_processes(
    work: Callable[[Any, Progress], object], task: Any, processes: int, progress: Progress
) -> None:
    """Run ``work(task, progress)`` in so many new processes that form one group; what they find, they leave on disk.

    Raises:
        EquimodalError: the one that a process raised.
        KeyboardInterrupt: Ctrl-C; the processes have written their checkpoint.
        TrainingError: a process died.
    """
    answers = torch.multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (work, task, processes, _free_port(), answers)
    interrupt = Interrupt()
    failure: list[tuple[str, str]] = []
    with interrupt.caught():
        workers = _started(arguments, processes)
        running = True
        while running:
            running, died = _joined(workers)
            while not answers.empty():
                _deliver(answers.get(), progress, failure)
    if failure:
        _raise(*failure[0])
    if died:
        raise TrainingError(f"A training process died: {died}")


def _started(arguments: tuple[Any, ...], processes: int) -> Any:
    try:
        return torch.multiprocessing.start_processes(
            _worker, arguments, nprocs=processes, join=False, start_method="spawn"
        )
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Model, data and method must be sent to other processes, and cannot be: {error}; define their classes at "
            "the top of a module, or start the program with torchrun."
        ) from error


def _joined(workers: Any) -> tuple[bool, str]:
    """Whether processes are still at work, and why one died."""
    try:
        return not workers.join(timeout=0.2), ""
    except ProcessRaisedException as error:
        return False, str(error)
    except ProcessExitedException as error:
        return False, f"{error}."


def _deliver(answer: tuple[str, Any], progress: Progress, failure: list[tuple[str, str]]) -> None:
    kind, content = answer
    if kind == "progress":
        name, arguments = content
        getattr(progress, name)(*arguments)
    else:
        failure.append((kind, content))


def _raise(kind: str, text: str) -> None:
    if kind == "KeyboardInterrupt":
        raise KeyboardInterrupt(text)
    known: type[Exception] = getattr(errors, kind, EquimodalError)
    raise known(text)


def _worker(
    rank: int,
    work: Callable[[Any, Progress], object],
    task: Any,
    processes: int,
    port: int,
    answers: Any,
) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    try:
        work(task, _Sent(answers))
    except (EquimodalError, KeyboardInterrupt) as error:
        answers.put((type(error).__name__, str(error)))
        raise SystemExit(2) from None


class _Sent:
    """A process's progress, sent to the one that started it."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def _send(self, name: str, *arguments: Any) -> None:
        self.answers.put(("progress", (name, arguments)))

    def start(self, total_steps: int, description: str) -> None:
        self._send("start", total_steps, description)

    def advance(self, n: int, figures: Mapping[str, float]) -> None:
        self._send("advance", n, dict(figures))

    def message(self, text: str) -> None:
        self._send("message", text)

    def close(self) -> None:
        self._send("close")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
