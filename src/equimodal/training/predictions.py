"""`predictions.parquet`: probabilities of every sample, fused and per modality.

Columns: ``index`` (position in the split, without what is left out), ``name`` where the data name their samples, ``group`` (a number)
where several may be of one, ``target`` (null where it is not known) and
``prediction`` (names of classes), ``split`` (null in a table that is predicted whole),
``p_fused_<class>``, ``p_fitted_<class>`` where fitted fusion is used (which then makes the prediction), and for each modality ``present_<modality>`` and ``p_<modality>_<class>``, which are null where the
sample lacks the modality. Rows that were left out, because their files cannot be read, are in the schema's metadata with the
reasons.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from .. import files
from ..data.dataset import UNKNOWN, Dataset
from .evaluate import Answers
from .fused_weights import fuse

__all__ = ["answered", "groups", "left_out", "right", "table", "write_predictions"]

LEFT_OUT = b"left_out"


def table(
    predictions: Answers,
    data: Dataset,
    split: str | None,
    weights: Mapping[str, float] | None = None,
) -> pa.Table:
    """The predictions as a table; probabilities are float64 and sum to 1 in each row.

    Args:
        predictions: of N samples.
        data: of which they are.
        split: its name; None of a table that is predicted whole.
        weights: of fitted fusion, where it is used.
    """
    classes, groups = data.classes, data.groups
    labels = np.asarray(classes)
    names = [data.name(i) for i in predictions.index.tolist()]
    logits = {"fused": predictions.fused}
    if weights is not None:
        logits["fitted"] = fuse(predictions.unimodal, weights, predictions.present)
    *_, best = logits.values()
    ids = data.targets[predictions.index].numpy()
    columns: dict[str, Any] = {
        "index": predictions.index.numpy(),
        **({"name": names} if any(names) else {}),
        **({} if groups is None else {"group": groups[predictions.index].numpy()}),
        "target": pa.array(labels[ids], pa.string(), mask=ids == UNKNOWN),
        "split": pa.array([split], pa.string()).take(pa.array(np.zeros(len(ids), dtype=int))),
        "prediction": labels[best.argmax(1).numpy()],
    }
    for name, values in logits.items():
        columns |= _probabilities(name, values, classes)
    for modality, values in predictions.unimodal.items():
        present = predictions.present[modality].numpy()
        columns[f"present_{modality}"] = present
        columns |= _probabilities(modality, values, classes, ~present)
    return pa.table(columns)


def _probabilities(
    name: str, logits: Tensor, classes: Sequence[str], missing: Any = None
) -> dict[str, pa.Array]:
    values = logits.double().softmax(1).numpy()
    return {
        f"p_{name}_{label}": pa.array(values[:, i], mask=missing) for i, label in enumerate(classes)
    }


def write_predictions(
    path: Path,
    predictions: Answers,
    data: Dataset,
    split: str | None,
    weights: Mapping[str, float] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Write the table, whole or not at all, with the reason for each row that is left out."""
    content = io.BytesIO()
    made = table(predictions, data, split, weights)
    if left_out:
        made = made.replace_schema_metadata({LEFT_OUT: json.dumps(left_out)})
    pq.write_table(made, content)
    files.write(path, content.getvalue())


def left_out(path: Path) -> dict[str, str]:
    """For each row that a file of predictions lacks, because its files cannot be read, the reason."""
    metadata = pq.read_schema(path).metadata or {}
    found: dict[str, str] = json.loads(metadata.get(LEFT_OUT, "{}"))
    return found


def answered(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None]:
    """Whether the predictions of a file are right, of those of its samples whose class is known; and the groups of these, if any."""
    found = pq.read_table(path, columns=["target", "prediction"])
    known: NDArray[np.bool_] = pc.is_valid(found["target"]).to_numpy()
    found, of = found.filter(known), groups(path)
    same: NDArray[np.bool_] = pc.equal(found["target"], found["prediction"]).to_numpy()
    return same, None if of is None else of[known]


def groups(path: Path) -> NDArray[np.int64] | None:
    """[N] what the samples of a file are of, where several may be of one; else None."""
    if "group" not in pq.read_schema(path).names:
        return None
    found: NDArray[np.int64] = pq.read_table(path, columns=["group"])["group"].to_numpy()
    return found


def right(path: Path, of: str = "fused") -> NDArray[np.bool_]:
    """[N], whether the most probable class of each sample is its own; false where a sample lacks the modality.

    Args:
        path: of a file that `write_predictions` wrote.
        of: ``"fused"`` (without fitted fusion), ``"fitted"``, or a modality.
    """
    named = f"p_{of}_"
    columns = [name for name in pq.read_schema(path).names if name.startswith("p_fused_")]
    classes = np.asarray([name.removeprefix("p_fused_") for name in columns])
    found = pq.read_table(path, columns=["target", *(f"{named}{label}" for label in classes)])
    p = np.stack([found[f"{named}{label}"].to_numpy() for label in classes])
    same = classes[p.argmax(0)] == np.asarray(found["target"].to_pylist())
    answered: NDArray[np.bool_] = same & ~np.isnan(p[0])
    return answered
