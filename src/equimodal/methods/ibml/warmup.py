r"""Warm-up: a large learning rate early, when the modalities' paths are decided.

The learning rate's multiplier in epoch e of E, with $q = 100\, e / E$ and the peak 10:

$$r = \begin{cases} 1 & q < 1 \\ \min\big(\tfrac{q - 1}{2} + 1,\ \mathrm{peak}\big) & 1 \le q < 36 \\ 1 & 36 \le q < 71 \\ 0.1 & q \ge 71 \end{cases}$$

Source: Y. Qin, Y. Feng, Y. Sun, D. Peng, X. Peng, P. Hu, "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026,
doi 10.1109/tpami.2026.3681770; the authors' code QinYang79/IBML at commit 5f0d9e2.

Readings
- The paper says only "a larger learning rate"; this is the code's schedule, stated for 100 epochs and stretched to others.
- It is a method by itself, since no baseline in the paper has it although it is the largest gain after BIO: compare with
  baselines that have it, too (``uniform() + warmup()``).
- It ends in a decay of its own, and a second decaying schedule is refused beside it; ``decay=False`` leaves the decay out.
- Ten times a rate that is already large can diverge, on small networks above all: lower the rate or the peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core import DataInfo, Method
from ._options import at_least

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["Warmup"]


class Warmup(Method):
    """Raises the learning rate to `peak` times itself in the first third of the run, and ends it at a tenth.

    Args:
        peak: the largest multiplier, at least 1.
        decay: whether the rate falls to a tenth for the last 29% of the run.

    Raises:
        ConfigError: a peak below 1, or no `epochs`.
    """

    neutral = "warmup(peak=1.0, decay=False) = joint()"
    search_space = {"peak": (1.0, 10.0)}

    def __init__(self, peak: float = 10.0, decay: bool = True) -> None:
        super().__init__()
        self.peak = at_least("warmup", "peak", peak, 1)
        self.decay = decay
        self.own_schedule = decay
        self._epochs: int | None = None

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        self._epochs = data.need_epochs("warmup()")

    def rate(self, rate: float, epoch: int) -> float:
        assert self._epochs is not None, "prepare() comes first"
        percent = 100 * epoch / self._epochs
        if 1 <= percent < 36:
            return rate * min((percent - 1) / 2 + 1, self.peak)
        return rate * (0.1 if self.decay and percent >= 71 else 1.0)
