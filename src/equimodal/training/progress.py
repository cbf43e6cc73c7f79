"""What training tells the user while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives how far training is; `equimodal.report.text` shows it in a terminal."""

    def start(self, total_steps: int, description: str) -> None:
        """Training begins: so many steps in all."""

    def advance(self, n: int, figures: Mapping[str, float]) -> None:
        """`n` more steps are done; the newest figures, such as ``{"epoch": 2, "loss": 0.7}``."""

    def message(self, text: str) -> None:
        """One line that stays on the screen."""

    def close(self) -> None:
        """Training has ended, one way or another."""


class Silent:
    """Says nothing."""

    def start(self, total_steps: int, description: str) -> None: ...

    def advance(self, n: int, figures: Mapping[str, float]) -> None: ...

    def message(self, text: str) -> None: ...

    def close(self) -> None: ...
