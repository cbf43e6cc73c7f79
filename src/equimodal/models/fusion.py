r"""Heads whose modalities interact: gating, feature-wise modulation, attention.

Their fused logits are no sum over modalities. The unimodal logits are those of *masked decoupling*: the same fusion,
evaluated as if the sample had no other modality,

$$g = F(z_1, \dots, z_M), \qquad g_m = F(0, \dots, z_m, \dots, 0),$$

so that a modality which is missing and one which is masked are the same thing, in training and evaluation. It costs
one evaluation of the head per modality; the encoders run once. The unimodal logits do not sum to the fused ones.

The published forms of gating and modulation have two modalities. In the code of OGM-GE and PMR the first one gates or
modulates the second, and with the second masked nearly nothing of the first is left. Here every modality is gated or
modulated by all others, which for M = 2 is the symmetric form in the code of MMCosine and needs no order; the layers
before the last one have no bias, so that a masked modality says exactly nothing.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.batch import Batch
from ..errors import ConfigError
from .head import Head, where_present

__all__ = ["Attention", "FiLM", "Fusion", "Gated"]


class Fusion(Head):
    """A head that says how features fuse; its unimodal logits are those of masked decoupling."""

    @abc.abstractmethod
    def fuse(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, C]: fused logits of some modalities, whose features [B, d] are zero where a sample lacks them."""

    def forward(
        self, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        features = where_present(features, batch)
        unimodal = {m: self.fuse({m: z}, batch) for m, z in features.items()}
        return where_present(unimodal, batch), self.fuse(features, batch)

    def alone(self, features: Mapping[str, Tensor], modality: str, batch: Batch) -> Tensor:
        return self.fuse(where_present({modality: features[modality]}, batch), batch)


class Gated(Fusion):
    r"""Each modality passes a gate that the others open,

    $$h_m = \sigma\Big(c_m + \sum_{n \ne m} G_{mn} z_n\Big) \odot V_m z_m, \qquad g = \sum_m W_m h_m + b.$$

    Source: D. Kiela et al., "Efficient large-scale multi-modal classification", AAAI 2018, with two modalities; see the
    module for M > 2.

    Args:
        widths: for each modality the width d of its features.
        classes: C.
        hidden: the width of h_m; the largest of the features' by default.

    Raises:
        ConfigError: a hidden width below 1.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int | None = None) -> None:
        super().__init__(widths, classes)
        hidden = max(widths.values()) if hidden is None else hidden
        if hidden < 1:
            raise ConfigError(f"gated(hidden={hidden}) must be at least 1.")
        self.values = _linears({m: (d, hidden) for m, d in widths.items()})
        self.gates = _pairs(widths, dict.fromkeys(widths, hidden))
        self.open = nn.ParameterDict({m: torch.zeros(hidden) for m in widths})
        self.out = _linears(dict.fromkeys(widths, (hidden, classes)))
        self.bias = nn.Parameter(torch.zeros(classes))

    def fuse(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        logits = self.bias
        for m, z in features.items():
            gate = torch.sigmoid(self.open[m] + _from_others(self.gates, m, features))
            logits = logits + self.out[m](gate * self.values[m](z))
        return logits


class FiLM(Fusion):
    r"""Feature-wise linear modulation: each modality is scaled and shifted by what the others say,

    $$h_m = \Big(1 + \sum_{n \ne m} \Gamma_{mn} z_n\Big) \odot z_m + \sum_{n \ne m} B_{mn} z_n, \qquad
    g = \sum_m W_m h_m + b.$$

    Source: E. Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018, eq. 2, with the scale
    as a change from 1; see the module for M > 2.

    Args:
        widths: for each modality the width d of its features.
        classes: C.
    """

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__(widths, classes)
        self.scales = _pairs(widths, widths)
        self.shifts = _pairs(widths, widths)
        self.out = _linears({m: (d, classes) for m, d in widths.items()})
        self.bias = nn.Parameter(torch.zeros(classes))

    def fuse(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        logits = self.bias
        for (
            m,
            out,
        ) in self.out.items():  # also of a masked one: what is said in its place is the others' own
            heard = _from_others(self.shifts, m, features)
            if m in features:
                heard = heard + (1 + _from_others(self.scales, m, features)) * features[m]
            logits = logits + out(heard)
        return logits


class Attention(Fusion):
    r"""A small transformer over one token per modality, $t_m = P_m z_m + e_m$, and one that reads them all.

    Each layer is $t \leftarrow t + \mathrm{MHA}(\mathrm{LN}\,t)$, $t \leftarrow t + \mathrm{MLP}(\mathrm{LN}\,t)$; the
    logits are linear in the last state of the reading token. The token of a missing modality is masked, so that no other
    attends to it. No dropout: the same values in training and evaluation.

    Source: A. Vaswani et al., "Attention is all you need", NeurIPS 2017, eq. 1; normalisation first, as in R. Xiong et al.,
    "On layer normalization in the transformer architecture", ICML 2020.

    Args:
        widths: for each modality the width d of its features.
        classes: C.
        width: of the tokens.
        heads: that attend, each with width / heads channels.
        layers: how many.

    Raises:
        ConfigError: a number below 1, or a width that the number of heads does not divide.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 1,
    ) -> None:
        super().__init__(widths, classes)
        if min(width, heads, layers) < 1 or width % heads:
            raise ConfigError(
                f"attention(width={width}, heads={heads}, layers={layers}) must be at least 1 each, "
                "and heads must divide width."
            )
        self.tokens = nn.ModuleDict({m: nn.Linear(d, width) for m, d in widths.items()})
        self.reader = nn.Parameter(torch.randn(width) * width**-0.5)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def fuse(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        said = [self.tokens[m](z) for m, z in features.items()]
        tokens = torch.stack([self.reader.expand_as(said[0]), *said], dim=1)
        seen = None if batch.complete(features) else _seen(list(features), batch)
        for layer in self.layers:
            tokens = layer(tokens, seen)
        logits: Tensor = self.out(tokens[:, 0])
        return logits


class _Layer(nn.Module):
    """One layer of the transformer, tokens [B, T, width] to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask_know_say = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        size, count, width = tokens.shape
        split = self.ask_know_say(self.before(tokens)).view(size, count, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [B, heads, T, width / heads]
        said = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        tokens = tokens + self.join(said.transpose(1, 2).reshape(size, count, width))
        changed: Tensor = tokens + self.mlp(self.between(tokens))
        return changed


def _seen(modalities: list[str], batch: Batch) -> Tensor:
    """[B, 1, 1, 1 + M] booleans: which tokens may be attended to; the reading one always."""
    reader = torch.ones(len(batch), dtype=torch.bool, device=batch.device)
    return torch.stack([reader, *(batch.mask(m) for m in modalities)], dim=1)[:, None, None]


def _linears(sizes: Mapping[str, tuple[int, int]]) -> nn.ModuleDict:
    """A linear layer without bias per modality."""
    return nn.ModuleDict({m: nn.Linear(d, to, bias=False) for m, (d, to) in sizes.items()})


def _pairs(widths: Mapping[str, int], to: Mapping[str, int]) -> nn.ModuleDict:
    """For each modality the layers by which the others speak to it."""
    return nn.ModuleDict(
        {m: _linears({n: (d, to[m]) for n, d in widths.items() if n != m}) for m in widths}
    )


def _from_others(layers: nn.ModuleDict, modality: str, features: Mapping[str, Tensor]) -> Tensor:
    """The sum of what the other modalities say to one; zero where there is no other."""
    speakers = cast(nn.ModuleDict, layers[modality])
    said = [speakers[n](z) for n, z in features.items() if n != modality]
    like = next(iter(features.values()))
    return torch.stack(said).sum(0) if said else like.new_zeros(())
