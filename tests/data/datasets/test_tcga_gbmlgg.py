from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra media")

from equimodal import data
from equimodal.data.media.stain import stains_of
from equimodal.errors import ConfigError, DataError
from fixtures.runs import one_epoch
from fixtures.trees import write_tcga


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tcga(tmp_path)


def test_an_epoch_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    genes = "mlp(inputs=4, hidden=(4,), width=4)"
    expression = "tcga_gbmlgg(size=16, stain='vahadane', validation=0.3)"
    done = one_epoch(expression, folder.parent, tmp_path, image=3, genomic=genes)
    assert done["samples"]["test"] == 6
    assert sum(done["samples"].values()) == 22
    assert list(done["left_out"].values()) == ["the grade of TCGA-02-0011 is not known"] * 2


def test_folds_and_validation_are_by_patient(folder: Path) -> None:
    for fold in (1, 2, 15):
        splits = data.load("tcga_gbmlgg", folder.parent, fold=fold, size=16, validation=0.3)
        patients = [{name[:12] for name in part.names} for part in splits.parts.values()]  # type: ignore[attr-defined]
        assert all(patients) and sum(map(len, patients)) == len(set.union(*patients)) == 11
    with pytest.raises(ConfigError, match="fold must be 1 to 15; here 16"):
        data.load("tcga_gbmlgg", folder.parent, fold=16)


@pytest.mark.parametrize("validation", [0, 0.3])
def test_genes_are_standardised_with_train_and_unknown_ones_are_average(
    folder: Path, validation: float
) -> None:
    """Each patient of train once, however many regions there are; not those of validation."""
    (folder / "all_st" / "TCGA-02-0004-01Z-00-DX2_1.png").unlink()
    splits = data.load("tcga_gbmlgg", folder.parent, size=16, validation=validation)
    genes = {
        name[:12]: splits.train.sample(i).inputs["genomic"].double()
        for i, name in enumerate(splits.train.names)  # type: ignore[attr-defined]
    }
    assert "TCGA-02-0004" in genes and "TCGA-02-0001" not in genes
    known = torch.stack([*genes.values()])
    assert known.shape[1] == 4
    assert known.mean(0).abs().max() < 1e-6
    assert (known.std(0, correction=0) - 1).abs().max() < 1e-6
    unknown = [i for i, n in enumerate(splits.test.names) if n.startswith("TCGA-02-0001")]  # type: ignore[attr-defined]
    assert unknown and all(splits.test.sample(i).inputs["genomic"][2] == 0 for i in unknown)


def test_a_region_is_cropped_in_the_middle_in_test_and_anywhere_in_training(folder: Path) -> None:
    splits = data.load("tcga_gbmlgg", folder.parent, size=16, validation=0)
    stored = splits.test.stored("image", 0)  # type: ignore[attr-defined]
    assert stored.shape == (3, 24, 24)
    seen = splits.test.sample(0).inputs["image"]
    assert torch.equal(seen, stored[:, 4:20, 4:20].float() / 127.5 - 1)
    drawn = [splits.train.sample(0, epoch).inputs["image"] for epoch in range(3)]
    assert not torch.equal(drawn[0], drawn[1])
    with pytest.raises(DataError, match="region of 24 x 24 pixels has no part of size=32"):
        data.load("tcga_gbmlgg", folder.parent, size=32, validation=0).train.sample(0)


def test_stains_become_those_of_the_reference(folder: Path) -> None:
    reference = folder / "all_st" / "TCGA-02-0001-01Z-00-DX1_1.png"
    options = {"size": 16, "validation": 0, "cache": "off"}
    plain = data.load("tcga_gbmlgg", folder.parent, **options)
    like = data.load(
        "tcga_gbmlgg", folder.parent, **options, stain="vahadane", reference=str(reference)
    )

    def strong(splits: data.Splits) -> np.ndarray:
        image = splits.train.stored("image", 2)  # type: ignore[attr-defined]  # of a pale patient
        return stains_of(image.numpy().transpose(1, 2, 0)).strong

    assert (strong(plain) < 0.75).all() and (strong(like) > 1).all()


def test_tables_that_are_wrong(folder: Path) -> None:
    table = folder / "all_dataset.csv"
    table.write_text(
        table.read_text(encoding="utf-8-sig").replace("TCGA-02-0003,0,100", "TCGA-02-0003,0,100,x")
    )
    with pytest.raises(DataError, match="idh mutation of TCGA-02-0003 is 'x'; it must be a number"):
        data.load("tcga_gbmlgg", folder.parent)
    table = table.rename(folder / "all_datasets.csv")  # its name in the README of Pathomic Fusion
    with pytest.raises(DataError, match=r"all_datasets.csv: idh mutation of"):
        data.load("tcga_gbmlgg", folder.parent)
    table.unlink()
    with pytest.raises(DataError, match=r"all_dataset.csv does not exist"):
        data.load("tcga_gbmlgg", folder.parent)
