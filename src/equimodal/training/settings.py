"""Everything that a run needs, checked; what `config.toml` holds."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from ..errors import ConfigError, nearest

__all__ = ["HEADER", "NEUTRAL", "Settings"]

HEADER = "# A run of equimodal"
"""How the `config.toml` of a run begins: what tells a run's folder from any other."""

NEUTRAL = frozenset(
    {"data_root", "device", "workers", "threads", "checkpoint_every", "probe", "fit_fusion"}
)
"""Settings that do not change what is learned, so that a run may be resumed with other ones."""


class Settings(BaseModel):
    """The settings of a run; the same names in Python, in TOML and on the command line.

    Raises:
        ConfigError: a value that cannot be; the sentence names the option.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str = Field(
        description="data set by its expression, such as 'avmnist(snr=-5.0)', or a data TOML"
    )
    data_root: str | None = Field(None, description="folder that holds the data sets")
    skip_unreadable: bool = Field(
        False,
        description="try the files of a manifest first, and leave out those that cannot be read",
    )
    modalities: tuple[str, ...] | None = Field(None, description="use only these, in this order")
    method: str = Field("ibml()", description="balancing method by its expression")
    head: str | None = Field(
        None, description="head by its expression; the method's own or linear()"
    )
    task: str | None = Field(
        None,
        description="loss by its expression, such as 'classification(label_smoothing=0.1)'; else cross-entropy",
    )
    encoders: dict[str, str] = Field(
        {}, description="modality -> expression; else the data set's own"
    )
    epochs: int = Field(20, ge=1, description="passes over the training data")
    batch_size: int = Field(64, ge=1, description="samples per update, over all processes")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="optimiser")
    lr: float = Field(0.01, gt=0, description="learning rate before schedule and method")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(1e-4, ge=0, description="L2 (SGD) or decoupled (AdamW)")
    schedule: Literal["auto", "step", "cosine", "none"] = Field(
        "auto",
        description="step: x0.1 at 70% of the run; auto: step, or none where the method has a schedule of its own",
    )
    accumulate: int = Field(1, ge=1, description="micro-batches that a batch is split into")
    clip: float | None = Field(
        None, gt=0, description="largest norm of the gradient; else it is not cut"
    )
    select: Literal["best", "last"] = Field("best", description="which epoch's weights are tested")
    select_by: Literal["accuracy", "balanced_accuracy", "cross_entropy"] | None = Field(
        None,
        description="what the best epoch is best in, on validation; else accuracy",
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better one; else never"
    )
    protocol: Literal["honest", "paper"] = Field(
        "honest",
        description="honest: select on validation; paper: select on test, labelled in the results",
    )
    val_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="of train, carved out as validation where a set has none; else a tenth",
    )
    split_seed: int | None = Field(
        None, ge=0, description="of the split, where a set has none of its own; else the set's"
    )
    augment: dict[str, str] = Field(
        {},
        description="modality -> expression of what training does to it; else the data set's own",
    )
    modality_dropout: float = Field(
        0,
        ge=0,
        lt=1,
        description="in training hide each modality of a sample with this probability, never all of them",
    )
    seed: int = Field(0, ge=0, description="of weights, order of the data and noise")
    precision: Literal["32", "bf16", "64"] = Field("32", description="bits of the computation")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: CUDA where there is one"
    )
    processes: int = Field(1, ge=1, description="processes that train together")
    workers: int = Field(
        0, ge=0, description="processes that prepare batches, per training process"
    )
    threads: int | None = Field(
        None, ge=1, description="threads of the computation, per process; else PyTorch's choice"
    )
    checkpoint_every: str = Field("60s", description="'200' steps or '60s' seconds")
    probe: bool = Field(True, description="fit a linear probe per modality at the end")
    fit_fusion: Literal["auto", "on", "off"] = Field(
        "auto",
        description="weights of the modalities fitted on validation at the end; auto: kept where they help",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_sentence(error.errors()[0])) from None

    @field_validator("checkpoint_every")
    @classmethod
    def _readable(cls, text: str) -> str:
        if not re.fullmatch(r"[1-9]\d*|(\d+(\.\d+)?|\.\d+)s", text.strip()):
            raise ValueError("must be a number of steps such as '200' or of seconds such as '60s'")
        return text.strip()

    @property
    def checkpoint_steps(self) -> int | None:
        """Steps between checkpoints, or None where they are timed."""
        return None if self.checkpoint_every.endswith("s") else int(self.checkpoint_every)

    @property
    def checkpoint_seconds(self) -> float | None:
        """Seconds between checkpoints, or None where they are counted in steps."""
        timed = self.checkpoint_every.endswith("s")
        return float(self.checkpoint_every[:-1]) if timed else None

    @property
    def selected_on(self) -> str:
        """The split that the epochs are compared on; only the papers' protocol takes the test split for it."""
        return "test" if self.protocol == "paper" else "val"

    @property
    def criterion(self) -> str:
        """The figure that epochs, and trials of tuning, are chosen by."""
        return self.select_by or "accuracy"

    def changed(self, **values: Any) -> Self:
        """These settings with other values; what was said by the user stays marked as such."""
        return type(self)(**{**self.said(), **values})

    def said(self) -> dict[str, Any]:
        """The values that were given, without defaults."""
        return self.model_dump(exclude_unset=True)

    def alone(self, modality: str) -> Self:
        """These settings for joint training of one modality by itself."""
        tables = {"encoders": self.encoders, "augment": self.augment}
        own = {name: {m: v for m, v in of.items() if m == modality} for name, of in tables.items()}
        return self.changed(modalities=(modality,), method="joint()", head=None, **own)

    def worth(self, figures: Mapping[str, float | None]) -> float:
        """What an epoch is worth by the figures of its fused prediction; more is better, NaN where that is unknown."""
        value = figures[self.criterion]
        if value is None:
            return math.nan
        return -value if self.criterion == "cross_entropy" else value

    def resolved(self, **values: Any) -> Self:
        """These settings with other values, and every default written out."""
        return type(self)(**{**self.model_dump(), **values})

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a file.

        Raises:
            ConfigError: the file cannot be read, is no TOML, or has an unknown or impossible option.
        """
        return cls.of(read_toml(path), str(path))

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> Self:
        """Settings from a file's values; a refusal names the file."""
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    def to_toml(self) -> str:
        """The text of `config.toml`; options that are None are left out."""
        values = self.model_dump(exclude_none=True)
        tables = {name: value for name, value in values.items() if isinstance(value, dict)}
        lines = [f"{name} = {_toml(value)}" for name, value in values.items() if name not in tables]
        for name, table in tables.items():
            lines += ["", f"[{name}]", *(f"{_toml(k)} = {_toml(v)}" for k, v in table.items())]
        return "\n".join([HEADER, *lines]) + "\n"


def read_toml(path: Path | str) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None


def _toml(value: object) -> str:
    """JSON's strings, numbers, booleans and arrays are TOML's; tuples become arrays."""
    return json.dumps(value, ensure_ascii=False)


def _sentence(error: ErrorDetails) -> str:
    where = [str(part) for part in error["loc"]]
    name = where[0]
    if error["type"] == "extra_forbidden":
        return f"There is no option {name!r}: {nearest(name, Settings.model_fields)}"
    if error["type"] == "missing":
        return f"The option {name!r} is needed: {Settings.model_fields[name].description}."
    shown = ".".join(where)
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"The option {shown!r} {reason}; here it is {error['input']!r}."
