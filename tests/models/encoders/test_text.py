"""Padding changes nothing, ids are their vectors, and both networks are those written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equimodal.core import TokenEncoder
from equimodal.core.batch import Padded
from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import BiGRU, Transformer

LENGTHS = (1, 2, 3, 7, 8)
MAKES = [BiGRU, Transformer]


@pytest.fixture(params=MAKES)
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = request.param(channels=4, width=8, tokens=20).double()
    return built.eval()


def padded(garbage: float) -> Padded:
    values = torch.randn(
        len(LENGTHS), 10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    for row, length in enumerate(LENGTHS):
        values[row, length:] = garbage
    return Padded(values, torch.tensor(LENGTHS))


def test_padded_equals_alone(encoder: nn.Module) -> None:
    together = encoder(padded(100.0))
    values = padded(0.0).values
    for row, length in enumerate(LENGTHS):
        alone = encoder(values[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)
    assert together.std(0).max() > 0.01


def test_gradients_ignore_the_padding(encoder: nn.Module) -> None:
    sequences = padded(3.0)
    values = sequences.values.requires_grad_()
    (encoder(Padded(values, sequences.lengths)) ** 2).sum().backward()
    there = torch.arange(10) < sequences.lengths[:, None]
    assert values.grad is not None
    assert values.grad[~there].abs().max() == 0
    assert (values.grad[there].abs().sum(1) > 0).sum() >= len(LENGTHS)


def test_ids_are_their_vectors_and_padding_ids_change_nothing(encoder: nn.Module) -> None:
    assert isinstance(encoder, TokenEncoder)
    ids, lengths = torch.tensor([[3, 4, 5], [7, 19, 19]]), torch.tensor([3, 1])
    by_ids = encoder(Padded(ids, lengths))
    torch.testing.assert_close(by_ids, encoder(Padded(encoder.embed(ids), lengths)))
    torch.testing.assert_close(by_ids[1], encoder(ids[1:, :1])[0])
    by_ids.sum().backward()
    grad = encoder.tokens.table.weight.grad
    assert grad[7].abs().sum() > 0
    assert grad[19].abs().sum() == 0  # a step that is not there


def test_order_of_steps_matters(encoder: nn.Module) -> None:
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    turned = x.flip(1) if isinstance(encoder, Transformer) else x[:, [1, 0, *range(2, 9)]]
    assert (encoder(x) - encoder(turned)).abs().max() > 1e-3


def recurrence(unit: nn.GRU, steps: Tensor) -> Tensor:
    h, states = torch.zeros(unit.hidden_size, dtype=steps.dtype), []
    for step in steps:
        ir, iz, in_ = (unit.weight_ih_l0 @ step + unit.bias_ih_l0).chunk(3)
        hr, hz, hn = (unit.weight_hh_l0 @ h + unit.bias_hh_l0).chunk(3)
        update = torch.sigmoid(iz + hz)
        h = (1 - update) * torch.tanh(in_ + torch.sigmoid(ir + hr) * hn) + update * h
        states.append(h)
    return torch.stack(states)


def test_bigru_is_the_maximum_of_the_mean_of_two_recurrences() -> None:
    torch.manual_seed(0)
    encoder = BiGRU(channels=2, width=3).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    ahead = recurrence(encoder.forwards, x)
    back = recurrence(encoder.backwards, x.flip(0)).flip(0)
    torch.testing.assert_close(encoder(x[None])[0], ((ahead + back) / 2).max(0).values)
    assert BiGRU().width == 512


def test_transformer_is_attention_over_positions_written_out() -> None:
    torch.manual_seed(0)
    encoder = Transformer(channels=3, width=4, layers=1, heads=2).double().eval()
    x = torch.randn(6, 3, dtype=torch.float64)
    places = [
        [f(t / 10_000 ** (i / 4)) for i in (0, 2) for f in (math.sin, math.cos)] for t in range(6)
    ]
    h = 2 * (x @ encoder.enter.weight.T + encoder.enter.bias) + torch.tensor(places).double()
    block = encoder.blocks[0]

    def normed(y: Tensor, norm: nn.LayerNorm) -> Tensor:
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return y * norm.weight + norm.bias

    y = normed(h, block.norm1)
    attention = block.self_attn
    q, k, v = (y @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, 1)
    heads = [
        (q[:, s] @ k[:, s].T / 2**0.5).softmax(1) @ v[:, s] for s in (slice(0, 2), slice(2, 4))
    ]
    h = h + torch.cat(heads, 1) @ attention.out_proj.weight.T + attention.out_proj.bias
    inner = normed(h, block.norm2) @ block.linear1.weight.T + block.linear1.bias
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    h = h + inner @ block.linear2.weight.T + block.linear2.bias
    torch.testing.assert_close(encoder(x[None])[0], normed(h, encoder.norm).mean(0))


@pytest.mark.parametrize("make", MAKES)
def test_refusals(make: type[nn.Module]) -> None:
    name = make.__name__.lower()
    with pytest.raises(DataError, match=f"{name} was made for vectors, .*ids"):
        make(channels=4, width=8)(torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match=rf"{name} reads \[B, T, 4\].*\[2, 9, 3\]"):
        make(channels=4, width=8)(torch.zeros(2, 9, 3))
    with pytest.raises(ConfigError, match=f"{name} needs width of at least 1"):
        make(channels=4, width=0)
    with pytest.raises(ConfigError, match=f"{name} needs tokens of at least 0"):
        make(channels=4, width=8, tokens=-1)


def test_transformer_refuses_a_width_that_its_heads_cannot_share() -> None:
    with pytest.raises(ConfigError, match="multiple of heads=4, not 10"):
        Transformer(3, width=10)
