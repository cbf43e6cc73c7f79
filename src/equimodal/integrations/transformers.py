"""Balanced training in a Hugging Face `Trainer`: a mixin for one's own trainer class.

Needs ``pip install "equimodal[text]"``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Balanced, Batch
from ..core.step import Step
from ..errors import ConfigError

__all__ = ["BalancedTrainer"]


class BalancedTrainer:
    """What makes a `Trainer` balanced: ``class MyTrainer(BalancedTrainer, Trainer): ...``.

    Give it ``model=learner`` (a `Balanced`), a ``data_collator`` that returns ``{"batch": Batch(...)}``, and
    ``TrainingArguments(remove_unused_columns=False, ...)``. A `Trainer` makes one update per batch: where a method asks for
    several, all but the last are made before it. The scheduler's learning rate is multiplied with the method's.

    Raises:
        ConfigError: when it is built, where the trainer would scale, average or accumulate gradients before a method
            sees them (fp16, several devices, gradient accumulation), or the model is no `Balanced`; later, where the
            collator returns no `Batch`.
    """

    # What a `Trainer` has; the mixin stands before it.
    args: Any
    model: Any
    state: Any
    accelerator: Any
    optimizer: Any
    lr_scheduler: Any
    callback_handler: Any
    eval_dataset: Any
    get_eval_dataloader: Callable[[], Iterable[Mapping[str, Batch]]]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not isinstance(self.model, Balanced):
            raise ConfigError(
                f"A balanced trainer trains a Balanced(model, method); here model is a {type(self.model).__name__}."
            )
        unfit = {
            "gradient_accumulation_steps": self.args.gradient_accumulation_steps != 1,
            "fp16": bool(self.args.fp16),
            "n_gpu": self.args.n_gpu > 1,
            "world_size": self.args.world_size > 1,
            "remove_unused_columns": bool(self.args.remove_unused_columns),
        }
        for name in (name for name, wrong in unfit.items() if wrong):
            raise ConfigError(f"{name}={getattr(self.args, name)} {_REASONS[name]}")

    def training_step(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """The sum of the losses of the batch's last update, whose gradients are in ``p.grad``."""
        model.train()
        learner, batch = self.model, self._batch(inputs)
        train = self.callback_handler.train_dataloader
        epoch, number = divmod(self.state.global_step, len(train))
        validation = None if self.eval_dataset is None else _Opened(self.get_eval_dataloader)
        learner.begin_epoch(epoch, _Opened(lambda: train), validation, self.optimizer.optimizer)
        for group, rate in zip(
            self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True
        ):
            group["lr"] = rate * learner.rate(epoch)
        *before, last = learner.steps(batch, epoch, number, len(train))
        for step in before:
            self._backward(step)
            self._update()
        return self._backward(last)

    def _batch(self, inputs: Mapping[str, Any]) -> Batch:
        batch = inputs.get("batch")
        if not isinstance(batch, Batch):
            raise ConfigError(
                f"The data collator must return {{'batch': Batch(...)}}; here it returns {', '.join(map(repr, inputs))}."
            )
        return batch.to(self.args.device)

    def _backward(self, step: Step) -> Tensor:
        learner = self.model
        with self.accelerator.autocast():
            output = learner(step)
            losses = learner.losses(output, step)
        learner.backward(losses, output, step, self.accelerator.backward)
        return torch.stack([value.detach() for value in losses.values()]).sum()

    def _update(self) -> None:
        if self.args.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        self.model.zero_grad()

    @torch.no_grad()
    def prediction_step(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The loss of the fused logits, these logits [B, C], and the targets [B]."""
        learner, batch = self.model, self._batch(inputs)
        fused = learner.predict(batch).fused
        loss = None if batch.target is None else learner.task.loss(fused, batch.target).mean()
        return (loss, None, None) if prediction_loss_only else (loss, fused, batch.target)


_REASONS = {
    "gradient_accumulation_steps": "adds gradients up before a method sees them: give 1, and a larger batch.",
    "fp16": "scales gradients before a method sees them: use bf16=True.",
    "n_gpu": "replicates the model: show one device only (CUDA_VISIBLE_DEVICES=0).",
    "world_size": "averages gradients before a method sees them: start one process, or use the plain loop with Accelerate.",
    "remove_unused_columns": "leaves out what forward() does not name: give remove_unused_columns=False.",
}


class _Opened:
    """The batches that a loader's collate function wrapped, for methods that read data at an epoch's start."""

    def __init__(self, loader: Callable[[], Iterable[Mapping[str, Batch]]]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        return (wrapped["batch"] for wrapped in self.loader())

    def __length_hint__(self) -> int:
        return operator.length_hint(self.loader())
