"""What every component that is a module must have done before it is used."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from ..errors import ConfigError

__all__ = ["require_initialised"]


def require_initialised(component: object) -> None:
    """Refuse a module whose class does not call `super().__init__()`; PyTorch says so late, and not of which class.

    Raises:
        ConfigError: it does not; the sentence names the class and the call.
    """
    scripted = isinstance(component, torch.jit.ScriptModule)  # keeps its parts elsewhere
    if not isinstance(component, nn.Module) or scripted or "_modules" in vars(component):
        return
    owner, base, *_ = (cls for cls in type(component).__mro__ if "__init__" in vars(cls))
    _, *taken = inspect.signature(vars(base)["__init__"]).parameters.values()
    said = ", ".join(p.name for p in taken if p.kind is p.POSITIONAL_OR_KEYWORD)
    raise ConfigError(
        f"{owner.__name__}.__init__() must begin with super().__init__({said}): without it PyTorch cannot use the module."
    )
