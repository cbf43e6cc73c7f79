r"""Uniform: the joint loss plus every modality's own loss.

$$L = \mathrm{CE}(g, y) + \lambda \sum_m \mathrm{CE}(g_m, y)$$

The natural control for every method that contains these terms and something more; most papers leave it out.

Source: auxiliary classifiers, as in W. Wang, D. Tran, M. Feiszli, "What makes training multi-modal classification
networks hard?", CVPR 2020; ``uniform_baseline`` in the code of MMPareto (Wei & Hu, ICML 2024).

Readings: the unimodal logits are the head's own (for `Linear` by the b/M rule), so that the unimodal losses train the
shared head too; λ = 1 for all of training. With missing modalities each CE(g_m) is the mean over the samples that have m.
"""

from __future__ import annotations

from ..core import Losses, Method, Output, Step, added

__all__ = ["Uniform"]


class Uniform(Method):
    """The joint loss plus λ times every modality's own loss, named ``uniform/<modality>``.

    Args:
        weight: λ, the same for all modalities.
    """

    neutral = "uniform(weight=0.0) = joint()"
    search_space = {"weight": (0.1, 10.0)}

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        own = {
            f"uniform/{m}": self.weight * step.loss(logits, m)
            for m, logits in output.unimodal.items()
        }
        return added(losses, own)
