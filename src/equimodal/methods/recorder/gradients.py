"""How large the gradients of each modality are, and how its own lies to the joint one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core import TOTAL, Gradients, Output, Step

if TYPE_CHECKING:
    from ...models.multimodal import Multimodal

__all__ = ["cosines", "norms", "products"]


def products(output: Output, step: Step, modalities: Sequence[str]) -> Tensor:
    """[3, M]: ⟨joint, own⟩, ⟨joint, joint⟩, ⟨own, own⟩ of the gradients of both losses on a modality's features.

    They add up over micro-batches and processes; zero where the features get no gradient of both.
    """
    found = dict.fromkeys(modalities, torch.zeros(3, device=output.fused.device).double())
    # All processes ask for all losses, also of modalities that their own samples lack: a mean is a message.
    joint = step.loss(output.fused)
    own = torch.stack([step.loss(logits, m) for m, logits in output.unimodal.items()]).sum()
    features = {m: output.features[m] for m in output.unimodal}
    features = {m: z for m, z in features.items() if z.requires_grad}
    if features and joint.requires_grad and own.requires_grad:
        inputs = list(features.values())
        gradients = [
            torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
            for loss in (joint, own)
        ]
        for m, *both in zip(features, *gradients, strict=True):
            if all(gradient is not None for gradient in both):
                first, second = (gradient.flatten().double() for gradient in both)
                found[m] = torch.stack([first @ second, first @ first, second @ second])
    return torch.stack(list(found.values()), 1)


def cosines(products: Tensor) -> Tensor:
    """[2, M]: the cosines of such products, and 1 where there is one."""
    inner, joint, own = products
    lengths = (joint * own).sqrt()
    there = lengths > 0
    return torch.stack([torch.where(there, inner / torch.where(there, lengths, 1), 0), there])


def norms(grads: Gradients, model: Multimodal, modalities: Sequence[str]) -> Tensor:
    """[2, M]: the norm of each encoder's gradient, and 1 where it has one."""
    total, found = grads.sum().rows[TOTAL], []
    for m in modalities:
        names = grads.names_in(model.encoders[m])
        own = [total[name] for name in names if name in total]
        norm = torch.nn.utils.get_total_norm(own).double() if own else None
        kept = model.like.new_zeros(()).double() if norm is None else norm
        found.append(torch.stack([kept, torch.full_like(kept, norm is not None)]))
    return torch.stack(found, 1)
