"""Models that know nothing of this library are diagnosed as the page on diagnosis says, and truly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import equimodal
from equimodal.diagnostics import Diagnosis
from equimodal.errors import DataError

pytestmark = pytest.mark.whole


def uses_first_alone(found: Diagnosis, accuracy: float) -> None:
    first, second = found.modalities
    assert found.accuracy.value == pytest.approx(accuracy)
    assert found.use[first].shapley_accuracy.low > 0.2
    assert abs(found.use[second].shapley_accuracy.value) < 0.08
    assert found.verdict[0].about == second


def test_a_plain_module() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.sound = nn.Linear(3, 3), nn.Linear(3, 3)
            self.dropout = nn.Dropout(0.9)

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            fused: Tensor = self.image(inputs["image"]) + 0.01 * self.sound(inputs["sound"])
            return self.dropout(fused)

    torch.manual_seed(0)
    model = Late()
    nn.init.eye_(model.image.weight)
    label = torch.arange(300) % 3
    inputs = {"image": torch.randn(300, 3) + 3 * torch.eye(3)[label], "sound": torch.randn(300, 3)}
    found = equimodal.diagnose(model, [(inputs, label)], ("image", "sound"))
    assert model.training  # as it was
    with torch.no_grad():
        right = model.eval()(inputs).argmax(1) == label
    uses_first_alone(found, float(right.float().mean()))


@pytest.mark.parametrize(
    "classifier",
    [LogisticRegression(), RandomForestClassifier(101, random_state=0)],  # an odd number: no ties
    ids=["logistic", "forest"],
)
@pytest.mark.filterwarnings("ignore:divide by zero")  # the log of a forest's zero
def test_a_pipeline_of_scikit_learn(classifier: ClassifierMixin) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=600)
    columns = {"genes": rng.normal(size=(600, 4)), "clinic": rng.normal(size=(600, 2))}
    columns["genes"][np.arange(600), label] += 2.5
    known, asked = slice(0, 300), slice(300, 600)
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(np.hstack([v[known] for v in columns.values()]), label[known])

    def answer(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return pipeline.predict_log_proba(np.hstack([inputs["genes"], inputs["clinic"]]))

    test = {name: values[asked] for name, values in columns.items()}
    found = equimodal.diagnose(answer, [(test, label[asked])], ("genes", "clinic"))
    stacked = np.hstack([*test.values()])
    uses_first_alone(found, pipeline.score(stacked, label[asked]))
    assert all(np.isfinite(s.log_likelihood.value) for s in found.subsets)


def test_a_model_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    sizes = {"vocab_size": 9, "image_size": 8, "patch_size": 4, "max_position_embeddings": 8}
    config = transformers.ViltConfig(**small, **sizes, num_labels=3)
    model = transformers.ViltForQuestionAnswering(config)
    # The second token is the label, the image is noise; the last token is padding in half of the texts.
    label = torch.arange(240) % 3
    ids = torch.randint(3, 9, (240, 4))
    ids[:, 1] = label
    mask = torch.ones_like(ids)
    mask[::2, 3] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.randn(240, 3, 8, 8)}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        nn.functional.cross_entropy(model(**batch).logits, label).backward()
        optimizer.step()
        optimizer.zero_grad()

    model.eval()
    batches = [
        {k: v[i : i + 60] for k, v in batch.items()} | {"labels": label[i : i + 60]}
        for i in range(0, 240, 60)
    ]
    loader = ((batch, batch.pop("labels")) for batch in batches)
    groups = {"text": ("input_ids", "attention_mask"), "image": ("pixel_values",)}
    found = equimodal.diagnose(lambda inputs: model(**inputs).logits, loader, groups)
    with torch.no_grad():
        right = model(**batch).logits.argmax(1) == label
    uses_first_alone(found, float(right.float().mean()))


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_probabilities_are_not_taken_for_logits(precision: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(4, (300,), generator=generator)
    inputs = {m: torch.randn(300, 4, generator=generator, dtype=torch.float64) for m in "ab"}
    inputs["a"] += 2 * torch.eye(4)[label]
    batches = [({m: v[i : i + 90] for m, v in inputs.items()}, label[i : i + 90])
               for i in range(0, 300, 90)]  # fmt: skip

    def logits(inputs: dict[str, Tensor]) -> Tensor:
        return 3 * inputs["a"] + inputs["b"]

    said = equimodal.diagnose(logits, batches)
    given = equimodal.diagnose(lambda x: logits(x).softmax(1).to(precision), batches)
    close = {"abs": 1e-9} if precision == torch.float64 else {"abs": 0.01}
    for one, other in zip(said.subsets, given.subsets, strict=True):
        assert other.log_likelihood.value == pytest.approx(one.log_likelihood.value, **close)
    shaken = zip(
        said.robustness.noise["a"].accuracy, given.robustness.noise["a"].accuracy, strict=True
    )
    assert all(b.value == pytest.approx(a.value, **close) for a, b in shaken)
    assert said.remarks == () and "probabilities" not in said.text()
    [remark] = given.remarks
    assert remark in given.text() and Diagnosis.from_dict(given.to_dict()) == given
    # Logits that are not negative, or that sum to 1, are logits.
    for other in (lambda x: logits(x).relu(), lambda x: logits(x) - logits(x).mean(1, True) + 0.25):
        assert equimodal.diagnose(other, batches).remarks == ()


def test_answers_that_are_now_probabilities_now_not_are_refused() -> None:
    pairs = [({"a": np.ones((2, 2)), "scale": np.full((2, 1), s)}, np.zeros(2, dtype=int))
             for s in (0.5, 2.0)]  # fmt: skip
    with pytest.raises(DataError, match="probabilities for some samples and with something else"):
        equimodal.diagnose(lambda x: x["a"] * x["scale"], pairs, ("a",), shaken=0)


def test_answers_that_are_no_numbers_are_refused() -> None:
    pairs = [({"a": np.ones((2, 2))}, np.zeros(2, dtype=int))]
    with pytest.raises(DataError, match="NaN or infinite"):
        equimodal.diagnose(lambda x: x["a"] * np.nan, pairs)
