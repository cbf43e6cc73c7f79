"""MVSA-Single and UPMC Food-101: pictures with text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import data
from equimodal.core.batch import Padded
from equimodal.data.check import check
from equimodal.data.datasets import mvsa_single
from equimodal.data.datasets.mvsa_single import joint_label
from equimodal.errors import ConfigError, DataError
from fixtures.media import write_glove
from fixtures.runs import one_epoch
from fixtures.trees import DISHES, MOODS, write_food101, write_lines, write_mvsa


def test_an_epoch_of_mvsa(tmp_path: Path) -> None:
    write_mvsa(tmp_path)
    bag = "fixtures.runs:Bag()"
    done = one_epoch("mvsa_single(size=32)", tmp_path, tmp_path, image=3, text=bag)
    assert done["samples"] == {"train": 10, "val": 10, "test": 10}
    assert done["classes"] == list(MOODS)


def test_both_rules_of_mvsa() -> None:
    pairs = [(text, image) for text in MOODS for image in MOODS]
    equal = {pair: label for pair in pairs if (label := joint_label(*pair, "equal"))}
    joint = {pair: label for pair in pairs if (label := joint_label(*pair, "joint"))}
    assert equal == {(mood, mood): mood for mood in MOODS}
    assert set(pairs) - set(joint) == {("positive", "negative"), ("negative", "positive")}
    assert joint["neutral", "negative"] == joint["negative", "neutral"] == "negative"


def test_mvsa_by_labels_alone(tmp_path: Path) -> None:
    folder = write_mvsa(tmp_path)
    assert Counter(mvsa_single.labels(folder / "labelResultAll.txt", "joint").values()) == {
        "positive": 11,
        "negative": 11,
        "neutral": 10,
    }
    splits = data.load("mvsa_single", tmp_path, rule="joint", split="own", size=32)
    assert [len(part) for part in splits.parts.values()] == [20, 6, 6]
    names = [set(part.names) for part in splits.parts.values()]  # type: ignore[attr-defined]
    assert len(set.union(*names)) == 32
    with pytest.raises(ConfigError, match="say split='own'"):
        data.load("mvsa_single", tmp_path, rule="joint")
    text = splits.train.stored("text", 0)  # type: ignore[attr-defined]
    assert len(text) > 8 and splits.train.shapes["text"] == (-1,)
    assert check("mvsa_single", tmp_path).files == 1 + 30


def test_text_is_cleaned_and_its_words_are_those_of_train(tmp_path: Path) -> None:
    write_mvsa(tmp_path)
    splits = data.load("mvsa_single", tmp_path, clean="tweet", size=32)
    words = splits.train.readers["text"].words  # type: ignore[attr-defined]
    assert "mood" in words and "rt" not in words and "http" not in words
    assert "1" in words and "2" not in words  # the number of a tweet of dev
    assert splits.encoders["text"] == f"bigru(channels=300, width=512, tokens={len(words) + 2})"


def test_mvsa_lists_that_are_wrong(tmp_path: Path) -> None:
    folder = write_mvsa(tmp_path)
    entry = '{"id": "1", "label": "positive", "text": "", "img": "%s"}'
    for line, reason in (
        (entry % "../../secret.jpg", "names '../../secret.jpg', which is not inside"),
        (entry % "/etc/a.jpg", "names '/etc/a.jpg', which is not inside"),
        ('{"id": "1"}', "line 1 must be an object with id, label, text, img"),
        ("id,label", "line 1 is not JSON"),
        (entry.replace("positive", "happy") % "data/1.jpg", "has the label 'happy'"),
    ):
        write_lines(folder / "dev.jsonl", [line])
        with pytest.raises(DataError, match=reason):
            data.load("mvsa_single", tmp_path)
    (folder / "dev.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no dev.jsonl: put the lists of QMF there"):
        data.load("mvsa_single", tmp_path)
    path = write_lines(folder / "labelResultAll.txt", ["1\tpositive,happy"])
    with pytest.raises(DataError, match="row 1: 'positive,happy' must be two of"):
        mvsa_single.labels(path, "equal")


def test_an_epoch_of_food101_with_word_vectors(tmp_path: Path) -> None:
    write_food101(tmp_path)
    glove = write_glove(tmp_path / "glove.txt", {"pie": [1.0, 0.5, 0], "sushi": [0, 1, -1.0]})
    expression = f"food101(size=32, vectors='{glove}')"
    gru = "gru(channels=3, width=4)"
    done = one_epoch(expression, tmp_path, tmp_path, image=3, text=gru)
    assert done["samples"] == {"train": 6, "val": 6, "test": 6}
    assert done["classes"] == sorted(DISHES)


def test_titles_are_read_as_csv_and_may_be_empty(tmp_path: Path) -> None:
    write_food101(tmp_path)
    splits = data.load("food101", tmp_path, split="titles", ids="first", validation=0, size=32)
    assert len(splits.train) == 12 and splits.classes == tuple(DISHES)
    assert splits.train.items["text"][0] == ('Grandma\'s "best", easy pie 0',)  # type: ignore[attr-defined]
    assert splits.train.text("text", 0) == 'Grandma\'s "best", easy pie 0'
    assert splits.train.text("image", 0) is None
    batch = splits.train.fetch([0, 11])
    text = batch.inputs["text"]
    assert isinstance(text, Padded)
    assert text.lengths.tolist() == [8, 1] and text.values[1].sum() == 0
    assert batch.inputs["image"].shape == (2, 3, 32, 32)  # type: ignore[union-attr]


def test_what_becomes_validation_teaches_no_words(tmp_path: Path) -> None:
    """Nor does a picture that cannot be read: the number of each title occurs in it alone."""
    folder = write_food101(tmp_path)
    pie, sushi = list(DISHES)[:2]
    lines = [f"{pie}_{i}.jpg,word{i},{pie}" for i in range(4)]
    lines += [f"{sushi}_{i}.jpg,word{4 + i},{sushi}" for i in range(4)]
    write_lines(folder / "texts" / "train_titles.csv", lines)
    write_lines(folder / "texts" / "test_titles.csv", [f"{pie}_0.jpg,seen,{pie}"])
    (folder / "images" / "train" / pie / f"{pie}_3.jpg").write_bytes(b"no image")
    options = {"split": "titles", "validation": 0.25, "size": 32, "unreadable": "drop"}
    splits = data.load("food101", tmp_path, **options)
    texts = {
        name: [part.text("text", i) for i in range(len(part))]
        for name, part in splits.parts.items()
    }
    assert [len(texts[name]) for name in ("train", "val", "test")] == [5, 2, 1]
    for part in splits.parts.values():
        assert set(part.readers["text"].words) == set(texts["train"])  # type: ignore[attr-defined]
    assert splits.encoders["text"] == "bigru(channels=300, width=512, tokens=7)"
    assert splits.val.sample(0).inputs["text"].tolist() == [1]
    alone = data.load("food101", tmp_path, **options | {"modalities": ("text",)})
    assert alone.modalities == ("text",) and len(alone.train) == 6


def test_images_of_food101_that_are_cut_off(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_food101(tmp_path)
    path = folder / "images" / "train" / "sushi" / "sushi_0.jpg"
    noise = Image.effect_noise((80, 80), 60)
    noise.convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-900])
    options = {"split": "titles", "validation": 0, "size": 32, "cache": "off"}
    with pytest.raises(DataError, match=r"sushi_0.jpg is damaged or cut off"):
        data.load("food101", tmp_path, **options).train.fetch([4])
    accepted = data.load("food101", tmp_path, **options, truncated=True)
    assert accepted.train.fetch([4]).inputs["image"].shape == (1, 3, 32, 32)  # type: ignore[union-attr]
    assert [p.name for p in check("food101", tmp_path).unreadable] == ["sushi_0.jpg"]
