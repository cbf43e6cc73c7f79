from __future__ import annotations

import torch
from torch import nn

from equimodal.core import TOTAL, Gradients


def example() -> tuple[nn.Sequential, Gradients]:
    module = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1, bias=False))
    names = {p: n for n, p in module.named_parameters()}
    first = {"0.weight": torch.tensor([[1.0, 2.0]]), "0.bias": torch.tensor([3.0])}
    second = {"0.weight": torch.tensor([[10.0, 20.0]]), "1.weight": torch.tensor([[5.0]])}
    return module, Gradients({"a": first, "b": second}, names)


def test_of_is_one_vector_with_zeros_for_what_a_row_lacks() -> None:
    module, grads = example()
    assert grads.of("a", module).tolist() == [1, 2, 3, 0]
    assert grads.of("b", module).tolist() == [10, 20, 0, 5]
    assert grads.of("b", module[1]).tolist() == [5]
    assert grads.of("a", nn.ReLU()).numel() == 0


def test_sum_adds_the_rows() -> None:
    module, grads = example()
    total = grads.sum()
    assert set(total.rows) == {TOTAL} and total.of(TOTAL, module).tolist() == [11, 22, 3, 5]
    assert total.sum() is total


def test_map_changes_a_module_in_every_row_and_nothing_in_place() -> None:
    module, grads = example()
    found = grads.map(module[0], lambda grad: -grad)
    assert found.of("a", module).tolist() == [-1, -2, -3, 0]
    assert found.of("b", module).tolist() == [-10, -20, 0, 5]
    assert grads.of("a", module).tolist() == [1, 2, 3, 0]


def test_frozen_and_repeated_parameters() -> None:
    module, grads = example()
    twice = nn.ModuleList([module[0], module[0], nn.Linear(1, 1)])
    assert grads.names_in(twice) == ["0.weight", "0.bias"]
