from __future__ import annotations

import numpy as np
import pytest
import torch

from equimodal import Batch
from equimodal.core import Padded
from equimodal.errors import DataError


def batch(**options: object) -> Batch:
    inputs = {"a": torch.arange(8.0).reshape(4, 2), "b": torch.arange(4.0)[:, None]}
    return Batch(inputs, torch.tensor([0, 1, 2, 0]), torch.tensor([5, 6, 7, 8]), **options)


def test_everybody_is_present_by_default() -> None:
    assert batch().complete(["a", "b"]) and batch().count("b") == 4
    assert batch().mask("a").tolist() == [True] * 4
    assert not batch().complete(["a", "c"])
    assert batch().count("c") == 0 and batch().mask("c").tolist() == [False] * 4


def test_a_mask_that_hides_nobody_is_no_mask() -> None:
    assert batch(present={"a": torch.ones(4)}).present == {}


def test_rows_are_the_positions_that_are_present() -> None:
    found = batch(present={"b": torch.tensor([1, 0, 0, 1])})
    assert found.rows["b"].tolist() == [0, 3] and found.count("b") == 2
    assert found.mask("b").dtype == torch.bool
    assert not found.complete(["b"]) and found.complete(["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.zeros(3)}, "'target': 3"),
        ({"index": torch.zeros(5)}, "'index': 5"),
        ({"present": {"a": torch.ones(2)}}, r"present\['a'\].*: 2"),
        (
            {"present": {"c": torch.ones(4)}},
            r"\['c'\], which are not among its inputs \['a', 'b'\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batch(**{"inputs": batch().inputs, **change})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"inputs": torch.zeros(4, 2)}, "names its inputs.* here they are a Tensor"),
        ({"inputs": {"a": np.zeros((4, 2))}}, "its input 'a' is a ndarray"),
        ({"inputs": {"a": torch.tensor(1.0)}}, "its input 'a' is a tensor without axes"),
        (
            {"inputs": {"a": {"ids": torch.ones(4)}}},
            "is a dict: of token ids and their mask make Padded",
        ),
        ({"target": [0, 1, 2, 0]}, "its target is a list: torch.as_tensor makes one"),
        ({"present": {"a": [True] * 4}}, r"its present\['a'\] is a list"),
    ],
)
def test_what_is_no_tensor_is_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batch(**{"inputs": batch().inputs, **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"index": torch.arange(4).int()}, r"an index is of type int64; here it is torch\.int32"),
        ({"index": torch.arange(4)[:, None]}, r"index has one entry for each sample.*\[4, 1\]"),
        ({"present": {"a": torch.ones(4, 1)}}, r"present\['a'\] has one entry for each sample"),
    ],
)
def test_what_has_another_form_is_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batch(**{"inputs": batch().inputs, **parts})


@pytest.mark.parametrize(
    "lengths",
    [torch.tensor([1, 2]), torch.tensor([0, 1, 2]), torch.tensor([1, 2, 4]), torch.ones(3, 3),
     torch.ones(3)],
)  # fmt: skip
def test_lengths_that_cannot_be_are_refused(lengths: torch.Tensor) -> None:
    with pytest.raises(DataError, match="lengths of input 'a' must be 3 whole numbers from 1 to 3"):
        Batch({"a": Padded(torch.zeros(3, 3, 2), lengths)})
    assert len(Batch({"a": Padded(torch.zeros(0, 3, 2), torch.zeros(0, dtype=torch.long))})) == 0


def test_select_keeps_samples_together() -> None:
    whole = batch(present={"b": torch.tensor([1, 0, 0, 1])})
    some = whole.select([3, 1])
    assert some.inputs["b"].tolist() == [[3], [1]] and some.index.tolist() == [8, 6]
    assert some.rows["b"].tolist() == [0] and some.target.tolist() == [0, 1]
    assert whole.select(slice(1, 3)).index.tolist() == [6, 7]
    assert len(whole.select([])) == len(whole.select(slice(0, 0))) == 0


def test_concatenate_undoes_select() -> None:
    whole = batch(present={"b": torch.tensor([1, 0, 1, 1])})
    found = Batch.concatenate([whole.select(slice(0, 1)), whole.select(slice(1, 4))])
    for name, value in whole.inputs.items():
        assert torch.equal(found.inputs[name], value)
    assert torch.equal(found.target, whole.target) and torch.equal(found.index, whole.index)
    assert torch.equal(found.mask("b"), whole.mask("b"))
    assert torch.equal(found.rows["b"], whole.rows["b"]) and set(found.rows) == {"b"}


@pytest.mark.parametrize("first", [True, False])
def test_concatenate_of_parts_that_do_not_name_the_same(first: bool) -> None:
    """A modality that a part does not name is one that its samples lack."""
    words = Padded(torch.arange(2.0)[:, None, None] + torch.zeros(2, 3, 4), torch.tensor([3, 1]))
    with_both = Batch({"a": torch.ones(2, 5), "words": words}, index=torch.tensor([0, 1]))
    parts = [with_both, Batch({"a": torch.full((3, 5), 2.0)}, index=torch.tensor([2, 3, 4]))]
    found = Batch.concatenate(parts if first else parts[::-1])
    has = found.index < 2
    assert torch.equal(found.mask("words"), has) and found.complete(["a"])
    assert torch.equal(found.rows["words"], has.nonzero().squeeze(1)) and found.count("words") == 2
    kept = found.inputs["words"][found.rows["words"]]
    assert torch.equal(kept.values, words.values) and torch.equal(kept.lengths, words.lengths)


def test_concatenate_forgets_an_index_that_a_part_lacks() -> None:
    other = Batch(batch().inputs, batch().target)
    assert Batch.concatenate([batch(), other]).index is None


def test_sequences_are_padded_to_the_longest() -> None:
    short = Batch({"a": Padded(torch.ones(1, 2, 3), torch.tensor([2]))})
    long = Batch({"a": Padded(torch.ones(2, 4, 3), torch.tensor([4, 1]))})
    found = Batch.concatenate([short, long]).inputs["a"]
    assert found.values.shape == (3, 4, 3) and found.lengths.tolist() == [2, 4, 1]
    assert found.values.sum((1, 2)).tolist() == [6, 12, 12]


def test_moving_keeps_who_is_present() -> None:
    whole = batch(present={"b": torch.tensor([1, 0, 0, 1])})
    moved = whole.to("cpu")
    assert moved.rows["b"].tolist() == [0, 3] and moved.present["b"].tolist() == [1, 0, 0, 1]


def test_with_inputs_leaves_the_first_batch_alone() -> None:
    whole = batch()
    changed = whole.with_inputs({**whole.inputs, "a": -whole.inputs["a"]})
    assert whole.inputs["a"][3, 1] == 7 and changed.inputs["a"][3, 1] == -7
    assert changed.index is whole.index
