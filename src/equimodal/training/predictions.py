"""`predictions.parquet`: probabilities of every sample, fused and per modality.

Columns: ``index`` (position in the split), ``target`` and ``prediction`` (names of classes), ``split``,
``p_fused_<class>``, and for each modality ``present_<modality>`` and ``p_<modality>_<class>``, which are null where the
sample lacks the modality.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from .evaluate import Predictions
from .folder import write_atomic

__all__ = ["table", "write_predictions"]


def table(predictions: Predictions, classes: Sequence[str], split: str) -> pa.Table:
    """The predictions as a table; probabilities are float64 and sum to 1 in each row."""
    names = np.asarray(classes)
    columns: dict[str, Any] = {
        "index": predictions.index.numpy(),
        "target": names[predictions.target.numpy()],
        "split": pa.array([split]).take(pa.array(np.zeros(len(predictions.target), dtype=int))),
        "prediction": names[predictions.fused.argmax(1).numpy()],
    }
    columns |= _probabilities("fused", predictions.fused, classes)
    for modality, logits in predictions.unimodal.items():
        present = predictions.present[modality].numpy()
        columns[f"present_{modality}"] = present
        columns |= _probabilities(modality, logits, classes, ~present)
    return pa.table(columns)


def _probabilities(
    name: str, logits: Tensor, classes: Sequence[str], missing: Any = None
) -> dict[str, pa.Array]:
    values = logits.double().softmax(1).numpy()
    return {
        f"p_{name}_{label}": pa.array(values[:, i], mask=missing) for i, label in enumerate(classes)
    }


def write_predictions(
    path: Path, predictions: Predictions, classes: Sequence[str], split: str
) -> None:
    """Write the table, whole or not at all."""
    content = io.BytesIO()
    pq.write_table(table(predictions, classes, split), content)
    write_atomic(path, content.getvalue())
