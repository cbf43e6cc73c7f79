from __future__ import annotations

import numpy as np
import pytest
import torch

from equimodal.core.batch import Padded
from equimodal.data.augmented import Augmented
from equimodal.data.dataset import Arrays, Sample, collate
from equimodal.data.dropout import ModalityDropout
from equimodal.data.wrapped import Wrapped
from equimodal.errors import ConfigError, DataError


def arrays(**options: object) -> Arrays:
    inputs = {
        "a": torch.arange(24, dtype=torch.float64).reshape(6, 4),
        "b": torch.arange(12, dtype=torch.float64).reshape(6, 2),
    }
    return Arrays(inputs, [0, 1, 2, 0, 1, 2], ("x", "y", "z"), **options)  # type: ignore[arg-type]


PARTLY = {"b": [True, False, True, True, False, True]}


def test_a_sample_does_not_name_what_it_lacks() -> None:
    data = arrays(present=PARTLY)
    assert set(data[1].inputs) == {"a"}
    assert set(data[2].inputs) == {"a", "b"}
    assert data.missing == {"a": 0.0, "b": pytest.approx(1 / 3)}


def test_fetch_equals_collating_samples() -> None:
    data = arrays(present=PARTLY)
    rows = [4, 0, 3]
    fast, slow = data.fetch(rows), collate([data[i] for i in rows], data.shapes)
    assert fast.index is not None and fast.index.tolist() == rows
    assert slow.index is not None and slow.index.tolist() == rows
    for name in data.modalities:
        assert torch.equal(fast.inputs[name], slow.inputs[name])  # type: ignore[arg-type]
        assert torch.equal(fast.mask(name), slow.mask(name))
    assert fast.mask("b").tolist() == [False, True, True]
    assert fast.inputs["b"][0].tolist() == [0, 0]  # type: ignore[index]


def test_a_modality_that_nobody_in_the_batch_has_gets_zeros_of_its_shape() -> None:
    batch = collate([Sample({"a": torch.ones(4)}, 1, 7)], {"a": (4,), "b": (3, 2)})
    assert isinstance(batch.inputs["b"], torch.Tensor)
    assert batch.inputs["b"].shape == (1, 3, 2)
    assert not batch.mask("b").any()


def test_sequences_of_different_lengths_are_padded() -> None:
    samples = [Sample({"s": torch.ones(n, 2)}, 0, n) for n in (3, 1)] + [Sample({}, 0, 9)]
    padded = collate(samples, {"s": (-1, 2)}).inputs["s"]
    assert isinstance(padded, Padded)
    assert padded.lengths.tolist() == [3, 1, 1]
    assert padded.values.sum((1, 2)).tolist() == [6, 2, 0]


def test_collate_refuses_another_shape() -> None:
    with pytest.raises(DataError, match=r"'a' of sample 5 has shape \(3,\)"):
        collate([Sample({"a": torch.ones(3)}, 0, 5)], {"a": (4,)})


def test_a_subset_counts_from_zero() -> None:
    part = arrays(present=PARTLY).subset([5, 1])
    assert part.targets.tolist() == [2, 1]
    assert part[0].index == 0
    assert part[0].inputs["a"].tolist() == [20, 21, 22, 23]
    assert part.present["b"].tolist() == [True, False]


def test_groups_go_with_their_samples() -> None:
    whole = Arrays({"a": np.zeros((4, 2))}, [0, 1, 2, 0], "xyz", groups=["p", "q", "p", "r"])
    assert whole.groups.tolist() == [0, 1, 0, 2]
    last = [3, 2]
    for data in (
        whole,
        ModalityDropout(whole, 0.5),
        Augmented(whole, {}),
        Wrapped([(np.zeros(2), c) for c in "xyzx"], ["a"], groups=np.array([7, 5, 7, 6]).tolist()),
    ):
        one, other = data.subset(last).groups
        assert one != other and other == data.only(["a"]).groups[0]
    apart = Arrays(
        {"a": np.zeros((4, 1))}, [0, 1, 0, 1], "xy", groups=[None, None, "p", float("nan")]
    )
    assert apart.groups.tolist() == [0, 1, 2, 3]
    hashed = Arrays({"a": np.zeros((2, 1))}, [0, 1], "xy", groups=[2**70, 2**70])
    assert hashed.groups.tolist() == [0, 0]
    with pytest.raises(
        DataError, match=r"one entry for each sample, \[N\]; here its shape is \[2, 1\]"
    ):
        Arrays({"a": np.zeros((2, 1))}, [0, 1], "xy", groups=np.zeros((2, 1)))
    with pytest.raises(DataError, match="groups has 1 row and the targets have 2"):
        Arrays({"a": np.zeros((2, 2))}, [0, 1], "xy", groups=["p"])


def test_only_keeps_the_order_asked_for() -> None:
    assert arrays().only(["b", "a"]).modalities == ("b", "a")
    with pytest.raises(ConfigError, match="no modality 'c'"):
        arrays().only(["c"])
    with pytest.raises(ConfigError, match="different names"):
        arrays().only(["a", "a"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    values = np.zeros((6, 4))
    values[3, 1] = value
    with pytest.raises(DataError, match="'a' has a value that is not finite .* row 3"):
        Arrays({"a": values}, [0] * 6, ["x"])
    lacking = np.arange(6) != 3
    assert Arrays({"a": values}, [0] * 6, ["x"], present={"a": lacking}).inputs["a"].sum() == 0


def test_labels_and_lengths_are_checked() -> None:
    with pytest.raises(DataError, match="label of row 2 is 5"):
        Arrays({"a": np.zeros((3, 1))}, [0, 1, 5], ["x", "y"])
    with pytest.raises(DataError, match="a has 3 rows and the targets have 2"):
        Arrays({"a": np.zeros((3, 1))}, [0, 1], ["x", "y"])


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ["cat", "dog", "cat"],
            "must be class ids, whole numbers from 0 on; of names give their pos",
        ),
        ([0.0, 1.5, 1.0], "label of row 1 is 1.5; class ids are whole numbers"),
    ],
)
def test_targets_are_class_ids(targets: list[object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Arrays({"a": np.zeros((3, 1))}, targets, ["x", "y"])  # type: ignore[arg-type]


def test_modalities_are_numbers() -> None:
    with pytest.raises(DataError, match="Modality 'a' must be an array of numbers"):
        Arrays({"a": [["x"], ["y"]]}, [0, 1], ["x", "y"])  # type: ignore[dict-item]


def test_a_row_that_is_none_is_said_by_present() -> None:
    with pytest.raises(DataError, match=r"'b' is None in row 1; .* by present= which rows have"):
        Arrays({"a": np.zeros((3, 1)), "b": [np.ones(2), None, np.ones(2)]}, [0, 1, 0], ["x", "y"])
    there = Arrays({"b": np.ones((2, 2))}, [0, 1], ["x", "y"], present={"b": [True, False]})
    assert there.missing == {"b": 0.5}


def test_tables_of_pandas_are_read_by_position() -> None:
    pandas = pytest.importorskip("pandas")
    values = np.arange(24.0).reshape(12, 2)
    order = [(5 * i) % 12 for i in range(12)]  # a table that was shuffled keeps its old numbers
    table = pandas.DataFrame(values, columns=["u", "v"], index=order)
    found = Arrays({"a": table}, pandas.Series([0, 1] * 6, index=order), ["x", "y"])
    assert np.array_equal(found.inputs["a"].numpy(), values)
    assert found.targets.tolist() == [0, 1] * 6


def test_a_transform_is_a_function_of_epoch_and_index() -> None:
    def noisy(value: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        return value + rng.random()

    data = arrays(transforms={"a": noisy}, seed=3)
    once = data.fetch([2, 5], epoch=1).inputs["a"]
    again = data.fetch([5, 0, 2], epoch=1).inputs["a"]
    other = data.fetch([2], epoch=2).inputs["a"]
    assert torch.equal(once[0], again[2]) and torch.equal(once[1], again[0])  # type: ignore[arg-type]
    assert not torch.equal(once[0], other[0])  # type: ignore[arg-type]
    assert torch.equal(data.sample(2, epoch=1).inputs["a"], once[0])  # type: ignore[arg-type]


def test_the_fingerprint_follows_the_contents() -> None:
    changed = arrays()
    changed.inputs["a"][0, 0] = 0.5
    prints = {d.fingerprint() for d in (arrays(), arrays(), arrays(present=PARTLY), changed)}
    assert len(prints) == 3
