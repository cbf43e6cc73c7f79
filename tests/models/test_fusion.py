"""Gated, FiLM and attention fusion, against the same formulas for one sample at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equimodal import Batch, heads
from equimodal.core.expression import build
from equimodal.errors import ConfigError

FLOAT = torch.float64
WIDTHS = {"a": 3, "b": 2, "c": 4}
CLASSES, SIZE = 5, 6
NAMES = ["attention(width=8, heads=2, layers=2)", "film()", "gated(hidden=3)"]


def names(modalities: int) -> list[str]:
    return list(WIDTHS)[:modalities]


def head_of(expression: str, modalities: int = 3) -> heads.Head:
    torch.manual_seed(0)
    widths = {m: WIDTHS[m] for m in names(modalities)}
    made = build(expression, heads.BY_NAME, "head", heads.Head, given=(widths, CLASSES)).double()
    with torch.no_grad():  # what starts at zero must be seen too
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def features_of(modalities: int = 3) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {m: torch.randn(SIZE, WIDTHS[m], generator=draw, dtype=FLOAT) for m in names(modalities)}


def batch_of(modalities: int = 3, present: dict[str, list[bool]] | None = None) -> Batch:
    masks = {m: torch.tensor(mask) for m, mask in (present or {}).items()}
    return Batch({m: torch.zeros(SIZE, 1) for m in names(modalities)}, present=masks)


SOME = {"a": [True, True, False, True, False, True], "c": [True, False, False, True, True, True]}


# The formulas, for one sample of which some modalities are there.


def gated(head: heads.Gated, sample: dict[str, Tensor]) -> Tensor:
    p = dict(head.named_parameters())
    logits = p["bias"]
    for m, z in sample.items():
        heard = p[f"open.{m}"]
        for n, other in sample.items():
            if n != m:
                heard = heard + p[f"gates.{m}.{n}.weight"] @ other
        value = p[f"values.{m}.weight"] @ z
        logits = logits + p[f"out.{m}.weight"] @ (value / (1 + torch.exp(-heard)))
    return logits


def film(head: heads.FiLM, sample: dict[str, Tensor]) -> Tensor:
    p = dict(head.named_parameters())
    logits = p["bias"]
    for m, width in head.widths.items():
        z = sample.get(m, torch.zeros(width, dtype=FLOAT))
        scale, shift = torch.ones(width, dtype=FLOAT), torch.zeros(width, dtype=FLOAT)
        for n, other in sample.items():
            if n != m:
                scale = scale + p[f"scales.{m}.{n}.weight"] @ other
                shift = shift + p[f"shifts.{m}.{n}.weight"] @ other
        logits = logits + p[f"out.{m}.weight"] @ (scale * z + shift)
    return logits


def attention(head: heads.Attention, sample: dict[str, Tensor]) -> Tensor:
    p = dict(head.named_parameters())
    tokens = [p["reader"]]
    tokens += [p[f"tokens.{m}.weight"] @ z + p[f"tokens.{m}.bias"] for m, z in sample.items()]
    for i, layer in enumerate(head.layers):
        own = {n.removeprefix(f"layers.{i}."): v for n, v in p.items()}
        width = len(tokens[0])
        parts = [
            own["ask_know_say.weight"] @ normal(t, own, "before") + own["ask_know_say.bias"]
            for t in tokens
        ]
        each = width // layer.heads
        said = []
        for asking in parts:
            joined = []
            for h in range(layer.heads):
                q, k, v = (
                    slice(j * width + h * each, j * width + (h + 1) * each) for j in range(3)
                )
                weights = [math.exp(float(asking[q] @ t[k]) / math.sqrt(each)) for t in parts]
                mix = sum(w * t[v] for w, t in zip(weights, parts, strict=True))
                joined.append(mix / sum(weights))
            said.append(own["join.weight"] @ torch.cat(joined) + own["join.bias"])
        tokens = [t + s for t, s in zip(tokens, said, strict=True)]
        tokens = [t + layer.mlp(normal(t, own, "between")) for t in tokens]
    return p["out.1.weight"] @ normal(tokens[0], p, "out.0") + p["out.1.bias"]


def normal(t: Tensor, parameters: dict[str, Tensor], name: str) -> Tensor:
    centred = (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt()
    return centred * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


SLOW = dict(zip(NAMES, (attention, film, gated), strict=True))


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_logits_are_those_of_the_formula(name: str, modalities: int) -> None:
    head, features = head_of(name, modalities), features_of(modalities)
    masks = {m: mask for m, mask in SOME.items() if m in features} if modalities > 1 else {}
    for batch in (batch_of(modalities), batch_of(modalities, masks)):
        unimodal, fused = head(features, batch)
        for i in range(SIZE):
            sample = {m: z[i] for m, z in features.items() if bool(batch.mask(m)[i])}
            torch.testing.assert_close(fused[i], SLOW[name](head, sample), atol=1e-12, rtol=0)
            for m, logits in unimodal.items():
                truth = SLOW[name](head, {m: sample[m]}) if m in sample else torch.zeros(CLASSES)
                torch.testing.assert_close(logits[i], truth.to(FLOAT), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_unimodal_logits_are_the_fusion_of_one_modality(name: str) -> None:
    head, features, batch = head_of(name), features_of(), batch_of()
    unimodal, fused = head(features, batch)
    for m in features:
        only = batch_of(present={n: [n == m] * SIZE for n in features})
        torch.testing.assert_close(head(features, only)[1], unimodal[m])
        torch.testing.assert_close(head.alone(features, m, batch), unimodal[m])
    assert not torch.allclose(sum(unimodal.values()), fused, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_modality_is_told_nothing(name: str) -> None:
    head, features = head_of(name), features_of()
    features["a"].requires_grad_()
    unimodal, fused = head(features, batch_of(present=SOME))
    (grad,) = torch.autograd.grad(fused.sum() + unimodal["a"].sum(), features["a"])
    assert torch.equal(grad.abs().sum(1) > 0, torch.tensor(SOME["a"]))


@pytest.mark.parametrize("name", NAMES)
def test_modalities_interact(name: str) -> None:
    """The fused logits are no sum: what one modality adds depends on the other."""
    head, features, batch = head_of(name, 2), features_of(2), batch_of(2)
    features["a"].requires_grad_()
    slope = torch.autograd.grad(head(features, batch)[1][:, 0].sum(), features["a"])[0]
    features["b"] = features["b"] + 1
    other = torch.autograd.grad(head(features, batch)[1][:, 0].sum(), features["a"])[0]
    assert not torch.allclose(slope, other, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_order_of_modalities_does_not_count(name: str) -> None:
    head, features, batch = head_of(name), features_of(), batch_of(present=SOME)
    turned = {m: features[m] for m in ("c", "a", "b")}
    torch.testing.assert_close(head(turned, batch)[1], head(features, batch)[1])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_same_values_in_training_and_evaluation(name: str) -> None:
    head, features, batch = head_of(name), features_of(), batch_of(present=SOME)
    training = head.train()(features, batch)
    evaluation = head.eval()(features, batch)
    torch.testing.assert_close(training, evaluation, atol=0, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    head, features, batch = head_of(name), features_of(), batch_of()
    logits = head(features, batch)[1]
    grads = torch.autograd.grad(logits.square().sum(), list(head.parameters()))
    assert all(bool(grad.any()) for grad in grads)


def test_a_gated_head_says_that_it_has_no_linear_layer() -> None:
    with pytest.raises(ConfigError, match=r"gated\(\) has no linear layer for 'a'"):
        head_of("gated()").weight("a")


@pytest.mark.parametrize(
    "expression", ["gated(hidden=0)", "attention(width=6, heads=4)", "attention(layers=0)"]
)
def test_impossible_sizes_are_refused(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"must be at least 1"):
        head_of(expression)


def test_auxiliary_classifiers_stand_beside_any_fusion() -> None:
    head, features, batch = head_of("auxiliary(fusion=film())"), features_of(), batch_of()
    fused = head(features, batch)[1]
    torch.testing.assert_close(fused, head.fusion(features, batch)[1])
