"""Training and evaluation: `fit`, `evaluate`, runs, checkpoints.

The settings can be read without PyTorch, so nothing is imported here; see `equimodal.training.fit.fit`,
`equimodal.training.evaluate.evaluate`, and `train`, `load` and `predict` in `equimodal.training.run`.
"""

from __future__ import annotations

__all__: list[str] = []
