"""The draw of negatives against plain loops over lists."""

from __future__ import annotations

import math

import torch

from equimodal.methods.infobridge.negatives import draw


def slow(batch: list[bool], memory: list[bool], uniform: list[float]) -> list[tuple[str, int]]:
    """One anchor's negatives by the written rule: the batch's where there are enough, else all of them and the memory."""
    here = [j for j, may in enumerate(batch) if may]
    there = [j for j, may in enumerate(memory) if may]
    if len(here) >= len(uniform):
        return [("batch", here[math.floor(u * len(here))]) for u in uniform]
    chosen = [("batch", j) for j in here]
    for u in uniform[len(here) :]:
        pool, name = (there, "memory") if there else (here, "batch")
        if pool:
            chosen.append((name, pool[math.floor(u * len(pool))]))
    return chosen


def test_equals_plain_loops_for_pools_of_every_size() -> None:
    generator = torch.Generator().manual_seed(0)
    density = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    batch = torch.rand(200, 12, generator=generator, dtype=torch.float64) < density
    memory = torch.rand(200, 7, generator=generator, dtype=torch.float64) < 0.2
    uniform = torch.rand(200, 5, generator=generator, dtype=torch.float64)
    found = draw(batch, memory, uniform)
    kinds = set()
    for i in range(200):
        expected = slow(batch[i].tolist(), memory[i].tolist(), uniform[i].tolist())
        assert bool(found.valid[i]) == bool(expected)
        if not expected:
            continue
        got = [
            ("memory", int(m)) if stale else ("batch", int(b))
            for b, m, stale in zip(found.fresh[i], found.stored[i], found.stale[i], strict=True)
        ]
        assert got == expected
        kinds.add((int(batch[i].sum()) >= 5, bool(memory[i].any())))
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}


def test_an_anchor_without_negatives_is_invalid_and_points_nowhere_outside() -> None:
    found = draw(
        torch.zeros(3, 4, dtype=torch.bool), torch.zeros(3, 1, dtype=torch.bool), torch.rand(3, 5)
    )
    assert not found.valid.any() and not found.stale.any()
    assert found.fresh.max() < 4 and found.stored.max() < 1


def test_the_largest_random_number_stays_inside_the_pool() -> None:
    almost_one = torch.full((1, 2), 1 - 2**-24, dtype=torch.float32)
    found = draw(
        torch.ones(1, 3000, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool), almost_one
    )
    assert found.fresh.tolist() == [[2999, 2999]]


def test_a_pool_is_drawn_from_uniformly() -> None:
    pool = torch.tensor([[True, False, True, True, False, True]])
    uniform = (torch.arange(4000, dtype=torch.float64)[None] + 0.5) / 4000
    # As many draws as cells: an even grid of random numbers must give each member exactly its share.
    found = [draw(pool, torch.zeros(1, 1, dtype=torch.bool), part) for part in uniform.split(4, 1)]
    every = torch.cat([part.fresh for part in found])
    assert torch.bincount(every.flatten(), minlength=6).tolist() == [1000, 0, 1000, 1000, 0, 1000]
