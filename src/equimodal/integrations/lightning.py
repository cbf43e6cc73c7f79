"""Balanced training in a Lightning `Trainer`, by manual optimisation: a method decides how many updates a batch receives.

Needs ``pip install "equimodal[lightning]"``.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor

from ..core import Balanced, Batch, Output
from ..data.loader import Loader
from ..errors import ConfigError

__all__ = ["BalancedModule"]


class MakeOptimizer(Protocol):
    """What builds the optimiser from the parameters, such as ``functools.partial(SGD, lr=0.01)``."""

    def __call__(self, parameters: Iterable[Tensor], /) -> torch.optim.Optimizer: ...


class BalancedModule(LightningModule):
    """A learner as a LightningModule: ``Trainer(...).fit(BalancedModule(learner, partial(SGD, lr=0.01)), train, val)``.

    The loaders yield `Batch`. Logged are the sum of the losses as ``train/loss``, and in validation and test the accuracy
    of the fused and of each modality's logits, ``val/accuracy`` and ``val/accuracy/<modality>``. Lightning counts updates
    as steps, of which a batch may receive several.

    Args:
        learner: model and method.
        optimizer: makes the optimiser from ``learner.parameters()``.
        schedule: 0-based epoch -> factor on the learning rate, multiplied with the method's own.
        clip: largest norm of the gradient, after the method has changed it; else it is not cut.

    Raises:
        ConfigError: an optimiser in place of what makes it; a loader that yields something else than `Batch`; at the start,
            where the trainer averages or scales gradients by itself (several processes, ``precision="16-mixed"``) or
            converts batches, or the number of batches is unknown.
    """

    def __init__(
        self,
        learner: Balanced,
        optimizer: MakeOptimizer,
        *,
        schedule: Callable[[int], float] | None = None,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        if isinstance(optimizer, torch.optim.Optimizer):
            raise ConfigError(
                "optimizer is one already; give what makes it, as functools.partial(torch.optim.SGD, lr=0.01)."
            )
        self.automatic_optimization = False
        self.learner = learner
        self.make_optimizer, self.schedule, self.clip = optimizer, schedule, clip

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.learner.parameters())

    def forward(self, batch: Batch) -> Output:
        """What the learner predicts."""
        return self.learner.predict(batch)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        if not isinstance(batch, Batch):
            raise ConfigError(
                f"The loaders must yield Batch, here a {type(batch).__name__}: give them a collate function that returns one."
            )
        return batch.to(device)

    def setup(self, stage: str) -> None:
        precision = self.trainer.precision
        if precision not in ("32-true", "bf16-mixed", "16-mixed"):
            raise ConfigError(
                f"precision={precision!r} converts batches, of which Lightning does not know: use '32-true' with learner and "
                "batches of the type that you want, or 'bf16-mixed'."
            )

    def on_train_start(self) -> None:
        trainer = self.trainer
        if trainer.world_size > 1:
            raise ConfigError(
                "Lightning averages gradients of several processes before a method sees them: use devices=1, or the "
                "plain loop with Fabric."
            )
        if trainer.precision == "16-mixed":
            raise ConfigError(
                "precision='16-mixed' scales gradients before a method sees them: use 'bf16-mixed'."
            )
        if not math.isfinite(trainer.num_training_batches):
            raise ConfigError(
                "A method needs to know how many batches an epoch has: give Trainer(limit_train_batches=N)."
            )

    def on_train_epoch_start(self) -> None:
        optimizer, epoch = self._optimizer(), self.current_epoch
        loaders = _flat(self.trainer.train_dataloader)
        for loader in loaders:
            if isinstance(loader, Loader):  # Lightning tells the epoch to samplers of PyTorch only
                loader.set_epoch(epoch)
        self.learner.begin_epoch(
            epoch,
            _Moved(loaders, self.device),
            _Moved(_flat(self.trainer.val_dataloaders), self.device),
            optimizer,
        )
        factor = self.learner.rate(epoch) * (self.schedule(epoch) if self.schedule else 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        learner, optimizer = self.learner, self._optimizer()
        of = int(self.trainer.num_training_batches)
        for step in learner.steps(batch, self.current_epoch, batch_idx, of):
            output = learner(step)
            losses = learner.losses(output, step)
            learner.backward(losses, output, step, self.manual_backward)
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(learner.parameters(), self.clip)
            optimizer.step()
            optimizer.zero_grad()
        total = torch.stack([value.detach() for value in losses.values()]).sum()
        self.log("train/loss", total, prog_bar=True, batch_size=len(batch))

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log_accuracies("val", batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._log_accuracies("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Output:
        return self.learner.predict(batch)

    def _log_accuracies(self, split: str, batch: Batch) -> None:
        assert batch.target is not None
        output, task = self.learner.predict(batch), self.learner.task
        right = task.correct(output.fused, batch.target).float().mean()
        self.log(f"{split}/accuracy", right, prog_bar=True, batch_size=len(batch))
        for m, logits in output.unimodal.items():
            count = batch.count(m)
            if count:
                right = task.correct(logits, batch.target) & batch.mask(m)
                self.log(f"{split}/accuracy/{m}", right.sum() / count, batch_size=count)

    def _optimizer(self) -> Any:
        """Lightning's own wrapper, which counts updates."""
        return self.optimizers()


def _flat(loaders: Any) -> list[Iterable[Batch]]:
    """What a trainer was given: no loader, one, or a list or dict of them."""
    return [] if loaders is None else CombinedLoader(loaders, "sequential").flattened


class _Moved:
    """The batches of loaders, one after another, on the device: for methods that read data at an epoch's start."""

    def __init__(self, loaders: Sequence[Iterable[Batch]], device: torch.device) -> None:
        self.loaders, self.device = loaders, device

    def __iter__(self) -> Iterator[Batch]:
        return (batch.to(self.device) for batch in itertools.chain.from_iterable(self.loaders))

    def __length_hint__(self) -> int:
        return sum(map(operator.length_hint, self.loaders))
