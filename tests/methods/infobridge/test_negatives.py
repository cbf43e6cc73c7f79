"""The draw of negatives against plain loops over lists."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equimodal.methods.infobridge.negatives import Candidates, Draw, draw

Sample = tuple[int, int, bool]
"""A sample's context and index, and whether it may be a negative at all."""


def samples(candidates: Candidates) -> list[Sample]:
    columns = candidates.context.tolist(), candidates.index.tolist(), candidates.there.tolist()
    return list(zip(*columns, strict=True))


def some(count: int, contexts: int, indices: int, generator: torch.Generator) -> Candidates:
    """Random candidates; indices repeat where there are fewer of them, and some are negative."""
    return Candidates(
        torch.randint(contexts, (count,), generator=generator),
        torch.randint(-2, indices, (count,), generator=generator),
        torch.rand(count, generator=generator) < 0.7,
    )


def slow(
    batch: list[Sample], memory: list[Sample], context: int, index: int, uniform: list[float]
) -> list[int]:
    """One anchor's negatives by the written rule: the batch's where there are enough, else all of them and the memory."""

    def pool(candidates: list[Sample], first: int) -> list[int]:
        may = [
            (i, first + row)
            for row, (c, i, there) in enumerate(candidates)
            if there and c == context and i != index
        ]
        return [row for _, row in sorted(may)]

    here, there = pool(batch, 0), pool(memory, len(batch))
    if len(here) >= len(uniform):
        return [here[math.floor(u * len(here))] for u in uniform]
    chosen = list(here)
    for u in uniform[len(here) :]:
        more = there or here
        if more:
            chosen.append(more[math.floor(u * len(more))])
    return chosen


def everywhere(count: int) -> Tensor:
    return torch.ones(2, count, dtype=torch.bool)


def test_equals_plain_loops_for_pools_of_every_size() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = set()
    for contexts, indices, size in ((1, 30, 9), (3, 6, 40), (20, 100, 30), (200, 9, 3)):
        batch, memory = (some(n, contexts, indices, generator) for n in (30, size))
        uniform = torch.rand(30, 5, generator=generator, dtype=torch.float64)
        found = draw(batch, memory, batch.context, batch.index, everywhere(30), uniform)
        for i, (context, index, _) in enumerate(samples(batch)):
            lists = samples(batch), samples(memory)
            expected = slow(*lists, context, index, uniform[i].tolist())
            assert bool(found.valid[i]) == bool(expected)
            if expected:
                assert found.position[i].tolist() == expected
                alone = slow(lists[0], [], context, index, [0.0])
                kinds.add((max(expected) >= 30, bool(alone)))
    assert kinds == {(False, True), (True, False), (True, True)}


def test_an_anchor_draws_only_where_it_is_allowed() -> None:
    generator = torch.Generator().manual_seed(0)
    batch, memory = (some(20, 2, 50, generator) for _ in range(2))
    allowed = torch.tensor([[True, False], [False, True], [False, False]]).T
    uniform = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    found = draw(batch, memory, batch.context[:3], batch.index[:3], allowed, uniform)
    assert found.valid.tolist() == [True, True, False]
    assert (found.position[0] < 20).all() and (found.position[1] >= 20).all()


def test_an_anchor_without_negatives_is_invalid_and_points_nowhere_outside() -> None:
    none = torch.zeros(3, dtype=torch.long)
    batch = Candidates(none, torch.arange(3), torch.zeros(3, dtype=torch.bool))
    memory = Candidates(none[:1], none[:1], torch.zeros(1, dtype=torch.bool))
    found = draw(batch, memory, none, torch.arange(3), everywhere(3), torch.rand(3, 5))
    assert not found.valid.any() and found.position.min() >= 0
    assert found.position.max() < 3  # of the batch


def of_one_context(there: Tensor, uniform: Tensor) -> Draw:
    """Draws from a batch of one context, for anchors that are not in it, with an empty memory."""
    none = torch.zeros(len(there), dtype=torch.long)
    memory = Candidates(none[:1], none[:1], torch.zeros(1, dtype=torch.bool))
    batch = Candidates(none, torch.arange(len(there)), there)
    anchors = torch.full((len(uniform),), len(there))
    allowed = everywhere(len(uniform))
    return draw(batch, memory, torch.zeros_like(anchors), anchors, allowed, uniform)


def test_the_largest_random_number_stays_inside_the_pool() -> None:
    almost_one = torch.full((1, 2), 1 - 2**-24, dtype=torch.float32)
    found = of_one_context(torch.ones(3000, dtype=torch.bool), almost_one)
    assert found.position.tolist() == [[2999, 2999]]


def test_a_pool_is_drawn_from_uniformly() -> None:
    pool = torch.tensor([True, False, True, True, False, True])
    uniform = (torch.arange(4000, dtype=torch.float64)[None] + 0.5) / 4000
    # As many draws as cells: an even grid of random numbers must give each member exactly its share.
    every = torch.cat([of_one_context(pool, part).position for part in uniform.split(4, 1)])
    assert torch.bincount(every.flatten(), minlength=6).tolist() == [1000, 0, 1000, 1000, 0, 1000]
