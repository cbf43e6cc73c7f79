"""A page as HTML: self-contained, escaped, small."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from equimodal.report.figures import Series, bars, lines, matrix, plane, points
from equimodal.report.page import (
    Cell,
    Code,
    Column,
    Page,
    Points,
    Prose,
    Section,
    Side,
    Table,
)
from fixtures.reports import BAD, CLASSES

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

from equimodal.report import html

NAMES = list(CLASSES)


def series() -> list[Series]:
    return [Series(name, [0.1, 0.2, None], [0.0, 0.1, None], [0.2, 0.3, None]) for name in NAMES]


def page() -> Page:
    drawn = [
        make(BAD, BAD, BAD, NAMES, series(), axis=BAD)  # type: ignore[operator]
        for make in (points, bars)
    ]
    drawn += [
        lines(BAD, BAD, BAD, [1.0, 2.0, 3.0], series(), x_axis=BAD, axis=BAD),
        matrix(BAD, BAD, BAD, NAMES, NAMES, [[0.1, 0.2, None]] * 3),
        plane(BAD, BAD, BAD, [0.0, 1.0, 2.0], [0.0, 1.0, 0.0], NAMES, NAMES),
    ]
    table = Table(
        [Column(BAD, note=BAD), Column("n", "{:.1%}")],
        [[BAD, 0.5], [Cell(BAD, note=BAD), None]],
        BAD,
    )
    parts = [Prose(BAD, "lead"), Points([(BAD, BAD)]), Code(BAD, BAD), table, Side(drawn)]
    return Page(BAD, [Section(BAD, parts, BAD), Section("Last", [Side(drawn[:1])])], BAD, BAD)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts by their type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


@pytest.fixture(scope="module")
def written() -> str:
    return html.render(page())


@pytest.fixture(scope="module")
def elements(written: str) -> Elements:
    return Elements(written)


def test_nothing_is_loaded_from_elsewhere(written: str, elements: Elements) -> None:
    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:"), (tag, name, value)
    [style] = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for t, a in elements.found if "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split(";")[1] and "http" not in policy


def test_names_are_text(elements: Elements) -> None:
    assert "img" not in {tag for tag, _ in elements.found}
    assert not [a for _, a in elements.found if any(name.startswith("on") for name in a)]
    runnable = [text for kind, text in elements.scripts if kind != "application/json"]
    assert len(runnable) == 2  # plotly and the page's own; a name would have begun a third
    assert not any("broken" in text for text in runnable)


def test_names_are_text_in_figures(elements: Elements) -> None:
    """Plotly reads tags in what it shows; what the reader takes away is the name itself."""
    drawn = [json.loads(text) for kind, text in elements.scripts if kind == "application/json"]
    assert len(drawn) == 6
    for one in drawn:
        said = json.dumps(one["spec"])
        assert "<img" not in said and "<script" not in said
        assert "&lt;img" in said
    assert BAD in json.dumps(drawn[1]["columns"], ensure_ascii=False).replace('\\"', '"')
    raw = [text for kind, text in elements.scripts if kind == "application/json"]
    assert not any(sign in text for text in raw for sign in "<>&")


def test_what_is_not_finite_is_null(elements: Elements) -> None:
    figure = points("t", "s", "h", ["a", "b"], [Series("x", [float("nan"), float("inf")])])
    text = str(html._figure(figure))
    assert json.loads(text)["columns"]["x"] == [None, None]


def test_plotly_is_there_once_and_only_where_it_draws(written: str) -> None:
    assert written.count("plotly.js v") == 1
    without = html.render(Page("words", [Section("only", [Prose("words")])]))
    assert len(without) < 40_000 and "plotly.js v" not in without


def test_tables_know_numbers_from_words(written: str) -> None:
    assert '<td data-value="0.5" class="number">50.0%</td>' in written
    with pytest.raises(ValueError, match="2 columns and a row of 1"):
        Table([Column("a"), Column("b")], [["x"]])


def test_what_figures_share_is_said_once(written: str) -> None:
    def one(title: str) -> object:
        return lines(title, "SEE", "HOW", [1.0], [Series("x", [1.0])])

    text = html.render(Page("t", [Section("s", [Side([one("a"), one("b")])])]))
    assert text.count(">SEE<") == 1 and text.count(">HOW<") == 1
    assert html.render(Page("t", [Section("s", [one("a"), one("b")])])).count(">SEE<") == 2


def test_templates_are_in_the_package() -> None:
    """A wheel holds whatever lies in the package's folder and is not ignored."""
    folder = Path(html.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {
        "page.html",
        "parts.html",
        "style.css",
        "script.js",
    }
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text(encoding="utf-8")
    assert "templates" not in ignored and "*.html" not in ignored
