r"""MMPareto: joint and unimodal gradients, combined so that neither loss is worsened.

Every modality has a classifier of its own. For each encoder the gradient g of the joint loss and the gradient u of its own loss
get equal weights where they agree, and where they conflict those of the shortest vector between them, a Pareto step:

$$(c_g, c_u) = \begin{cases} (\tfrac12, \tfrac12) & \langle g, u \rangle > 0 \\ \arg\min_{c_g + c_u = 1,\, c \ge 0} \lVert c_g g + c_u u \rVert & \text{else} \end{cases}$$

That vector is short, and the noise of SGD small with it; so its norm is brought back to that of the plain sum, and enlarged:

$$h = 2 c_g g + 2 c_u u, \qquad \nabla_{\theta_m} = \gamma\, \max\Big(1, \frac{\lVert g + u \rVert}{\lVert h \rVert}\Big)\, h$$

Heads keep the plain gradient of $\mathrm{CE}(g, y) + \sum_m \mathrm{CE}(f_m, y)$.

Source: Y. Wei, D. Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance", ICML 2024; the authors' code
GeWu-Lab/MMPareto_ICML2024 at commit a339db3.

Readings
- One pair of weights for each encoder, and the norm of each parameter tensor by itself, as in the code that made the published
  numbers; ``rescale="encoder"`` takes the norm over the encoder.
- The weight of a gradient that is zero is 0.999, the other's 0.001, as in the code; where h is zero the gradient is zero, where the
  code has 0/0.
- An encoder that further losses reach, of other methods or because several modalities share it, has as many
  gradients: equal weights where all agree, else the shortest vector in their hull, and n in place of 2. Parameters
  of several encoders are combined once, with the first of them.
- The classifiers are the head's own where it has some (`Auxiliary`, which is what is built by default), and else the method's;
  then the unimodal logits that are reported stay those of the head. Accuracies of the head `Auxiliary` are of true unimodal
  classifiers and not of parts of the fused logits.
- The gradients of each loss are averaged over processes before anything is compared.
- Adam undoes γ: with it say ``gamma=1.0``, and only the weights act.

Hyper-parameters: γ = 1.5 is the authors'; others have found 0.5 for AVE and 3 for UCF-101. Their learning rate is constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ...core import TOTAL, DataInfo, Gradients, Losses, Method, Output, Step, added
from ...errors import ConfigError
from .rows import exact, names_in, products
from .shortest import shortest, shortest_of_two

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["MMPareto"]


class MMPareto(Method):
    """The joint loss plus ``mmpareto/<modality>``, and for each encoder a Pareto combination of their gradients.

    Notes ``mmpareto/cosine/<modality>``, of the joint and the own gradient, and ``mmpareto/joint/<modality>``, the joint one's
    weight.

    Args:
        gamma: γ.
        rescale: the norm that is restored: of each parameter "tensor" or of the whole "encoder".

    Raises:
        ConfigError: γ is not positive, or `rescale` is unknown.
    """

    per_loss_gradients = True
    keeps_rows = False
    head = "auxiliary()"
    adam = "weights only"
    # No neutral setting: with γ = 1 it equals uniform() as long as no gradients conflict, which they do.
    neutral = None
    search_space = {"gamma": (0.5, 3.0)}

    def __init__(
        self, gamma: float = 1.5, rescale: Literal["tensor", "encoder"] = "tensor"
    ) -> None:
        super().__init__()
        if not gamma > 0 or rescale not in ("tensor", "encoder"):
            raise ConfigError(
                f"mmpareto(gamma={gamma}, rescale={rescale!r}): gamma is positive and rescale 'tensor' or 'encoder'."
            )
        self.gamma, self.rescale = gamma, rescale

    def prepare(self, model: Multimodal, data: DataInfo) -> None:
        like = model.like
        widths = {} if model.head.auxiliary else model.head.widths
        made = {m: nn.Linear(d, data.classes) for m, d in widths.items()}
        self.classifiers = nn.ModuleDict(made).to(like.device, like.dtype)

    def losses(self, losses: Losses, output: Output, step: Step) -> Losses:
        logits = output.unimodal
        if self.classifiers:
            logits = {m: self.classifiers[m](z) for m, z in output.features.items()}
        own = {f"mmpareto/{m}": step.loss(g, m) for m, g in logits.items()}
        return added(losses, own)

    def gradients(self, grads: Gradients, output: Output, step: Step) -> Gradients:
        combined: dict[str, Tensor] = {}
        for m in output.modalities:
            inside = [n for n in grads.names_in(step.model.encoders[m]) if n not in combined]
            held = [{n: exact(row[n]) for n in inside if n in row} for row in grads.rows.values()]
            rows = [row for row in held if row]
            if rows:
                gram, lengths = products(rows)
                combined.update(self._combined(rows, self._weights(gram, m, step), lengths))
        rest = {
            loss: {name: grad for name, grad in row.items() if name not in combined}
            for loss, row in grads.rows.items()
        }
        total = replace(grads, rows=rest).sum().rows[TOTAL]
        like = {name: grad.dtype for row in grads.rows.values() for name, grad in row.items()}
        found = {name: grad.to(like[name]) for name, grad in combined.items()}
        return replace(grads, rows={TOTAL: {**total, **found}})

    def _weights(self, gram: Tensor, modality: str, step: Step) -> Tensor:
        """[n]: what multiplies each of the gradients of an encoder, from their products; n times a convex combination."""
        square = gram.diagonal()
        there = square > 0
        apart = ~torch.eye(len(gram), dtype=torch.bool, device=gram.device)
        between = apart & there & there[:, None]
        agree = ((gram > 0) | ~between).all()
        if len(gram) == 2:
            agree, count = gram[0, 1] > 0, torch.full_like(square[0], 2)
            weights = torch.where(agree, 0.5, shortest_of_two(gram))
        else:
            count = there.sum().clamp(min=1).to(gram.dtype)
            weights = torch.where(agree, there / count, shortest(gram, there))
        cosine = gram / (square * square[:, None]).sqrt().clamp(min=torch.finfo(gram.dtype).tiny)
        step.note(f"mmpareto/cosine/{modality}", torch.where(between, cosine, 1).min())
        step.note(f"mmpareto/joint/{modality}", weights[0])
        return count * weights

    def _combined(
        self, rows: Sequence[Mapping[str, Tensor]], weights: Tensor, lengths: Tensor
    ) -> dict[str, Tensor]:
        """The gradient of each parameter of an encoder.

        Args:
            rows: for each of n losses the gradients of those parameters that it reaches.
            weights: [n].
            lengths: [n, P], the norms of the rows' gradients, 0 where one is missing.
        """
        shared = weights.unbind()
        combined: dict[str, Tensor] = {}
        norms = []
        for name in names_in(rows):
            reaching = zip(shared, rows, strict=True)
            (weight, plain), *others = [(w, row[name]) for w, row in reaching if name in row]
            pareto = plain * weight
            for weight, grad in others:
                pareto.addcmul_(grad, weight)
                plain = plain + grad
            combined[name] = pareto
            norms.append(torch.stack([pareto.norm(), plain.norm()]))
        found, summed = torch.stack(norms, 1)
        if self.rescale == "encoder":
            found, summed, lengths = (
                each.norm(dim=-1, keepdim=True) for each in (found, summed, lengths)
            )
        factors = self.gamma * _restored(found, summed, weights @ lengths)
        for pareto, factor in zip(
            combined.values(), factors.expand(len(combined)).unbind(), strict=True
        ):
            pareto.mul_(factor)
        return combined


def _restored(pareto: Tensor, plain: Tensor, size: Tensor) -> Tensor:
    """max(1, λ) from norms, or 0 where that of h is zero beside the sizes of what it is a sum of, so that rounding errors are
    not blown up to the norm of the sum.
    """
    zero = pareto <= 64 * torch.finfo(pareto.dtype).eps * size
    return torch.where(zero, 0, (plain / pareto).clamp(min=1))
