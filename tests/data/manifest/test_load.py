"""Manifests as users write them: what is read, what is held out, and one sentence for what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from equimodal.data import Loader
from equimodal.data.manifest import load
from equimodal.errors import ConfigError, DataError
from fixtures import own

pytest.importorskip("PIL", reason="needs the extra media")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own.write_pets(tmp_path_factory.mktemp("pets")).parent


@pytest.fixture
def pets(made: Path, tmp_path: Path) -> Path:
    """A copy of its own: the data TOML."""
    shutil.copytree(made, tmp_path / "pets")
    return tmp_path / "pets" / "pets.toml"


def change(pets: Path, row: int, **cells: str) -> None:
    table = own.rows()
    table[row] |= cells
    own.write_table(pets.with_suffix(".csv"), table)


def edit(pets: Path, old: str, new: str) -> None:
    text = pets.read_text()
    assert old in text
    pets.write_text(text.replace(old, new))


class TestWhatIsRead:
    def test_modalities_classes_and_missing_cells(self, pets: Path) -> None:
        splits = load(pets)
        assert splits.modalities == ("photo", "facts")
        assert splits.classes == own.KINDS
        assert splits.train.shapes == {"photo": (3, 8, 8), "facts": (4,)}
        samples = [s for part in splits.parts.values() for s in (part[i] for i in range(len(part)))]
        assert len(samples) == 45
        assert sum("photo" not in s.inputs for s in samples) == 4
        assert all("facts" in s.inputs for s in samples)  # a gap in one column is no missing row

    def test_a_batch_is_what_its_samples_are(self, pets: Path) -> None:
        train = load(pets).train
        rows = [3, 0, 9]
        batch = train.fetch(rows, epoch=2)
        for position, index in enumerate(rows):
            alone = train.sample(index, epoch=2)
            for name, mask in ((n, batch.mask(n)) for n in batch.modalities):
                assert bool(mask[position]) == (name in alone.inputs)
                if name in alone.inputs:
                    assert torch.equal(batch.inputs[name][position], alone.inputs[name])
            assert int(batch.target[position]) == alone.target

    def test_numbers_are_standardised_with_train_and_gaps_are_marked(self, pets: Path) -> None:
        train = load(pets).train
        facts = train.fetch(torch.arange(len(train))).inputs["facts"].double()
        weight, gap, female, male = facts.unbind(1)
        assert abs(float(weight[gap == 0].mean())) < 1e-6
        assert abs(float(weight[gap == 0].std(correction=0)) - 1) < 1e-6
        assert set(weight[gap == 1].tolist()) == {0.0}
        assert torch.equal(female + male, torch.ones(len(train), dtype=torch.float64))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_training_sees_other_pictures_in_each_epoch_and_the_same_again(
        self, pets: Path, workers: int
    ) -> None:
        train = load(pets).train
        loader = Loader(train, 12, workers=workers)
        first, again, next_ = (
            torch.cat([b.inputs["photo"] for b in loader.iterate(e)]) for e in (0, 0, 1)
        )
        assert torch.equal(first, again)
        order = [loader.order(e).argsort() for e in (0, 1)]
        assert not torch.equal(first[order[0]], next_[order[1]])

    def test_a_semicolon_a_mark_and_decimal_commas_are_read_alike(self, pets: Path) -> None:
        plain = load(pets)
        table = [r | {"weight": r["weight"].replace(".", ",")} for r in own.rows()]
        path = own.write_table(pets.with_suffix(".csv"), table, delimiter=";")
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        same = load(pets)
        for index in range(len(plain.train)):
            a, b = plain.train[index], same.train[index]
            assert torch.equal(a.inputs["facts"], b.inputs["facts"])

    def test_parquet_is_read_as_csv_is(self, pets: Path) -> None:
        plain = load(pets)
        columns = {n: [r[n] or None for r in own.rows()] for n in own.rows()[0]}
        columns["weight"] = [None if w is None else float(w) for w in columns["weight"]]
        pq.write_table(pa.table(columns), pets.with_suffix(".parquet"))
        edit(pets, "pets.csv", "pets.parquet")
        same = load(pets)
        assert torch.equal(plain.train[0].inputs["facts"], same.train[0].inputs["facts"])
        assert torch.equal(plain.train.targets, same.train.targets)

    def test_names_without_folder_and_suffix(self, pets: Path) -> None:
        plain = load(pets).test.fetch([0, 1]).inputs["photo"]
        table = [r | {"photo": r["photo"].removeprefix("photos/")[:-4]} for r in own.rows()]
        own.write_table(pets.with_suffix(".csv"), table)
        edit(pets, 'column = "photo"', 'column = "photo"\nroot = "photos"\nsuffix = ".png"')
        assert torch.equal(load(pets).test.fetch([0, 1]).inputs["photo"], plain)

    def test_what_changes_the_data_changes_the_fingerprint(self, pets: Path) -> None:
        before = load(pets).fingerprint
        assert load(pets).fingerprint == before
        with (pets.parent / "photos" / "0.png").open("ab") as file:
            file.write(b"\0")
        grown = load(pets).fingerprint
        change(pets, 1, weight="99")
        assert len({before, grown, load(pets).fingerprint}) == 3


class TestSplits:
    def test_samples_know_their_groups(self, pets: Path) -> None:
        owners = {row["id"]: row["owner"] for row in own.rows()}
        splits = load(pets)
        for part in splits.parts.values():
            some = part.subset([2, 0, 1]).only(["facts"]).seen(augment=True)
            for data in (part, some):
                names = [owners[data.name(i)] for i in range(len(data))]
                _, codes = np.unique(names, return_inverse=True)
                _, groups = np.unique(data.groups.numpy(), return_inverse=True)
                assert len(np.unique(codes * 1000 + groups)) == len(set(codes)) == len(set(groups))
        edit(pets, 'group = "owner"', "")
        assert load(pets).test.groups is None

    def test_groups_are_whole_and_every_row_is_somewhere(self, pets: Path) -> None:
        splits = load(pets)
        owners = {
            part: {own.rows()[row]["owner"] for row in data.rows}
            for part, data in splits.parts.items()
        }
        assert [len(d) for d in splits.parts.values()] == [33, 3, 9]
        assert not owners["train"] & owners["val"]
        assert not (owners["train"] | owners["val"]) & owners["test"]

    def test_of_few_samples_one_of_each_class_is_held_out(self, tmp_path: Path) -> None:
        rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(12))
        (tmp_path / "few.csv").write_text("age,kind\n" + rows)
        (tmp_path / "few.toml").write_text(
            'manifest = "few.csv"\nlabel = "kind"\n[modalities.facts]\nkind = "table"\ncolumns = ["age"]\n'
        )
        splits = load(tmp_path / "few.toml")
        assert [sorted(p.targets.tolist()) for p in (splits.val, splits.test)] == [[0, 1], [0, 1]]
        assert len(splits.train) == 8

    def test_a_split_column_is_obeyed_and_validation_held_out_of_train(self, pets: Path) -> None:
        table = [r | {"part": "test" if i >= 30 else "Training"} for i, r in enumerate(own.rows())]
        own.write_table(pets.with_suffix(".csv"), table)
        edit(pets, 'group = "owner"', 'split = "part"')
        splits = load(pets, validation=0.2)
        assert splits.test.rows.tolist() == list(range(30, 45))
        assert sorted([*splits.train.rows, *splits.val.rows]) == list(range(30))
        assert splits.val.targets.bincount().tolist() == [2, 2, 2]

    def test_another_seed_of_the_split_is_another_split_of_the_same_rows(self, pets: Path) -> None:
        edit(pets, 'group = "owner"', "")
        edit(pets, "seed = 3", "seed = 0")
        first, other = (load(pets, split_seed=seed) for seed in (0, 1))
        assert load(pets).fingerprint == first.fingerprint != other.fingerprint
        assert first.test.rows.tolist() != other.test.rows.tolist()
        for splits in (first, other):
            rows = [row for part in splits.parts.values() for row in part.rows.tolist()]
            assert sorted(rows) == list(range(45))

    def test_a_class_keeps_a_sample_in_train(self) -> None:
        from equimodal.data.manifest.divide import hold_out_groups

        targets = np.array([0] * 10 + [1] * 2)
        groups = np.array([*range(10), 10, 10])  # class 1 is one group
        for seed in range(20):
            held = hold_out_groups(targets, groups, 0.3, seed)
            assert set(targets[held]) == {0} and len(held) == 4


class TestRefusals:
    """Each in one sentence, with file and row."""

    def test_a_seed_for_a_split_that_is_given(self, pets: Path) -> None:
        table = [r | {"part": "test" if i >= 30 else "train"} for i, r in enumerate(own.rows())]
        own.write_table(pets.with_suffix(".csv"), table)
        edit(pets, 'group = "owner"', 'split = "part"')
        said = self.said(pets, split_seed=1)
        assert "pets has a test part of its own: leave out split_seed" in said

    def said(self, pets: Path, **options: object) -> str:
        with pytest.raises((DataError, ConfigError)) as caught:
            load(pets, **options)  # type: ignore[arg-type]
        return str(caught.value)

    @pytest.mark.parametrize(
        ("row", "cells", "expected"),
        [
            (4, {"species": ""}, "pets.csv row 6 has no label in column 'species' (1 of 45"),
            (4, {"id": "p2"}, "pets.csv row 6: the id 'p2' is that of row 4 already"),
            (4, {"weight": "heavy"}, "pets.csv row 6: 'heavy' in column 'weight' is not a number"),
            (4, {"weight": "inf"}, "pets.csv row 6: 'weight' is infinite"),
            (4, {"photo": "photos/no.png"}, "row 6: the file photos/no.png"),
            (4, {"photo": "../pets.csv"}, "row 6: the file '../pets.csv' lies outside"),
            (
                4,
                {"weight": "2,5"},
                "row 6: '2,5' in column 'weight' is not a number; decimals must have a point",
            ),
            (
                4,
                {"weight": "2\nand more"},
                "is not a number; a quote that opens there is not closed",
            ),
            (
                4,
                {"photo": "https://a.org/1.png"},
                "row 6: 'https://a.org/1.png' is an address, not a path",
            ),
            (4, {"photo": "a\0b.png"}, "row 6: 'a\\x00b.png' is no path"),
            (4, {"photo": "/etc/passwd"}, "row 6: the file '/etc/passwd' lies outside"),
        ],
    )
    def test_a_cell(self, pets: Path, row: int, cells: dict[str, str], expected: str) -> None:
        change(pets, row, **cells)
        said = self.said(pets)
        assert expected in said.replace(f"{pets.parent}/", "").replace(
            "photos/no.png does", "the file photos/no.png does"
        )

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_empty_lines_count_as_where_the_row_is_looked_up(self, pets: Path, end: str) -> None:
        lines = pets.with_suffix(".csv").read_text().splitlines()
        lines[4] = lines[4].replace("cat", "").replace("dog", "").replace("owl", "")
        lines[8] += ",more"
        lines[2] = lines[2].replace("f,", '"a quoted\nend of line",')  # is no row
        lines[4:4] = ["", ""]
        pets.with_suffix(".csv").write_bytes(end.join(lines).encode())
        assert "pets.csv row 11 has 7 values" in self.said(pets)
        lines[10] = lines[10].removesuffix(",more")
        pets.with_suffix(".csv").write_bytes(end.join(lines).encode())
        assert "pets.csv row 7 has no label" in self.said(pets)  # that after the empty lines

    def test_a_missing_label_that_was_written_as_a_number_that_is_none(self, pets: Path) -> None:
        change(pets, 4, species="nan")
        assert "pets.csv row 6: the label 'nan' in column 'species' is how programs" in self.said(
            pets
        )
        edit(pets, "seed = 3", 'seed = 3\nclasses = ["cat", "dog", "owl", "nan"]')
        assert load(pets).classes == ("cat", "dog", "owl", "nan")

    def test_a_label_outside_the_classes(self, pets: Path) -> None:
        edit(pets, "seed = 3", 'classes = ["cat", "dog", "owls"]')
        assert (
            "row 4: the label 'owl' is none of the classes in pets.toml; did you mean 'owls'?"
            in self.said(pets)
        )

    def test_a_missing_column(self, pets: Path) -> None:
        edit(pets, '["weight"]', '["wieght"]')
        assert "pets.csv has no column 'wieght'; did you mean 'weight'?" in self.said(pets)

    def test_a_row_with_too_many_values(self, pets: Path) -> None:
        lines = pets.with_suffix(".csv").read_text().splitlines()
        lines[5] += ",more"
        pets.with_suffix(".csv").write_text("\n".join(lines))
        assert "pets.csv row 6 has 7 values separated by ',', the header 6" in self.said(pets)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "is empty; its first row must name the columns"),
            (b"id,photo,weight,sex,species,owner\n", "has no rows"),
            (b"id,photo,weight,sex,species,owner\n1,,2,f,\xe9t\xe9,o\n", "is not UTF-8"),
            (b"id,id\n1,2\n", "names the column 'id' twice"),
            (b"id,photo,,\n1,2,,\n", "has 2 columns without a name; delete them"),
            (
                b"id:photo\n1:2\n",
                "has one column by its first row, 'id:photo'; columns are separated by",
            ),
            (b"sep=;\nid;photo\n1;2\n", "begins with 'sep=;', which only spreadsheets know"),
        ],
    )
    def test_a_table(self, pets: Path, content: bytes, expected: str) -> None:
        pets.with_suffix(".csv").write_bytes(content)
        assert expected in self.said(pets)

    def test_a_row_with_too_few_values(self, pets: Path) -> None:
        with pets.with_suffix(".csv").open("a") as file:
            file.write("last\n")
        said = self.said(pets)
        assert "pets.csv row 47 has 1 value separated by ',', the header 6; empty cells" in said

    def test_an_empty_first_line_is_no_empty_file(self, pets: Path) -> None:
        pets.with_suffix(".csv").write_bytes(b"\nid,photo\n1,2\n")
        assert self.said(pets).startswith("The first line of ")

    def test_labels_that_are_all_different(self, pets: Path) -> None:
        edit(pets, 'label = "species"', 'label = "id"')
        edit(pets, 'id = "id"', "")
        edit(pets, 'group = "owner"', "")
        said = self.said(pets)
        assert "Nothing is left to train on when test is held out: 45 rows with 45 diff" in said

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ('kind = "image"', 'kind = "images"', "no kind 'images'; did you mean 'image'?"),
            ("size = 8", "sise = 8", "image() has no option 'sise': did you mean 'size'?"),
            ("size = 8", "size = 0", "size must be at least 1"),
            ("seed = 3", "sede = 3", "there is no option 'sede'; did you mean 'seed'?"),
            ("seed = 3", "test = 1.5", "test must be at least 0 and below 1; here 1.5"),
            ("[training]", "[modalities.x-y]\n[training]", "is made of letters, digits and _"),
            ('manifest = "pets.csv"', "", 'there must be a line manifest = "..."'),
            (
                'manifest = "pets.csv"',
                'data = "digits3d"',
                "is an experiment file: give it by --config",
            ),
            ("seed = 3", "seed = ", "is not readable TOML"),
        ],
    )
    def test_a_data_toml(self, pets: Path, old: str, new: str, expected: str) -> None:
        edit(pets, old, new)
        said = self.said(pets)
        assert "pets.toml" in said and expected in said

    def test_a_link_that_leads_outside(self, pets: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.png").write_bytes(b"x")
        (pets.parent / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
        change(pets, 4, photo="photos/link.png")
        assert "lies outside" in self.said(pets)
        edit(pets, "seed = 3", "allow_outside = true")
        load(pets)

    def test_sequences_of_different_widths(self, tmp_path: Path) -> None:
        for i, line in enumerate(("1,2\n", "1,2,3\n", "1,2\n", "1,2\n")):
            (tmp_path / f"{i}.csv").write_text(line * 3)
        (tmp_path / "w.csv").write_text(
            "walk,kind,split\n0.csv,a,train\n1.csv,b,train\n2.csv,a,test\n3.csv,b,test\n"
        )
        (tmp_path / "w.toml").write_text(
            'manifest = "w.csv"\nlabel = "kind"\nsplit = "split"\nvalidation = 0.0\n'
            '[modalities.walk]\nkind = "sequence"\ncolumn = "walk"\n'
        )
        said = self.said(tmp_path / "w.toml")
        assert "w.csv row 3, walk: 1.csv has 3 channels, where row 2 has 2; all must" in said

    def test_a_file_that_disappears_while_training(self, pets: Path) -> None:
        train = load(pets).train
        row = int(train.rows[5])
        (pets.parent / "photos" / f"{row}.png").unlink()
        for workers in (0, 1):
            with pytest.raises(DataError) as caught:
                list(Loader(train, 11, workers=workers).iterate(0))
            said = str(caught.value)
            assert f"pets.csv row {row + 2}, photo: " in said and "does not exist" in said


class TestSkipping:
    def test_files_that_cannot_be_read_are_left_out_with_their_reasons(self, pets: Path) -> None:
        photos = pets.parent / "photos"
        (photos / "1.png").write_bytes(b"no picture")
        (photos / "2.png").unlink()
        (photos / "3.png").write_bytes(b"")
        splits = load(pets, skip_unreadable=True)
        assert sum(len(part) for part in splits.parts.values()) == 42
        rows = [name.rpartition(" ")[2] for name in splits.left_out]
        assert rows == ["3", "4", "5"]
        reasons = list(splits.left_out.values())
        assert "is not an image" in reasons[0]
        assert "does not exist" in reasons[1]
        assert "is empty" in reasons[2]

    def test_an_image_bomb_is_not_decoded(self, pets: Path) -> None:
        import struct
        import zlib

        head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
        body = b"".join(
            struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
            for n, d in ((b"IHDR", head), (b"IDAT", zlib.compress(b"0" * 99)), (b"IEND", b""))
        )
        (pets.parent / "photos" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        splits = load(pets, skip_unreadable=True)
        (reason,) = splits.left_out.values()
        assert "1.png" in reason and "too large to be read safely" in reason
