"""The small encoder of images against a network written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal.core.batch import Padded
from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import CNN


def test_cnn_is_the_standard_network_of_av_mnist() -> None:
    torch.manual_seed(0)
    encoder = CNN().double()
    x = torch.randn(5, 1, 28, 28, dtype=torch.float64)
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    y = x
    for conv, kernel, size in zip(convolutions, (5, 3, 3), (14, 7, 4), strict=True):
        y = nn.functional.conv2d(y, conv.weight, conv.bias, stride=2, padding=kernel // 2)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
        y = ((y - mean) / (var + 1e-5).sqrt()).clamp(min=0)
        assert y.shape[-1] == size
    quarters = [y[:, :, a : a + 2, b : b + 2].mean((2, 3)) for a in (0, 2) for b in (0, 2)]
    linear = encoder.project[0]
    expected = torch.stack(quarters, 2).flatten(1) @ linear.weight.T + linear.bias
    torch.testing.assert_close(encoder(x), expected.clamp(min=0))
    assert encoder.width == 64
    assert [c.out_channels for c in convolutions] == [8, 16, 32]


def test_cnn_of_other_widths() -> None:
    encoder = CNN(3, widths=(4, 6), kernels=(3, 3), width=7)
    assert encoder(torch.zeros(2, 3, 10, 10)).shape == (2, 7)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: CNN(widths=(8, 16), kernels=(5,)), "one kernel for each of its widths"),
        (lambda: CNN(width=0), "cnn needs width of at least 1, not 0"),
        (lambda: CNN(widths=(8, 0, 8)), "cnn needs widths of at least 1, not 0"),
    ],
)
def test_options_that_cannot_be_built_are_refused(build, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=sentence):
        build()


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"cnn reads \[B, 1, H, W\].*\[2, 3, 8, 8\]"):
        CNN()(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match=r"not sequences of different lengths"):
        CNN()(Padded(torch.zeros(2, 1, 8, 8), torch.tensor([1, 1])))
