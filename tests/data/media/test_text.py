from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equimodal.data.media.glove import open_vectors
from equimodal.data.media.text import Text, vocabulary
from equimodal.errors import ConfigError, DataError
from fixtures.disk import file_limit
from fixtures.media import write_glove

WORDS = {
    "pizza": [1.0, 2.0],
    ". . .": [5.0, 6.0],
    "bread": [-0.5, 1e-3],
    "pizza ": [7.0, 7.0],
    "naïve": [3, 4],
}


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    return write_glove(tmp_path / "glove.2d.txt", WORDS)


def test_vectors_are_found_by_word_and_kept_as_a_matrix(glove: Path) -> None:
    found = open_vectors(glove)
    assert found.width == 2
    expected = [[1, 2], [0, 0], [3, 4], [5, 6]]
    assert found.of(["pizza", "soup", "naïve", ". . ."]).tolist() == expected
    kept = list(glove.parent.glob(".equimodal-cache/vectors-*/matrix.npy"))
    assert len(kept) == 1 and np.load(kept[0]).shape == (5, 2)
    open_vectors.cache_clear()
    assert isinstance(open_vectors(glove).matrix, np.memmap)
    assert open_vectors(glove).of(["bread"])[0] == pytest.approx([-0.5, 1e-3])


def test_vectors_on_a_full_disk_are_found_all_the_same(glove: Path) -> None:
    with file_limit(150):  # of a matrix and its header
        found = open_vectors(glove)
    assert found.of(["bread"])[0] == pytest.approx([-0.5, 1e-3])
    assert not list(glove.parent.rglob("matrix.npy")) and not list(glove.parent.rglob(".*.part"))


def test_the_header_of_word2vec_is_not_a_word(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("2 3\nthe 1 2 3\nof 4 5 6\n")
    assert open_vectors(path).of(["of", "2"]).tolist() == [[4, 5, 6], [0, 0, 0]]


@pytest.mark.parametrize("line", ["word 1", "word 1 x", "word 1 nan"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"the 1 2\n{line}\n")
    with pytest.raises(DataError, match="vectors.txt line 2 must be a word and 2 numbers"):
        open_vectors(path)


def test_text_as_vectors(glove: Path) -> None:
    reader = Text(vectors=str(glove), limit=3)
    assert reader.decode("PIZZA, bread and pizza").tolist() == [
        [1, 2],
        [0, 0],
        [-0.5, pytest.approx(1e-3)],
    ]
    assert reader.decode("").tolist() == [[0, 0]]


def test_text_as_ids_of_a_vocabulary() -> None:
    words = vocabulary(["a b b", "b c a"])
    assert words == ("b", "a", "c")
    reader = Text(words=words)
    assert reader.decode("c d B").tolist() == [4, 1, 2]
    assert reader.decode("  ").tolist() == [0]
    assert vocabulary(["a b b"], least=2) == ("b",)


def test_text_as_ids_of_a_pretrained_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    made = tokenizers.Tokenizer(
        WordLevel({"[UNK]": 0, "[CLS]": 1, "hello": 2, "world": 3}, "[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    made.save(str(tmp_path / "tokenizer.json"))
    for where in (tmp_path, tmp_path / "tokenizer.json"):
        assert Text(tokenizer=str(where)).decode("hello big world").tolist() == [1, 2, 0, 3]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        Text(tokenizer=f"{tmp_path}/./").decode("hello")  # another name, so that it is opened anew


@pytest.mark.parametrize(
    ("single", "limit", "expected"),
    [
        ("[CLS] $A [SEP]", 4, [1, 3, 4, 2]),
        ("[CLS] $A [SEP]", 5, [1, 3, 4, 5, 2]),
        ("[CLS] $A [SEP]", 9, [1, 3, 4, 5, 2]),
        ("", 2, [3, 4]),
        ("", 0, [3, 4, 5]),
    ],
)
def test_a_limit_leaves_the_special_tokens(
    tmp_path: Path, single: str, limit: int, expected: list[int]
) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra text")
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    ids = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "one": 3, "two": 4, "three": 5}
    made = tokenizers.Tokenizer(WordLevel(ids, "[UNK]"))
    made.pre_tokenizer = Whitespace()
    if single:
        special = [("[CLS]", 1), ("[SEP]", 2)]
        made.post_processor = TemplateProcessing(single=single, special_tokens=special)
    made.save(str(tmp_path / "tokenizer.json"))
    reader = Text(tokenizer=str(tmp_path), limit=limit)
    assert reader.decode("one two three").tolist() == expected
    if single:
        with pytest.raises(ConfigError, match="limit must be above 2, the special tokens of"):
            Text(tokenizer=str(tmp_path), limit=2).decode("one")


def test_files_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(
        "\ufeffwords".encode() + b" \xa1\xad"
    )  # remnants of another encoding
    assert Text(words=("words",)).decode(tmp_path / "a.txt").tolist()[0] == 2
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"empty.txt has no text"):
        Text(words=("words",)).decode(tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"none.txt does not exist"):
        Text(words=("words",)).decode(tmp_path / "none.txt")
    for options in ({}, {"words": ("a",), "vectors": "glove.txt"}):
        with pytest.raises(ConfigError, match="one of vectors"):
            Text(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="limit must be at least 0; here -1"):
        Text(words=("a",), limit=-1)
