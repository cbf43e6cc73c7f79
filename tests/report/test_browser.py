"""The report in a browser: it opens from disk, draws, turns, sorts, and fits."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from equimodal.report.page import Section
from equimodal.report.runs import of_runs, read_all
from equimodal.report.runs.samples import Belief, Card, Samples
from equimodal.report.runs.views import view
from fixtures.browser import chromium
from fixtures.reports import BAD, CLASSES, MODALITIES, hostile

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

from equimodal.report.html import render

pytestmark = pytest.mark.processes  # of a browser

browser = pytest.fixture(scope="module")(chromium)


ALL_DRAWN = """[...document.querySelectorAll('figure.plot, canvas')].every(
    f => !f.offsetParent || f.hasAttribute('data-drawn'))"""
EMPTY = """[...document.querySelectorAll('.drawing')].filter(
    d => d.offsetParent && !d.querySelector('.trace, .hm image')).length"""


@dataclass
class Seen:
    """A page and what it did that it should not."""

    page: Any
    wrong: list[str] = field(default_factory=list)

    def tabs(self) -> list[str]:
        return list(self.page.locator("[role=tab]").all_inner_texts())

    def open_tab(self, name: str) -> None:
        self.page.locator("[role=tab]", has_text=name).click()
        self.page.wait_for_function(ALL_DRAWN)


def cards() -> Section:
    """A sample of every kind that can be shown."""
    draw = torch.Generator().manual_seed(0)
    values = {
        "image": torch.rand(3, 12, 9, generator=draw),
        "points": torch.randn(300, 3, generator=draw),
        "audio": torch.randn(1, 3000, generator=draw),
        "motion": torch.randn(50, 9, generator=draw),
        "words": torch.arange(7),
        "numbers": torch.randn(20, generator=draw),
    }
    views = {name: view(name, value) for name, value in values.items()}
    belief = Belief(BAD, [(BAD, 0.9, True), ("b", 0.1, False)])
    return Section("Shown", [Samples([Card(BAD, BAD, [belief, Belief("words", [])], views, BAD)])])


@pytest.fixture(scope="module")
def seen(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Two runs and a ceiling, opened from disk once."""
    folder = tmp_path_factory.mktemp("reports")
    runs = [
        hostile(folder / BAD.replace("/", ""), "joint()"),
        hostile(folder / "uniform", "uniform() + recorder(every=1)", diagnosed=True),
    ]
    runs.append(hostile(folder / "alone", "joint()", MODALITIES[1:]))
    page = of_runs(read_all(runs))
    path = folder / "report.html"
    path.write_text(render(replace(page, sections=[*page.sections, cards()])), encoding="utf-8")
    opened = Seen(browser.new_page(viewport={"width": 1400, "height": 800}))
    opened.page.set_default_timeout(30_000)
    opened.page.on("console", lambda message: opened.wrong.append(message.text))
    opened.page.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.page.on("request", lambda request: _asked(opened, request.url))
    opened.page.goto(path.as_uri())
    return opened


def _asked(seen: Seen, url: str) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        seen.wrong.append(url)


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1400, "light")])
def test_every_figure_draws_and_everything_fits(seen: Seen, width: int, scheme: str) -> None:
    seen.page.set_viewport_size({"width": width, "height": 800})
    seen.page.emulate_media(color_scheme=scheme)
    for name in seen.tabs():
        seen.open_tab(name)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert seen.page.evaluate(EMPTY) == 0, name
    ink = seen.page.locator(".xtick text").first.evaluate("t => getComputedStyle(t).fill")
    paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    found = {"light": ("rgb(253, 253, 251)", "rgb(100, 107, 117)")}
    found["dark"] = ("rgb(21, 24, 28)", "rgb(154, 162, 172)")
    assert (paper, ink) == found[scheme]
    assert seen.wrong == []


def test_names_stay_text(seen: Seen) -> None:
    for name in seen.tabs():
        seen.open_tab(name)
    elsewhere = "[...document.images].filter(i => !i.src.startsWith('data:image/png')).length"
    assert seen.page.evaluate(elsewhere) == 0
    assert "broken" in seen.page.title()  # it is in the name of the run, and nothing has changed it
    assert seen.page.title() != "broken"
    seen.open_tab("Use")
    ticks = seen.page.locator("#use .xtick text").all_text_contents()
    assert {tick.rstrip("…") for tick in ticks} >= {CLASSES[0][:21], CLASSES[1][:21], CLASSES[2]}
    assert MODALITIES[0] in seen.page.locator("#use .ytick text").all_text_contents()
    seen.open_tab("Samples")
    assert BAD in seen.page.locator("#samples").inner_text()
    assert seen.wrong == []


def test_tabs_by_keyboard(seen: Seen) -> None:
    page, names = seen.page, seen.tabs()
    chosen = page.locator("[role=tab][aria-selected=true]")
    seen.open_tab(names[1])
    page.reload()  # the address names the section
    assert chosen.all_inner_texts() == [names[1]]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == names[1]
    for key, name in (
        ("ArrowRight", names[2]),
        ("ArrowLeft", names[1]),
        ("Home", names[0]),
        ("ArrowLeft", names[-1]),
        ("ArrowRight", names[0]),
        ("End", names[-1]),
    ):
        page.keyboard.press(key)
        assert chosen.all_inner_texts() == [name]
        assert page.evaluate("document.activeElement.textContent") == name
        assert page.locator("[role=tabpanel]:visible").count() == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.url.endswith(f"#{names[-1].lower()}")


def test_a_point_cloud_turns(seen: Seen) -> None:
    seen.open_tab("Shown")
    cloud = seen.page.locator("canvas").first
    before = cloud.evaluate("c => c.toDataURL()")
    cloud.press("ArrowRight")
    after = cloud.evaluate("c => c.toDataURL()")
    cloud.press("ArrowLeft")
    assert before != after
    blank = "c => { const empty = c.cloneNode(); return empty.toDataURL(); }"
    assert cloud.evaluate(blank) not in (before, after)


def test_sound_is_there_to_be_played(seen: Seen) -> None:
    seen.open_tab("Shown")
    ready = "a => new Promise(r => { a.onloadedmetadata = () => r(a.duration); a.load(); })"
    seconds = seen.page.locator("audio").evaluate(
        f"a => {{ a.preload = 'metadata'; return ({ready})(a); }}"
    )
    assert seconds == pytest.approx(3000 / 16000, abs=1e-3)


def test_a_table_sorts(seen: Seen) -> None:
    seen.open_tab("Method")
    table = seen.page.locator("table", has_text="calibration error")
    column = table.locator("tbody td:nth-child(3)")
    seen.page.get_by_role("button", name="cross-entropy").click()
    up = [float(text) for text in column.all_inner_texts()]
    seen.page.get_by_role("button", name="cross-entropy").click()
    down = [float(text) for text in column.all_inner_texts()]
    assert up == sorted(up) and down == up[::-1] and len(set(up)) > 1
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_figures_can_be_taken_away(seen: Seen) -> None:
    seen.open_tab("Overview")
    figure = seen.page.locator("figure.plot").first
    stored = json.loads(figure.locator("script").text_content())["columns"]

    def saved(kind: str) -> str:
        with seen.page.expect_download() as download:
            figure.locator(f"[data-take={kind}]").click()
        assert download.value.suggested_filename == f"the-imbalance-at-a-glance.{kind}"
        return Path(download.value.path()).read_text(encoding="utf-8")

    assert json.loads(saved("json")) == stored
    rows = list(csv.DictReader(saved("csv").splitlines()))
    assert [row["category"] for row in rows] == stored["category"]
    assert [float(row["logits, in this model"]) for row in rows] == stored["logits, in this model"]
    drawing = saved("svg")
    assert drawing.startswith("<svg") and "test accuracy" in drawing
    assert seen.wrong == []


def test_all_sections_are_printed(seen: Seen) -> None:
    seen.page.set_viewport_size({"width": 657, "height": 900})  # A4 between its margins
    seen.page.emulate_media(media="print")
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert seen.page.locator("section:visible").count() == len(seen.tabs())
    assert seen.page.locator("nav:visible").count() == 0
    seen.page.wait_for_function(
        "document.querySelectorAll('.drawing svg.main-svg[width=\"640\"]').length > 9"
    )
    assert (
        seen.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.drawing svg')].map(s => s.getBoundingClientRect().right))"
        )
        <= 657
    )
    seen.page.wait_for_function(
        "document.querySelectorAll('figure.plot:not([data-drawn])').length === 0"
    )
    assert seen.wrong == []
