"""Encoders: one modality's input [B, ...] to its features [B, width].

An encoder is any `torch.nn.Module` that does this; an attribute ``width`` lets a head be sized without a trial run.
Those here are named in expressions by the keys of `BY_NAME`, as in ``"resnet18(channels=1)"``.

An encoder of tokens is a `equimodal.core.tokens.TokenEncoder`: it also has ``embed(ids)``, and its ``forward`` accepts
ids or embeddings, told apart by their type, so that a method that changes inputs works on tokens too. None is needed
yet.
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
