"""The encoder of vectors against matrix products written out, and the package's names."""

from __future__ import annotations

import pytest
import torch

from equimodal.errors import ConfigError, DataError
from equimodal.models import encoders
from equimodal.models.encoders import MLP


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
