"""What is learned from train stays with the run: other tables are read by it, and changed ones refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from equimodal.data.dataset import UNKNOWN
from equimodal.data.manifest import Samples, load, load_unseen
from equimodal.data.manifest.examine import examine
from equimodal.data.manifest.prepare import prepare
from equimodal.data.splits import Splits
from equimodal.diagnostics.run import diagnose_run
from equimodal.errors import ConfigError, DataError
from equimodal.models import Multimodal
from equimodal.models.heads import Sum
from equimodal.training.evaluate import evaluate
from equimodal.training.run import predict, train
from equimodal.training.settings import Settings

TOML = """
manifest = "pets.csv"
label = "species"

[modalities.facts]
kind = "table"
columns = ["weight"]
categories = ["sex"]

[modalities.says]
kind = "text"
column = "says"

[training]
epochs = 1
batch_size = 8
"""
WORDS = {"cat": "meow purr", "dog": "bow wow"}


def written(folder: Path, sexes: str, weight: float, more: str = "") -> Path:
    """40 pets whose sexes repeat, and whose weights grow from the given one on."""
    folder.mkdir(exist_ok=True)
    kinds = [("cat", "dog")[i % 2] for i in range(40)]
    rows = [
        f"{weight + i},{sexes[i // 2 % len(sexes)]},{WORDS[kind]}{more},{kind}"
        for i, kind in enumerate(kinds)
    ]
    (folder / "pets.csv").write_text("\n".join(["weight,sex,says,species", *rows]))
    (folder / "pets.toml").write_text(TOML)
    return folder / "pets.toml"


def unseen(path: Path, learned: Mapping[str, Mapping[str, object]]) -> Samples:
    """All rows, for a model of cats and dogs that knows their facts and what they say."""
    kinds = {"classes": ("cat", "dog"), "modalities": ("facts", "says")}
    return load_unseen(path, learned=learned, **kinds)[0]


def test_another_table_is_read_by_what_was_learned(tmp_path: Path) -> None:
    first = load(written(tmp_path / "a", "fm", 5))
    known = json.loads(json.dumps(dict(first.learned)))
    path = written(tmp_path / "b", "?mf", 100, " grr")
    other, again = (unseen(p, known) for p in (path, written(tmp_path / "c", "fm", 5)))
    for part in (first.train, first.test):
        assert isinstance(part, Samples)
        here, there = part.fetch(range(len(part))), again.fetch(part.rows)
        assert torch.equal(here.inputs["facts"], there.inputs["facts"])
    mean, deviation = (known["facts"]["columns"][0][name] for name in ("mean", "deviation"))
    rows = (path.parent / "pets.csv").read_text().splitlines()[1:]
    cells = {f"{(float(row.split(',')[0]) - mean) / deviation:.3f}": row.split(",") for row in rows}
    for i in range(40):
        weight, female, male = other[i].inputs["facts"].tolist()
        _, sex, says, _ = cells[f"{weight:.3f}"]
        assert (female, male) == (sex == "f", sex == "m")  # an unknown one is neither
        words = [2 + known["says"]["words"].index(w) for w in says.split()[:2]]
        assert other[i].inputs["says"].tolist() == [*words, 1]
    assert load(path).learned["facts"] != known["facts"]


def test_what_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "fm", 5)
    known = load(path).learned
    with pytest.raises(ConfigError, match="'facts' is read by what is learned from train"):
        unseen(path, {})
    path.write_text(
        TOML.replace('columns = ["weight"]\ncategories = ["sex"]', 'columns = ["weight"]')
    )
    with pytest.raises(
        ConfigError, match="has the columns weight; the model was trained on weight, sex"
    ):
        unseen(path, known)
    path.write_text(TOML.replace("modalities.says", "modalities.said"))
    with pytest.raises(
        ConfigError, match=r"modality 'says' is not in .*pets\.toml, which has facts, said"
    ):
        unseen(path, known)


def test_labels_of_rows_to_be_predicted(tmp_path: Path) -> None:
    """Known, empty, or written as programs write that there is none; a batch that lacks one has no target."""
    path = written(tmp_path / "a", "fm", 5)
    known, table = load(path).learned, path.parent / "pets.csv"
    head, *rows = table.read_text().splitlines()
    rows = [row.rsplit(",", 1)[0] for row in rows]

    def labelled(*labels: str) -> Samples:
        cells = [f"{rows[i]},{labels[i % len(labels)]}" for i in range(40)]
        table.write_text("\n".join([head, *cells]))
        return unseen(path, known)

    found = labelled("dog", "", "cat", "NaN")
    assert found.targets.tolist() == [1, UNKNOWN, 0, UNKNOWN] * 10
    assert found.fetch([0, 1]).target is None
    assert found.fetch([0, 2]).target.tolist() == [1, 0]
    with pytest.raises(DataError, match="needs a target for every sample"):
        evaluate(Multimodal({"facts": nn.Identity()}, Sum({"facts": 3}, 2)), found)
    assert labelled("dog").targets.tolist() == [1] * 40  # of one class: the others are the model's
    with pytest.raises(DataError, match=r"row 3: the label 'dgo' .* the run's classes.*mean 'dog'"):
        labelled("dog", "dgo")
    table.write_text("\n".join([head.removesuffix(",species"), *rows]))
    assert set(unseen(path, known).targets.tolist()) == {UNKNOWN}


def test_a_split_column_chooses_the_rows_to_be_predicted(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "fm", 5)
    known, table = load(path).learned, path.parent / "pets.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text(
        "\n".join(
            [f"{head},part", *(f"{r},{'test' if i > 36 else 'val'}" for i, r in enumerate(rows))]
        )
    )
    kinds = {"classes": ("cat", "dog"), "modalities": ("facts", "says"), "learned": known}
    with pytest.raises(ConfigError, match="names no split column.*leave out the split 'val'"):
        load_unseen(path, split="val", **kinds)
    path.write_text(TOML.replace('label = "species"', 'label = "species"\nsplit = "part"'))
    test, part = load_unseen(path, **kinds)
    assert (test.rows.tolist(), part) == ([37, 38, 39], "test")
    val, part = load_unseen(path, split="val", **kinds)
    assert (val.rows.tolist(), part) == ([*range(37)], "val")
    with pytest.raises(ConfigError, match="no row whose 'part' is train"):
        load_unseen(path, split="train", **kinds)


def test_a_run_predicts_by_what_it_learned_and_refuses_data_that_changed(tmp_path: Path) -> None:
    path, run = written(tmp_path / "a", "fm", 5), tmp_path / "run"
    train(Settings(data=path.name, data_root=str(path.parent), method="joint()"), run)
    same = written(tmp_path / "b", "fm", 5)
    mine, others = (
        pq.read_table(predict(run, data=data, out=tmp_path / "p.parquet")).to_pylist()
        for data in (None, str(same))
    )
    assert len(others) == 40  # all, of which mine are the test rows
    by_name = {row["name"]: row for row in others}
    for row in mine:
        there = by_name[row["name"]]
        assert (row["target"], row["prediction"]) == (there["target"], there["prediction"])
        assert row["p_fused_cat"] == pytest.approx(there["p_fused_cat"], rel=1e-5)
    table = path.parent / "pets.csv"
    table.write_text(table.read_text() + "\n7,f,meow,cat\n9,m,wow,dog")
    for ask in (predict, diagnose_run):
        with pytest.raises(
            ConfigError, match=r"pets\.toml are not what they were when .*run was trained"
        ):
            ask(run)


VECTORS = """
manifest = "v.csv"
label = "kind"

[modalities.clip]
kind = "vector"
column = "clip"

[training]
epochs = 1
batch_size = 8
"""


def vectors(folder: Path, shift: float, odd: int = -1) -> Path:
    """24 rows of vectors of 5 values about a shift, a sixth of which lack theirs; the odd one has 6."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    rows = ["clip,weight,kind"]
    for i in range(24):
        values = rng.normal((shift, 0, 0, 9, i % 2), (1, 2, 3, 0, 1))
        np.save(folder / f"{i}.npy", np.append(values, 1) if i == odd else values)
        rows.append(f"{'' if i % 6 == 5 else f'{i}.npy'},{i},{'ab'[i % 2]}")
    (folder / "v.csv").write_text("\n".join(rows))
    (folder / "v.toml").write_text(
        VECTORS + '[modalities.weight]\nkind = "table"\ncolumns = ["weight"]\n'
    )
    return folder / "v.toml"


def test_vectors_are_standardised_by_train_also_those_of_another_table(tmp_path: Path) -> None:
    path = vectors(tmp_path / "a", 100)
    splits = load(path)
    assert splits.encoders["clip"] == "mlp(inputs=5)" and splits.train.shapes["clip"] == (5,)
    assert not all(splits.train.present["clip"])
    rows = [r for r in splits.train.rows.tolist() if r % 6 != 5]  # type: ignore[attr-defined]
    there = np.stack([np.load(path.parent / f"{row}.npy") for row in rows])
    known = json.loads(json.dumps(dict(splits.learned)))
    assert known["clip"]["mean"] == pytest.approx(there.mean(0))
    deviation = [*there.std(0)[:3], 1, there.std(0)[4]]  # that which does not move is not divided
    assert known["clip"]["deviation"] == pytest.approx(deviation)
    elsewhere = vectors(tmp_path / "b", 200)
    other, _ = load_unseen(
        elsewhere, classes=splits.classes, modalities=splits.modalities, learned=known
    )
    for i, row in enumerate(other.rows.tolist()):
        if row % 6 == 5:
            assert "clip" not in other[i].inputs
            continue
        values = np.load(tmp_path / "b" / f"{row}.npy")
        expected = (values - there.mean(0)) / deviation
        assert other[i].inputs["clip"].numpy() == pytest.approx(expected, rel=1e-5)


def test_a_run_on_vectors_predicts_the_same_of_the_same_vectors_elsewhere(tmp_path: Path) -> None:
    path, run = vectors(tmp_path / "a", 1), tmp_path / "run"
    train(Settings(data=path.name, data_root=str(path.parent), method="joint()"), run)
    other = vectors(tmp_path / "b", 1)
    ready = prepare(other, tmp_path / "ready").toml
    found = []
    for data in (None, str(other), str(ready)):
        table = pq.read_table(predict(run, data=data, out=tmp_path / "p.parquet"))
        found.append(
            table.drop_columns(["name", "index", "split"])
        )  # of all rows, but for the first
    rows = load(path).test.rows.tolist()  # type: ignore[attr-defined]
    for column in found[0].column_names:
        here, there = (table[column].to_pylist() for table in (found[0], found[1].take(rows)))
        assert here == (pytest.approx(there) if column.startswith("p_") else there)
    assert found[1] == found[2]


@pytest.mark.parametrize("odd", range(8))  # wherever it is: of train, of test
def test_a_vector_of_another_width_is_named(tmp_path: Path, odd: int) -> None:
    path = vectors(tmp_path / "a", 1, odd)
    if odd == 5:
        load(path)  # whose cell is empty
        return
    (problem,) = examine(path).problems
    said = f"v.csv row {odd + 2}, clip: {odd}.npy has 6 values, where most have 5"
    assert said in problem
    train_rows = load(vectors(tmp_path / "b", 1)).train.rows.tolist()  # type: ignore[attr-defined]
    if odd in train_rows:
        with pytest.raises(DataError, match=r"v.csv row \d+, clip: \d+.npy has [56] values, where"):
            load(path)
    path.write_text(path.read_text().replace('"clip"\n', '"clip"\nwidth = 5\n', 1))
    (reason,) = load(path, skip_unreadable=True).left_out.values()
    assert reason.endswith(f"{odd}.npy has 6 values; it must have 5")
    with pytest.raises(DataError, match=f"row {odd + 2}, clip: .*{odd}.npy has 6 values; it must"):
        prepare(path, tmp_path / "out")


def parquet(folder: Path, **columns: pa.Array) -> Path:
    """A table of its own with these columns, and a data TOML that takes them for numbers."""
    n = len(next(iter(columns.values())))
    kinds = pa.array([("cat", "dog")[i % 2] for i in range(n)])
    pq.write_table(pa.table({**columns, "species": kinds}), folder / "pets.parquet")
    path = folder / "pets.toml"
    path.write_text(
        f'manifest = "pets.parquet"\nlabel = "species"\n[modalities.facts]\nkind = "table"\ncolumns = {list(columns)}\n'
    )
    return path


def test_long_strings_of_parquet_are_strings(tmp_path: Path) -> None:
    cells = [*map(str, range(19)), ""]
    found = load(parquet(tmp_path, weight=pa.array(cells, pa.large_string())))
    assert found.train.shapes["facts"][0] in (1, 2)
    with pytest.raises(DataError, match="row 20: 'heavy' in column 'weight' is not a number"):
        load(parquet(tmp_path, weight=pa.array([*cells[:19], "heavy"], pa.large_string())))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (pa.array([[1.0]] * 20), "the column 'weight' holds values of type list"),
        (
            pa.array([1] * 20, pa.timestamp("ms")),
            "'1970-01-01.*' in column 'weight' is not a number",
        ),
        (pa.array(["1"] * 19 + ["1_000"]), "row 20: '1_000' in column 'weight' is not a number"),
    ],
)
def test_columns_that_are_no_numbers(cells: pa.Array, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        load(parquet(tmp_path, weight=cells))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["sex"]', '["species"]', "column 'species' says what is to be found out"),
        ('["weight"]', "3", "columns must be a list of names"),
        ('["weight"]', "[3]", "columns must be a list of names"),
        ('["weight"]', '["weight", "weight"]', "columns has 'weight' twice"),
        ('label = "species"', 'label = "species"\nseed = -1', "seed must be at least 0"),
    ],
)
def test_mistakes_in_a_data_toml(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a", "fm", 5)
    path.write_text(TOML.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_a_split_that_crosses_groups_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "fm", 5)
    table = path.parent / "pets.csv"
    head, *rows = table.read_text().splitlines()
    parts = [("train", "val", "test")[i // 4 % 3] for i in range(40)]
    table.write_text(
        "\n".join(
            [
                f"{head},part,owner",
                *(f"{r},{p},o{i // 8}" for i, (r, p) in enumerate(zip(rows, parts, strict=True))),
            ]
        )
    )
    path.write_text(
        TOML.replace('label = "species"', 'label = "species"\nsplit = "part"\ngroup = "owner"')
    )
    with pytest.raises(DataError, match=r"row 2 \(train\) and row 6 \(val\) are of one owner"):
        load(path)
    path.write_text(TOML.replace('label = "species"', 'label = "species"\nsplit = "part"'))
    assert isinstance(load(path), Splits)


def test_texts_that_share_a_column_are_kept_apart_in_shards(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="needs the extra media")
    from fixtures.media import write_wav

    lines = ["id,species"]
    for i in range(12):
        lines.append(f"{i},{('cat', 'dog')[i % 2]}")
        for folder, word in (("first", "red"), ("second", "blue")):
            file = tmp_path / folder / f"{i}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{word} {word}{i}")
        write_wav(tmp_path / "sound" / f"{i}.wav", seconds=0.1)
    (tmp_path / "pets.csv").write_text("\n".join(lines))
    texts = "".join(
        f'[modalities.{n}]\nkind = "text"\ncolumn = "id"\nroot = "{n}"\nsuffix = ".txt"\nfiles = true\n'
        for n in ("first", "second")
    )
    sound = '[modalities.sound]\nkind = "audio"\ncolumn = "id"\nroot = "sound"\nsuffix = ".wav"\nseconds = 0.1\nrate = 8000\n'
    path = tmp_path / "pets.toml"
    path.write_text(f'manifest = "pets.csv"\nlabel = "species"\nid = "id"\n{texts}{sound}')
    made = load(prepare(path, tmp_path / "shards").toml)
    plain = load(path)
    for i in range(len(plain.test)):
        for name in ("first", "second"):
            assert made.test.text(name, i) == plain.test.text(name, i)
    (tmp_path / "first" / "3.txt").unlink()
    with pytest.raises(DataError, match=r"row 5: .*3\.txt.*--skip-unreadable \(1 of 12"):
        prepare(path, tmp_path / "fewer")
    fewer = prepare(path, tmp_path / "fewer", skip_unreadable=True)
    assert fewer.samples == 11 and len(fewer.left_out) == 1
    assert sum(map(len, load(fewer.toml).parts.values())) == 11
