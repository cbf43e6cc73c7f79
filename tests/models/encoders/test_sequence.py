"""Padding must change nothing: every padded sequence has the features that it has alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from equimodal.core.batch import Padded
from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import GRU, Conv1d
from equimodal.models.encoders._norm import StepNorm

LENGTHS = (1, 2, 3, 7, 8, 12)


@pytest.fixture(params=[Conv1d, GRU])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = request.param(channels=4, width=5).double()
    for _ in range(3):  # running statistics of batch norm that are not those of its beginning
        built(torch.randn(9, 14, 4, dtype=torch.float64))
    return built.eval()


def padded(garbage: float) -> Padded:
    values = torch.randn(
        len(LENGTHS), 15, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    for row, length in enumerate(LENGTHS):
        values[row, length:] = garbage
    return Padded(values, torch.tensor(LENGTHS))


def test_padded_equals_alone(encoder: nn.Module) -> None:
    together = encoder(padded(garbage=100.0))
    values = padded(garbage=0.0).values
    for row, length in enumerate(LENGTHS):
        alone = encoder(values[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)
    assert together.std(0).max() > 0.01  # features that differ at all


def test_gradients_ignore_the_padding(encoder: nn.Module) -> None:
    sequences = padded(garbage=3.0)
    values = sequences.values.requires_grad_()
    encoder(Padded(values, sequences.lengths)).sum().backward()
    there = torch.arange(15) < sequences.lengths[:, None]
    assert values.grad is not None
    assert values.grad[~there].abs().max() == 0
    assert values.grad[there].abs().sum() > 0


def test_order_of_steps_matters(encoder: nn.Module) -> None:
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    assert (encoder(x) - encoder(x.flip(1))).abs().max() > 1e-3


def test_shapes(encoder: nn.Module) -> None:
    assert encoder(torch.randn(3, 9, 4, dtype=torch.float64)).shape == (3, encoder.width) == (3, 5)


def test_gru_is_the_recurrence_of_its_paper() -> None:
    torch.manual_seed(0)
    encoder = GRU(channels=2, width=3).double()
    x = torch.randn(1, 4, 2, dtype=torch.float64)
    unit, h = encoder.unit, torch.zeros(3, dtype=torch.float64)
    for step in x[0]:
        ir, iz, in_ = (unit.weight_ih_l0 @ step + unit.bias_ih_l0).chunk(3)
        hr, hz, hn = (unit.weight_hh_l0 @ h + unit.bias_hh_l0).chunk(3)
        update = torch.sigmoid(iz + hz)
        h = (1 - update) * torch.tanh(in_ + torch.sigmoid(ir + hr) * hn) + update * h
    torch.testing.assert_close(encoder(x)[0], h)


def test_conv1d_is_three_convolutions_with_batch_norm_and_a_maximum() -> None:
    torch.manual_seed(0)
    encoder = Conv1d(channels=4, width=5, hidden=6).double()
    x = torch.randn(3, 11, 4, dtype=torch.float64)
    y = x.transpose(1, 2)
    for layer, kernel, steps in zip(encoder.convolutions, (5, 3, 3), (6, 3, 2), strict=True):
        y = nn.functional.conv1d(y, layer.weight, stride=2, padding=kernel // 2)
        assert y.shape == (3, 6, steps)
        mean, var = y.mean((0, 2), keepdim=True), y.var((0, 2), keepdim=True, unbiased=False)
        y = ((y - mean) / (var + 1e-5).sqrt()).clamp(min=0)
    z = y.amax(2) @ encoder.project[0].weight.T
    z = (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(x), z.clamp(min=0))


def test_conv1d_in_training_sees_no_padding() -> None:
    torch.manual_seed(0)
    encoder = Conv1d(channels=4, width=5).double()
    other = copy.deepcopy(encoder)
    torch.testing.assert_close(encoder(padded(0.0)), other(padded(100.0)), rtol=0, atol=1e-12)
    for a, b in zip(encoder.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_step_norm_is_batch_norm_of_the_steps_that_are_there() -> None:
    torch.manual_seed(0)
    norm, plain = StepNorm(4).double(), nn.BatchNorm1d(4).double()
    for module in (norm, plain):
        nn.init.constant_(module.weight, 1.5)
        nn.init.constant_(module.bias, -0.5)
    sequences = padded(7.0)
    there = torch.arange(15) < sequences.lengths[:, None]
    for mode in (True, False):  # in evaluation by the running statistics of the first round
        out = norm.train(mode)(sequences.values, there)
        torch.testing.assert_close(out[there], plain.train(mode)(sequences.values[there]))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    torch.testing.assert_close(
        norm.train()(sequences.values),
        plain.train()(sequences.values.flatten(0, 1)).view(-1, 15, 4),
    )


def test_conv1d_learns_from_a_single_sequence() -> None:
    encoder = Conv1d(channels=4, width=5)
    features = encoder(torch.randn(1, 9, 4))
    assert features.isfinite().all()


def test_refusals(encoder: nn.Module) -> None:
    with pytest.raises(DataError, match=r"\[B, T, 4\] with T of at least 1.*\[2, 9, 3\]"):
        encoder(torch.zeros(2, 9, 3))
    with pytest.raises(DataError, match=r"shape \[2, 0, 4\]"):
        encoder(torch.zeros(2, 0, 4))
    with pytest.raises(ConfigError, match="odd kernels, not \\(4,\\)"):
        Conv1d(4, kernels=(4,))
    with pytest.raises(ConfigError, match="gru needs layers of at least 1"):
        GRU(4, layers=0)
