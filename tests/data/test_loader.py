from __future__ import annotations

import numpy as np
import pytest
import torch

from equimodal.data.dataset import Arrays
from equimodal.data.loader import Loader
from equimodal.errors import ConfigError


def noisy(value: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return value + float(rng.random())


def data(count: int = 21) -> Arrays:
    values = torch.arange(count, dtype=torch.float64)[:, None]
    here = torch.arange(count) % 3 > 0
    return Arrays(
        {"a": values, "b": values + 100},
        [0] * count,
        ["x"],
        present={"b": here},
        transforms={"a": noisy},
    )


def contents(loader: Loader, epoch: int, start: int = 0) -> list[list[float]]:
    return [
        [*b.index.tolist(), *b.inputs["a"].flatten().tolist(), *b.mask("b").tolist()]  # type: ignore
        for b in loader.iterate(epoch, start)
    ]


def test_every_sample_comes_once_and_each_epoch_has_its_order() -> None:
    loader = Loader(data(), 5)
    orders = [[i for b in loader.iterate(e) for i in b.index.tolist()] for e in (0, 1)]  # type: ignore
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(21))
    assert orders[0] != orders[1]
    assert orders[0] != list(range(21))
    assert Loader(data(), 5, seed=1).order(0).tolist() != orders[0]


def test_an_epoch_can_be_entered_at_any_batch() -> None:
    loader = Loader(data(), 4)
    whole = contents(loader, 3)
    assert [contents(loader, 3, start) for start in range(len(loader) + 1)] == [
        whole[start:] for start in range(len(loader) + 1)
    ]


def test_reading_leaves_no_trace() -> None:
    loader = Loader(data(), 4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    running = iter(loader)
    first = next(running)
    list(loader.iterate(7))
    rest = [b.index.tolist() for b in running]  # type: ignore[union-attr]
    assert [first.index.tolist(), *rest] == [b.index.tolist() for b in loader.iterate(0)]  # type: ignore
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_change_nothing() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert contents(Loader(data(), 4, workers=2), 1, 1) == contents(Loader(data(), 4), 1, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_iterating_reads_the_epoch_that_was_set() -> None:
    loader = Loader(data(), 4)
    loader.set_epoch(2)
    assert [b.index.tolist() for b in loader] == [b.index.tolist() for b in loader.iterate(2)]  # type: ignore


@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_read_what_one_would(world: int) -> None:
    parts = [list(Loader(data(), 8, rank=r, world=world).iterate(1)) for r in range(world)]
    whole = list(Loader(data(), 8).iterate(1))
    assert {len(p) for p in parts} == {len(whole)}
    for together, *shares in zip(whole, *parts, strict=True):
        joined = [i for share in shares for i in share.index.tolist()]  # type: ignore[union-attr]
        assert joined == together.index.tolist()  # type: ignore[union-attr]
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("count", "size", "options", "sizes"),
    [
        (21, 5, {}, [5, 5, 5, 6]),  # a single one joins the batch before
        (22, 5, {}, [5, 5, 5, 5, 2]),
        (71, 32, {}, [32, 32, 7]),
        (67, 32, {}, [32, 35]),
        (22, 5, {"world": 3, "rank": 2}, [1, 1, 1, 1, 0]),  # the same batches as for one process
        (21, 5, {"shuffle": False}, [5, 5, 5, 5, 1]),
        (22, 5, {"drop_last": True}, [5, 5, 5, 5]),
        (3, 5, {"shuffle": False}, [3]),
        (0, 5, {"shuffle": False}, []),
    ],
)
def test_sizes(count: int, size: int, options: dict[str, int], sizes: list[int]) -> None:
    loader = Loader(data(21).subset(range(count)) if count < 21 else data(count), size, **options)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)
    if "world" not in options:
        assert loader.samples == sum(sizes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_size": 22}, "larger than the training data of 21"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 2, "world": 3}, "without a sample"),
        ({"batch_size": 2, "rank": 1}, "Process 1 of 1"),
        ({"batch_size": 2, "workers": -1}, "workers"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Loader(data(), **options)
