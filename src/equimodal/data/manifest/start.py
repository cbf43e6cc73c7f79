"""`equimodal data init`: from files to a data TOML beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError, DataError
from ...files import write
from .folder import draft_folder, write_rows
from .guess import Draft, draft_table

__all__ = ["Started", "start"]

TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Started:
    """What was written.

    Attributes:
        path: of the data TOML.
        written: all files that were written.
        notes: what was guessed, and why.
    """

    path: Path
    written: tuple[Path, ...]
    notes: tuple[tuple[str, str], ...]


def start(
    paths: Sequence[Path], label: str = "", out: Path | None = None, overwrite: bool = False
) -> Started:
    """Guess how files are to be read, and write it down.

    Args:
        paths: a table, a folder with a table, a folder of media, or a table and the folders of its files.
        label: the column of the class, where the guess would be wrong.
        out: the data TOML; by default beside the table, or in the folder.
        overwrite: replace a data TOML, or a manifest, that is there.

    Raises:
        ConfigError: it is there already.
        DataError: nothing could be made of the files.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.")
        if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
            raise DataError(f"{path} is a spreadsheet; save it as 'CSV UTF-8' and name that.")
    tables, folders = _sorted(paths)
    if len(tables) > 1:
        raise DataError(
            f"There are several tables, {', '.join(map(str, tables))}; name the one with the labels."
        )
    if tables:
        table = tables[0]
        draft = draft_table(table, label, folders or (table.parent,))
        target = out or table.with_suffix(".toml")
        return _write(target, table.parent, draft, overwrite)
    if len(folders) != 1:
        raise DataError("Name one folder, or a table and the folders of its files.")
    folder = folders[0]
    draft, rows = draft_folder(folder)
    target = out or folder / f"{folder.resolve().name}.toml"
    _refuse(folder / draft.manifest, overwrite)
    _refuse(target, overwrite)
    write_rows(folder / draft.manifest, draft, rows)
    done = _write(target, folder, draft, overwrite)
    return Started(done.path, (folder / draft.manifest, done.path), done.notes)


def _sorted(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tables and folders; a folder alone gives the tables that lie in it."""
    folders = [path for path in paths if path.is_dir()]
    tables = [path for path in paths if path.suffix.lower() in TABLES and path.is_file()]
    rest = [path for path in paths if path not in folders and path not in tables]
    if rest:
        raise DataError(
            f"{rest[0]} is neither a table (csv, tsv, parquet) nor a folder; name the folder that it lies in."
        )
    if not tables and len(folders) == 1:
        tables = [p for p in sorted(folders[0].iterdir()) if p.suffix.lower() in TABLES]
    return tables, folders


def _refuse(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already: replace it with --overwrite, or choose --out.")


def _write(target: Path, base: Path, draft: Draft, overwrite: bool) -> Started:
    if target.parent.resolve() != base.resolve():
        raise ConfigError(
            f"The data TOML must lie beside its manifest, in {base}; {target} does not."
        )
    _refuse(target, overwrite)
    write(target, draft.text())
    return Started(target, (target,), tuple(draft.notes))
