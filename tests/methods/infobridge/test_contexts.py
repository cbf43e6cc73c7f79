"""Clusters and similarity levels: made once per epoch from what the last one recorded."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from equimodal.core import Classification, Epoch
from equimodal.methods._samples import Samples
from equimodal.methods.infobridge.context import Cluster, Label, Retrieval
from equimodal.methods.infobridge.critic import Cosine, Critics

WIDTHS = {"a": 3, "b": 3}


def critics() -> Critics:
    torch.manual_seed(0)
    return Critics(WIDTHS, 4, lambda: Cosine(4, 3, 0.1, False)).double()


def samples(first: Tensor, second: Tensor, present: Tensor | None = None) -> Samples:
    count = len(first)
    everywhere = torch.ones(count, dtype=torch.bool)
    return Samples(
        {"a": first, "b": second},
        {"a": everywhere, "b": everywhere if present is None else present},
        torch.zeros(count, dtype=torch.long),
        torch.arange(count),
    )


def epoch(index: int) -> Epoch:
    return Epoch(index, cast(Any, None), Classification(), seed=3)


def groups(noise: float, seed: int) -> tuple[Samples, Tensor]:
    """Ninety samples around three well-separated directions, and their groups."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(90) % 3
    centres = torch.eye(3, dtype=torch.float64)[group]

    def noisy(z: Tensor) -> Tensor:
        scale = 1 + torch.rand(
            90, 1, generator=generator, dtype=torch.float64
        )  # only directions count
        return scale * (z + noise * torch.randn(90, 3, generator=generator, dtype=torch.float64))

    return samples(noisy(centres), noisy(-centres)), group


def test_label_is_the_target() -> None:
    some, _ = groups(0.1, 0)
    assert Label(3).of(some) is some.target


def test_clusters_are_constant_at_first_then_the_groups_with_stable_ids() -> None:
    context = Cluster(3, 90, WIDTHS).double()
    some, group = groups(0.1, 0)
    context.reassign(epoch(0))
    assert context.of(some).unique().tolist() == [0]
    context.record(some, critics())
    assert context.of(some).unique().tolist() == [0]  # not within the epoch
    context.reassign(epoch(1))
    first = context.of(some)
    for g in range(3):
        assert len(first[group == g].unique()) == 1
    assert len(first.unique()) == 3
    for index in range(2, 6):
        moved, _ = groups(0.15, index)
        context.record(moved, critics())
        context.reassign(epoch(index))
        assert torch.equal(context.of(moved), first)


def test_centroids_are_the_means_of_their_members() -> None:
    context = Cluster(4, 90, WIDTHS).double()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 90, 3, generator=generator, dtype=torch.float64)
    some = samples(z[0], z[1])
    context.record(some, critics())
    for index in range(1, 9):  # to convergence
        context.reassign(epoch(index))
    directions = torch.cat([F.normalize(part, dim=1) for part in z], 1)
    table = context.of(some)
    for k in table.unique().tolist():
        torch.testing.assert_close(context.centroids[k], directions[table == k].mean(0))
    distance = ((directions[:, None] - context.centroids) ** 2).sum(2)
    assert torch.equal(table, distance.argmin(1))


def test_more_clusters_than_points_and_points_that_are_all_one() -> None:
    context = Cluster(5, 3, WIDTHS).double()
    same = torch.ones(3, 3, dtype=torch.float64)
    context.record(samples(same, same), critics())
    context.reassign(epoch(1))
    assert torch.isfinite(context.centroids).all()
    assert len(context.table.unique()) == 1


def test_retrieval_levels_are_terciles_of_the_similarity() -> None:
    context, made = Retrieval(90).double(), critics()
    some, _ = groups(1.0, 0)
    context.record(some, made)
    assert context.of(some).unique().tolist() == [0]
    context.reassign(epoch(1))
    levels = context.of(some)
    assert torch.bincount(levels).tolist() == [30, 30, 30]
    weights = {m: made.projections[m].weight for m in WIDTHS}
    cosine = F.cosine_similarity(
        some.features["a"] @ weights["a"].T, some.features["b"] @ weights["b"].T
    )
    assert cosine[levels == 0].max() < cosine[levels == 1].min()
    assert cosine[levels == 1].max() < cosine[levels == 2].min()


def test_retrieval_leaves_samples_without_a_pair_out_of_the_quantiles() -> None:
    context, made = Retrieval(90).double(), critics()
    whole, _ = groups(1.0, 0)
    present = torch.arange(90) % 3 != 0
    some = samples(whole.features["a"], whole.features["b"], present)
    context.record(some, made)
    context.reassign(epoch(1))
    assert torch.bincount(context.of(some)[present]).tolist() == [20, 20, 20]
    assert context.of(some)[~present].unique().tolist() == [0]
