"""Balanced multimodal learning: no modality is left behind.

Models that learn from several modalities lean on the easy one. `equimodal` trains them so that every modality learns,
shows what each contributes, and compares the published ways to do it on equal terms::

    import torch
    from torch import nn
    from equimodal import Balanced, Batch, Multimodal, heads, methods

    image, sound = torch.randn(64, 1, 8, 8), torch.randn(64, 20)
    batch = Batch({"image": image, "sound": sound}, target=torch.arange(64) % 3, index=torch.arange(64))
    encoders = {
        "image": nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU()),
        "sound": nn.Sequential(nn.Linear(20, 16), nn.ReLU()),
    }
    model = Multimodal(encoders, heads.Linear({"image": 16, "sound": 16}, classes=3))
    learner = Balanced(model, methods.BIO(), samples=64, epochs=2)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01)
    for epoch in range(2):
        learner.begin_epoch(epoch, [batch], None, optimizer)
        for step in learner.steps(batch, epoch):
            output = learner(step)
            learner.backward(learner.losses(output, step), output, step)
            optimizer.step(); optimizer.zero_grad()
    print(learner.predict(batch).fused.shape)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data, methods
    from .core import Balanced, Batch, Method, Output
    from .diagnostics.diagnosis import diagnose
    from .models import Multimodal, encoders, heads
    from .training.evaluate import evaluate
    from .training.fit import fit
    from .training.run import load

__version__ = "0.1.0"

__all__ = [
    "Balanced",
    "Batch",
    "Method",
    "Multimodal",
    "Output",
    "data",
    "diagnose",
    "encoders",
    "evaluate",
    "fit",
    "heads",
    "load",
    "methods",
]

# Where each public name lives: imported when first used, because `equimodal --help` needs no PyTorch.
_HOME = {
    "Balanced": "core",
    "Batch": "core",
    "Method": "core",
    "Output": "core",
    "Multimodal": "models",
    "encoders": "models",
    "heads": "models",
    "fit": "training.fit",
    "diagnose": "diagnostics.diagnosis",
    "evaluate": "training.evaluate",
    "load": "training.run",
    "data": "",
    "methods": "",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOME[name]:
        return importlib.import_module(f".{name}", __name__)
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
