"""Point clouds: no order of points, and the edge convolution against its definition, edge by edge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from equimodal.errors import ConfigError, DataError
from equimodal.models.encoders import DGCNN, PointNet
from equimodal.models.encoders.points import EdgeConv


def clouds(b: int = 4, n: int = 30, c: int = 3) -> Tensor:
    return torch.randn(b, n, c, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.fixture(params=[PointNet, DGCNN])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = request.param(width=6).double()
    return built


def test_order_of_points_does_not_matter(encoder: nn.Module) -> None:
    x = clouds()
    shuffled = torch.stack([cloud[torch.randperm(len(cloud))] for cloud in x])
    torch.testing.assert_close(encoder(x), encoder(shuffled), rtol=0, atol=1e-12)
    assert encoder(x).shape == (4, encoder.width) == (4, 6)
    assert encoder(x).std(0).max() > 1e-3


def test_eval_reads_each_cloud_alone(encoder: nn.Module) -> None:
    x = clouds()
    encoder(x)
    encoder.eval()
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]), rtol=0, atol=1e-12)


class SlowEdgeConv(nn.Module):
    """Every edge written out, torch's own batch norm over all of them, then the maximum."""

    def __init__(self, fast: EdgeConv) -> None:
        super().__init__()
        self.k = fast.k
        self.edge = nn.Linear(fast.edge.in_features, fast.edge.out_features, bias=False)
        self.norm = nn.BatchNorm1d(fast.edge.out_features)
        self.double().load_state_dict(fast.state_dict(), strict=False)

    def forward(self, clouds: Tensor) -> Tensor:
        edges = []
        for cloud in clouds:
            for x in cloud:
                near = (cloud - x).square().sum(1).argsort()[: self.k]
                edges += [torch.cat([x, cloud[j] - x]) for j in near]
        activated = F.leaky_relu(self.norm(self.edge(torch.stack(edges))), 0.2)
        return activated.view(*clouds.shape[:2], self.k, -1).amax(2)


@pytest.fixture
def pair() -> tuple[EdgeConv, SlowEdgeConv]:
    torch.manual_seed(0)
    fast = EdgeConv(3, 8, k=5).double()
    with torch.no_grad():  # weights of either sign: the maximum becomes a minimum
        fast.norm.weight.copy_(torch.linspace(-1, 1.3, 8))
        fast.norm.bias.normal_()
    return fast, SlowEdgeConv(fast)


def test_edge_convolution_equals_its_definition(pair: tuple[EdgeConv, SlowEdgeConv]) -> None:
    x = clouds(3, 12)
    fast, slow = pair
    torch.testing.assert_close(fast(x), slow(x), rtol=0, atol=1e-9)
    for name, buffer in fast.named_buffers():
        torch.testing.assert_close(buffer, slow.get_buffer(name), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fast.eval()(x), slow.eval()(x), rtol=0, atol=1e-9)


def test_variance_does_not_cancel_far_from_the_origin(
    pair: tuple[EdgeConv, SlowEdgeConv],
) -> None:
    fast, slow = pair
    u, v = torch.randn(2, 36, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    u, v, rows = u + 3000, v - 2000, torch.arange(36 * 5).view(36, 5) * 7 % 36
    expected = slow.norm((u[:, None] + v[rows]).flatten(0, 1)).view(36, 5, 8)[:, 0]
    found = fast.norm.float()((u + v[rows[:, 0]]).float(), u.float(), v.float(), rows)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-3)


def test_edge_convolution_has_the_gradients_of_its_definition(
    pair: tuple[EdgeConv, SlowEdgeConv],
) -> None:
    gradients = []
    for module in pair:
        x = clouds(3, 12).requires_grad_()
        out = module(x)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        gradients.append([x.grad, *(p.grad for p in module.parameters())])
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)


def test_pointnet_is_a_network_per_point_then_a_maximum() -> None:
    torch.manual_seed(0)
    encoder = PointNet(width=6, widths=(5,)).double().eval()
    linear, last = encoder.point[0], encoder.project[0]
    for cloud in clouds():
        per_point = torch.stack([(linear.weight @ x) / (1 + 1e-5) ** 0.5 for x in cloud])
        best = per_point.clamp(min=0).amax(0)
        expected = (last.weight @ best / (1 + 1e-5) ** 0.5).clamp(min=0)
        torch.testing.assert_close(encoder(cloud[None])[0], expected)


def test_dgcnn_has_the_standard_shape() -> None:
    encoder = DGCNN()
    assert [layer.edge.weight.shape for layer in encoder.layers] == [(32, 6), (64, 64)]
    assert (encoder.width, encoder.k) == (64, 10)
    assert encoder(torch.randn(2, 10, 3)).shape == (2, 64)  # N = k is enough


def test_refusals() -> None:
    with pytest.raises(DataError, match=r"dgcnn\(k=10\) needs clouds of at least 10 points, not 9"):
        DGCNN()(torch.zeros(2, 9, 3))
    for encoder in (DGCNN(), PointNet()):
        with pytest.raises(DataError, match=r"\[B, N, 3\], but the input has shape \[2, 3, 30\]"):
            encoder(torch.zeros(2, 3, 30))
    for build in (DGCNN, PointNet):
        with pytest.raises(ConfigError, match="at least one layer in widths"):
            build(widths=())
    with pytest.raises(ConfigError, match="dgcnn needs k of at least 1, not 0"):
        DGCNN(k=0)


def test_dgcnn_under_autocast_keeps_its_statistics_in_full_precision() -> None:
    torch.manual_seed(0)
    encoder, x = DGCNN(), clouds().float()
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(x)
    features.float().sum().backward()
    assert encoder.layers[0].norm.running_mean.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("encoder", [PointNet(width=4), DGCNN(width=4, k=3)])
def test_a_single_cloud_trains(encoder: torch.nn.Module) -> None:
    before = encoder.project[1].running_mean.clone()
    out = encoder.train()(torch.randn(1, 8, 3))
    assert out.isfinite().all()
    assert torch.equal(
        encoder.project[1].running_mean, before
    )  # one row says nothing of the mean of all


def test_published_networks_have_their_published_sizes() -> None:
    """DGCNN layer by layer as its authors' network; PointNet without alignment: 0.8 M in table 6 of its paper."""

    def count(encoder: nn.Module) -> int:
        return sum(p.numel() for p in encoder.parameters())

    edges = sum(2 * a * b + 2 * b for a, b in ((3, 64), (64, 64), (64, 128), (128, 256)))
    points = 512 * 1024 + 2 * 1024
    dgcnn = DGCNN(width=512, k=20, widths=(64, 64, 128, 256), point=1024)
    assert count(dgcnn) == edges + points + 2048 * 512 + 2 * 512
    classifier = (512 * 256 + 256) + 2 * 256 + (256 * 40 + 40)  # the layers behind the features
    assert count(dgcnn) + classifier == 1_809_576
    pointnet = PointNet(width=512, widths=(64, 64, 64, 128, 1024))
    assert round((count(pointnet) + classifier) / 1e6, 1) == 0.8
