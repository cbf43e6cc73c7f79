"""Equal budgets: every method the same number of trials over its declared space, chosen on validation alone.

A trial is a cell like any other, with a seed of its own that no row of the table has. The first trial is what the
expression says; the others are drawn by Optuna's TPE sampler. Each draw is a function of the trial's number and of the
trials before it, so that a tuning that was killed goes on to the same end. Trials are chosen by what the epochs of
their runs are: the figure that `select_by` names.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigError, EquimodalError
from .grid import TRIAL_SEED, Part
from .plan import Plan, Row
from .space import Range, defaults, space, with_options
from .store import Record, Store
from .work import Work

__all__ = ["Ledger", "ledger", "tune"]

FAILED = "failed"
CRITERION = "select_by"


@dataclass(frozen=True)
class Ledger:
    """What tuning of one row did.

    Attributes:
        row, data, model: of which.
        select_by: the figure of validation that trials are chosen by, as in the settings of a run.
        trials: the options of each trial, its figure (None: failed), in order.
        best: the options that were taken.
        taken: the figure of these, None where all failed.
    """

    row: str
    data: str
    model: str
    select_by: str
    trials: tuple[tuple[str, float | None], ...]
    best: str
    taken: float | None


@dataclass
class _Study:
    """The tuning of one row."""

    row: Row
    part: Part
    ranges: Mapping[str, Range]
    study: Any

    @property
    def name(self) -> str:
        return str(self.study.study_name)

    def values(self, number: int) -> dict[str, Any]:
        """The options of a trial, asked for if it is new."""
        import optuna

        trials = self.study.get_trials(deepcopy=False)
        begun = number < len(trials) and trials[number].state is not optuna.trial.TrialState.WAITING
        if begun and trials[number].state.is_finished():
            return _rounded(trials[number].params)
        seed = int(hashlib.sha256(f"{_drawn_for(self.row)} {number}".encode()).hexdigest()[:8], 16)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        # A trial that was asked for by a bench that was killed keeps its number and what was drawn already.
        trial = (
            optuna.trial.Trial(self.study, trials[number]._trial_id) if begun else self.study.ask()
        )
        with warnings.catch_warnings():  # the method's own values may lie outside of its range
            warnings.simplefilter("ignore")
            for option, of in self.ranges.items():
                _suggest(trial, option, of)
        return _rounded(trial.params)

    def tell(self, number: int, record: Record | None) -> None:
        """What a trial came to on validation; one that failed, and one that is not there yet."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if record is None or trial.state.is_finished():
            return
        if record.results is not None:
            value = record.results["val"]["fused"].get(self.row.settings.criterion)
            if value is None:  # a cross-entropy that is not finite
                self.refuse(number)
            else:
                self.study.tell(number, value)
        else:  # it stays open, because `--retry-failed` may give it a value
            failed = {*self.study.user_attrs.get(FAILED, ()), number}
            self.study.set_user_attr(FAILED, sorted(failed))

    def refuse(self, number: int) -> None:
        """A trial that can never be chosen, such as one whose values cannot be trained on these data."""
        import optuna

        if not self.study.get_trials(deepcopy=False)[number].state.is_finished():
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)

    def best(self) -> dict[str, Any] | None:
        """The options of the best trial; None where all failed."""
        best = _best(self.study)
        return None if best is None else _rounded(best.params)


def tune(plan: Plan, rows: Sequence[Row], work: Work) -> list[Row]:
    """The rows with tuned options, after training what trials are not there yet.

    Raises:
        ConfigError: a space has no valid value, or a data set has no validation samples to tune on.
    """
    parts = {part.label: part for part in plan.grid.methods}
    places = {part.label: part for part in (*plan.grid.data, *plan.grid.models)}
    for row in rows:
        _refuse_without_validation(row, plan)
    spaces = {label: space(part.settings["method"]) for label, part in parts.items()}
    studies = [
        _Study(row, parts[row.label], spaces[row.label], _study(work.store, row))
        for row in rows
        if spaces[row.label]
    ]

    def tuned(study: _Study, values: Mapping[str, Any], label: str) -> Row:
        method = with_options(study.part.settings["method"], values)
        part = Part(label, {**study.part.settings, "method": method})
        return plan.row("tuned", part, places[study.row.data], places[study.row.model])

    for number in range(plan.grid.tune):
        trials = {}
        for study in studies:
            try:
                row = tuned(study, study.values(number), f"{study.row.label} trial {number}")
            except EquimodalError:  # such as a strength below the number of these modalities
                study.refuse(number)
            else:
                trials[study.name] = replace(row, kind="trial").cell(TRIAL_SEED)
        known = work.train(list(trials.values()), f"trials {number + 1} of {plan.grid.tune}")
        for study in studies:
            if study.name in trials:
                study.tell(number, known.get(trials[study.name].key))
    return [
        tuned(study, best, f"{study.row.label} tuned")
        for study in studies
        if (best := study.best()) is not None
    ]


def _refuse_without_validation(row: Row, plan: Plan) -> None:
    if not len(plan.shelf.get(row.settings).val):
        raise ConfigError(
            f"{row.data} has no validation samples to tune on: leave val_fraction out, or give it some."
        )
    if row.settings.protocol == "paper":
        raise ConfigError(
            "Tuning would see the test split under protocol 'paper': tune under 'honest'."
        )


def _study(store: Store, row: Row) -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError('Tuning needs Optuna: pip install "equimodal[bench]".') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    by = row.settings.criterion
    # Before `select_by` was heeded here, studies without an ending had their trials chosen by accuracy, whatever it said.
    name = _drawn_for(row) if by == "accuracy" else f"{_drawn_for(row)} | {by}"
    study = optuna.create_study(
        study_name=name,
        storage=_storage(store),
        direction="minimize" if by == "cross_entropy" else "maximize",
        load_if_exists=True,
    )
    study.set_user_attr("row", [row.data, row.model, row.label])
    study.set_user_attr(CRITERION, by)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(defaults(row.settings.method))
    return study


def _drawn_for(row: Row) -> str:
    """The same space on the same settings: otherwise other trials are drawn."""
    return f"{row.data} | {row.model} | {row.label} | {row.cell(TRIAL_SEED).key}"


def _best(study: Any) -> Any:
    """The best trial, the first on a tie; None where all failed."""
    import optuna

    better = min if study.direction is optuna.study.StudyDirection.MINIMIZE else max
    done = [t for t in study.get_trials(deepcopy=False) if t.value is not None]
    return better(done, key=lambda t: t.value, default=None)


def _storage(store: Store) -> str:
    return f"sqlite:///{store.tuning_file.resolve()}"


def _suggest(trial: Any, option: str, of: Range) -> None:
    if of.choices:
        trial.suggest_categorical(option, of.choices)
    elif isinstance(of.low, int) and isinstance(of.high, int):
        trial.suggest_int(option, of.low, of.high, log=of.log)
    else:
        trial.suggest_float(option, of.low, of.high, log=of.log)


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Three digits are enough for a paper."""
    return {n: float(f"{v:.3g}") if isinstance(v, float) else v for n, v in values.items()}


def ledger(store: Store) -> list[Ledger]:
    """What was tuned, for the report; empty where nothing was."""
    if not store.tuning_file.exists():
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = optuna.get_all_study_names(_storage(store))
    # Where a bench went on that was tuned before `select_by` was heeded, its choice by accuracy counts no more.
    names = [name for name in names if not any(n.startswith(f"{name} | ") for n in names)]
    read = [_ledger(optuna.load_study(study_name=n, storage=_storage(store))) for n in names]
    return [one for one in read if one.trials]


def _ledger(study: Any) -> Ledger:
    failed = study.user_attrs.get(FAILED, ())  # `--only` leaves some untried
    trials = [t for t in study.get_trials(False) if t.state.is_finished() or t.number in failed]
    data, model, row = study.user_attrs.get("row", study.study_name.split(" | ")[:3])
    by = study.user_attrs.get(CRITERION, "accuracy")
    said = tuple((_options(t.params), t.value) for t in trials)
    best = _best(study)
    if best is None:
        return Ledger(row, data, model, by, said, "", None)
    return Ledger(row, data, model, by, said, _options(best.params), best.value)


def _options(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )
