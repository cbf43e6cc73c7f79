r"""IBML: information-balanced multimodal learning, three components in one.

``ibml()`` is ``(bio() + tcm()).during(1, 0.9) + warmup()``: `BIO` adds the losses of the modalities that lag behind, `TCM`
adds noise to those that lead, and `Warmup` gives both a large learning rate to work with. With k lazy modalities the loss is

$$L = \max(k, 1)\, \mathrm{CE}(g) + \sum_{m\ \mathrm{lazy}} \mathrm{CE}(g_m) \qquad \text{(eq. 12)}$$

on inputs that TCM has made harder (eq. 16). Each component is a method by itself; its page has the equations, and the
readings where the paper is silent or contradicts its code.

Source: Y. Qin, Y. Feng, Y. Sun, D. Peng, X. Peng, P. Hu, "Deep Information-Balanced Multimodal Learning", IEEE TPAMI 2026,
doi 10.1109/tpami.2026.3681770; the authors' code QinYang79/IBML at commit 5f0d9e2, which has two modalities only.

The paper's ablation (its Table 5, CREMA-D, per cent), each row one expression:

| # | method | audio | video | fusion | ratio |
|---|---|---|---|---|---|
| 1 | ``ibml()`` | 57.39 | 71.06 | 80.78 | 1.55 |
| 2 | ``bio().during(1, 0.9) + warmup()`` | 59.36 | 70.07 | 80.11 | 1.64 |
| 3 | ``(bio() + tcm()).during(1, 0.9)`` | 56.18 | 66.04 | 77.51 | 1.87 |
| 4 | ``bio().during(1, 0.9)`` | 56.50 | 66.13 | 75.81 | 2.00 |
| 5 | ``tcm().during(1, 0.9)`` | 55.78 | 30.15 | 66.26 | 3.21 |
| 6 | ``joint()`` | 54.75 | 24.51 | 63.26 | 4.19 |

Rows without the warm-up have the learning rate's ordinary decay, a tenth after 70% of the run.

Readings
- The code balances in the epochs with starts < epoch < ends, strictly, and starts = 0, ends = 90 of 100: epochs 1 to 89, here
  ``start=1, end=0.9`` (from start on, before end). Predictions are recorded outside the window, too.
- Memory: π and correctness per sample and modality suffice; the code keeps all class probabilities on the host.
- Eqs. 9 to 11 take log C for the entropy of the labels, which holds for equally frequent classes and has no gradient.
- The uniform baseline, ``uniform()``, contains BIO's terms at all times: compare with it.
"""

from __future__ import annotations

from ...core import Chain, Method
from .bio import BIO
from .tcm import TCM
from .warmup import Warmup

__all__ = ["BIO", "IBML", "TCM", "Warmup"]


class IBML(Chain):
    """``(bio() + tcm()).during(start, end) + warmup()`` by one name, with the options of its components.

    Args:
        scores, fusion_weight, margin: of `BIO`.
        strength, noise, per: of `TCM`; strength is λ.
        peak, decay: of `Warmup`.
        start, end: the epochs start ≤ epoch < end in which BIO and TCM act; a float is a fraction of the run.

    Raises:
        ConfigError: what its components refuse, such as a run without `samples` or `epochs`.
    """

    neutral = "ibml(margin=1.0, strength=inf, peak=1.0, decay=False) = joint()"
    search_space = {"strength": (5.0, 50.0), "peak": (1.0, 10.0)}

    def __init__(
        self,
        scores: str = "recorded",
        fusion_weight: str = "lazy_count",
        margin: float = 0.0,
        strength: float = 10.0,
        noise: str = "independent",
        per: str = "modality",
        peak: float = 10.0,
        decay: bool = True,
        start: int | float = 1,
        end: int | float = 0.9,
    ) -> None:
        balance = BIO(scores, fusion_weight, margin) + TCM(strength, noise, per)
        super().__init__(balance.during(start, end), Warmup(peak, decay))
        self.scores, self.fusion_weight, self.margin = scores, fusion_weight, margin
        self.strength, self.noise, self.per = strength, noise, per
        self.peak, self.decay = peak, decay
        self.start, self.end = start, end

    def parts(self) -> tuple[Method, ...]:
        return (self,)  # in a chain with others it keeps its name

    def expression(self) -> str:
        return Method.expression(self)
