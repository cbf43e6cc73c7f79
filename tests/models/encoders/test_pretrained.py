"""Models of transformers from local folders with tiny random weights; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from equimodal.core import TokenEncoder
from equimodal.core.batch import Padded
from equimodal.core.expression import build
from equimodal.errors import ConfigError, DataError
from equimodal.models import encoders
from equimodal.models.encoders import AST, BERT, VideoMAE, ViT, Wav2Vec2

transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def config(kind: str, **more: Any) -> Any:
    return getattr(transformers, f"{kind}Config")(**{**SMALL, **more})


def bert() -> Any:
    return config("Bert", vocab_size=30, max_position_embeddings=16)


def vit() -> Any:
    return config("ViT", image_size=8, patch_size=4)


def ast() -> Any:
    return config(
        "AST", patch_size=4, num_mel_bins=8, max_length=12, frequency_stride=4, time_stride=4
    )


def wav2vec2(norm: str = "layer") -> Any:
    return config(
        "Wav2Vec2", conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), feat_extract_norm=norm,
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=norm == "layer", mask_time_prob=0.0,
    )  # fmt: skip


def videomae() -> Any:
    return config(
        "VideoMAE", image_size=8, patch_size=4, num_frames=4, tubelet_size=2, num_channels=3
    )


def saved(made: Any, folder: Path) -> tuple[str, Any]:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(made).eval()
    model.save_pretrained(folder)
    return str(folder), model


IMAGES = torch.randn(2, 3, 8, 8)
CASES = [
    (BERT, bert, torch.tensor([[1, 5, 6, 2], [1, 9, 9, 2]])),
    (ViT, vit, IMAGES),
    (AST, ast, torch.randn(2, 12, 8)),
    (Wav2Vec2, wav2vec2, torch.randn(2, 200)),
    (VideoMAE, videomae, torch.randn(2, 4, 3, 8, 8)),
]


@pytest.mark.parametrize(
    ("make", "made", "inputs"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_features_are_those_of_the_saved_model_and_learn(
    make: type[nn.Module], made: Any, inputs: torch.Tensor, tmp_path: Path
) -> None:
    folder, model = saved(made(), tmp_path)
    name = next(name for name, cls in encoders.BY_NAME.items() if cls is make)
    encoder = build(f"{name}({folder!r})", encoders.BY_NAME, "encoder", nn.Module).eval()
    with torch.no_grad():
        states = model(inputs).last_hidden_state
    first = {BERT: states[:, 0], ViT: states[:, 0], AST: (states[:, 0] + states[:, 1]) / 2}
    expected = first.get(make, states.mean(1))
    torch.testing.assert_close(encoder(inputs), expected)
    assert encoder.width == expected.shape[1] == 12
    encoder.train()(inputs).square().sum().backward()
    assert sum(p.grad is not None for p in encoder.parameters()) > 10


def test_bert_padding_changes_nothing_and_ids_are_their_embeddings(tmp_path: Path) -> None:
    encoder = BERT(saved(bert(), tmp_path)[0]).eval()
    ids, lengths = torch.tensor([[1, 5, 6, 2], [1, 9, 2, 17]]), torch.tensor([4, 3])
    features = encoder(Padded(ids, lengths))
    torch.testing.assert_close(features[1:], encoder(ids[1:, :3]))
    assert (features[1:] - encoder(ids[1:])).abs().max() > 1e-4
    assert isinstance(encoder, TokenEncoder)
    torch.testing.assert_close(features, encoder(Padded(encoder.embed(ids), lengths)))


def test_wav2vec2_with_layer_norm_sees_no_padding(tmp_path: Path) -> None:
    encoder = Wav2Vec2(saved(wav2vec2(), tmp_path)[0]).eval()
    sound = torch.randn(2, 200)
    features = encoder(Padded(sound, torch.tensor([200, 120])))
    torch.testing.assert_close(features[1:], encoder(sound[1:, :120]), rtol=1e-4, atol=1e-5)


def test_wav2vec2_with_group_norm_gets_zeros_and_no_mask(tmp_path: Path) -> None:
    folder, model = saved(wav2vec2("group"), tmp_path)
    sound = torch.randn(2, 200)
    sound[1, 120:] = 5.0
    features = Wav2Vec2(folder).eval()(Padded(sound, torch.tensor([200, 120])))
    sound[1, 120:] = 0
    with torch.no_grad():
        states = model(sound).last_hidden_state
    there = ((120 - 10) // 5 + 1 - 3) // 2 + 1
    torch.testing.assert_close(features[1], states[1, :there].mean(0))


def test_frames_are_pooled(tmp_path: Path) -> None:
    encoder = ViT(saved(vit(), tmp_path)[0]).eval()
    torch.testing.assert_close(encoder(IMAGES[None])[0], encoder(IMAGES).mean(0))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder and not in the local cache: download it once"):
        BERT("nobody/no-such-model")
    with pytest.raises(ConfigError, match=r"bert cannot be built of the folder"):
        BERT(str(tmp_path))
    folder, _ = saved(vit(), tmp_path)
    with pytest.raises(ConfigError, match="bert is built of a model of type 'bert'; .*'vit'"):
        BERT(folder)
    with pytest.raises(DataError, match=r"vit reads \[B, 3, 8, 8\].*\[2, 3, 9, 9\]"):
        ViT(folder)(torch.zeros(2, 3, 9, 9))
    folder, _ = saved(wav2vec2(), tmp_path / "sound")
    with pytest.raises(DataError, match="12 samples are too short"):
        Wav2Vec2(folder)(torch.zeros(2, 12))
    with pytest.raises(DataError, match=r"wav2vec2 reads \[B, samples\]"):
        Wav2Vec2(folder)(torch.zeros(2, 1, 200))
    folder, _ = saved(bert(), tmp_path / "bert")
    with pytest.raises(DataError, match=r"bert reads ids \[B, T\]"):
        BERT(folder)(torch.zeros(2, 3, 4))
