"""Batches in an order that is a function of (seed, epoch), from any batch on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..core.batch import Batch
from ..errors import ConfigError, EquimodalError, counted
from .dataset import Dataset
from .draws import torch_generator

__all__ = ["Loader"]


class Loader:
    """The batches of a data set, epoch by epoch.

    The order is a function of (seed, epoch) alone: it does not depend on the number of workers or processes, nor on what
    was read before, and the global random generators are not touched. With several processes each takes its contiguous
    slice of every global batch, as even as possible, so that all together see what one would.

    When shuffling, a last batch of fewer than max(2, batch_size // 8) samples joins the batch before it: no sample is
    lost, and batch norm never meets a single one. Batches do not depend on the number of processes, so that of many
    some may have no sample of the last batch.

    Args:
        dataset: what to read.
        batch_size: samples in a global batch, over all processes.
        seed: of the order.
        shuffle: False reads in order, for evaluation; then the last batch is what remains.
        workers: processes that prepare batches; 0 prepares them here.
        rank, world: this process, and how many there are.
        drop_last: leave out a last batch that is not full.
        pin_memory: put batches into page-locked memory, for a GPU.

    Raises:
        ConfigError: a size that cannot work, such as a training batch larger than the data.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.workers = workers
        self.rank = rank
        self.world = world
        self.drop_last = drop_last
        self.pin_memory = pin_memory
        self.epoch = 0
        self._check()
        self._sizes = self._split()

    def _check(self) -> None:
        samples = len(self.dataset)
        if self.batch_size < 1:
            raise ConfigError(f"The batch size must be at least 1; here {self.batch_size}.")
        if self.shuffle and self.batch_size > samples:
            raise ConfigError(
                f"A batch of {self.batch_size} is larger than the training data of {counted(samples, 'sample')}; "
                f"choose a batch size of at most {samples}."
            )
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"Process {self.rank} of {self.world} does not exist.")
        if self.shuffle and self.batch_size < self.world:
            raise ConfigError(
                f"A batch of {self.batch_size} leaves some of {self.world} processes without a sample; "
                f"choose a batch size of at least {self.world}."
            )
        if self.workers < 0:
            raise ConfigError(f"The number of workers must be at least 0; here {self.workers}.")

    def _split(self) -> list[int]:
        """The sizes of the global batches."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        sizes = [self.batch_size] * full
        if self.drop_last or not rest:
            return sizes
        if self.shuffle and rest < max(2, self.batch_size // 8):
            return [*sizes[:-1], sizes[-1] + rest]
        return [*sizes, rest]

    def __len__(self) -> int:
        """Batches of an epoch, the same for every process."""
        return len(self._sizes)

    @property
    def samples(self) -> int:
        """Samples of an epoch, over all processes."""
        return sum(self._sizes)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that iterating reads from now on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate(self.epoch)

    def order(self, epoch: int) -> Tensor:
        """[N] positions in the order of an epoch."""
        if not self.shuffle:
            return torch.arange(len(self.dataset))
        generator = torch_generator(self.seed, "order", epoch)
        return torch.randperm(len(self.dataset), generator=generator)

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; changes nothing, so that anyone may read at any time."""
        keys = [(rows, epoch) for rows in self._rows(epoch)[start:]]
        batches = self._in_workers(keys) if self.workers else (self.dataset.fetch(*k) for k in keys)
        for batch in batches:
            yield batch.pin_memory() if self.pin_memory else batch

    def _rows(self, epoch: int) -> list[Tensor]:
        """For each batch the positions that this process reads."""
        batches = self.order(epoch)[: self.samples].split(self._sizes)
        return [batch.tensor_split(self.world)[self.rank] for batch in batches]

    def _in_workers(self, keys: Sequence[tuple[Tensor, int]]) -> Iterator[Batch]:
        fetched = DataLoader(
            _Fetched(self.dataset, keys),
            batch_size=None,
            num_workers=min(self.workers, len(keys)),
            generator=torch.Generator(),  # else the workers' seed is drawn from the global one
        )
        for found in fetched:
            if isinstance(found, EquimodalError):
                raise found
            yield found


class _Fetched(torch.utils.data.Dataset[Batch | EquimodalError]):
    """Whole batches by number, for `DataLoader`; a refusal is handed on as it is, without the worker's traceback."""

    def __init__(self, dataset: Dataset, keys: Sequence[tuple[Tensor, int]]) -> None:
        self.dataset = dataset
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Batch | EquimodalError:
        try:
            return self.dataset.fetch(*self.keys[number])
        except EquimodalError as error:
            return error
