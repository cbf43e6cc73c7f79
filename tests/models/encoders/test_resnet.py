"""Residual networks against published sizes, and against a plain reference that reads torchvision's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import ResNet18, ResNet50


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published(depths: tuple[int, ...], wide: bool) -> dict[str, Tensor]:
    """A state dict in torchvision's naming, written down from its published layout, with random values."""
    make = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, size: int) -> None:
        scale = (inputs * size * size) ** -0.5
        state[f"{name}.weight"] = scale * torch.randn(outputs, inputs, size, size, generator=make)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 0.5 + torch.rand(width, generator=make)
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=make)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(width, generator=make)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=make)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, depth in enumerate(depths):
        inner = 64 * 2**stage
        outer = 4 * inner if wide else inner
        for i in range(depth):
            name = f"layer{stage + 1}.{i}"
            sizes = (1, 3, 1) if wide else (3, 3)
            widths = (inputs, inner, inner, outer) if wide else (inputs, inner, inner)
            for j, size in enumerate(sizes):
                convolution(f"{name}.conv{j + 1}", widths[j + 1], widths[j], size)
                norm(f"{name}.bn{j + 1}", widths[j + 1])
            if i == 0 and (stage > 0 or wide):
                convolution(f"{name}.downsample.0", outer, inputs, 1)
                norm(f"{name}.downsample.1", outer)
            inputs = outer
    state["fc.weight"] = torch.randn(1000, inputs, generator=make)
    state["fc.bias"] = torch.randn(1000, generator=make)
    return state


def reference(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Pooled features by the names in a state dict, without a module, in evaluation mode."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = F.conv2d(images, state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(x, "bn1").clamp(min=0), 3, 2, 1)
    blocks = sorted({name.rsplit(".conv1", 1)[0] for name in state if ".conv1." in name})
    for block in blocks:
        stride = 2 if block.endswith(".0") and not block.startswith("layer1") else 1
        convolutions = sorted(n for n in state if n.startswith(f"{block}.conv"))
        y = x
        for j, name in enumerate(convolutions):
            weight = state[name]
            strided = weight.shape[-1] == 3 and (j == 0 or len(convolutions) == 3)
            y = F.conv2d(y, weight, stride=stride if strided else 1, padding=weight.shape[-1] // 2)
            y = norm(y, f"{block}.bn{j + 1}")
            y = y.clamp(min=0) if j < len(convolutions) - 1 else y
        if f"{block}.downsample.0.weight" in state:
            x = F.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
            x = norm(x, f"{block}.downsample.1")
        x = (x + y).clamp(min=0)
    return x.mean((2, 3))


CASES = [(ResNet18, (2, 2, 2, 2), False, 11_689_512), (ResNet50, (3, 4, 6, 3), True, 25_557_032)]


@pytest.mark.parametrize(("make", "depths", "wide", "count"), CASES, ids=["18", "50"])
def test_published_weights_load_and_give_the_same_features(
    make: type[nn.Module], depths: tuple[int, ...], wide: bool, count: int, tmp_path: Path
) -> None:
    state = published(depths, wide)
    learned = [v for k, v in state.items() if not k.endswith(("mean", "var", "tracked"))]
    assert sum(v.numel() for v in learned) == count  # as published, with 1,000 classes
    save_file(state, tmp_path / "weights.safetensors")
    encoder = make(weights=str(tmp_path / "weights.safetensors")).eval()
    images = torch.randn(2, 3, 40, 33)
    torch.testing.assert_close(encoder(images), reference(state, images), rtol=1e-4, atol=1e-5)
    assert parameters(encoder) == count - state["fc.weight"].numel() - 1000
    assert encoder.width == state["fc.weight"].shape[1]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = published((2, 2, 2, 2), False)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    ResNet18(weights=str(path))  # a file that holds tensors only is read as well
    with pytest.raises(
        ConfigError, match=r"conv1.weight has shape \[64, 3, 7, 7\] there, .*1, 7, 7"
    ):
        ResNet18(channels=1, weights=str(path))
    with pytest.raises(ConfigError, match="not those of this resnet50: layer1.0.conv1.weight"):
        ResNet50(weights=str(path))
    torch.save({k: v for k, v in state.items() if k != "bn1.bias"}, path)
    with pytest.raises(ConfigError, match="not those of resnet18: they lack 'bn1.bias'"):
        ResNet18(weights=str(path))
    torch.save(state | {"head.weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="resnet18, which has no 'head.weight'"):
        ResNet18(weights=str(path))
    torch.save({"model": nn.Linear(1, 1)}, path)
    with pytest.raises(ConfigError, match="hold more than tensors"):
        ResNet18(weights=str(path))
    path.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"w.pth (cannot be read|hold more)"):
        ResNet18(weights=str(path))
    (tmp_path / "w.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="w.safetensors cannot be read"):
        ResNet18(weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(ConfigError, match=r"absent.safetensors do not exist"):
        ResNet18(weights="absent.safetensors")
    with pytest.raises(ConfigError, match="by init or by weights"):
        ResNet18(init="paper", weights=str(path))


def test_views_are_pooled_by_their_maximum() -> None:
    torch.manual_seed(0)
    encoder = ResNet18(pool="max").eval()
    views = torch.randn(2, 3, 3, 32, 32)
    alone = torch.stack([encoder(views[:, v]) for v in range(3)])
    torch.testing.assert_close(encoder(views), alone.amax(0))


def test_resnets_refuse() -> None:
    with pytest.raises(ConfigError, match="not 'papr'"):
        ResNet18(init="papr")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="resnet50 knows pool='mean' and pool='max', not 'sum'"):
        ResNet50(pool="sum")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="resnet18 needs channels of at least 1"):
        ResNet18(channels=0)
    with pytest.raises(DataError, match=r"\[B, T, 3, H, W\].*\[2, 3, 8\]"):
        ResNet18()(torch.zeros(2, 3, 8))


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
    default, paper, uniform = (ResNet18(init=init) for init in ("default", "paper", "uniform"))
    torch.testing.assert_close(default.bn1.weight, torch.ones(64))
    spread = torch.cat([m.weight for m in paper.modules() if isinstance(m, nn.BatchNorm2d)])
    assert spread.std().item() == pytest.approx(0.02, rel=0.1)
    assert spread.mean().item() == pytest.approx(1, abs=0.002)
    fan_out = 128 * 9  # of 64 inputs
    bound = (6 / fan_out) ** 0.5
    assert uniform.layer2[0].conv1.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    for encoder in (default, paper, uniform):
        weight = encoder.layer2[0].conv1.weight
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.01)
