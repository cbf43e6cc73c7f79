"""What memories keep, and where."""

from __future__ import annotations

import torch

from equimodal.methods._memory import Bank, Nothing, Queue
from equimodal.methods._samples import Samples

WIDTHS = {"a": 2, "b": 1}


def samples(start: int, count: int) -> Samples:
    index = torch.arange(start, start + count)
    features = {"a": torch.stack([index, -index], 1).float(), "b": 10.0 * index[:, None]}
    present = {"a": torch.ones(count).bool(), "b": index % 2 == 0}
    return Samples(features, present, index % 3, index)


def test_queue_keeps_the_last_samples_first_in_first_out() -> None:
    queue = Queue(WIDTHS, 5)
    kept: list[int] = []
    for start, count in ((0, 3), (3, 1), (4, 4), (8, 9), (17, 5), (22, 2)):
        queue.write(samples(start, count))
        kept = [*kept, *range(start, start + count)][-5:]
        known = [i for i in queue.index.tolist() if i >= 0]
        assert sorted(known) == kept
        rows = (queue.index >= 0).nonzero().squeeze(1)
        found, said = queue.features(rows), queue.describe(rows)
        assert torch.equal(found["a"][:, 0].long(), said.index)
        assert torch.equal(found["b"][:, 0].long(), 10 * said.index)
        assert torch.equal(said.present["b"], said.index % 2 == 0)
        assert torch.equal(said.target, said.index % 3)


def test_queue_has_no_place_of_its_own_for_an_anchor() -> None:
    queue = Queue(WIDTHS, 5)
    queue.write(samples(0, 3))
    _, stale = queue.own(torch.tensor([0, 1]))
    assert not stale.any()


def test_bank_keeps_each_sample_as_last_seen() -> None:
    bank = Bank(WIDTHS, 10, 4)
    bank.write(samples(2, 3))
    rows, stale = bank.own(torch.arange(10))
    assert stale.tolist() == [2 <= i < 5 for i in range(10)]
    assert torch.equal(bank.features(rows[2:5])["b"].squeeze(1), torch.tensor([20.0, 30.0, 40.0]))
    newer = samples(3, 1)
    newer.features["b"][:] = 7.0
    bank.write(newer)
    assert bank.features(torch.tensor([3]))["b"].item() == 7.0


def test_bank_draws_a_fixed_number_of_rows_and_all_where_there_are_fewer() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([Bank(WIDTHS, 10, 4).candidates(generator) for _ in range(200)])
    assert len(drawn) == 800 and set(drawn.tolist()) == set(range(10))
    assert Bank(WIDTHS, 3, 4).candidates(generator).tolist() == [0, 1, 2]


def test_nothing_stays_empty() -> None:
    nothing = Nothing(WIDTHS)
    nothing.write(samples(0, 3))
    assert nothing.index.tolist() == [-1]


def test_state_is_of_fixed_size() -> None:
    for memory in (Queue(WIDTHS, 5), Bank(WIDTHS, 10, 4), Nothing(WIDTHS)):
        before = {name: value.shape for name, value in memory.state_dict().items()}
        memory.write(samples(0, 8))
        assert {name: value.shape for name, value in memory.state_dict().items()} == before
