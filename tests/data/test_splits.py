from __future__ import annotations

import numpy as np
import pytest
import torch

from equimodal.data.dataset import Arrays
from equimodal.data.splits import Splits, carve_validation, stratified
from equimodal.errors import ConfigError, DataError

LABELS = [0] * 10 + [1] * 20 + [2] * 5


def data(labels: list[int] = LABELS, classes: int = 3) -> Arrays:
    values = torch.arange(len(labels), dtype=torch.float64)[:, None]
    return Arrays({"left": values, "right": -values}, labels, [str(c) for c in range(classes)])


def test_stratified_takes_the_rounded_share_of_each_class() -> None:
    first, rest = stratified(LABELS, 0.7)
    assert np.bincount(np.array(LABELS)[first]).tolist() == [7, 14, 4]  # round(3.5) is 4
    assert sorted([*first, *rest]) == list(range(35))


def test_stratified_follows_the_written_rule() -> None:
    rng = np.random.default_rng(5)
    expected: list[int] = []
    for start, count in ((0, 10), (10, 20), (30, 5)):
        expected += (start + rng.permutation(count))[: round(0.3 * count)].tolist()
    # Permuting the rows themselves and permuting their positions is the same draw.
    assert stratified(LABELS, 0.3, seed=5)[0].tolist() == sorted(expected)


def test_validation_is_carved_out_and_its_rows_are_told() -> None:
    whole = data()
    train, val, rows = carve_validation(whole, 0.2, seed=1)
    assert val.class_counts == {"0": 2, "1": 4, "2": 1}
    assert val[0].inputs["left"].item() == rows[0]
    seen = {s.inputs["left"].item() for part in (train, val) for s in part}
    assert seen == set(range(35))
    assert {s.inputs["left"].item() for s in val} == set(rows)
    assert carve_validation(whole, 0.2, seed=2)[2] != rows


def test_groups_are_held_out_whole() -> None:
    groups = np.arange(35) % 7
    train, val, rows = carve_validation(data(), 0.3, groups=groups)
    held = set(groups[list(rows)])
    assert len(held) == 3  # two groups are 10 of 35, below three tenths
    assert held.isdisjoint(groups[[int(s.inputs["left"].item()) for s in train]])
    assert len(val) == 15
    known = Arrays({"left": np.zeros((35, 1))}, LABELS, "012", groups=groups)
    assert carve_validation(known, 0.3)[2] == rows
    with pytest.raises(DataError, match="at least two groups"):
        carve_validation(data(), 0.1, groups=np.zeros(35))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1e-6])
def test_a_fraction_that_cannot_be_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="validation fraction"):
        carve_validation(data(), fraction)


def test_a_class_that_train_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="no sample of class '3'"):
        Splits("toy", data(classes=4), data(classes=4), data(classes=4))


def test_parts_must_agree() -> None:
    with pytest.raises(DataError, match="classes of test"):
        Splits("toy", data(), data(), data(classes=4))
    with pytest.raises(DataError, match="modalities of val"):
        Splits("toy", data(), data().only(["left"]), data())


def test_a_data_set_of_another_kind_is_refused() -> None:
    whole, raw = data(), [({"a": 1.0}, 0)]
    with pytest.raises(DataError, match=r"pets: val is a list; give equimodal\.data\.Wrapped"):
        Splits("pets", whole, raw, whole)  # type: ignore[arg-type]


def test_modalities_can_be_chosen_and_a_wrong_name_gets_the_nearest() -> None:
    splits = Splits("toy", data(), data(), data(), encoders={"left": "mlp()", "right": "gru()"})
    right = splits.only(["right"])
    assert right.modalities == ("right",) == right.test.modalities
    assert dict(right.encoders) == {"right": "gru()"}
    assert right.fingerprint != splits.fingerprint
    with pytest.raises(ConfigError, match="did you mean 'right'"):
        splits.only(["rigth"])
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        splits.part("tset")
