"""Encoders of images against published sizes and a network written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equimodal.core.batch import Padded
from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import CNN, ResNet18


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("channels", "count"), [(1, 11_170_240), (2, 11_173_376), (3, 11_176_512)], ids=["1", "2", "3"]
)
def test_resnet18_has_the_published_number_of_parameters(channels: int, count: int) -> None:
    assert parameters(ResNet18(channels)) == count


def test_resnet18_batch_norm_and_convolutions_are_those_of_the_papers() -> None:
    shapes = [p.ndim for p in ResNet18().parameters()]
    assert shapes.count(1) == 40
    assert shapes.count(4) == 20
    assert sum(p.numel() for p in ResNet18().parameters() if p.ndim == 1) == 9_600


@pytest.mark.parametrize(
    ("size", "last"),
    [
        ((257, 188), (9, 6)),
        ((257, 299), (9, 10)),
        ((257, 1004), (9, 32)),
        ((129, 626), (5, 20)),
        ((1024, 128), (32, 4)),
        ((224, 224), (7, 7)),
    ],
)
def test_resnet18_last_feature_maps(size: tuple[int, int], last: tuple[int, int]) -> None:
    with torch.device("meta"):  # sizes only: nothing is computed
        maps = ResNet18(1).maps(torch.empty(1, 1, *size))
    assert maps.shape == (1, 512, *last)


def test_resnet18_parameters_carry_the_names_of_published_weights() -> None:
    names = set(ResNet18().state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"} <= names
    assert {
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias",
        "layer4.1.bn2.bias",
    } <= names
    assert not any(name.startswith(("fc.", "layer1.0.downsample")) for name in names)
    assert len(names) == 120  # torchvision's 122 without fc.weight and fc.bias


def test_resnet18_frames_are_pooled_over_time_and_non_negative() -> None:
    torch.manual_seed(0)
    encoder = ResNet18().double().eval()
    frames = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    alone = torch.stack([encoder(frames[:, t]) for t in range(3)])
    pooled = encoder(frames)
    torch.testing.assert_close(pooled, alone.mean(0))
    assert pooled.shape == (2, encoder.width)
    assert pooled.min() >= 0


def test_resnet18_initialisations() -> None:
    torch.manual_seed(0)
    default, paper = ResNet18(), ResNet18(init="paper")
    torch.testing.assert_close(default.bn1.weight, torch.ones(64))
    spread = torch.cat([m.weight for m in paper.modules() if isinstance(m, nn.BatchNorm2d)])
    assert spread.std().item() == pytest.approx(0.02, rel=0.1)
    assert spread.mean().item() == pytest.approx(1, abs=0.002)
    fan_out = 128 * 9  # of 64 inputs
    for encoder in (default, paper):
        weight = encoder.layer2[0].conv1.weight
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.01)


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
        (lambda: ResNet18(init="papr"), "not 'papr'"),  # type: ignore[arg-type]
        (lambda: ResNet18(channels=0), "resnet18 needs channels of at least 1"),
    ],
)
def test_options_that_cannot_be_built_are_refused(build, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=sentence):
        build()


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"cnn reads \[B, 1, H, W\].*\[2, 3, 8, 8\]"):
        CNN()(torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match=r"\[B, T, 3, H, W\].*\[2, 3, 8\]"):
        ResNet18()(torch.zeros(2, 3, 8))
    with pytest.raises(DataError, match=r"not sequences of different lengths"):
        CNN()(Padded(torch.zeros(2, 1, 8, 8), torch.tensor([1, 1])))
