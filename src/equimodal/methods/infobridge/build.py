"""From the names of options to contexts, memories and critics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from .._memory import Bank, Memory, Nothing, Queue
from .context import Cluster, Constant, Context, ContextName, Label, Retrieval
from .critic import Bilinear, Cosine, Critic, CriticName, Perceptron

__all__ = ["MemoryName", "made_context", "made_critic", "made_memory"]

MemoryName = Literal["topup", "bank", "none"]


def made_context(
    name: ContextName,
    widths: Mapping[str, int],
    clusters: int,
    classes: int,
    samples: Callable[[], int],
) -> Context:
    """The context of that name; `samples` is asked only by one that keeps a record of each."""
    make: dict[ContextName, Callable[[], Context]] = {
        "label": lambda: Label(classes),
        "constant": Constant,
        "cluster": lambda: Cluster(clusters, samples(), widths),
        "retrieval": lambda: Retrieval(samples()),
    }
    return make[name]()


def made_memory(
    name: MemoryName, widths: Mapping[str, int], size: int, samples: Callable[[], int]
) -> Memory:
    """The memory of that name."""
    make: dict[MemoryName, Callable[[], Memory]] = {
        "topup": lambda: Queue(widths, size),
        "bank": lambda: Bank(widths, samples(), size),
        "none": lambda: Nothing(widths),
    }
    return make[name]()


def made_critic(
    name: CriticName, dim: int, contexts: int, temperature: float, learnable: bool
) -> Critic:
    """The critic of that name, for one pair."""
    make: dict[CriticName, Callable[[], Critic]] = {
        "cosine": lambda: Cosine(dim, contexts, temperature, learnable),
        "bilinear": lambda: Bilinear(dim, contexts),
        "mlp": lambda: Perceptron(dim, contexts),
    }
    return make[name]()
