"""Pretrained transformers of the library `transformers`: text, images, sound, video.

Each is named by a local folder, or by the name under which it lies in the local cache; nothing is downloaded while
training. All weights are tuned, unless the encoder stands in ``frozen(...)`` or in ``lora(...)``.

Devlin et al. 2019, NAACL, "BERT"; Dosovitskiy et al. 2021, ICLR, "An Image is Worth 16x16 Words" (ViT); Gong et al.
2021, Interspeech, "AST: Audio Spectrogram Transformer"; Baevski et al. 2020, NeurIPS, "wav2vec 2.0"; Tong et al. 2022,
NeurIPS, "VideoMAE".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...core.batch import Input, Padded
from ...errors import ConfigError, DataError
from ._check import tensor
from ._steps import kept, there

__all__ = ["AST", "BERT", "ViT", "VideoMAE", "Wav2Vec2"]


def _pretrained(encoder: str, family: str, name: str) -> Any:
    """The model of a folder or of the cache.

    Raises:
        ConfigError: transformers is not installed, the model is not there, or it is of another family.
    """
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise ConfigError(f'{encoder} needs transformers: pip install "equimodal[text]".') from None
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=True)
        if config.model_type != family:
            raise ConfigError(
                f"{encoder} is built of a model of type {family!r}; {name} is of type {config.model_type!r}."
            )
        return AutoModel.from_pretrained(
            name, config=config, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            said = (str(error).splitlines() or ["no reason given"])[0].rstrip(".")
            raise ConfigError(f"{encoder} cannot be built of the folder {name}: {said}.") from None
        raise ConfigError(
            f"{encoder}: {name!r} is no folder and not in the local cache: download it once by 'hf download {name}', "
            "or name the folder that holds its config.json and model.safetensors."
        ) from None


class BERT(nn.Module):
    """BERT; the features are the last layer's state of the first token, [CLS].

    Args:
        name: a local folder, or a name in the local cache; BERT-base has 768 features.

    Shape:
        ids [B, T] with the special tokens, or their embeddings [B, T, d], a tensor or `Padded` -> [B, d].

    Raises:
        ConfigError: the model is not there.
        DataError: an input of another shape.
    """

    def __init__(self, name: str = "bert-base-uncased") -> None:
        super().__init__()
        self.model = _pretrained("bert", "bert", name)
        self.width: int = self.model.config.hidden_size

    def embed(self, ids: Tensor) -> Tensor:
        """Ids to word embeddings, before positions are added."""
        vectors: Tensor = self.model.get_input_embeddings()(ids)
        return vectors

    def forward(self, tokens: Input) -> Tensor:
        values = tokens.values if isinstance(tokens, Padded) else tokens
        vectors = values if values.is_floating_point() else self.embed(values)
        if vectors.ndim != 3 or vectors.shape[2] != self.width:
            raise DataError(
                f"bert reads ids [B, T] or embeddings [B, T, {self.width}], but the input has shape {list(values.shape)}."
            )
        mask = there(vectors, tokens.lengths if isinstance(tokens, Padded) else None)
        told = None if mask is None else mask.long()
        states: Tensor = self.model(
            inputs_embeds=kept(vectors, mask), attention_mask=told
        ).last_hidden_state
        return states[:, 0]


class ViT(nn.Module):
    """A vision transformer; the features are the last layer's state of the class token, the mean over frames.

    Args:
        name: a local folder, or a name in the local cache; ViT-B/16 has 768 features.

    Shape:
        [B, 3, H, W] or, with T frames, [B, T, 3, H, W] of the size that the model was trained with -> [B, d].

    Raises:
        ConfigError: the model is not there.
        DataError: an input of another shape.
    """

    def __init__(self, name: str = "google/vit-base-patch16-224-in21k") -> None:
        super().__init__()
        self.model = _pretrained("vit", "vit", name)
        self.width: int = self.model.config.hidden_size
        self.channels, self.size = self.model.config.num_channels, self.model.config.image_size

    def forward(self, images: Input) -> Tensor:
        c, s = self.channels, self.size
        shape = f"[B, {c}, {s}, {s}] or [B, T, {c}, {s}, {s}]"
        images = tensor("vit", images, shape, (4, 5), {-3: c, -2: s, -1: s})
        frames = images if images.ndim == 4 else images.flatten(0, 1)
        states: Tensor = self.model(pixel_values=frames).last_hidden_state[:, 0]
        return states if images.ndim == 4 else states.unflatten(0, images.shape[:2]).mean(1)


class AST(nn.Module):
    """The audio spectrogram transformer; the features are the mean of its class and distillation tokens.

    Args:
        name: a local folder, or a name in the local cache; the published one has 768 features.

    Shape:
        log-mel spectrograms [B, T, mel] or [B, 1, T, mel] of the size that the model was trained with (1024 x 128)
        -> [B, d].

    Raises:
        ConfigError: the model is not there.
        DataError: an input of another shape.
    """

    def __init__(self, name: str = "MIT/ast-finetuned-audioset-10-10-0.4593") -> None:
        super().__init__()
        self.model = _pretrained("ast", "audio-spectrogram-transformer", name)
        self.width: int = self.model.config.hidden_size
        self.length, self.mel = self.model.config.max_length, self.model.config.num_mel_bins

    def forward(self, spectrograms: Input) -> Tensor:
        sizes = {-2: self.length, -1: self.mel}
        shape = f"[B, {self.length}, {self.mel}] or [B, 1, {self.length}, {self.mel}]"
        x = tensor("ast", spectrograms, shape, (3, 4), sizes)
        features: Tensor = self.model(input_values=x.flatten(1, -2)).pooler_output
        return features


class Wav2Vec2(nn.Module):
    """wav2vec 2.0; the features are the mean over the frames that are there.

    Models whose convolutions have a group norm over time (the base models) were trained on zero-padded sound without a
    mask and are given it so: there padding is seen by the norm, as in the original.

    Args:
        name: a local folder, or a name in the local cache; the base model has 768 features.

    Shape:
        waveforms of 16 kHz [B, samples], a tensor or `Padded` -> [B, d].

    Raises:
        ConfigError: the model is not there.
        DataError: an input of another shape, or too short for a single frame.
    """

    def __init__(self, name: str = "facebook/wav2vec2-base") -> None:
        super().__init__()
        self.model = _pretrained("wav2vec2", "wav2vec2", name)
        self.width: int = self.model.config.hidden_size
        self.masked = self.model.config.feat_extract_norm == "layer"

    def forward(self, sound: Input) -> Tensor:
        values = sound.values if isinstance(sound, Padded) else sound
        if values.ndim != 2:
            raise DataError(
                f"wav2vec2 reads [B, samples], but the input has shape {list(values.shape)}."
            )
        if self.model._get_feat_extract_output_lengths(values.shape[1]) < 1:
            raise DataError(
                f"wav2vec2 needs sound of at least one frame; {values.shape[1]} samples are too short."
            )
        lengths = sound.lengths if isinstance(sound, Padded) else None
        mask = there(values, lengths)
        values = values if mask is None else values.masked_fill(~mask, 0)
        told = mask.long() if mask is not None and self.masked else None
        states: Tensor = self.model(values, attention_mask=told).last_hidden_state
        if lengths is None:
            return states.mean(1)
        frames: Tensor = self.model._get_feat_extract_output_lengths(lengths).clamp(min=1)
        return kept(states, there(states, frames)).sum(1) / frames[:, None]


class VideoMAE(nn.Module):
    """VideoMAE; the features are the mean over all patches.

    Args:
        name: a local folder, or a name in the local cache; the base model has 768 features.

    Shape:
        [B, T, 3, H, W] of the size that the model was trained with (16 frames of 224 x 224) -> [B, d].

    Raises:
        ConfigError: the model is not there.
        DataError: an input of another shape.
    """

    def __init__(self, name: str = "MCG-NJU/videomae-base") -> None:
        super().__init__()
        self.model = _pretrained("videomae", "videomae", name)
        config = self.model.config
        self.width: int = config.hidden_size
        self.sizes = (config.num_frames, config.num_channels, config.image_size, config.image_size)

    def forward(self, frames: Input) -> Tensor:
        shape = f"[B, {', '.join(map(str, self.sizes))}]"
        frames = tensor("videomae", frames, shape, (5,), dict(enumerate(self.sizes, start=1)))
        states: Tensor = self.model(pixel_values=frames).last_hidden_state
        return states.mean(1)
