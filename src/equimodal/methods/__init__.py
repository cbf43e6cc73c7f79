"""Every balancing method by its class, and by the name that expressions use (the name of its file).

To add a method: its file, one line here, its test.
"""

from __future__ import annotations

from ..core.method import Method as Joint
from .uniform import Uniform as Uniform

BY_NAME: dict[str, type[Joint]] = {"joint": Joint} | {
    value.__module__.rsplit(".", 1)[-1]: value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Joint) and value is not Joint
}
"""How expressions call the methods."""

__all__ = ["BY_NAME", *(cls.__name__ for cls in BY_NAME.values() if cls is not Joint), "Joint"]
