"""Encoders: one modality's input [B, ...] to its features [B, width].

An encoder is any `torch.nn.Module` that does this; an attribute ``width`` lets a head be sized without a trial run.
Those here are named in expressions by the keys of `BY_NAME`, as in ``"resnet18(channels=1)"``.

An encoder of tokens is a `equimodal.core.tokens.TokenEncoder`: it also has ``embed(ids)``, and its ``forward`` accepts
ids or embeddings, told apart by their type, so that a method that changes inputs works on tokens too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from .adapted import Frozen, LoRA
from .points import DGCNN, PointNet
from .pretrained import AST, BERT, VideoMAE, ViT, Wav2Vec2
from .resnet import ResNet18, ResNet50
from .sequence import GRU, Conv1d
from .tabular import MLP, SNN, Table
from .text import BiGRU, Transformer
from .vision import CNN

__all__ = [
    "AST",
    "BERT",
    "BY_NAME",
    "CNN",
    "DGCNN",
    "GRU",
    "MLP",
    "SNN",
    "BiGRU",
    "Conv1d",
    "Frozen",
    "LoRA",
    "PointNet",
    "ResNet18",
    "ResNet50",
    "Table",
    "Transformer",
    "ViT",
    "VideoMAE",
    "Wav2Vec2",
]

BY_NAME: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        "ast": AST,
        "bert": BERT,
        "bigru": BiGRU,
        "cnn": CNN,
        "conv1d": Conv1d,
        "dgcnn": DGCNN,
        "frozen": Frozen,
        "gru": GRU,
        "lora": LoRA,
        "mlp": MLP,
        "pointnet": PointNet,
        "resnet18": ResNet18,
        "resnet50": ResNet50,
        "snn": SNN,
        "table": Table,
        "transformer": Transformer,
        "videomae": VideoMAE,
        "vit": ViT,
        "wav2vec2": Wav2Vec2,
    }
)
