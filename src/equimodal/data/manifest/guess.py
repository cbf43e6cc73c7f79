"""A first data TOML for files that nobody has described yet: what each column is, told by its name and its values."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DataError, EquimodalError, counted
from ..media.audio import SOUND_SUFFIXES
from ..media.clouds import CLOUD_SUFFIXES
from ..media.container import opened
from ..media.image import IMAGE_SUFFIXES
from ..media.numbers import NUMBER_SUFFIXES, read_numbers
from ..media.video import VIDEO_SUFFIXES
from .load import PARTS, SPELLINGS
from .table import Table, read

__all__ = ["OPENED", "OPTIONS", "Draft", "Found", "draft_table", "hear", "kind_in", "kind_of"]

LOOKED_AT = 1000  # rows by which a column is told
SIZES = {  # so that one sees where a modality has far more of them than another
    "cnn": "15 thousand weights, 64 features",
    "pointnet": "17 thousand weights, 64 features",
    "resnet18": "11 million weights, 512 features",
}
OPENED = 20  # files that are opened to choose a size
LABELS = ("label", "class", "target", "y", "category", "species", "diagnosis", "emotion", "outcome")
GROUPS = (
    "group",
    "patient",
    "subject",
    "actor",
    "speaker",
    "person",
    "participant",
    "owner",
    "user",
)
SPLITS = ("split", "set", "subset", "partition", "part")
IDS = ("id", "uid", "uuid", "index", "key", "name", "sample")
MOST_CLASSES, MOST_CATEGORIES = 1000, 50
SIZE_SAID = "pixels of a side; 224 sees more, at the cost of its pixels"
ID_SAID = "id: every value is another"
VECTOR_SAID = 'values of each; if they are steps in time, say kind = "sequence" instead'
FLIP_SAID = "mirrored in half of the looks of training; false if left and right differ"

# A .txt is a text, a .npy or .h5 a sequence; these suffixes are used for point clouds too, which the user then says.
KIND_OF = {
    **dict.fromkeys(CLOUD_SUFFIXES, "points"),
    **dict.fromkeys(NUMBER_SUFFIXES, "sequence"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(SOUND_SUFFIXES, "audio"),
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    ".txt": "text",
}


def kind_of(name: str) -> str:
    """The kind of medium that a file's suffix says, or ""."""
    return KIND_OF.get(os.path.splitext(name)[1].lower(), "")


def kind_in(files: Sequence[Path]) -> str:
    """The kind of medium of some files of one modality: what their suffix says, but for arrays that are vectors."""
    kind = kind_of(files[0].name)
    return "vector" if kind == "sequence" and _width(files) else kind


def _width(files: Sequence[Path]) -> int:
    """How many values the vectors have that some ``.npy`` files hold; 0 where they are none, or of different lengths."""
    lengths = set()
    for path in files:
        if path.suffix.lower() not in (
            ".npy",
            ".npz",
            ".h5",
            ".hdf5",
        ):  # a text is rather one channel, or one step
            return 0
        try:
            *rest, last = read_numbers(path, "a vector").shape
        except (DataError, ValueError):  # damaged, or a single number: the others will say
            continue
        lengths.add(0 if rest not in ([], [1]) else last)
    return lengths.pop() if len(lengths) == 1 else 0


@dataclass(frozen=True)
class Found:
    """A modality that was guessed.

    Attributes:
        name, kind: of the modality.
        lines: what stands in its part of the TOML, each value with a comment or "".
    """

    name: str
    kind: str
    lines: Mapping[str, tuple[Any, str]]

    def text(self) -> str:
        """Its part of the TOML."""
        lines = [f"[modalities.{self.name}]", f'kind = "{self.kind}"']
        for key, (value, comment) in self.lines.items():
            said = f"{key} = {json.dumps(value, ensure_ascii=False)}"
            lines.append(f"{said:<28}# {comment}" if comment else said)
        return "\n".join(lines) + "\n"


@dataclass
class Draft:
    """A data TOML in the making, and what was guessed.

    Attributes:
        manifest: the name of the table.
        label, split, group, id: columns, or "".
        outside: whether files lie outside the manifest's folder.
        modalities: in order.
        notes: for each column, or for what else was looked at, what was guessed and why.
    """

    manifest: str
    label: str = ""
    split: str = ""
    group: str = ""
    id: str = ""
    outside: bool = False
    modalities: list[Found] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The TOML."""
        lines = [
            "# How equimodal reads this data; paths are relative to the manifest's folder.",
            f"manifest = {json.dumps(self.manifest, ensure_ascii=False)}",
            f"label = {json.dumps(self.label, ensure_ascii=False)}",
        ]
        more = {"split": self.split, "group": self.group, "id": self.id}
        lines += [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in more.items() if v]
        if self.outside:
            lines += [f"{'allow_outside = true':<28}# files lie outside the manifest's folder"]
        if not self.split:
            lines += [f"{'test = 0.2':<28}# held out at random; a split column would say who"]
            lines += ["validation = 0.1"]
        return "\n".join(lines) + "\n\n" + "\n".join(found.text() for found in self.modalities)


# A table.


def draft_table(path: Path, label: str = "", search: Sequence[Path] = ()) -> Draft:
    """What the columns of a table are.

    Args:
        path: CSV or Parquet.
        label: the column of the class, where the user says it.
        search: folders that the files named in it may lie in; by default that of the table.

    Raises:
        DataError: no column can be the label, or none a modality.
    """
    table = read(path)
    draft = Draft(path.name)
    columns = {name: _Column(table, name) for name in table.columns.column_names}
    if label and label not in columns:
        raise DataError(f"{path} has no column {label!r}; it has {', '.join(columns)}.")
    draft.label = label or _label(columns)
    if not draft.label:
        raise DataError(
            f"{path}: no column looks like a label ({', '.join(columns)}); say which by --label COLUMN."
        )
    why = "as you said" if label else "by its name or its few values"
    classes = len(columns[draft.label].different)
    draft.notes.append((draft.label, f"label, {why}: {counted(classes, 'class')}"))
    rest = {name: column for name, column in columns.items() if name != draft.label}
    found: list[Mapping[int, Path]] = []
    # Whole paths first: a column of bare names, such as ids, may only name the same files once more.
    for name, column in sorted(_roles(rest, draft).items(), key=lambda item: not item[1].paths):
        _media(name, column, search or (path.parent,), path.parent, draft, found)
    _facts(rest, draft)
    if not draft.modalities:
        raise DataError(
            f"{path}: no column holds numbers, texts or files that exist; name the folder with the files as well."
        )
    return draft


class _Column:
    """What can be seen of a column in its first rows."""

    def __init__(self, table: Table, name: str) -> None:
        texts = table.texts(name)
        self.rows = len(texts)
        first = enumerate(texts[:LOOKED_AT].to_pylist())
        self.cells = {row: text for row, text in first if text is not None}
        self.values = list(self.cells.values())
        self.different = texts.drop_null().unique().to_pylist()
        self.numeric = bool(self.values)
        try:
            table.numbers(name)
        except EquimodalError:
            self.numeric = False
        whole = self.numeric and all(v.isdigit() for v in self.values)
        numbers = [int(v) for v in self.values] if whole else []
        self.counts = len(numbers) > 2 and numbers == list(
            range(numbers[0], numbers[0] + len(numbers))
        )
        self.paths = bool(self.values) and bool(kind_of(self.values[0]))
        self.decimals = self.numeric and any(not v.lstrip("+-").isdigit() for v in self.values)


def _named(columns: Mapping[str, _Column], words: Sequence[str]) -> list[str]:
    """Columns whose name has one of the words, in the order of the words: exactly, then as a part."""
    exact = [n for word in words for n in columns if n.lower() == word]
    parts = [n for word in words for n in columns if word in n.lower().replace("-", "_").split("_")]
    return list(dict.fromkeys([*exact, *parts]))


def _label(columns: Mapping[str, _Column]) -> str:
    def possible(name: str) -> bool:
        column = columns[name]
        return 2 <= len(column.different) <= min(MOST_CLASSES, max(2, column.rows // 2))

    named = [n for n in _named(columns, LABELS) if possible(n)]
    if named:
        return named[0]
    roles = {*_named(columns, (*GROUPS, *SPLITS))}
    few = [n for n, c in columns.items() if possible(n) and n not in roles and not c.decimals]
    words = [n for n in few if not columns[n].numeric and not kind_of(columns[n].values[0])]
    return (words or few or [""])[-1]


def _roles(columns: dict[str, _Column], draft: Draft) -> dict[str, _Column]:
    """Finds split, group and id, and returns the other columns."""
    for name in _named(columns, SPLITS):
        known = {v.lower() for v in columns[name].different}
        if not draft.split and known <= {*PARTS, *SPELLINGS}:
            draft.split = name
            draft.notes.append((name, f"split: {', '.join(sorted(known))}"))
    for name in _named(columns, GROUPS):
        if not draft.group and 1 < len(columns[name].different) < columns[name].rows:
            draft.group = name
            groups = len(columns[name].different)
            draft.notes.append((name, f"group: {groups} of them, each on one side of a split"))
    for name in _named(columns, IDS):
        column = columns[name]
        files = bool(column.values) and kind_of(column.values[0])
        if not draft.id and not files and len(column.different) == column.rows > 1:
            draft.id = name
            draft.notes.append((name, ID_SAID))
    taken = {draft.split, draft.group}
    for name in taken:
        columns.pop(name, None)
    return columns


def _media(
    name: str,
    column: _Column,
    search: Sequence[Path],
    base: Path,
    draft: Draft,
    found: list[Mapping[int, Path]],
) -> None:
    """A column that names files, which by row are added to those that were found, or holds texts."""
    place = _place(column.values, search)
    if place is not None:
        root, suffix = place
        named = {row: root / f"{value}{suffix}" for row, value in column.cells.items()}
        files = list(named.values())[:OPENED]
        kind = kind_in(files)
        lines: dict[str, tuple[Any, str]] = {"column": (name, "")}
        relative = Path(os.path.relpath(root, base)).as_posix()
        if relative != ".":
            lines["root"] = (relative, "where the paths begin")
        if suffix:
            lines["suffix"] = (suffix, "added to each cell")
        if any(_same(named, others) for others in found):
            draft.notes.append((name, f"the names of the same {kind} files"))
            if not draft.id and len(column.different) == column.rows:
                draft.id = name
                draft.notes.append((name, ID_SAID))
            return
        found.append(named)
        draft.outside |= any(_outside(path, base) for path in files)
        options = OPTIONS[kind](files)
        draft.modalities.append(Found(_free(name, kind, draft), kind, {**lines, **options}))
        draft.notes.append((name, f"{kind} files{'' if relative == '.' else f' in {relative}'}"))
        if kind == "video":
            hear(draft, name, lines, files)
        return
    words = [len(value.split()) for value in column.values]
    if not column.numeric and words and statistics.mean(words) >= 3 and len(column.different) > 20:
        draft.modalities.append(Found(_free(name, "text", draft), "text", {"column": (name, "")}))
        draft.notes.append((name, "text, by its many words"))


def _same(files: Mapping[int, Path], others: Mapping[int, Path]) -> bool:
    """Whether two columns name the same file in most of the rows that have both."""
    both = files.keys() & others.keys()
    return 2 * sum(files[row] == others[row] for row in both) > len(both)


def _place(values: Sequence[str], search: Sequence[Path]) -> tuple[Path, str] | None:
    """The folder and the suffix by which most of some values are files that exist."""
    some = values[:OPENED]
    if not some:
        return None
    for folder in search:
        below = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name[0] != "."]
        for root in (folder, *below):
            suffixes = {""} if kind_of(some[0]) else _suffixes(root, some[0])
            for suffix in sorted(suffixes):
                # Not Path.is_file, which refuses a text that is too long for a name.
                there = [os.path.isfile(root / f"{value}{suffix}") for value in some]
                if sum(there) * 2 > len(some):
                    return root, suffix
    return None


def _outside(path: Path, folder: Path) -> bool:
    """Whether a file lies outside a folder, links followed."""
    return not path.resolve().is_relative_to(folder.resolve())


def _suffixes(root: Path, stem: str) -> set[str]:
    """The suffixes by which a name without one is a file."""
    if "/" in stem or "\\" in stem or len(stem) > 100:
        return set()
    return {s for s in KIND_OF if (root / f"{stem}{s}").is_file()}


def _free(name: str, kind: str, draft: Draft) -> str:
    """A name for a modality that is not taken yet."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    for word in ("_path", "_file", "_name", "filename", "path", "file", "id"):
        plain = plain.removesuffix(word)
    taken = {found.name for found in draft.modalities}
    for made in (plain, kind, *(f"{kind}{i}" for i in range(2, 99))):
        if made and made[0].isalpha() and made not in taken:
            return made
    return kind


def _facts(columns: Mapping[str, _Column], draft: Draft) -> None:
    """The columns of numbers and of few different words, as one table."""
    used = {
        line[0]
        for found in draft.modalities
        for line in found.lines.values()
        if isinstance(line[0], str)
    }
    numbers, words = [], []
    for name, column in columns.items():
        if name in used or name == draft.id:
            continue
        if column.counts:
            draft.notes.append((name, "left out: it only counts the rows"))
        elif column.numeric:
            numbers.append(name)
            draft.notes.append((name, "number, in the table"))
        elif not column.numeric and 2 <= len(column.different) <= min(
            MOST_CATEGORIES, column.rows // 2
        ):
            words.append(name)
            draft.notes.append((name, f"category, in the table: {len(column.different)} values"))
        else:
            draft.notes.append((name, f"left out: {_unusable(column.values)}"))
    if numbers or words:
        lines: dict[str, tuple[Any, str]] = {"columns": (numbers, "numbers; gaps are marked")}
        if words:
            lines["categories"] = (words, "words")
        draft.modalities.append(Found(_free("table", "table", draft), "table", lines))


def _unusable(values: Sequence[str]) -> str:
    """What values are that nothing can be made of, and what would be right."""
    if _all(values, r"[a-z][a-z0-9]*://"):
        return "addresses; get the files, and write where they lie"
    if values and (kind := kind_of(values[0])):
        if _all(values, r".*\\"):
            return "paths with \\; write them with /"
        return f"{kind} files that are not there"
    if _all(values, r"[+-]?[\d.]*,\d+$"):
        return "numbers with a decimal comma; write a point"
    if _all(values, r"\d{4}-\d\d-\d\d"):
        return "dates; write numbers or categories"
    return "neither file, number, category nor text"


def _all(values: Sequence[str], pattern: str) -> bool:
    return bool(values) and all(re.match(pattern, value) for value in values[:OPENED])


# Options that depend on the files.


def _image(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    from ..media.reader import needs

    pillow = needs("PIL.Image", "Reading images")
    sides, modes = [], set()
    for path in files:
        try:
            with pillow.open(path) as file:
                sides.append(min(file.size))
                modes.add(file.mode)
        except Exception:
            continue
    small = bool(sides) and statistics.median(sides) < 64
    channels = 1 if modes and modes <= {"1", "L"} else 3
    encoder = "cnn" if small else "resnet18"
    return {
        "size": (32 if small else 64, SIZE_SAID),
        "channels": (channels, ""),
        "flip": (True, FLIP_SAID),
        "encoder": (f"{encoder}(channels={channels})", SIZES[encoder]),
    }


def hear(
    draft: Draft, column: str, lines: Mapping[str, tuple[Any, str]], videos: Sequence[Path]
) -> None:
    """Adds the sound of videos as a modality of its own, read from the same column, if most of the first have any.

    Args:
        draft: what it is added to.
        column: that names the videos.
        lines: where they are, in the TOML.
        videos: some of them.
    """
    lengths = [length for path in videos[:OPENED] if (length := _seconds_of_sound(path))]
    if 2 * len(lengths) <= len(videos[:OPENED]):
        return
    found = Found(_free("sound", "audio", draft), "audio", {**lines, **_heard(lengths)})
    draft.modalities.append(found)
    draft.notes.append((column, f"their sound as well, as the modality {found.name}"))


def _seconds_of_sound(path: Path) -> float:
    """How long a video with sound is; 0 where it has none, or cannot be read."""
    try:
        with opened(path) as container:
            return float(container.duration or 0) / 1e6 if container.streams.audio else 0.0
    except DataError:
        return 0.0


def _audio(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    from ..media.audio import waveform

    lengths = []
    for path in files[:5]:
        try:
            lengths.append(len(waveform(path, 16000)) / 16000)
        except EquimodalError:
            continue
    return _heard(lengths)


def _heard(lengths: Sequence[float]) -> dict[str, tuple[Any, str]]:
    """How sound of such lengths, in seconds, is read."""
    seconds = min(10.0, max(0.5, round(statistics.median(lengths or [3.0]) * 2) / 2))
    return {
        "rate": (16000, "Hz; all are resampled to it"),
        "seconds": (seconds, "cut or filled to so many"),
        "form": ("logmel", ""),
        "bands": (64, ""),
        "scale": ("sample", "mean 0 and deviation 1 in each"),
        "encoder": ("resnet18(channels=1)", SIZES["resnet18"]),
    }


def _video(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    return {
        "frames": (3, "of a clip"),
        "size": (64, SIZE_SAID),
        "flip": (True, FLIP_SAID),
        "encoder": ("resnet18(channels=3)", SIZES["resnet18"]),
    }


def _points(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    return {"points": (1024, "of a cloud"), "encoder": ("pointnet()", SIZES["pointnet"])}


def _vector(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    return {"width": (_width(files), VECTOR_SAID)}


def _text(files: Sequence[Path]) -> dict[str, tuple[Any, str]]:
    return {"files": (True, "the cells name files")}


OPTIONS: Mapping[str, Callable[[Sequence[Path]], dict[str, tuple[Any, str]]]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "points": _points,
    "text": _text,
    "sequence": lambda files: {},
    "vector": _vector,
}
