"""Every published recipe can be read, and what it names can be built and put together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from equimodal.core import Balanced, Method
from equimodal.core.expression import build
from equimodal.data import registry
from equimodal.methods import BY_NAME as METHODS
from equimodal.models import Multimodal, encoders, heads
from equimodal.training.run import load_data
from equimodal.training.schedule import make_optimizer, resolve_schedule
from equimodal.training.settings import Settings

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.toml"))
AWAITED = {"ave", "avsbench", "cremad", "kinetics_sounds", "modelnet40", "vggsound", "vggsound50"}
CLASSES = 6


def test_there_are_recipes() -> None:
    papers = {path.stem.partition("-")[0] for path in CONFIGS}
    assert papers >= set(METHODS) - {"bio", "tcm", "warmup", "ensemble", "torchjd", "build"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_recipe_is_named_after_method_and_data(path: Path) -> None:
    settings = Settings.from_toml(path)
    method, _, data = path.stem.partition("-")
    assert settings.data.partition("(")[0] == data
    assert settings.method.startswith(f"{method}(")
    assert data in AWAITED or data in registry.names()
    assert not AWAITED & set(registry.names()), "its reader is there: take it off the list"
    assert path.read_text(encoding="utf-8").startswith("# "), "say whose recipe it is"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_recipe_builds(path: Path) -> None:
    settings = Settings.from_toml(path)
    method = build(settings.method, METHODS, "method", Method)
    wanted = [leaf.head for leaf in method.leaves() if leaf.head is not None]
    head = settings.head or (wanted[0] if wanted else "linear()")
    with torch.device("meta"):  # ResNets without their weights
        made = {
            m: build(text, encoders.BY_NAME, "encoder", nn.Module)
            for m, text in settings.encoders.items()
        }
    widths = {m: int(encoder.width) for m, encoder in made.items()}
    thin = {m: nn.Linear(2, width) for m, width in widths.items()}
    given = (widths, CLASSES)
    model = Multimodal(thin, build(head, heads.BY_NAME, "head", heads.Head, given=given))
    learner = Balanced(model, method, samples=32, epochs=settings.epochs)
    rates = {learner.rate(epoch) for epoch in range(settings.epochs)}
    assert all(rate > 0 for rate in rates)
    resolve_schedule(settings.schedule, method)
    assert make_optimizer(learner, settings).defaults["lr"] == settings.lr


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if p.stem.partition("-")[2] not in AWAITED], ids=lambda p: p.stem
)
def test_encoders_read_the_data_that_are_here(path: Path, shared_data: Path) -> None:
    settings = Settings.from_toml(path)
    small = {"mnist3d": "mnist3d(samples=(40, 20), points=64)"}
    known = small.get(settings.data, settings.data)
    data = load_data(settings.changed(data=known, data_root=str(shared_data)))
    batch = data.train.fetch(range(2))
    for m, text in settings.encoders.items():
        encoder = build(text, encoders.BY_NAME, "encoder", nn.Module).eval()
        assert encoder(batch.inputs[m]).shape == (2, encoder.width)
