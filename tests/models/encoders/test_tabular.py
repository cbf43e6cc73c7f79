"""The encoder of vectors against matrix products written out, and the package's names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal.errors import ConfigError, DataError
from equimodal.models import encoders
from equimodal.models.encoders import MLP, SNN, Table


def test_mlp_is_linear_layers_with_relu() -> None:
    torch.manual_seed(0)
    encoder = MLP(5, hidden=(7, 4), width=3).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    y = x
    for weight, bias in zip(*[iter(encoder.parameters())] * 2, strict=True):
        y = (y @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(encoder(x), y)
    assert y.shape == (6, encoder.width)


def test_mlp_defaults() -> None:
    assert [tuple(p.shape) for p in MLP(20).parameters() if p.ndim == 2] == [(128, 20), (64, 128)]


def test_mlp_refusals() -> None:
    with pytest.raises(DataError, match=r"mlp reads \[B, 5\], but the input has shape \[2, 4\]"):
        MLP(5)(torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="mlp needs inputs of at least 1, not 0"):
        MLP(0)


def test_names_are_the_classes_in_lower_case() -> None:
    classes = {name for name in encoders.__all__ if name != "BY_NAME"}
    assert {cls.__name__ for cls in encoders.BY_NAME.values()} == classes
    assert all(name == cls.__name__.lower() for name, cls in encoders.BY_NAME.items())


def test_snn_keeps_mean_and_variance_of_standardised_inputs() -> None:
    torch.manual_seed(0)
    encoder = SNN(200, hidden=(256,) * 6, width=256, dropout=0.05)
    features = encoder(torch.randn(2_000, 200))
    assert abs(features.mean().item()) < 0.1  # a network of ReLU: mean 0.3 or nothing left
    assert 0.8 < features.var().item() < 1.2
    assert [m.out_features for m in SNN(80).modules() if isinstance(m, nn.Linear)] == [
        64, 48, 32, 32,
    ]  # fmt: skip
    assert SNN(80).width == 32


def test_table_gives_each_category_of_each_column_an_embedding_of_its_own() -> None:
    torch.manual_seed(0)
    encoder = Table(numbers=2, categories=(3, 2), embedding=4, hidden=(), width=5)
    rows = torch.tensor([[0.5, -1.0, 2, 0], [0.5, -1.0, -1, 1], [1.0, 0.0, 0, 7]])
    table = (
        encoder.embeddings.weight
    )  # unknown, 0, 1, 2 of the first column; unknown, 0, 1 of the second
    assert table.shape == (7, 4)
    chosen = [(3, 5), (0, 6), (1, 4)]  # 7 was never seen
    vectors = torch.stack([torch.cat([rows[i, :2], *table[list(c)]]) for i, c in enumerate(chosen)])
    torch.testing.assert_close(encoder(rows), encoder.layers(vectors))
    assert encoder.layers.inputs == 2 + 2 * 4


def test_table_of_numbers_or_of_categories_alone() -> None:
    assert Table(numbers=3)(torch.randn(2, 3)).shape == (2, 64)
    assert Table(numbers=0, categories=(4,))(torch.tensor([[1.0], [3.0]])).shape == (2, 64)


def test_tables_refuse() -> None:
    with pytest.raises(ConfigError, match="table needs columns"):
        Table(numbers=0)
    with pytest.raises(ConfigError, match="at least one category"):
        Table(numbers=1, categories=(2, 0))
    with pytest.raises(DataError, match=r"table reads \[B, 3\].*\[2, 4\]"):
        Table(numbers=2, categories=(2,))(torch.zeros(2, 4))
    with pytest.raises(DataError, match=r"snn reads \[B, 80\]"):
        SNN(80)(torch.zeros(2, 4))


def test_a_little_noise_leaves_a_category_what_it_is() -> None:
    torch.manual_seed(0)
    encoder, rows = Table(numbers=1, categories=(3,)), torch.tensor([[0.5, 2.0], [0.5, 0.0]])
    noise = torch.tensor([[0.0, -0.2], [0.0, 0.3]])
    assert torch.equal(encoder(rows + noise), encoder(rows))
