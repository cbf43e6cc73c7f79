r"""Jacobian descent: combine the gradients of the named losses by one of TorchJD's aggregators.

With one row per named loss $L_k$ and θ everything that is trained, the Jacobian is aggregated to one direction:

$$J = \big[\nabla_\theta L_k\big]_k \in \mathbb R^{K \times P}, \qquad \nabla_\theta \leftarrow \mathcal A(J)$$

``torchjd("MGDA")`` takes the shortest vector of the rows' convex hull (Désidéri 2012; Sener & Koltun 2018). The losses are
those of the other methods in the chain, so ``uniform() + torchjd("MGDA")`` balances the joint loss and every modality's own;
with the joint loss alone there is nothing to balance.

Source: P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2406.16232 (2024), and the paper that
TorchJD's documentation names for each aggregator; the package is MIT.

Readings
- One Jacobian of all parameters, where `MMPareto` has one for each encoder. A loss that does not reach a parameter has a zero
  there. A loss whose gradient is zero everywhere, such as that of a modality that the whole batch lacks, is no row: MGDA
  would stand still.
- The sum of all losses is what other methods minimise. Some aggregators return a mean or a convex combination, 1/K of its
  size: the learning rate may have to be larger.
- Rows are averaged over processes and micro-batches before they are aggregated, in float32 at least.
- What an aggregator draws is drawn from the step's own generator, and the global one is left as it was.
- An aggregator that remembers earlier steps is refused: its memory is neither of fixed size nor in checkpoints.
- UPGrad, DualProj, CAGrad and NashMTL need solvers whose licences are not TorchJD's; they work where a user has installed them.
- Each step waits for the device, as most aggregators do by themselves.

Hyper-parameters: TorchJD's defaults; others are written as in Python, ``torchjd("FairGrad(alpha=2.0)")``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core import TOTAL, DataInfo, Gradients, Method, Output, Step
from ..core.expression import build
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..models.multimodal import Multimodal

__all__ = ["TorchJD"]


class TorchJD(Method):
    """Aggregate the gradients of all named losses to one direction.

    Notes ``torchjd/cosine/<loss>``, between each loss's own gradient and that direction; below 0 it conflicts.

    Args:
        aggregator: by the name of its class in ``torchjd.aggregation``, with options where it needs them.

    Raises:
        ConfigError: TorchJD or what the aggregator needs is not installed; there is no such aggregator, or it remembers
            earlier steps.
    """

    per_loss_gradients = True
    keeps_rows = False
    adam = "direction only"
    neutral = "torchjd('Sum') = joint()"
    search_space = {"aggregator": ("MGDA", "PCGrad", "IMTLG", "AlignedMTL", "ConFIG")}

    def __init__(self, aggregator: str = "MGDA") -> None:
        super().__init__()
        self.aggregator = aggregator

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self.aggregate = _built(self.aggregator)

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        reached = {name for row in grads.rows.values() for name in row}
        parameters = {name: p for p, name in grads.names.items() if name in reached}
        if not parameters:
            return grads.sum()
        sizes = [p.numel() for p in parameters.values()]
        jacobian = _jacobian(grads.rows, parameters, sizes)
        direction = self._aggregated(jacobian, step)
        for loss, row in zip(grads.rows, jacobian, strict=True):
            step.note(f"torchjd/cosine/{loss}", torch.cosine_similarity(row, direction, dim=0))
        pieces = zip(parameters.items(), direction.split(sizes), strict=True)
        total = {name: piece.reshape(p.shape).to(p.dtype) for (name, p), piece in pieces}
        return replace(grads, rows={TOTAL: total})

    def _aggregated(self, jacobian: Tensor, step: Step) -> Tensor:
        """[P]: the direction of the rows that are not zero."""
        rows = jacobian[jacobian.any(1)]
        if not len(rows):
            return jacobian[0]
        try:
            with _drawing(step, rows.device):
                direction: Tensor = self.aggregate(rows)
        except ValueError as error:
            raise ConfigError(
                f"torchjd({self.aggregator!r}) cannot aggregate {len(rows)} losses: {error}"
            ) from error
        return direction


def _jacobian(
    rows: Mapping[str, Mapping[str, Tensor]], parameters: Mapping[str, Tensor], sizes: list[int]
) -> Tensor:
    """[K, P]: the rows as vectors over these parameters."""
    first = next(iter(parameters.values()))
    dtype = torch.promote_types(first.dtype, torch.float32)
    jacobian = torch.zeros(len(rows), sum(sizes), dtype=dtype, device=first.device)
    for vector, row in zip(jacobian, rows.values(), strict=True):
        for name, piece in zip(parameters, vector.split(sizes), strict=True):
            if name in row:
                piece.copy_(row[name].reshape(-1))
    return jacobian


@contextmanager
def _drawing(step: Step, device: torch.device) -> Iterator[None]:
    """Inside, the global generators draw what belongs to this step."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(step.generator("torchjd").initial_seed())
        yield


def _built(aggregator: str) -> nn.Module:
    try:
        import torchjd
        from torchjd import aggregation
    except ImportError:
        raise ConfigError(
            "torchjd() needs the package torchjd: pip install 'equimodal[jacobian]'."
        ) from None
    known = {
        name: value
        for name, value in vars(aggregation).items()
        if inspect.isclass(value) and issubclass(value, aggregation.Aggregator)
    }
    try:
        made: nn.Module = build(aggregator, known, "aggregator", aggregation.Aggregator)
    except ImportError as error:
        raise ConfigError(
            f"torchjd({aggregator!r}) needs more packages, under licences of their own: {error}"
        ) from None
    if isinstance(made, torchjd.Stateful):
        raise ConfigError(
            f"torchjd({aggregator!r}) remembers earlier steps, which no checkpoint would keep: "
            "choose an aggregator without a memory, such as MGDA or PCGrad."
        )
    return made
