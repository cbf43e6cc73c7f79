"""How often the 95% intervals of a diagnosis cover the truth, on data whose truth is known.

One model is trained on `synthetic` data; the truth of its figures is what it does on a million fresh samples, and the truth
of the informations is enumerated. Each repetition diagnoses the model on samples of its own.

    python benchmarks/diagnosis_coverage.py --repetitions 100 --samples 1000
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from equimodal.data import load
from equimodal.data.datasets.synthetic import truth
from equimodal.diagnostics.answers import Answers
from equimodal.diagnostics.coalitions import plan
from equimodal.diagnostics.conditional import ROWS, _kept, _read, _reduced, _samples, _trained
from equimodal.diagnostics.diagnosis import conclude
from equimodal.diagnostics.findings import Diagnosis
from equimodal.diagnostics.intervals import Interval
from equimodal.diagnostics.own import ask
from equimodal.training.evaluate import batches
from equimodal.training.run import train
from equimodal.training.settings import Settings

OPTIONS = {"count": 2, "shared": 2, "unique": 2, "shared_error": 0.2, "unique_error": (0.1, 0.3)}


def part(answers: Answers, rows: slice) -> Answers:
    """The answers on some of the samples."""
    return replace(
        answers,
        correct=answers.correct[rows],
        log_likelihood=answers.log_likelihood[rows],
        target=answers.target[rows],
        unimodal={m: v[rows] for m, v in answers.unimodal.items()},
        features={m: z[rows] for m, z in answers.features.items()},
        present={m: v[rows] for m, v in answers.present.items()},
    )


def figures(found: Diagnosis) -> dict[str, object]:
    said: dict[str, object] = {"accuracy": found.accuracy}
    said |= {
        f"accuracy of {' + '.join(s.modalities)}": s.accuracy for s in found.subsets if s.modalities
    }
    for m, use in found.use.items():
        said[f"Shapley of accuracy, {m}"] = use.shapley_accuracy
        said[f"Shapley of log-likelihood, {m}"] = use.shapley_log_likelihood
        said[f"decoupled, {m}"] = use.decoupled
    said |= {f"difference of Shapley, {name}": d for name, d in found.differences.items()}
    assert found.information is not None
    said |= {f"lower bound, {m}": bound for m, bound in found.information.modalities.items()}
    said["lower bound, fused"] = found.information.fused
    for d in found.information.decomposition:
        said |= {
            "redundant": d.redundant,
            "unique, m1": d.unique_first,
            "unique, m2": d.unique_second,
            "synergistic": d.synergistic,
        }
    return said


def beyond(train: Answers, classes: int) -> Callable[[Answers], dict[str, Interval]]:
    """What features share beyond the class, by one critic that has learned, on any answers."""
    pair = (train.plan.modalities[0], train.plan.modalities[1])
    raw = _samples(train, pair, 0)
    critic = _trained(_reduced(raw, raw)[0], [pair], classes, 0)

    def read(answers: Answers) -> dict[str, Interval]:
        known, asked = _reduced(raw, _samples(answers, pair, 0))
        found = _read(critic, asked, pair, _kept(known, asked, pair), 0)
        return {
            "beyond the class, estimate": found.estimate,
            "beyond the class, bound": found.bound,
        }

    return read


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=100)
    options.add_argument("--samples", type=int, default=1000)
    options.add_argument("--truth", type=int, default=1_000_000)
    options.add_argument("--epochs", type=int, default=5)
    given = options.parse_args()

    total = given.repetitions * given.samples + given.truth
    data = load("synthetic", **OPTIONS, samples=(2000, 200, total))
    told = ", ".join(f"{name}={value!r}" for name, value in OPTIONS.items())
    settings = Settings(data=f"synthetic({told}, samples=(2000, 200, 200))", epochs=given.epochs)
    with tempfile.TemporaryDirectory() as folder:
        run = train(settings, folder, overwrite=True)
    answers, learned = (
        ask(run.learner, batches(part, 4096), plan(run.model.modalities), "missing")
        for part in (data.test, data.train)
    )
    shared = beyond(learned, len(data.classes))

    facts, start = truth(**OPTIONS), given.repetitions * given.samples
    # Of the truth only the values are asked: a few resamples are enough.
    whole = conclude(part(answers, slice(start, None)), data.classes, resamples=10)
    known = {name: figure.value for name, figure in figures(whole).items()}
    pieces = [
        shared(part(answers, slice(at, at + ROWS))) for at in range(start, total - ROWS + 1, ROWS)
    ]
    known |= {name: sum(p[name].value for p in pieces) / len(pieces) for name in pieces[0]}
    covered: Counter[str] = Counter()
    above: Counter[str] = Counter()
    exact = {"lower bound, m1": facts.information([0]), "lower bound, m2": facts.information([1])}
    exact["lower bound, fused"] = facts.information()
    exact |= dict.fromkeys(pieces[0], 0.0)  # the channels are independent, given the class
    for i in range(given.repetitions):
        rows = slice(i * given.samples, (i + 1) * given.samples)
        some = part(answers, rows)
        found = figures(conclude(some, data.classes, seed=i)) | shared(some)
        for name, figure in found.items():
            covered[name] += figure.low <= known[name] <= figure.high
            above[name] += name in exact and figure.value > exact[name]
    print(
        f"| figure | truth | covered of {given.repetitions} | enumerated | above it |\n|---|---|---|---|---|"
    )
    for name in found:  # too few samples for a decomposition leave it out
        value = known[name]
        enumerated = f"{exact[name]:.4f} | {above[name]}" if name in exact else "– | –"
        print(f"| {name} | {value:.4f} | {covered[name]} | {enumerated} |", flush=True)


if __name__ == "__main__":
    main()
