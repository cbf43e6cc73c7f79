"""A page as Markdown, LaTeX and JSON."""

from __future__ import annotations

import json
import re

import pytest

from equimodal.report import latex, markdown, plain
from equimodal.report.figures import Series, bars
from equimodal.report.page import Cell, Code, Column, Page, Points, Prose, Raw, Section, Side, Table

TABLE = Table(
    [Column("run"), Column("accuracy", "{:.1%}"), Column("ratio", "{:.2f}")],
    [["a|b_c & d", 0.81672, None], [Cell("*b*", strong=True), Cell(0.5, strong=True), 1.234]],
    "100% of $x$",
)
FIGURE = bars("Bars", "See.", "How.", ["p", "q"], [Series("s", [1 / 3, None])])
PAGE = Page(
    "# Title",
    [Section("One", [Prose("1. no list"), Points([("so", "because")]), Side([FIGURE, TABLE])]),
     Section("Two", [Code("x = `1`\n```", "file")])],
)  # fmt: skip


def test_markdown() -> None:
    text = markdown.render(PAGE)
    assert text.startswith("# \\# Title\n")
    assert "\n1\\. no list\n" in text
    assert "- so because" in text
    assert "| a\\|b\\_c \\& d | 81.7% | – |" in text
    assert "| **\\*b\\*** | **50.0%** | 1.23 |" in text
    assert "| p | 0.3333 |\n| q | – |" in text
    assert "````\nx = `1`\n```\n````" in text


@pytest.mark.parametrize("text", ["- a", "+ a", "# a", "12) a", "1. a"])
def test_a_paragraph_of_markdown_begins_nothing_else(text: str) -> None:
    written = markdown.render(Page("t", [Section("s", [Prose(text)])]))
    assert re.search(r"^\d*\\[-+#.)] a$", written, re.MULTILINE)


def test_latex() -> None:
    text = latex.render(PAGE)
    assert r"\caption{100\% of \$x\$}" in text
    assert r"a|b\_c \& d & 81.7\% & -- \\" in text
    assert r"\textbf{*b*} & \textbf{50.0\%} & 1.23 \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert latex.table(Table([Column("\\a{b}~^<")], [])).count(r"\textbackslash{}a\{b\}") == 1
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[#_$]", "".join(lines).replace(r"\$x\$", ""))


def test_json_is_unrounded() -> None:
    found = json.loads(plain.render(PAGE))
    figure, table = found["sections"][0]["parts"][2]["side"]
    assert figure["data"] == {"category": ["p", "q"], "s": [1 / 3, None]}
    assert table["rows"] == [["a|b_c & d", 0.81672, None], ["*b*", 0.5, 1.234]]
    assert json.loads(
        plain.render(Page("t", [Section("s", [Table([Column("x")], [[float("nan")]])])]))
    )


def test_every_column_of_numbers_is_known() -> None:
    assert TABLE.numeric() == [False, True, True]
    assert Table([Column("a"), Column("b")], [[None, "x"]]).numeric() == [False, False]
    assert Table([Column("a")], []).numeric() == [False]


def test_latex_has_footnotes_and_no_row_that_is_read_as_an_option() -> None:
    columns = [Column("method"), Column("accuracy", note="test, %")]
    rows: list[list[Raw | Cell]] = [
        [
            Cell("*best", note="selected on test"),
            Cell(0.5, "50 %", strong=True, note="2 runs failed"),
        ],
        ["[a]_{b}", Cell(0.25, "25 %", note="selected on test")],
    ]
    text = latex.table(Table(columns, rows, "A & B"))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert body == [
        r"{}*best\textsuperscript{a} & \textbf{50 \%}\textsuperscript{b} \\",
        r"{}[a]\_\{b\} & 25 \%\textsuperscript{a} \\",
    ]
    assert r"\textsuperscript{a}\,selected on test. \textsuperscript{b}\,2 runs failed." in text
    assert r"accuracy: test, \%." in text
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    begun = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    opened: list[str] = []
    for what, name in begun:
        assert what == "begin" or opened.pop() == name
        opened += [name] * (what == "begin")
    assert not opened
