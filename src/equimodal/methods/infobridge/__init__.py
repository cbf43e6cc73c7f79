r"""InfoBridge: raise what two modalities share *given* a context.

$$\min\ L_{task} - \alpha L_{NCE}, \qquad
L_{NCE} = E_{pos} \log h(z_1, z_2, T) + \nu\, E_{neg} \log (1 - h(z_1, z_2, T)) \qquad (1, 7, 10)$$

A critic h tells pairs of one sample (positives) from pairs of different samples with the same context T (negatives),
N0 = ν N1 of them per positive. At its optimum, $h^* = \sigma(\log r - \log \nu)$ with
$r = p(z_1, z_2 | T) / p(z_1 | T) p(z_2 | T)$ (3, 6), so L_NCE grows with the conditional mutual information
$I(z_1; z_2 | T)$, and $E_{pos}[\mathrm{logit}\, h] + \log \nu$ estimates it. That plug-in estimate is noted in every step
as ``infobridge/cmi/<a>-<b>``, in nats; the bound $\log \nu + E_{pos} \log h$ (4) is looser (-0.182 at independence, ν = 5).

Source: C. Li et al., "InfoBridge: Balanced Multimodal Integration through Conditional Dependency Modeling", ICCV 2025,
pp. 393-404 (its project page calls it ModAlign). There is no public code. The estimator goes back to Y. Tian,
D. Krishnan, P. Isola, "Contrastive Representation Distillation", ICLR 2020. Not to be confused with the bridge-matching
estimator of the same name (ICLR 2026).

**What to expect.** With T the label and negatives of the same label, the objective raises information *beyond* the
label. It does not align classes. Where the modalities are independent given the label there is nothing to raise, and no
gain is to be expected; a gain there would be a sign of a mistake. Negatives of any context (``negatives="any"``) bring
in what a modality shares with T itself, $I(z_2; (z_1, T)) = I(z_2; T) + I(z_1; z_2 | T)$, and a constant T estimates
$I(z_1; z_2)$: these two contain what the modalities share about the label, and are the readings that can improve
accuracy. (With "any", the other direction alone would give $I(z_1; (z_2, T))$; the one critic of both directions finds
the harmonic mean of the two density ratios, a little less than either.) The default is the paper's definition.

Readings, where the paper's text leaves a choice or its equations differ from one another:

- (1), (7): the mean over negatives times ν is their *sum*; multiplying a sum by ν again would shift the estimate by
  -log ν. Each anchor contributes log h(positive) + Σ log(1 - h(negative)), averaged over anchors and both directions.
- (5), (8) print the bound with -log(N0/N1); by (4) the sign is +, as used here, and only in reports. The text of
  section 4.1 has log(N1/N0), sections 4.2 and 4.3 log(N0/N1).
- (9) calls the critic adversarial; both players maximise, so there is one objective and one simultaneous update.
- (13), (14): the protective margin log(N1/N0) is a constant and has no gradient where it is printed. Here it is the
  prior log-odds inside the critic, $h = \sigma(f + \log(N1/N0))$ with f free of bias: then f itself estimates the
  pointwise information, and at f = 0 the pull of the positive (5/6) equals the push of five negatives, so that
  independent features feel no net force. ``margin="none"`` drops it; ``margin="cap"`` keeps it and also stops the pull
  of positives with f above log(N0/N1), a literal guard against over-alignment that is not in the paper.
- The paper says that T = category favours class-discriminative features; by its definition of negatives, T = category
  removes them from the comparison. See "What to expect".
- Critic (unspecified): bias-free projections to d = 128, a gate 1 + e_T, cosine over temperature 0.1.
- Memory (1024, policy unspecified): fresh positives beside stale negatives let the critic tell them apart by the drift
  of the encoders, which damages features; so ``"topup"`` uses the batch first and the memory only for what is missing,
  and ``"bank"`` makes positive and negative keys equally stale. Gradients reach anchors and keys of the batch, never the
  memory. An anchor without any negative is left out of the mean.
- One backward: encoders receive α times the gradient, the critic the whole (``critic_weight="alpha"``: both α).
- More than two modalities: the mean over all pairs, each with a critic of its own, over samples that have both.
- The published figures of the full method on GBMLGG are 92.15 (Table 1) and 91.15 (Tables 2, 3); the row "without
  semantic context" is described as k = 5 clusters but differs from that row of Table 3 on two data sets.

InfoBridge's ablations (its Tables 2, 3), each one expression:

| variant | expression |
|---|---|
| full; semantics | ``infobridge()`` |
| without CMI objective | ``infobridge(alpha=0.0)``, which trains the model as ``joint()`` |
| without protective margin | ``infobridge(margin="none")`` |
| without context prior | ``infobridge(context="constant")`` |
| without semantic context; cluster k = 5 | ``infobridge(context="cluster")`` |
| cluster k = 10 | ``infobridge(context="cluster", clusters=10)`` |
| retrieval, 3 levels | ``infobridge(context="retrieval")`` |
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ... import distributed
from ...core import DataInfo, Epoch, Gradients, Losses, Method, Output, Step, added
from .._samples import Samples, gathered, gathered_scaled
from .build import MemoryName, made_context, made_critic, made_memory
from .context import ContextName
from .critic import CriticName, Critics
from .estimator import Estimator, NegativesName
from .nce import Margin
from .options import (
    refuse_unfit,
    refuse_unless_above,
    refuse_unless_at_least,
    refuse_unless_one_of,
)

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["InfoBridge"]

CriticWeight = Literal["one", "alpha"]


class InfoBridge(Method):
    """The loss ``infobridge`` = -L_NCE, whose gradient reaches the encoders α-fold.

    Args:
        alpha: α; the paper's grid is 0.01, 0.05, 0.1, 0.5, 1.
        negatives_count: N0, negatives per positive.
        context: T. "label"; "cluster", k-means on last epoch's features; "retrieval", three levels of last epoch's
            similarity; "constant". The second and third are constant in the first epoch.
        clusters: k.
        negatives: from samples of the "same_context" as the anchor, or "any".
        margin: log(N1/N0) as the critic's "prior", "none", or the prior and a "cap" on positives.
        memory: "topup", a queue for anchors with fewer than N0 negatives in the batch; "bank", every sample as last
            seen; "none".
        memory_size: of the queue, or how many samples of the bank may be negatives in one step.
        critic: "cosine", "bilinear" or "mlp".
        dim: d, the width of the projections.
        temperature: τ of the cosine critic.
        learn_temperature: whether τ is a parameter.
        critic_weight: what multiplies the critic's gradient, "one" or "alpha".

    Raises:
        ConfigError: an option that cannot be, or the number of samples or their index is missing where it is needed.
    """

    neutral = "infobridge(alpha=0.0) = joint()"
    search_space = {"alpha": (0.01, 1.0)}

    def __init__(
        self,
        alpha: float = 0.1,
        negatives_count: int = 5,
        context: ContextName = "label",
        clusters: int = 5,
        negatives: NegativesName = "same_context",
        margin: Margin = "prior",
        memory: MemoryName = "topup",
        memory_size: int = 1024,
        critic: CriticName = "cosine",
        dim: int = 128,
        temperature: float = 0.1,
        learn_temperature: bool = False,
        critic_weight: CriticWeight = "one",
    ) -> None:
        super().__init__()
        self.alpha, self.critic_weight = alpha, critic_weight
        self.negatives_count, self.negatives, self.margin = negatives_count, negatives, margin
        self.context, self.clusters, self.dim = context, clusters, dim
        self.memory, self.memory_size = memory, memory_size
        self.critic, self.temperature = critic, temperature
        self.learn_temperature = learn_temperature
        refuse_unless_one_of(
            context=(context, ContextName),
            negatives=(negatives, NegativesName),
            margin=(margin, Margin),
            memory=(memory, MemoryName),
            critic=(critic, CriticName),
            critic_weight=(critic_weight, CriticWeight),
        )
        sizes = {"negatives_count": negatives_count, "clusters": clusters}
        refuse_unless_at_least(1, **sizes, memory_size=memory_size, dim=dim)
        refuse_unless_at_least(0.0, alpha=alpha)
        refuse_unless_above(0.0, temperature=temperature)
        self.estimator: Estimator | None = None  # one modality has no pairs, hence no term

    # What is built for a model.

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        # Sorted, so that nothing depends on the order in which a user names the modalities.
        widths = {m: model.head.widths[m] for m in sorted(model.modalities)}
        if len(widths) < 2:
            return
        context = made_context(
            self.context, widths, self.clusters, data.classes, lambda: self._samples(data)
        )
        critics = Critics(
            widths,
            self.dim,
            lambda: made_critic(
                self.critic, self.dim, context.count, self.temperature, self.learn_temperature
            ),
        )
        memory = made_memory(self.memory, widths, self.memory_size, lambda: self._samples(data))
        estimator = Estimator(
            critics, context, memory, self.negatives, self.negatives_count, self.margin
        )
        like = model.like.dtype
        self.estimator = estimator.to(torch.promote_types(like, torch.float32))

    def _samples(self, data: DataInfo) -> int:
        return data.need_samples(self.expression())

    # What flows, and what is remembered.

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        if self.estimator is None or len(output.features) < 2:
            return losses
        record = self.memory == "bank" or self.context in ("cluster", "retrieval")
        refuse_unfit(step.batch, self.expression(), record)
        generator = step.generator("negatives")
        reduced = self.critic_weight == "one"
        gather = functools.partial(gathered_scaled, weight=self.alpha if reduced else 1.0)
        with torch.autocast(step.batch.device.type, enabled=False):
            everyone, mine = self._gathered(output.features, step, gather)
            terms = self.estimator(everyone, mine, generator)
        for (a, b), term in terms.items():
            step.note(f"infobridge/cmi/{a}-{b}", step.mean(term.information, mask=term.valid))
        loss = -torch.stack([step.mean(t.objective, mask=t.valid) for t in terms.values()]).mean()
        return added(losses, {"infobridge": loss if reduced else self.alpha * loss})

    def begin_epoch(self, epoch: Epoch) -> None:
        if self.estimator is not None:
            self.estimator.context.reassign(epoch)

    def observe(self, output: Output, grads: Gradients, step: Step) -> None:
        if self.estimator is None or len(output.features) < 2:
            return
        everyone, _ = self._gathered(output.features, step, distributed.gather)
        self.estimator.remember(everyone)

    def _gathered(
        self, features: Mapping[str, Tensor], step: Step, gather: Callable[[Tensor], Tensor]
    ) -> tuple[Samples, slice]:
        assert self.estimator is not None
        memory = self.estimator.memory
        exact = {m: z.to(memory.values.dtype) for m, z in features.items()}
        return gathered(exact, step.batch, memory.widths, gather)
