"""What is compared: methods × data sets × models × seeds, from a bench file or from options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from ..training.settings import Settings, read_toml
from .space import options

__all__ = ["FIGURES", "TRIAL_SEED", "Grid", "Part", "seeds_of"]

KNOWN = (
    "title", "methods", "data", "models", "seeds", "reference", "alone", "fixed", "tune", "settings", "figures",
    "against", "resplits",
)  # fmt: skip

FIGURES = {"modalities": False, "ratio": False, "complementarity": True, "kernel-distance": True}
"""What the report may draw besides its tables, and whether it is drawn against an option of the methods."""

TRIAL_SEED = 1000
"""Of every trial of tuning; the rows of the table have other ones."""


@dataclass(frozen=True)
class Part:
    """One method, data set or model: a label, and the settings that it stands for."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """A benchmark, before anything is read.

    Attributes:
        methods: rows; a text is an expression, with its head after ``@`` where that is not the method's own.
        data: data sets.
        models: heads and encoders; one without settings leaves every method and data set its own.
        seeds: of every row.
        reference: the row that the others are compared with; the first method if None.
        alone: whether each modality is also trained alone.
        fixed: whether rows with the methods' own options are wanted.
        tune: trials for every method; 0 tunes nothing.
        settings: of every run.
        title: of the report.
        figures: of `FIGURES`, that the report shows as well.
        resplits: whether every seed has a split of its own into train and test, for data sets that have no official one.
        against: the option that figures are drawn against, such as ``"infobridge.alpha"``.

    Raises:
        ConfigError: there is nothing to compare, two parts have one label, or a figure cannot be drawn.
    """

    methods: tuple[Part, ...]
    data: tuple[Part, ...]
    models: tuple[Part, ...] = (Part(""),)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    reference: str | None = None
    alone: bool = True
    fixed: bool = True
    tune: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    figures: tuple[str, ...] = ()
    against: str | None = None
    resplits: bool = False

    def __post_init__(self) -> None:
        for what, parts in (
            ("methods", self.methods),
            ("data", self.data),
            ("models", self.models),
        ):
            if not parts:
                raise ConfigError(f"There is nothing to compare: name at least one of '{what}'.")
            labels = [part.label for part in parts]
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice is not None:
                raise ConfigError(f"{twice!r} stands twice in '{what}': give one of them a 'name'.")
        labels = [part.label for part in self.methods]
        if self.reference is not None and self.reference not in labels:
            raise ConfigError(
                f"The reference {self.reference!r} is none of the methods: {nearest(self.reference, labels)}"
            )
        if not self.fixed and not self.tune:
            raise ConfigError("Without rows of fixed options say how many trials to tune with.")
        if self.resplits and self.tune:
            raise ConfigError(
                "Tuning on one split would see test samples of another: leave out 'tune' or 'resplits'."
            )
        if self.tune and TRIAL_SEED in self.seeds:
            raise ConfigError(
                f"Seed {TRIAL_SEED} is that of the trials, which no row of the table may share: leave it out of 'seeds'."
            )
        self._refuse_figures()

    def _refuse_figures(self) -> None:
        for name in self.figures:
            if name not in FIGURES:
                raise ConfigError(f"There is no figure {name!r}: {nearest(name, FIGURES)}")
            if FIGURES[name] and self.against is None:
                raise ConfigError(
                    f"The figure {name!r} is drawn against an option of the methods: name it in 'against', such as "
                    "'infobridge.alpha'."
                )
        if self.against is None:
            return
        found = [options(part.settings["method"]) for part in self.methods]
        if len({repr(one[self.against]) for one in found if self.against in one}) < 2:
            raise ConfigError(
                f"Nothing can be drawn against {self.against!r}: name two methods at least that differ in it."
            )

    @property
    def compared_with(self) -> str:
        """The label of the reference row."""
        return self.reference or self.methods[0].label

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> Grid:
        """A grid from a file's values; a refusal names the file.

        Raises:
            ConfigError: an unknown key, or a value that cannot be.
        """
        for name in values:
            if name not in KNOWN:
                raise ConfigError(
                    f"{source}: there is no {name!r} in a bench: {nearest(name, KNOWN)}"
                )
        try:
            resplits = _count(values.get("resplits", 0), "resplits")
            if resplits and "seeds" in values:
                raise ConfigError("'resplits' says how many seeds there are: leave out 'seeds'.")
            return cls(
                methods=_methods(values.get("methods", "all")),
                data=_parts(values.get("data", ()), "data", "data"),
                models=_parts(values.get("models", ({"name": ""},)), "models", "head"),
                seeds=tuple(range(resplits)) or seeds_of(values.get("seeds", "0-4")),
                resplits=resplits > 0,
                reference=_text(values.get("reference"), "reference"),
                alone=_switch(values.get("alone", True), "alone"),
                fixed=_switch(values.get("fixed", True), "fixed"),
                tune=_count(values.get("tune", 0), "tune"),
                settings=_checked(_table(values.get("settings", {}), "settings"), "settings"),
                title=str(values.get("title", "")),
                figures=tuple(values.get("figures", ())),
                against=values.get("against"),
            )
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def from_toml(cls, path: Path | str, **changes: Any) -> Grid:
        """Read a bench file; `changes` replace its values.

        Raises:
            ConfigError: as `of`, or the file cannot be read.
        """
        return cls.of(read_toml(path) | changes, str(path))

    def only(self, **changes: Any) -> Grid:
        """This grid with other values."""
        return replace(self, **changes)


def _count(value: object, what: str) -> int:
    if type(value) is not int or value < 0:
        raise ConfigError(f"'{what}' must be a whole number; here it is {value!r}.")
    return value


def _switch(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"'{what}' must be true or false; here it is {value!r}.")
    return value


def _text(value: object, what: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"'{what}' must be a text; here it is {value!r}.")
    return value


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{what}' must be a table of settings; here it is {value!r}.")
    return dict(value)


def seeds_of(value: object) -> tuple[int, ...]:
    """``"0-4"``, ``"0,3"``, 2 or [0, 1] as seeds.

    >>> seeds_of("0-2,7")
    (0, 1, 2, 7)
    """
    texts = (
        [str(one) for one in value] if isinstance(value, list | tuple) else str(value).split(",")
    )
    found: list[int] = []
    for text in texts:
        span = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
        if span is None or int(span[2] or span[1]) < int(span[1]):
            raise ConfigError(f"Seeds are written like '0-4' or '0,1,7'; here {value!r}.")
        found += range(int(span[1]), int(span[2] or span[1]) + 1)
    if not found:
        raise ConfigError("There must be a seed at least: 'seeds' is empty.")
    return tuple(dict.fromkeys(found))


def _methods(value: object) -> tuple[Part, ...]:
    if value == "all":
        from ..methods import BY_NAME

        value = [f"{name}()" for name, cls in BY_NAME.items() if not cls.observes]
    return _parts(value, "methods", "method")


def _parts(value: object, what: str, setting: str) -> tuple[Part, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence):
        raise ConfigError(f"'{what}' must be a list; here it is {value!r}.")
    return tuple(_part(one, what, setting) for one in values)


def _part(value: object, what: str, setting: str) -> Part:
    """A text is the one setting that the part is about; a table may hold any, and a name."""
    if isinstance(value, str):
        text, _, head = (piece.strip() for piece in value.partition("@"))
        found = {setting: text} | ({"head": head} if head else {})
        return Part(value.strip(), found)
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{what}' holds texts or tables; here {value!r}.")
    settings = dict(value)
    label = settings.pop("name", None)
    if label is None:
        label = str(settings.get(setting, ""))
    if setting not in settings and what != "models":
        raise ConfigError(f"An entry of '{what}' lacks {setting!r}.")
    return Part(str(label), _checked(settings, what))


def _checked(settings: dict[str, Any], what: str) -> dict[str, Any]:
    for name, where in (("seed", "seeds"), ("method", "methods"), ("data", "data")):
        if name in settings and what != where:
            raise ConfigError(f"'{what}' cannot set the {name}: say '{where}'.")
    Settings(**{"data": "", **settings})  # refuses unknown names and impossible values
    return settings
