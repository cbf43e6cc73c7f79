"""Every published recipe can be read, and what it names can be built and put together."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from equimodal.cli import main
from equimodal.core import Balanced, Method
from equimodal.core.expression import build
from equimodal.data import registry
from equimodal.data.datasets import ave, modelnet40
from equimodal.data.splits import Splits
from equimodal.methods import BY_NAME as METHODS
from equimodal.models import Multimodal, encoders, heads
from equimodal.training.run import load_data
from equimodal.training.schedule import make_optimizer, resolve_schedule
from equimodal.training.settings import Settings
from fixtures import trees
from fixtures.media import write_glove

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.glob("*.toml"))
# Sets of media: their recipes are tried on small trees in the published layouts, with small images.
TREES = {
    "ave": lambda root: trees.write_ave(root, ave.CLASSES),
    "avsbench": trees.write_avsbench,
    "cremad": trees.write_cremad,
    "food101": trees.write_food101,
    "mvsa_single": trees.write_mvsa,
    "tcga_gbmlgg": lambda root: trees.write_tcga(root, genes=80),
    "modelnet40": lambda root: trees.write_modelnet40(root, modelnet40.CLASSES),
    "kinetics_sounds": trees.write_kinetics_sounds,
    "vggsound": trees.write_vggsound,
    "vggsound50": trees.write_vggsound50,
}
CLASSES = 6
PRETRAINED = ("bert(", "vit(")  # of a folder that the user has


def test_there_are_recipes() -> None:
    papers = {path.stem.partition("-")[0] for path in CONFIGS}
    balancing = {name for name, method in METHODS.items() if not method.observes}
    assert papers >= balancing - {"bio", "tcm", "warmup", "ensemble", "torchjd", "l1"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_recipe_is_named_after_method_and_data(path: Path) -> None:
    settings = Settings.from_toml(path)
    method, _, data = path.stem.partition("-")
    assert settings.data.partition("(")[0] == data
    assert settings.method.startswith(f"{method}(")
    assert data in registry.names()
    assert path.read_text(encoding="utf-8").startswith("# "), "say whose recipe it is"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_recipe_builds(path: Path) -> None:
    settings = Settings.from_toml(path)
    method = build(settings.method, METHODS, "method", Method)
    wanted = [leaf.head for leaf in method.leaves() if leaf.head is not None]
    head = settings.head or (wanted[0] if wanted else "linear()")
    with torch.device("meta"):  # ResNets without their weights
        widths = {
            m: 768
            if text.startswith(PRETRAINED)
            else int(build(text, encoders.BY_NAME, "encoder", nn.Module).width)
            for m, text in settings.encoders.items()
        }
    thin = {m: nn.Linear(2, width) for m, width in widths.items()}
    given = (widths, CLASSES)
    model = Multimodal(thin, build(head, heads.BY_NAME, "head", heads.Head, given=given))
    learner = Balanced(model, method, samples=32, epochs=settings.epochs)
    rates = {learner.rate(epoch) for epoch in range(settings.epochs)}
    assert all(rate > 0 for rate in rates)
    resolve_schedule(settings.schedule, method)
    assert make_optimizer(learner, settings).defaults["lr"] == settings.lr


def pairs() -> list[Path]:
    """Of the recipes one for each data set and choice of encoders."""
    found = {}
    for path in CONFIGS:
        settings = Settings.from_toml(path)
        if not any(text.startswith(PRETRAINED) for text in settings.encoders.values()):
            found.setdefault((settings.data, *settings.encoders.values()), path)
    return list(found.values())


def glove(folder: Path) -> Path:
    """Vectors of 300 numbers."""
    return write_glove(folder / "glove.txt", {"pie": [0.1] * 300, "day": [0.2] * 300})


def with_options(text: str, **changed: Any) -> str:
    """A data set's expression with other options."""
    call = ast.parse(text, mode="eval").body
    given = call.keywords if isinstance(call, ast.Call) else []
    options = {str(option.arg): ast.literal_eval(option.value) for option in given} | changed
    return f"{text.partition('(')[0]}({', '.join(f'{k}={v!r}' for k, v in options.items())})"


def data_of(settings: Settings, shared: Path | None, folder: Path) -> Splits:
    name = settings.data.partition("(")[0]
    if name in TREES:
        pytest.importorskip("av", reason="needs the extra media")
        TREES[name](folder)
        texts = {"size": 32, "vectors": str(glove(folder))}
        more = {"ave": {"size": 32}, "avsbench": {"size": 32}, "tcga_gbmlgg": {"size": 16}}
        more |= {"food101": texts, "mvsa_single": texts}
        changed = more.get(name, {"size": 32, "validation": 0})
        small = with_options(settings.data, cache="off", **changed)
        return load_data(settings.changed(data=small, data_root=str(folder)))
    small = {
        "avmnist": "avmnist(size='tiny', cache='off')",
        "mnist3d": "mnist3d(samples=(40, 20), points=64)",
    }
    known = small.get(settings.data, settings.data)
    return load_data(settings.changed(data=known, data_root=str(shared)))


@pytest.mark.whole
@pytest.mark.parametrize("path", pairs(), ids=lambda p: p.stem)
def test_encoders_read_the_data(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = Settings.from_toml(path)
    real = (
        None if settings.data.partition("(")[0] in TREES else request.getfixturevalue("shared_data")
    )
    data = data_of(settings, real, tmp_path)
    batch = data.train.fetch(range(2))
    for m, text in settings.encoders.items():
        encoder = build(text, encoders.BY_NAME, "encoder", nn.Module).eval()
        with torch.no_grad():
            assert encoder(batch.inputs[m]).shape == (2, encoder.width)


@pytest.mark.parametrize("name", ["ibml-mnist3d", "ibml-modelnet40"])
def test_recipes_have_the_dgcnn_of_its_paper(name: str) -> None:
    settings = Settings.from_toml(FOLDER / f"{name}.toml")
    made = build(settings.encoders["points"], encoders.BY_NAME, "encoder", nn.Module)
    assert sum(parameter.numel() for parameter in made.parameters()) == 1_667_456


# What the papers say that their networks see: a spectrogram, and how many frames or views.
SEEN = {
    "agm-cremad": ((1, 257, 188), 1),
    "arl-kinetics_sounds": ((1, 1024, 128), 3),
    "dgl-kinetics_sounds": ((1, 1024, 128), 3),
    "ibml-ave": ((1, 257, 1004), 3),
    "ibml-avsbench": ((1, 257, 188), 3),
    "ibml-cremad": ((1, 257, 188), 3),
    "ibml-vggsound50": ((1, 257, 188), 3),
    "infobridge-ave": ((1, 128, 128), 4),
    "infobridge-cremad": ((1, 224, 224), 3),
    "infonce-ave": ((1, 128, 128), 4),
    "infonce-cremad": ((1, 224, 224), 3),
    "joint-cremad": ((1, 257, 188), 1),
    "mla-cremad": ((1, 1024, 128), 3),
    "mmcosine-cremad": ((1, 257, 299), 1),
    "mmpareto-cremad": ((1, 1024, 128), 2),
    "ogm_ge-cremad": ((1, 257, 188), 1),
    "ogm_ge-vggsound": ((1, 129, 626), 3),
    "pmr-ave": ((1, 257, 1004), 4),
    "pmr-cremad": ((1, 257, 299), 3),
    "uniform-cremad": ((1, 1024, 128), 2),
}


@pytest.fixture(scope="module")
def trees_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small copies of the sets of clips."""
    pytest.importorskip("av", reason="needs the extra media")
    root = tmp_path_factory.mktemp("trees")
    for name in ("ave", "avsbench", "cremad", "kinetics_sounds", "vggsound", "vggsound50"):
        TREES[name](root)
    return root


@pytest.mark.parametrize("name", SEEN)
def test_recipe_has_the_input_of_its_paper(name: str, trees_of: Path) -> None:
    settings = Settings.from_toml(FOLDER / f"{name}.toml")
    carved = {} if "ave(" in settings.data or "avsbench" in settings.data else {"validation": 0}
    small = with_options(settings.data, cache="off", **carved)
    data = load_data(settings.changed(data=small, data_root=str(trees_of)))
    sound, frames = SEEN[name]
    assert dict(data.train.shapes) == {"audio": sound, "video": (frames, 3, 224, 224)}


@pytest.mark.whole
def test_a_recipe_of_media_trains(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra media")
    trees.write_cremad(tmp_path, actors=(1001, 1002))
    out = tmp_path / "run"
    changed = [
        "--epochs=1",
        "--batch-size=6",
        "--no-probe",
        "--select=last",
        f"--data-root={tmp_path}",
    ]
    recipe = ["--config", str(FOLDER / "ibml-cremad.toml"), f"--out={out}"]
    assert main(["train", "cremad(size=32, validation=0)", *recipe, *changed]) == 0
    assert (out / "results.json").is_file()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_recipe_of_pretrained_encoders_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With models of the same families, small and never trained, in the folders that it names."""
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    pytest.importorskip("PIL", reason="needs the extra media")
    small = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = transformers.BertConfig(**small, intermediate_size=16, vocab_size=30)
    vit = transformers.ViTConfig(**small, intermediate_size=16, image_size=32, patch_size=16)
    for config, name in ((bert, "bert-base"), (vit, "vit-base")):
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / name)
    words = tokenizers.models.WordLevel({"[UNK]": 0, "easy": 1}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(words)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "bert-base" / "tokenizer.json"))
    trees.write_food101(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe = FOLDER / "infobridge-food101.toml"
    data = with_options(Settings.from_toml(recipe).data, size=32, cache="off")
    changed = ["--epochs=1", "--batch-size=6", "--no-probe", "--no-report"]
    where = [f"--data-root={tmp_path}", "--out=run"]
    assert main(["train", data, "--config", str(recipe), *changed, *where]) == 0
