"""What a method costs: the ratio of its step to a plain PyTorch step on the same model.

    python benchmarks/overhead.py --model cnn --steps 300 --methods "joint()" "bio() + tcm()" "infobridge()"
    python benchmarks/overhead.py --model resnet18 --steps 300

Steps of the plain loop and of every method are interleaved in random order in one process with one thread, so that a
machine whose speed drifts slows all of them alike. Printed: the median over rounds of the ratio to the plain step of the
same round with its 95% bootstrap interval, the median in milliseconds, and the backward passes per batch; the peak memory
is that of a process of its own per row (``--memory``), because a process never gives its peak back. Ctrl-C ends the
measurement and prints what there is.

With ``--own`` there is a second plain loop: a classifier for each modality, and a backward for its loss beside that of the
joint one. It is the least that a method can cost which compares the gradients of all losses.

A method that is made for a head of its own has it, as in `equimodal train`; the others and the plain loop have `linear()`.

Models: `cnn`, two small CNNs on 28×28 (batch 64); `resnet18`, audio ResNet-18 (1×128×128) and visual ResNet-18
(3 frames of 3×112×112), batch 8.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from equimodal import Balanced, Batch, Multimodal, heads, methods
from equimodal.core import Method
from equimodal.core.expression import build
from equimodal.models import encoders

SAMPLES, CLASSES = 512, 10
PLAIN, OWN = "plain", "plain, a backward for each loss"
WARM = 5  # epochs, of four or two batches, before anything is measured


def small_cnns(head: str = "linear()") -> tuple[Multimodal, list[Batch]]:
    model = Multimodal(
        {"image": encoders.CNN(channels=1), "sound": encoders.CNN(channels=1)},
        _head(head, {"image": 64, "sound": 64}),
    )
    return model, _batches({"image": (1, 28, 28), "sound": (1, 28, 28)}, 4, 64)


def two_resnets(head: str = "linear()") -> tuple[Multimodal, list[Batch]]:
    model = Multimodal(
        {"image": encoders.ResNet18(channels=3), "sound": encoders.ResNet18(channels=1)},
        _head(head, {"image": 512, "sound": 512}),
    )
    return model, _batches({"image": (3, 3, 112, 112), "sound": (1, 128, 128)}, 2, 8)


def _head(expression: str, widths: dict[str, int]) -> heads.Head:
    return build(expression, heads.BY_NAME, "head", heads.Head, given=(widths, CLASSES))


MODELS = {"cnn": small_cnns, "resnet18": two_resnets}


def _batches(shapes: dict[str, tuple[int, ...]], count: int, size: int) -> list[Batch]:
    """A pattern per class in noise, plain to see in the first modality and faint in the others: there is something to balance."""
    generator = torch.Generator().manual_seed(0)
    patterns = {
        name: torch.randn(CLASSES, *shape, generator=generator) * (1.0 if i == 0 else 0.1)
        for i, (name, shape) in enumerate(shapes.items())
    }
    batches = []
    for i in range(count):
        target = torch.randint(CLASSES, (size,), generator=generator)
        inputs = {
            name: torch.randn(size, *shape, generator=generator) + patterns[name][target]
            for name, shape in shapes.items()
        }
        batches.append(Batch(inputs, target, torch.arange(i * size, (i + 1) * size)))
    return batches


def plain_step(
    make: Callable[[], tuple[Multimodal, list[Batch]]], own: bool = False
) -> Callable[[int], None]:
    """A loop that knows nothing of the library's driver; with `own` losses each modality has one, and a backward for it."""
    torch.manual_seed(0)
    model, batches = make()
    names = list(model.encoders)
    linear = nn.Linear(sum(model.head.widths.values()), CLASSES)
    classifiers = [nn.Linear(width, CLASSES) for width in model.head.widths.values() if own]
    network = nn.ModuleList([*model.encoders.values(), linear, *classifiers]).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)

    def step(i: int) -> None:
        batch = batches[i % len(batches)]
        features = [model.encoders[name](batch.inputs[name]) for name in names]
        loss = F.cross_entropy(linear(torch.cat(features, 1)), batch.target)
        loss.backward(retain_graph=own)
        for classifier, feature in zip(classifiers, features, strict=False):  # none if not own
            F.cross_entropy(classifier(feature), batch.target).backward(retain_graph=True)
        optimizer.step()
        optimizer.zero_grad()

    return step


def balanced_step(
    make: Callable[[str], tuple[Multimodal, list[Batch]]], expression: str
) -> tuple[Callable[[int], None], Callable[[], int]]:
    torch.manual_seed(0)
    method = build(expression, methods.BY_NAME, "method", Method)
    model, batches = make(next((leaf.head for leaf in method.leaves() if leaf.head), "linear()"))
    learner = Balanced(model, method, samples=SAMPLES, epochs=100).train()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.01, momentum=0.9)
    backwards = 0

    def counted(loss: Tensor, **options: bool) -> None:
        nonlocal backwards
        backwards += 1
        loss.backward(**options)

    def step(i: int, epoch: int = WARM) -> None:
        for part in learner.steps(batches[i % len(batches)], epoch, i % len(batches), len(batches)):
            output = learner(part)
            losses = learner.losses(output, part)
            learner.backward(losses, output, part, counted)
            optimizer.step()
            optimizer.zero_grad()

    # Inside the windows of the presets, with records of every sample, and with one modality ahead of the other.
    for epoch in range(WARM):
        learner.begin_epoch(epoch, batches, batches, optimizer)
        for i in range(len(batches)):
            step(i, epoch)
    learner.begin_epoch(WARM, batches, batches, optimizer)
    backwards = 0
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    return step, lambda: backwards


def interleaved(steps: dict[str, Callable[[int], None]], repeats: int) -> dict[str, np.ndarray]:
    order, generator = list(steps), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in steps}
    with contextlib.suppress(KeyboardInterrupt):
        for i in tqdm(range(-5, repeats), mininterval=10):
            generator.shuffle(order)
            for name in order:
                start = time.perf_counter()
                steps[name](i % 1000)
                if i >= 0:
                    times[name].append(time.perf_counter() - start)
    complete = min(map(len, times.values()))
    return {name: np.array(values[:complete]) for name, values in times.items()}


def ratio(times: np.ndarray, base: np.ndarray, draws: int = 2000) -> tuple[float, float, float]:
    """The median over rounds of a step's time by that of the plain step, and its 95% bootstrap interval over rounds."""
    generator = np.random.default_rng(0)
    ratios = times / base  # of the same round: both were slowed alike by whatever else ran
    medians = np.median(generator.choice(ratios, (draws, len(ratios))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def peak_memory(model: str, expression: str) -> float:
    """MiB at the peak of a process of its own."""
    command = [sys.executable, __file__, "--model", model, "--peak", expression]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="cnn")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument(
        "--methods", nargs="+", default=["joint()", "bio() + tcm()", "infobridge()"]
    )
    parser.add_argument(
        "--own", action="store_true", help="a plain loop with a backward for each loss too"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory too, in MiB")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make = MODELS[arguments.model]
    if arguments.peak:
        plain = arguments.peak in (PLAIN, OWN)
        step = (
            plain_step(make, own=arguments.peak == OWN)
            if plain
            else balanced_step(make, arguments.peak)[0]
        )
        for i in range(2):  # on top of the warm-up
            step(i)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    made = {e: balanced_step(make, e) for e in tqdm(arguments.methods, "warm-up")}
    by_hand = {PLAIN: (plain_step(make), 1)}  # and the backward passes per batch
    if arguments.own:
        by_hand[OWN] = (plain_step(make, own=True), 3)
    steps = {name: step for name, (step, _) in [*by_hand.items(), *made.items()]}
    times = interleaved(steps, arguments.steps)
    taken = len(times[PLAIN])
    print(f"{arguments.model}, {taken} steps, one thread, PyTorch {torch.__version__}")
    print("| method | ratio to plain [95%] | median ms | backwards per batch | peak MiB |")
    print("|---|---|---|---|---|")
    for name, values in times.items():
        middle, low, high = ratio(values, times[PLAIN])
        passes = made[name][1]() / (taken + 5) if name in made else by_hand[name][1]
        memory = f"{peak_memory(arguments.model, name):.0f}" if arguments.memory else "–"
        print(
            f"| {name} | {middle:.3f} [{low:.3f}, {high:.3f}] | {1000 * np.median(values):.2f} "
            f"| {passes:.2g} | {memory} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
