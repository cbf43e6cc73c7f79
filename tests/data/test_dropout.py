"""Modality dropout: how often, never everything, and the same whoever asks."""

from __future__ import annotations

import torch

from equimodal.data.dropout import ModalityDropout, uniform
from equimodal.training.fit import fit
from fixtures import small

P = 0.4


def masks(data: ModalityDropout, rows: torch.Tensor, epoch: int = 0) -> torch.Tensor:
    batch = data.fetch(rows, epoch)
    return torch.stack([batch.mask(name) for name in data.modalities], 1)


def test_each_modality_is_hidden_as_often_as_said_but_never_all() -> None:
    data = ModalityDropout(small.part(6000, 1, 3, 0.0), P)
    kept = masks(data, torch.arange(6000)).double()
    # All three are hidden with P³; then each is the one that stays in a third of cases.
    expected = 1 - P + P**3 / 3
    assert torch.allclose(kept.mean(0), torch.full((3,), expected, dtype=torch.float64), atol=0.02)
    assert bool(kept.any(1).all())
    pairs = torch.corrcoef(kept.T)
    assert float(pairs[0, 1].abs()) < 0.15


def test_what_is_missing_stays_missing_and_what_is_alone_stays() -> None:
    plain = small.part(400, 1, 2, 0.3)
    there = masks(ModalityDropout(plain, 0.0), torch.arange(400))
    kept = masks(ModalityDropout(plain, P), torch.arange(400))
    assert not bool((kept & ~there).any())
    assert torch.equal(kept.any(1), there.any(1))


def test_it_depends_on_epoch_and_sample_alone() -> None:
    data = ModalityDropout(small.part(50, 1, 3, 0.2), P, seed=1)
    rows = torch.randperm(50)
    assert torch.equal(masks(data, rows), masks(data, torch.arange(50))[rows])
    assert not torch.equal(masks(data, rows), masks(data, rows, epoch=1))
    for index in range(50):
        names = set(data.sample(index).inputs)
        mask = masks(data, torch.tensor([index]))[0].tolist()
        assert names == {n for n, k in zip(data.modalities, mask, strict=True) if k}


def test_draws_are_uniform() -> None:
    import numpy as np

    drawn = np.sort(uniform((0, "x"), np.arange(20_000)))
    even = (np.arange(20_000) + 0.5) / 20_000
    assert np.abs(drawn - even).max() < 1.63 / np.sqrt(20_000)  # Kolmogorov-Smirnov, 1 %
    assert drawn[0] >= 0 and drawn[-1] < 1


def test_training_with_it_learns_something_else() -> None:
    options = {"epochs": 1, "batch_size": 8, "device": "cpu", "probe": False, "fit_fusion": "off"}
    losses = [
        fit(small.model(), small.splits(), "joint()", modality_dropout=p, **options).history[0]
        for p in (0.0, 0.5)
    ]
    assert losses[0]["loss"] != losses[1]["loss"]
