"""InfoBridge's estimator against known informations: Gaussians whose correlation depends on the context.

Two modalities of d = 2 dimensions; in each of K = 4 equally likely contexts T they are Gaussian with unit variances,
means of their own, and correlation ρ_T per dimension. The features are the data themselves (identity encoders, α = 0),
so that only the critic learns. The plug-in estimate is read on fresh samples.

With negatives of the same context the truth is I(z1; z2 | T) = -(d/2) E log(1 - ρ_T²). With negatives of any context, an
anchor z1 with its T is told from other z2, which alone gives I(z2; (z1, T)); an anchor z2 with its T from other z1, which
alone gives I(z1; (z2, T)). One critic serves both directions, so its optimum is the harmonic mean of the two density
ratios, and its plug-in lies a little below either. All are printed, by Monte Carlo with the exact densities.

    python benchmarks/cmi_gaussian.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from equimodal.core import Balanced, Batch
from equimodal.methods import InfoBridge
from equimodal.methods.infobridge.estimator import NegativesName
from equimodal.models import heads
from equimodal.models.multimodal import Multimodal

CORRELATIONS = torch.tensor([0.0, 0.5, 0.8, 0.9])
MEANS = {
    "first": torch.tensor(
        [[1.3227, 0.5338], [0.1234, 1.2426], [-0.9038, -0.3323], [-3.0455, 0.7634]]
    ),
    "second": torch.tensor(
        [[-2.0552, -1.1261], [-1.7846, -0.1165], [-0.391, -1.9313], [0.8448, 0.5346]]
    ),
}
CONTEXTS, WIDTH = MEANS["first"].shape


def samples(count: int, generator: torch.Generator) -> Batch:
    """Fresh samples; the stream has no end, so they have no index."""
    context = torch.randint(CONTEXTS, (count,), generator=generator)
    noise = torch.randn(2, count, WIDTH, generator=generator)
    rho = CORRELATIONS[context][:, None]
    deviations = {"first": noise[0], "second": rho * noise[0] + (1 - rho**2).sqrt() * noise[1]}
    return Batch({m: MEANS[m][context] + z for m, z in deviations.items()}, context)


def log_ratios(draws: int = 1_000_000) -> dict[str, Tensor]:
    """[draws] each: log p(z1, z2 | T) / p(z1 | T) p(z2 | T), and log p(z | T) / p(z) of each modality."""
    batch = samples(draws, torch.Generator().manual_seed(0))
    context = batch.target
    assert context is not None
    found, deviations = {}, []
    for modality, means in MEANS.items():
        z = batch.inputs[modality]
        assert isinstance(z, Tensor)
        log_densities = -((z[:, None] - means) ** 2).sum(-1) / 2
        own = log_densities.gather(1, context[:, None]).squeeze(1)
        found[modality] = own - log_densities.logsumexp(1) + math.log(CONTEXTS)
        deviations.append(z - means[context])
    u, v = deviations
    rho = CORRELATIONS[context][:, None]
    quadratic = (rho**2 * (u**2 + v**2) - 2 * rho * u * v) / (2 * (1 - rho**2))
    found["both"] = -(quadratic + torch.log(1 - rho**2) / 2).sum(1)
    return found


def truths() -> dict[str, float]:
    """The informations in nats, and what the optimal critic of each kind of negatives finds."""
    logs = log_ratios()
    first, second = logs["both"] + logs["second"], logs["both"] + logs["first"]
    return {
        "same_context": -WIDTH / 2 * float(torch.log(1 - CORRELATIONS**2).mean()),
        "any": float((math.log(2) - torch.logaddexp(-first, -second)).mean()),
        "I(z2; (z1, T))": float(first.mean()),
        "I(z1; (z2, T))": float(second.mean()),
    }


def learner(negatives: NegativesName, seed: int) -> Balanced:
    """A model without encoders, and an estimator whose critic can represent a Gaussian log ratio."""
    torch.manual_seed(seed)
    encoders = {m: nn.Identity() for m in MEANS}
    model = Multimodal(encoders, heads.Linear(dict.fromkeys(MEANS, WIDTH), CONTEXTS))
    method = InfoBridge(alpha=0.0, critic="mlp", dim=64, memory="none", negatives=negatives)
    return Balanced(model, method, seed=seed)


def estimates(
    learner: Balanced, steps: int, generator: torch.Generator
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The losses of fresh batches, and the plug-in estimate noted with them."""
    for number in range(steps):
        step = learner.steps(samples(256, generator), 0, number, steps)[0]
        losses = learner.losses(learner(step), step)
        yield dict(losses), step.notes["infobridge/cmi/first-second"]


def learned(negatives: NegativesName, seed: int, steps: int) -> float:
    """The estimate after training the critic."""
    generator = torch.Generator().manual_seed(seed)
    model = learner(negatives, seed)
    optimizer = torch.optim.Adam(model.method.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for losses, _ in estimates(model, steps, generator):
        optimizer.zero_grad()
        losses["infobridge"].backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float(torch.stack([found for _, found in estimates(model, 400, generator)]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=3000, help="of Adam; default: 3000")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = truths()
    for name, value in known.items():
        print(f"{name}: {value:.4f} nats")
    print("\n| negatives | seed | optimal critic | learned | error | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    readings: tuple[NegativesName, ...] = ("same_context", "any")
    for negatives in readings:
        for seed in options.seeds:
            start = time.perf_counter()
            found = learned(negatives, seed, options.steps)
            seconds = time.perf_counter() - start
            error = f"{found / known[negatives] - 1:+.1%}"
            print(
                f"| {negatives} | {seed} | {known[negatives]:.4f} | {found:.4f} | {error} | {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
