"""A bench file as a grid, and a grid as cells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from equimodal.benchmark import published, recipes
from equimodal.benchmark.cell import key_of
from equimodal.benchmark.grid import Grid, seeds_of
from equimodal.benchmark.plan import Plan, cells_of, refusals
from equimodal.core import Method
from equimodal.core.expression import build
from equimodal.errors import ConfigError
from equimodal.methods import BY_NAME, ibml
from equimodal.training.settings import Settings

TINY = {"data": "synthetic", "methods": ["joint()", "ibml()"], "settings": {"epochs": 2}}


def test_seeds() -> None:
    assert seeds_of("0-2,7") == (0, 1, 2, 7)
    assert seeds_of([3, 1]) == (3, 1)
    with pytest.raises(ConfigError, match="written like '0-4'"):
        seeds_of("4-0")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": []}, "no 'method' in a bench: did you mean 'methods'"),
        ({"data": []}, "at least one of 'data'"),
        ({"settings": {"epoch": 3}}, "no option 'epoch'"),
        ({"settings": {"seed": 3}}, "say 'seeds'"),
        ({"settings": {"method": "bio()"}}, "'settings' cannot set the method: say 'methods'"),
        ({"settings": {"data": "mfeat"}}, "'settings' cannot set the data: say 'data'"),
        ({"data": [{"data": "mfeat", "method": "bio()"}]}, "'data' cannot set the method"),
        ({"methods": ["joint()", "joint()"]}, "stands twice"),
        ({"reference": "uniform()"}, "none of the methods"),
        ({"fixed": False}, "how many trials"),
        ({"methods": [{"head": "sum()"}]}, "lacks 'method'"),
        ({"figures": ["ratios"]}, "no figure 'ratios': did you mean 'ratio'"),
        ({"figures": ["complementarity"]}, "name it in 'against'"),
        ({"resplits": 3, "seeds": "0-2"}, "leave out 'seeds'"),
        ({"resplits": 3, "tune": 2}, "test samples of another"),
        ({"resplits": "3"}, "a whole number"),
        ({"tune": "many"}, "'tune' must be a whole number"),
        ({"tune": -3}, "'tune' must be a whole number"),
        ({"fixed": "false"}, "'fixed' must be true or false"),
        ({"settings": "x"}, "'settings' must be a table"),
        ({"reference": 3}, "'reference' must be a text"),
        ({"seeds": []}, "a seed at least"),
        ({"seeds": "999-1001", "tune": 2}, "Seed 1000 is that of the trials"),
        ({"against": "infobridge.alpha"}, "two methods at least that differ in it"),
    ],
)
def test_refusals_name_file_and_entry(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^b.toml: .*{said}"):
        Grid.of({**TINY, **values}, "b.toml")


def test_what_cannot_be_trained_is_named_before_anything_is() -> None:
    bad = {**TINY, "data": ["synthetic", "synthetik"], "methods": ["joint()", "mla()", "nope()"]}
    grid = Grid.of({**bad, "models": [{"name": "gated", "head": "gated()"}]}, "b.toml")
    rows, wrong = refusals(Plan(grid))
    assert [row.label for row in rows if row.kind == "method"] == ["joint()"]
    assert any("mla() on gated, synthetic: " in text for text in wrong)
    assert any("nope()" in text and "no method 'nope'" in text for text in wrong)
    assert any(text.startswith("synthetik: There is no data set") for text in wrong)


def test_cells_are_keyed_by_what_they_depend_on() -> None:
    grid = Grid.of({**TINY, "seeds": "0-1"}, "b.toml")
    rows, wrong = refusals(Plan(grid))
    assert not wrong
    cells = cells_of(rows, grid.seeds)
    assert len({cell.key for cell in cells}) == len(cells) == len(rows) * 2
    assert [cell.seed for cell in cells] == [0] * len(rows) + [1] * len(rows)
    again = {c.key for c in cells_of(refusals(Plan(grid))[0], grid.seeds)}
    assert again == {cell.key for cell in cells}
    other = Grid.of({**TINY, "seeds": "0-1", "settings": {"epochs": 3}}, "b.toml")
    assert not again & {c.key for c in cells_of(refusals(Plan(other))[0], grid.seeds)}
    neutral = Grid.of({**TINY, "settings": {"epochs": 2, "threads": 2}}, "b.toml")
    assert {c.key for c in cells_of(refusals(Plan(neutral))[0], grid.seeds)} == again


def test_settings_that_came_later_leave_keys_as_they_were() -> None:
    assert key_of({"lr": 0.1, "split_seed": None}, "f") == key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "split_seed": 0}, "f") != key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "task": None}, "f") == key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "select_by": None}, "f") == key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "task": "classification()"}, "f") != key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "augment": {}}, "f") == key_of({"lr": 0.1}, "f")
    assert key_of({"lr": 0.1, "augment": {"a": "flip()"}}, "f") != key_of({"lr": 0.1}, "f")


def test_every_seed_may_have_a_split_of_its_own() -> None:
    values = {"data": "digits3d(modalities=('image',))", "methods": ["joint()"], "resplits": 3}
    task = "classification(class_weights='balanced')"  # of each split
    plan = Plan(Grid.of({**values, "alone": False, "settings": {"task": task}}, "b.toml"))
    rows, wrong = refusals(plan)
    assert not wrong
    cells = cells_of(rows, plan.grid.seeds)
    assert [(c.seed, c.settings["split_seed"]) for c in cells] == [(0, 0), (1, 1), (2, 2)]
    assert len({c.fingerprint for c in cells}) == 3
    assert {c.settings["task"] for c in cells} == {task}
    data = [plan.shelf.get(Settings(**c.settings)) for c in cells]
    assert len({s.test.targets.numpy().tobytes() for s in data}) == 3
    assert plan.sizes(plan.grid.data[0]) == (1797 - len(data[0].test), len(data[0].test))
    _, wrong = refusals(Plan(Grid.of({**values, "data": "synthetic"}, "b.toml")))
    assert wrong == [
        "synthetic: synthetic has a split of its own: leave out split_seed, or 'resplits' in a bench."
    ]


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_can_be_read_and_built(name: str) -> None:
    grid = Grid.of({**recipes.recipe(name), "data": "synthetic"}, name)
    for part in grid.methods:
        build(part.settings["method"], BY_NAME, "method", Method)


@pytest.mark.parametrize("name", sorted({*recipes.names()} & {*published.names()}))
def test_a_recipe_has_the_rows_of_its_published_table(name: str) -> None:
    grid = Grid.of({**recipes.recipe(name), "data": "synthetic"}, name)
    wanted = {row.get("ours") for row in published.published(name).rows} - {None, ""}
    assert wanted <= {part.label for part in grid.methods}


def test_the_ablation_of_ibml_is_that_of_its_page() -> None:
    page = ibml.__doc__ or ""
    rows = re.findall(r"^\| \d \| ``(.+?)`` \|", page, re.MULTILINE)
    assert rows == [row["ours"] for row in published.published("ibml-table5").rows]
    windows = {text for row in rows for text in re.findall(r"during\(.+?\)", row)}
    assert windows == {"during(1, 0.9)"}  # BIO and TCM work in the same epochs in every row


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "configs/bench").glob("*.toml")),
    ids=lambda p: p.stem,
)
def test_bench_files_can_be_read(path: Path) -> None:
    known = [name for name, cls in BY_NAME.items() if not cls.observes]
    assert len(Grid.from_toml(path).methods) == len(known)
