"""Recorder beside figures that are computed sample by sample, on runs that it must not change."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from equimodal import Balanced, Batch, Multimodal, heads
from equimodal.errors import ConfigError
from equimodal.methods import Recorder
from equimodal.methods.recorder.moments import Moments, unexplained
from equimodal.testing import Training, World, maker
from fixtures.plain import CLASSES, Plain, batches_of, model_of, names
from fixtures.reports import MODALITIES, hostile

NOISY = [
    "ogm_ge()",
    "ibml()",
    "bio() + infobridge()",
    "relearn(every=1)",
    "mla()",
    "agm()",
    "dgl()",
]


@pytest.mark.parametrize("method", NOISY)
def test_training_is_the_same_bit_for_bit(method: str) -> None:
    """Also where the recorder stands first, and with noise, dropout and parameters of the method's own."""
    world = World.of(2)
    wanted = Training(maker(method)(), world).advance().weights()
    for text in (f"{method} + recorder(every=1)", f"recorder(every=1) + {method}"):
        found = Training(maker(text)(), world).advance().weights()
        assert all(torch.equal(found[name], value) for name, value in wanted.items()), text


def recorded(model: Multimodal, batches: list[Batch], every: int = 1) -> tuple[dict, list[dict]]:
    """The figures of an epoch without updates, and the gradients of each batch."""
    learner = Balanced(model, recorder := Recorder(every))
    learner.begin_epoch(0)
    gradients = []
    for number, batch in enumerate(batches):
        (step,) = learner.steps(batch, 0, number, len(batches))
        output = learner(step)
        learner.backward(learner.losses(output, step), output, step)
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
        model.zero_grad()
    return dict(recorder.recorded()), gradients


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_figures_are_those_of_each_sample(modalities: int, missing: bool) -> None:
    model, batches = model_of(modalities), batches_of(modalities, missing)
    found, gradients = recorded(model, batches)
    plain = Plain(model)
    plain.parameters = {name: value.detach() for name, value in plain.parameters.items()}
    for m in names(modalities):
        norms, cosines = [], []
        of_class: list[list[float]] = [[] for _ in range(CLASSES)]
        for batch, grads in zip(batches, gradients, strict=True):
            own = [g for n, g in grads.items() if n.startswith(f"encoders.{m}.")]
            norms += [math.sqrt(sum(float((g**2).sum()) for g in own))] if own else []
            rows = [i for i in range(len(batch)) if m in plain.present(batch, i)]
            joint, alone = [], []
            for i in rows:
                # By hand: the gradient of cross-entropy on a feature is W (p - y).
                start = 3 * plain.modalities.index(m)
                weight = plain.parameters["head.linear.weight"][:, start : start + 3]
                truth = nn.functional.one_hot(batch.target[i], CLASSES)
                p = plain.unimodal(batch, i)[m].softmax(0)
                joint.append(weight.T @ (plain.fused(batch, i).softmax(0) - truth))
                alone.append(weight.T @ (p - truth))
                of_class[int(batch.target[i])].append(float(p[batch.target[i]]))
            if rows:
                both = torch.cat(joint), torch.cat(alone)
                cosines.append(float(torch.cosine_similarity(*both, dim=0)))
        figures = found["modalities"][m]
        assert figures["gradient_norm"] == pytest.approx(mean(norms))
        assert figures["cosine"] == pytest.approx(mean(cosines))
        assert figures["confidence"] == pytest.approx([mean(v) if v else None for v in of_class])
        every = [-math.log(value) for values in of_class for value in values]
        assert figures["loss"] == pytest.approx(mean(every))
    joint = [float(plain.joint_loss(batch)) for batch in batches]
    assert found["fused"]["loss"] == pytest.approx(mean(joint))


def test_only_every_kth_batch_counts() -> None:
    model, batches = model_of(2), batches_of(2, count=3)
    assert recorded(model, batches, 2)[0] == recorded(model, batches[::2], 1)[0]
    with pytest.raises(ConfigError, match="at least 1"):
        Recorder(0)


def test_a_new_epoch_begins_with_nothing() -> None:
    model, batches = model_of(2), batches_of(2)
    learner = Balanced(model, recorder := Recorder(1))
    learner.begin_epoch(0)
    (step,) = learner.steps(batches[0], 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    assert recorder.moments.sums.any()
    learner.begin_epoch(1)
    assert not recorder.moments.sums.any()
    found = recorder.recorded()
    assert found["modalities"]["m0"] == {
        "gradient_norm": None, "cosine": None, "loss": None, "confidence": [None] * CLASSES
    }  # fmt: skip
    assert [pair["error"] for pair in found["mapping_error"]] == [None, None]


def mapped(first: Tensor, second: Tensor, parts: int = 4) -> list[float | None]:
    """Errors from the first to the second and back, of samples that come in parts."""
    moments = Moments({"a": first.shape[1], "b": second.shape[1]})
    for one, other in zip(first.chunk(parts), second.chunk(parts), strict=True):
        found = {"a": one, "b": other}
        moments.sums += moments.of(found, Batch(found))
    return [error for _, _, error in moments.errors()]


def test_mapping_errors_of_known_maps() -> None:
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(4000, 5, generator=draw, dtype=torch.float64)
    turned = first @ torch.randn(5, 3, generator=draw, dtype=torch.float64) + 7
    noise = torch.randn(4000, 3, generator=draw, dtype=torch.float64) * turned.std(0)
    there, back = mapped(first, turned)
    assert there == pytest.approx(0, abs=1e-9)
    assert 0.3 < back < 0.5  # 3 of 5 directions are known
    # Half of the variance is noise: no map can explain it.
    assert mapped(first, turned + noise)[0] == pytest.approx(0.5, abs=0.02)
    assert mapped(first, noise)[0] == pytest.approx(1, abs=0.01)
    # Degrees of freedom: 40 dimensions explain nothing of noise, though there are only 100 samples.
    many = torch.randn(100, 40, generator=draw, dtype=torch.float64)
    assert mapped(many, noise[:100])[0] > 0.85
    assert mapped(many[:60], noise[:60])[0] is None
    assert unexplained(torch.full((4, 4), torch.nan), 100) is None


def test_wide_features_are_mapped_by_few_numbers() -> None:
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(2000, 8, generator=draw, dtype=torch.float64)
    first = hidden @ torch.randn(8, 300, generator=draw, dtype=torch.float64)
    second = hidden @ torch.randn(8, 200, generator=draw, dtype=torch.float64)
    assert Moments({"a": 300, "b": 200}).sums.numel() == 129**2
    assert mapped(first, second) == pytest.approx([0, 0], abs=1e-9)


def test_samples_that_lack_one_do_not_count() -> None:
    draw = torch.Generator().manual_seed(2)
    first = torch.randn(400, 2, generator=draw, dtype=torch.float64)
    there = torch.rand(400, generator=draw) > 0.3
    inputs = {"a": first, "b": torch.where(there[:, None], 2 * first, 1e6)}
    moments = Moments({"a": 2, "b": 2})
    moments.sums += moments.of(inputs, Batch(inputs, present={"b": there}))
    assert [e for *_, e in moments.errors()] == pytest.approx([0, 0], abs=1e-9)


def test_a_run_keeps_the_figures_of_each_epoch(tmp_path: Path) -> None:
    run = hostile(tmp_path / "run", "uniform() + recorder()")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        found = line["recorded"]["modalities"]
        assert set(found) == set(MODALITIES) == set(line["val"]["losses"])
        assert (
            -1 <= found[MODALITIES[0]]["cosine"] <= 1 and found[MODALITIES[0]]["gradient_norm"] > 0
        )
        assert not any(name.startswith("recorder") for name in line["train"]["notes"])


def test_features_that_do_not_learn_have_no_cosine() -> None:
    head = heads.Linear({"a": 3, "b": 3}, 2)
    model = Multimodal({"a": nn.Identity(), "b": nn.Linear(3, 3)}, head)
    batch = Batch({"a": torch.randn(8, 3), "b": torch.randn(8, 3)}, torch.arange(8) % 2)
    learner = Balanced(model, recorder := Recorder())
    (step,) = learner.steps(batch, 0)
    output = learner(step)
    learner.backward(learner.losses(output, step), output, step)
    found = recorder.recorded()["modalities"]
    assert found["a"]["cosine"] is None and found["a"]["gradient_norm"] is None
    assert found["b"]["cosine"] is not None


def test_a_phase_records_the_modalities_that_learn_in_it() -> None:
    world = World.of(2, missing=False)
    recorder = Recorder(every=1)
    Training(maker("mla()")() + recorder, world).advance(stop=world.batches)
    samples = recorder.by_class[2].sum(1).tolist()
    assert samples == [world.samples, world.samples, 2 * world.samples]  # fused: in each phase
    found = recorder.recorded()
    assert all(of["gradient_norm"] > 0 for of in found["modalities"].values())
    assert [pair["error"] for pair in found["mapping_error"]] == [None, None]  # never side by side


def test_features_that_the_joint_loss_does_not_reach_have_no_cosine() -> None:
    recorder = Recorder(every=1)
    Training(maker("dgl()")() + recorder, World.of(2)).advance()
    found = recorder.recorded()["modalities"]
    assert all(of["cosine"] is None and of["gradient_norm"] > 0 for of in found.values())
