"""A page as one HTML file that opens from disk and asks nobody for anything.

Plotly's script is in it once. Every text is escaped where it is written: by the templates, in the figures by `_escaped`,
in the data by `_inline`. The page's content security policy lets the two scripts that are in it run, and nothing else:
no other script, no network.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .page import Figure, Page

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["MISSING", "available", "render"]

MISSING = 'Reports need plotly and jinja2: pip install "equimodal[report]".'

_TEMPLATES = frozenset({"hovertemplate", "texttemplate"})  # markup is meant; they hold no data


def available() -> bool:
    """Whether the packages that a page needs are installed."""
    try:
        import jinja2
        import plotly  # noqa: F401
    except ImportError:
        return False
    return bool(jinja2)


def render(page: Page) -> str:
    """The page as HTML.

    Args:
        page: its sections become tabs on screen and chapters in print.

    Raises:
        ConfigError: the packages of the extra `report` are not installed.
    """
    if not available():
        raise ConfigError(MISSING)
    script, plotly = _file("script.js"), _plotly(page)
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            plotly=plotly,
            script=script,
            style=_file("style.css"),
            policy=_policy(*filter(None, (plotly, script))),
        )
    )


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("equimodal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["kind"] = lambda part: type(part).__name__.lower()
    made.filters["slug"] = _slug
    made.globals["figure_json"] = _figure
    made.globals["inline"] = _inline
    return made


def _slug(title: str) -> str:
    """A name for links; letters of any script stay.

    >>> _slug("Method & settings")
    'method-settings'
    """
    return re.sub(r"\W+", "-", title).strip("-").lower()


def _plotly(page: Page) -> str:
    """Plotly's script, if the page draws anything."""
    from plotly.offline import get_plotlyjs

    def drawn(part: Any) -> bool:
        return isinstance(part, Figure) or any(map(drawn, getattr(part, "parts", ())))

    return str(get_plotlyjs()) if any(map(drawn, page.sections)) else ""


def _policy(*scripts: str) -> str:
    """The content security policy: only these scripts, and pictures and sounds that are in the page."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _figure(figure: Figure) -> str:
    """What is drawn and the data to take away, as JSON that may stand in a script element."""
    drawn = figure.draw().to_plotly_json()
    layout = {name: value for name, value in drawn["layout"].items() if name != "template"}
    spec = {"data": drawn["data"], "layout": layout}
    return _inline({"title": figure.title, "spec": _escaped(spec), "columns": figure.data})


def _escaped(value: Any, key: str = "") -> Any:
    """A figure in which texts are texts: plotly reads some tags in titles, names, ticks and labels."""
    if isinstance(value, str):
        return value if key in _TEMPLATES else html.escape(value, quote=False)
    if isinstance(value, Mapping):
        return {name: _escaped(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item, key) for item in value]
    return value


def _inline(value: Any) -> str:
    """JSON in which nothing can end the script element that it stands in."""
    from markupsafe import Markup

    text = json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _plain(value: Any) -> Any:
    """Numbers of numpy as numbers; what is not finite is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if callable(of := getattr(value, "tolist", None)):
        return _plain(of())
    return [_plain(item) for item in value]
