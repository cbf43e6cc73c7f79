"""The noise-contrastive objective of one critic (paper eqs 1, 6, 7): pure functions of scores."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Margin", "bound", "log_likelihood", "log_odds", "plug_in"]

Margin = Literal["prior", "none", "cap"]
"""How the protective margin log(N1/N0) acts: in the critic, not at all, or there and as a cap on positive scores."""


def log_odds(scores: Tensor, negatives_count: int, margin: Margin) -> Tensor:
    """The log odds of h, f + log(N1/N0), elementwise, with N1 = 1; without a margin it is f itself."""
    return scores if margin == "none" else scores - math.log(negatives_count)


def log_likelihood(positive: Tensor, negatives: Tensor, margin: Margin = "prior") -> Tensor:
    """[...]: log h(positive) + Σ_j log(1 - h(negative_j)) of each anchor, to be maximised.

    The sum over N0 negatives is ν times their mean, so ν = N0 / N1 appears nowhere else (eq. 7 with N1 = 1).

    Args:
        positive: [...] scores f of pairs of one sample.
        negatives: [..., N0] scores f of pairs of different samples.
        margin: see `Margin`; "cap" stops the pull on a positive whose score exceeds log(N0/N1).
    """
    count = negatives.shape[-1]
    if margin == "cap":
        positive = positive.clamp(max=math.log(count))
    pull = F.logsigmoid(log_odds(positive, count, margin))
    push = F.logsigmoid(-log_odds(negatives, count, margin))
    return pull + push.sum(-1)


def plug_in(positive: Tensor, negatives_count: int, margin: Margin = "prior") -> Tensor:
    """[...]: logit h + log ν; its mean over positives estimates I(z_1; z_2 | T) in nats."""
    return log_odds(positive, negatives_count, margin) + math.log(negatives_count)


def bound(positive: Tensor, negatives_count: int, margin: Margin = "prior") -> Tensor:
    """[...]: log ν + log h; its mean is a lower bound of I(z_1; z_2 | T) (eq. 4 with its sign right).

    Loose: below zero where the modalities are independent. Report `plug_in`.
    """
    odds = log_odds(positive, negatives_count, margin)
    return F.logsigmoid(odds) + math.log(negatives_count)
