"""Encoders: one modality's input [B, ...] to its features [B, width].

An encoder is any `torch.nn.Module` that does this; an attribute ``width`` lets a head be sized without a trial run.
Those here are named in expressions by the keys of `BY_NAME`, as in ``"resnet18(channels=1)"``.

An encoder of tokens also has ``embed(ids)``, which maps integer ids [B, T] to embeddings [B, T, d], and its
``forward`` accepts either, told apart by their type: integers are ids, floating numbers are embeddings. A method that
changes inputs (TCM's noise) then works on text as on everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from .points import DGCNN, PointNet
from .sequence import GRU, Conv1d
from .tabular import MLP
from .vision import CNN, ResNet18

__all__ = ["BY_NAME", "CNN", "DGCNN", "GRU", "MLP", "Conv1d", "PointNet", "ResNet18"]

BY_NAME: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        "cnn": CNN,
        "conv1d": Conv1d,
        "dgcnn": DGCNN,
        "gru": GRU,
        "mlp": MLP,
        "pointnet": PointNet,
        "resnet18": ResNet18,
    }
)
