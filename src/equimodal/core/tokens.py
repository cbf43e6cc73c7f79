"""How an encoder says where its continuous input is, if what it is given are token ids."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["TokenEncoder"]


@runtime_checkable
class TokenEncoder(Protocol):
    """An encoder of token ids: whatever has `embed`; there is nothing to inherit from.

    Its ``forward`` accepts ids or their embeddings, told apart by their type: integers are ids, floating numbers are
    embeddings. A method that changes inputs continuously then calls `embed` first and changes what comes out.
    """

    def embed(self, ids: Tensor) -> Tensor:
        """Integer ids [B, T] to embeddings [B, T, d]."""
        ...
