"""The options of `equimodal train`: the fields of `Settings`, by the same names, with the same defaults and checks."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import Field, field_validator

from ..training.settings import Settings

__all__ = ["Options"]


@Parameter(name="*")
class Options(Settings):
    """What the user said on the command line is what `said()` gives."""

    # The data set is an argument, not an option, and may also come from the experiment file.
    data: Annotated[str, Parameter(parse=False)] = ""
    modalities: Annotated[tuple[str, ...] | None, Parameter(negative="", consume_multiple=True)] = (
        Field(None, description="use only these, in this order, as in a,b; else all")
    )
    encoders: Annotated[dict[str, str], Parameter(negative="")] = Field(
        {}, description='as in --encoders.image "cnn(channels=1)"; else the data set\'s own'
    )

    augment: Annotated[dict[str, str], Parameter(negative="")] = Field(
        {}, description='as in --augment.audio "spec_augment(time=20, frequency=8)"; else none'
    )

    @field_validator("modalities")
    @classmethod
    def _split(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """``("a,b",)`` as two names."""
        return given and tuple(name.strip() for text in given for name in text.split(","))
