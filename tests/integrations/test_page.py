"""The page on other hosts is run, each part where its host is installed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/integrations.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
HOSTS = ["accelerate", "lightning_fabric", "lightning", "transformers"]


def test_the_page_has_a_part_for_each_host() -> None:
    assert len(BLOCKS) == 1 + len(HOSTS)


@pytest.mark.parametrize(("host", "block"), list(zip(HOSTS, BLOCKS[1:], strict=True)), ids=HOSTS)
def test_the_part_of_a_host_trains(
    host: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(host, reason=f"{host} is not installed")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__page__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the hosts among themselves
        exec(compile(BLOCKS[0] + block, str(PAGE), "exec"), space)
    said = space["learner"].predict(space["samples"]).fused
    loss = space["learner"].task.loss(said, space["target"]).mean()
    fresh = space["learner"].task.loss(
        space["new_model"]().eval()(space["samples"]).fused, space["target"]
    )
    assert loss < fresh.mean()


@pytest.mark.parametrize("block", BLOCKS[1:], ids=HOSTS)
def test_five_lines_are_enough(block: str) -> None:
    assert len(re.findall(r"# \d$", block, re.M)) <= 5
