"""Heads beside the same formulas written sample by sample."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor, nn

from equimodal import Batch, heads
from equimodal.errors import ConfigError
from equimodal.models.heads import Head
from fixtures.plain import FIRST, SECOND, tensor, worked_example

WIDTH, CLASSES, SIZE = 4, 3, 6
NAMES = ("p", "q", "r")
ADDITIVE = [name for name, cls in heads.BY_NAME.items() if cls.additive]


def widths(modalities: int) -> dict[str, int]:
    return dict.fromkeys(NAMES[:modalities], WIDTH)


def made(name: str, modalities: int = 3) -> Head:
    torch.manual_seed(modalities)
    return heads.BY_NAME[name](widths(modalities), CLASSES).double()


def samples(modalities: int = 3, missing: bool = False) -> tuple[dict[str, Tensor], Batch]:
    """Features, and a batch of samples that lack none, one, two or all of the modalities."""
    draw = torch.Generator().manual_seed(7)
    features = {
        m: torch.randn(SIZE, WIDTH, generator=draw, dtype=torch.float64) for m in widths(modalities)
    }
    pattern = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
    present = {m: pattern[:, i].bool() for i, m in enumerate(features)} if missing else {}
    for m, there in present.items():
        features[m][~there] = 0
    return features, Batch(features, present=present)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("name", ADDITIVE)
def test_unimodal_logits_sum_to_the_fused_ones(name: str, modalities: int, missing: bool) -> None:
    features, batch = samples(modalities, missing)
    unimodal, fused = made(name, modalities)(features, batch)
    assert list(unimodal) == list(features)
    close(sum(unimodal.values()), fused)


@pytest.mark.parametrize("name", heads.BY_NAME)
def test_a_sample_is_judged_by_the_modalities_that_it_has(name: str) -> None:
    """Each row equals the row of a model of one sample that was never given the others."""
    head = made(name)
    features, batch = samples(missing=True)
    unimodal, fused = head(features, batch)
    for i in range(SIZE):
        there = [m for m in features if bool(batch.present[m][i])]
        for m in set(features) - set(there):
            assert not unimodal[m][i].any()
        if not there:  # without an interaction there is nothing left to say
            assert not (head.additive and fused[i].any())
            continue
        own = {m: features[m][i : i + 1] for m in there}
        alone, together = head(own, Batch(own))
        close(fused[i], together[0])
        for m in there:
            close(unimodal[m][i], alone[m][0])


@pytest.mark.parametrize("name", heads.BY_NAME)
def test_values_of_the_missing_count_nowhere(name: str) -> None:
    head = made(name)
    features, batch = samples(missing=True)
    other = {m: torch.where(batch.mask(m)[:, None], z, 9.0) for m, z in features.items()}
    for found, wanted in zip(_flat(head(other, batch)), _flat(head(features, batch)), strict=True):
        close(found, wanted)


@pytest.mark.parametrize("name", heads.BY_NAME)
def test_a_mask_that_is_full_changes_nothing(name: str) -> None:
    """The way through masks and the short way agree."""
    head = made(name)
    features, batch = samples()
    masks = {"p": torch.tensor([True] * (SIZE - 1) + [False])}
    masked = head(features, Batch(features, present=masks))
    for found, wanted in zip(_flat(masked), _flat(head(features, batch)), strict=True):
        close(found[:-1], wanted[:-1])


def _flat(said: tuple[dict[str, Tensor], Tensor]) -> list[Tensor]:
    return [*said[0].values(), said[1]]


def test_linear_by_the_worked_example() -> None:
    model, batch = worked_example()
    output = model(batch)
    close(output.unimodal["one"], tensor([1.1, 0, -1.1], [0.1, 2, -0.1]))
    close(output.unimodal["two"], tensor([0.1, 0.5, -0.6], [0.6, 0, -0.1]))
    close(output.fused, tensor([1.2, 0.5, -1.7], [0.7, 2, -0.2]))


def test_alone_is_the_rule_of_the_full_bias() -> None:
    model, batch = worked_example()
    head, features = model.head, {"one": FIRST, "two": SECOND}
    close(head.alone(features, "one", batch), tensor([1.2, 0, -1.2], [0.2, 2, -0.2]))
    close(head.alone(features, "two", batch), tensor([0.2, 0.5, -0.7], [0.7, 0, -0.2]))


@pytest.mark.parametrize("name", ["linear", "sum", "shared", "cosine"])
def test_weight_is_the_part_that_serves_a_modality(name: str) -> None:
    """The derivative of the logits by the features, up to the norms of the cosine."""
    head = made(name)
    features, _ = samples()
    for m in features:
        z = features[m][:1].clone().requires_grad_()
        logits = head.alone({m: z}, m, Batch({m: z}))[0]
        by_feature = torch.stack(
            [torch.autograd.grad(g, z, retain_graph=True)[0][0] for g in logits]
        )
        weight = head.weight(m).detach()
        if name == "cosine":
            direction = (z / z.norm()).detach()
            weight = head.scale * weight / weight.norm(dim=1, keepdim=True) / z.norm().detach()
            weight = weight - weight @ direction.T @ direction
        close(by_feature, weight)


def test_linear_is_one_layer_on_the_concatenation() -> None:
    uneven = {"p": 2, "q": 5}
    torch.manual_seed(0)
    head = heads.Linear(uneven, CLASSES).double()
    features = {m: torch.randn(SIZE, d, dtype=torch.float64) for m, d in uneven.items()}
    wanted = head.linear(torch.cat([features["p"], features["q"]], dim=1))
    close(head(features, Batch(features))[1], wanted)
    assert [head.weight(m).shape for m in uneven] == [(CLASSES, 2), (CLASSES, 5)]


def test_cosine_sees_directions_only() -> None:
    head = made("cosine")
    features, batch = samples()
    _, fused = head(features, batch)
    longer = {m: z * 3.0 for m, z in features.items()}
    close(head(longer, batch)[1], fused)
    for m, z in features.items():
        own = head({m: z}, batch)[0][m]
        similar = nn.functional.cosine_similarity(z[:, None], head.weight(m)[None], dim=2)
        close(own, 10 * similar)
        assert own.abs().max() <= 10


def test_cosine_of_nothing_is_zero_with_a_finite_gradient() -> None:
    head = made("cosine", 1)
    z = torch.zeros(2, WIDTH, dtype=torch.float64, requires_grad=True)
    logits = head({"p": z}, Batch({"p": z}))[1]
    logits.sum().backward()
    assert not logits.any()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(("modalities", "classes"), [(1, 2), (2, 6), (3, 31)])
def test_the_least_scale_reaches_its_posterior_and_no_more(modalities: int, classes: int) -> None:
    """Features along the true class's weight, weights at the corners of a regular simplex."""
    scale = heads.Cosine.least_scale(modalities, classes, posterior=0.8)
    corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
    corners = corners / corners.norm(dim=1, keepdim=True)
    logits = modalities * scale * corners @ corners[0]
    assert logits.softmax(0)[0].item() == pytest.approx(0.8, abs=1e-12)


def test_shared_layers_serve_every_modality() -> None:
    head = heads.Shared(widths(3), CLASSES, hidden=5).double()
    features, batch = samples()
    unimodal, _ = head(features, batch)
    first, last = head.layers[0], head.layers[-1]
    for m, z in features.items():
        close(unimodal[m], last(first(z).clamp(min=0)))


def test_auxiliary_classifiers_stand_beside_the_fusion() -> None:
    head = made("auxiliary")
    features, batch = samples()
    unimodal, fused = head(features, batch)
    close(fused, head.fusion(features, batch)[1])
    for m, z in features.items():
        close(unimodal[m], z @ head.own[m].weight.T + head.own[m].bias)
    assert not torch.allclose(sum(unimodal.values()), fused)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: heads.Shared({"p": 4, "q": 5}, 3), "one width"),
        (lambda: heads.Shared({"p": 4}, 3, hidden=-1), "at least 0"),
        (lambda: heads.Shared({"p": 4}, 3, hidden=2).weight("p"), "a layer before its last one"),
        (lambda: heads.Cosine({"p": 4}, 3, scale=0), "positive"),
        (lambda: heads.Cosine({"p": 4}, 3, scale=math.nan), "positive"),
    ],
)
def test_refusals(make: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_a_head_of_ones_own_has_no_linear_layer_unless_it_says_so() -> None:
    class Nonlinear(Head):
        def forward(self, features: dict[str, Tensor], batch: Batch) -> tuple[dict, Tensor]:
            return dict(features), next(iter(features.values()))

    head = Nonlinear({"p": 3}, 3)
    assert not head.additive
    with pytest.raises(ConfigError, match=r"no linear layer for 'p' alone: use linear\(\) or sum"):
        head.weight("p")


def test_every_head_has_a_name() -> None:
    public = {getattr(heads, name) for name in heads.__all__ if name not in ("BY_NAME", "Head")}
    assert set(heads.BY_NAME.values()) == public
    assert all(name == cls.__name__.lower() for name, cls in heads.BY_NAME.items())
    assert not any(inspect.isabstract(cls) for cls in heads.BY_NAME.values())
