"""The data TOML: which columns of a manifest form which modality, and how each is read."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from ...core.expression import build, call
from ...errors import ConfigError, DataError, EquimodalError, nearest
from ..augmentations import BY_NAME, Augmentation
from ..media.reader import Reader

__all__ = ["KINDS", "Modality", "Recipe"]

KINDS: Mapping[str, tuple[str, str]] = {
    "image": ("image", "Image"),
    "audio": ("audio", "Audio"),
    "video": ("video", "Video"),
    "text": ("text", "Text"),
    "points": ("clouds", "Points"),
    "sequence": ("sequence", "Sequence"),
    "vector": ("vector", "Vector"),
    "table": ("table", "Table"),
}
"""For each kind of modality the module and the class of its reader."""

SPANS = ("audio", "video")  # kinds of which a part, in seconds, may be read
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
OWN = (
    *("kind", "column", "columns", "categories", "encoder", "augment"),
    *("start", "stop", "files", "root", "suffix"),
)
TOP = (
    *("manifest", "label", "classes", "split", "group", "id", "allow_outside"),
    *("test", "validation", "seed", "modalities", "training", "shards"),
)


@dataclass(frozen=True)
class Modality:
    """One modality of a manifest.

    Attributes:
        name: of the modality.
        kind: one of `KINDS`.
        columns: that form it: of a table any number, else one.
        categories: of a table those of its columns that hold words, not numbers.
        encoder: an expression, or "".
        augment: what training does to it, an expression, or "".
        start, stop: columns with the seconds between which sound or a video is read, or "".
        root: the folder, under that of the manifest, that its paths are relative to, or "".
        suffix: what is added to its cells to make them paths, such as ``.jpg``, or "".
        files: whether the cells of a text name files; else they are the text. All other media are files.
        options: of the reader, by name.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    categories: tuple[str, ...] = ()
    encoder: str = ""
    augment: str = ""
    start: str = ""
    stop: str = ""
    root: str = ""
    suffix: str = ""
    files: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def in_files(self) -> bool:
        """Whether the cells are paths."""
        return self.kind not in ("text", "table") or self.files

    def in_shards(self) -> Modality:
        """The same in a prepared manifest, where a text that was in a file stands in a column of its own."""
        written = self.kind == "text" and self.files
        return replace(self, columns=(f"text of {self.name}",)) if written else self

    @property
    def cells(self) -> tuple[str, ...]:
        """All columns of the manifest that it needs."""
        return (*self.columns, *filter(None, (self.start, self.stop)))

    def reader(self, **fitted: Any) -> Reader:
        """What reads it; options that were learned from train come on top.

        Raises:
            ConfigError: there is no such option, or it has no such value.
        """
        module, name = KINDS[self.kind]
        made = getattr(importlib.import_module(f"equimodal.data.media.{module}"), name)
        reader: Reader = call(made, self.kind, **{**dict(self.options), **fitted})
        return reader


@dataclass(frozen=True)
class Recipe:
    """What a data TOML says.

    Attributes:
        path: of the TOML.
        manifest: the CSV or Parquet file.
        label: the column of the class, or "" in rows that are only to be predicted.
        modalities: in order.
        classes: their names, in the order of their ids; empty: those that there are, sorted.
        split: the column that says train, val or test, or "".
        group: the column of what must not be on both sides of a split, such as the patient, or "".
        id: a column whose values must differ, or "".
        allow_outside: whether files may lie outside the manifest's folder.
        test, validation: fractions that are held out where the manifest does not say.
        seed: of what is held out.
        training: what `equimodal train` uses if the user says nothing.
        shards: whether media are read from the shards beside the TOML.
    """

    path: Path
    manifest: Path
    label: str
    modalities: tuple[Modality, ...]
    classes: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    id: str = ""
    allow_outside: bool = False
    test: float = 0.2
    validation: float = 0.1
    seed: int = 0
    training: Mapping[str, float] = field(default_factory=dict)
    shards: bool = False

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.path.stem

    @property
    def folder(self) -> Path:
        """What the paths of the manifest are relative to."""
        return self.manifest.parent

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are needed, each once."""
        top = (self.label, self.split, self.group, self.id)
        return tuple(dict.fromkeys(c for c in (*top, *self._cells()) if c))

    def _cells(self) -> tuple[str, ...]:
        return tuple(cell for modality in self.modalities for cell in modality.cells)

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True) -> Recipe:
        """A data TOML.

        Args:
            path: of it.
            labelled: whether it must name the column of the class.

        Raises:
            ConfigError: it is no data TOML, or a value cannot be.
            DataError: it cannot be read.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise DataError(
                f"{path} does not exist; 'equimodal data init' writes one for your files."
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"{path} is not readable TOML: {error}.") from None
        if "data" in values and "manifest" not in values:
            raise ConfigError(f"{path} is an experiment file: give it by --config.")
        return _Parser(path, values).recipe(labelled)


class _Parser:
    """Reads the values of a data TOML; every refusal names the file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    def recipe(self, labelled: bool) -> Recipe:
        self.known(self.values, TOP, "")
        tables = self.get("modalities", dict, {})
        if not tables:
            self.refuse("needs a table [modalities.NAME] for each modality")
        numbers = {n: self.get(n, (int, float), d) for n, d in (("test", 0.2), ("validation", 0.1))}
        for name, value in numbers.items():
            if not 0 <= value < 1:
                self.refuse(f"{name} must be at least 0 and below 1; here {value}")
        texts = {n: self.get(n, str, "") for n in ("split", "group", "id")}
        shards = self.get("shards", bool, False)
        modalities = [self.modality(name, table) for name, table in tables.items()]
        seed = self.get("seed", int, 0)
        if seed < 0:
            self.refuse(f"seed must be at least 0; here {seed}")
        return Recipe(
            self.path,
            self.path.parent / self.need("manifest", str),
            self.need("label", str) if labelled else self.get("label", str, ""),
            tuple(m.in_shards() if shards else m for m in modalities),
            classes=tuple(map(str, self.get("classes", list, []))),
            allow_outside=self.get("allow_outside", bool, False),
            seed=seed,
            training=self.get("training", dict, {}),
            shards=shards,
            **numbers,
            **texts,
        )

    def modality(self, name: str, table: object) -> Modality:
        where = f"[modalities.{name}]"
        if not NAME.fullmatch(name):
            self.refuse(f"{where}: a modality's name is made of letters, digits and _")
        if not isinstance(table, dict) or "kind" not in table:
            self.refuse(f"{where} needs kind, one of {', '.join(KINDS)}")
        kind = table["kind"]
        if kind not in KINDS:
            self.refuse(f"{where} has no kind {kind!r}; {nearest(str(kind), KINDS)}")
        columns = self.words(
            where, table, "columns", [table["column"]] if "column" in table else []
        )
        categories = self.words(where, table, "categories", [])
        for column in (*columns, *categories):
            if column in (self.values.get("label"), self.values.get("split")):
                self.refuse(
                    f"{where}: the column {column!r} says what is to be found out, or for whom"
                )
        if kind == "table":
            columns = (*(c for c in columns if c not in categories), *categories)
        if not columns or (kind != "table" and len(columns) > 1):
            self.refuse(f"{where} needs {'columns' if kind == 'table' else 'one column'}")
        texts = {key: str(table.get(key, "")) for key in ("start", "stop", "root", "suffix")}
        if (texts["start"] or texts["stop"]) and kind not in SPANS:
            self.refuse(f"{where}: only {' and '.join(SPANS)} have start and stop")
        options = tuple((k, _tuples(v)) for k, v in table.items() if k not in OWN)
        made = Modality(
            name,
            kind,
            columns,
            categories,
            str(table.get("encoder", "")),
            str(table.get("augment", "")),
            files=bool(table.get("files", False)),
            options=options,
            **texts,
        )
        self.checked(made, where)
        return made

    def words(
        self, where: str, table: Mapping[str, Any], name: str, default: list[Any]
    ) -> tuple[str, ...]:
        """A list of names."""
        value = table.get(name, default)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.refuse(f"{where}: {name} must be a list of names of columns; here {value!r}")
        if twice := [one for one in value if value.count(one) > 1]:
            self.refuse(f"{where}: {name} has {twice[0]!r} twice")
        return tuple(value)

    def checked(self, modality: Modality, where: str) -> None:
        """The reader and the augmentation can be built; a vocabulary is not there yet."""
        try:
            named = {name for name, _ in modality.options}
            words = modality.kind == "text" and not named & {"vectors", "tokenizer"}
            modality.reader(**({"words": ("a",)} if words else {}))
            if modality.augment not in ("", "none"):
                build(modality.augment, BY_NAME, "augmentation", Augmentation)
        except EquimodalError as error:
            raise ConfigError(f"{self.path}: {where}: {error}") from None

    def need(self, name: str, kind: type) -> Any:
        if name not in self.values:
            self.refuse(f'there must be a line {name} = "..."')
        return self.get(name, kind, None)

    def get(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(name, default)
        right = kind if isinstance(kind, tuple) else (kind,)
        if name in self.values and type(value) not in right:
            self.refuse(f"{name} cannot be {json.dumps(value, default=str)}")
        return value

    def known(self, values: Mapping[str, Any], names: Sequence[str], where: str) -> None:
        for name in values:
            if name not in names:
                self.refuse(f"there is no option {where}{name!r}; {nearest(name, names)}")

    def refuse(self, why: str) -> NoReturn:
        raise ConfigError(f"{self.path}: {why if why.endswith(('.', '?')) else why + '.'}")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
