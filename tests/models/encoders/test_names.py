"""What expressions may name, and that the page of encoders tells of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from equimodal.core.expression import build
from equimodal.models.encoders import BY_NAME

PAGE = Path(__file__).parents[3] / "docs" / "encoders.md"
CELLS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
ROWS = {row[0].strip("`"): row[3] for row in CELLS if re.fullmatch(r"[\d,]+( k)?", row[3])}


def test_every_encoder_is_on_the_page() -> None:
    assert {row[0].strip("`").partition("(")[0] for row in CELLS} == set(BY_NAME)


@pytest.mark.parametrize("text", [text for text in ROWS if "FOLDER" not in text])
def test_numbers_of_parameters_on_the_page_are_true(text: str) -> None:
    with torch.device("meta"):
        encoder = build(text, BY_NAME, "encoder", nn.Module)
    count = sum(p.numel() for p in encoder.parameters())
    said = ROWS[text].replace(",", "")
    assert said in (str(count), f"{count / 1e3:.0f} k")


@pytest.mark.parametrize(
    ("text", "kind"), [("bert", "Bert"), ("vit", "ViT"), ("ast", "AST"), ("wav2vec2", "Wav2Vec2"), ("videomae", "VideoMAE")]
)  # fmt: skip
def test_pretrained_numbers_of_parameters_are_those_of_the_base_models(
    text: str, kind: str
) -> None:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(getattr(transformers, f"{kind}Config")())
    count = sum(p.numel() for p in model.parameters())
    assert ROWS[f'{text}("FOLDER")'] == f"{count:,}"
