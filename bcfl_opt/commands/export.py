"""How do results leave the program? Tables as CSV that no spreadsheet executes, documents as strict JSON; all or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bcfl_opt import documents
from bcfl_opt.distributions import versions
from bcfl_opt.documents import SCHEMA_VERSION, plain
from bcfl_opt.errors import InputError
from bcfl_opt.files import check_folder, new_files
from bcfl_opt.tables import safe_cells, write_csv

__all__ = [
    "SCHEMA_VERSION",
    "check_directory",
    "deliver",
    "document",
    "plain",
    "safe_cells",
    "versions",
    "write_directory",
]


def document(command: str, content: Mapping[str, Any]) -> str:
    """A JSON document of :mod:`bcfl_opt.documents`; of the kind ``content["document"]``, else named for the command."""
    content = dict(content)
    return documents.as_text(documents.document(content.pop("document", command), {"command": command, **content}))


def check_directory(directory: Path, *, force: bool) -> None:
    """Refuse, before any work is done, a directory that :func:`write_directory` would refuse."""
    check_folder(directory, force=force, label=f"--out {directory}")


def write_directory(
    directory: Path,
    tables: Mapping[str, pd.DataFrame],
    documents: Mapping[str, str],
    pictures: Mapping[str, bytes] | None = None,
    *,
    force: bool,
) -> None:
    """Write ``tables`` as NAME.csv, ``documents`` as NAME.json and ``pictures`` as NAME.png: all of them, or none.

    With ``force``, files of the same names in an existing directory are replaced; other files in it stay as they are.
    """
    with new_files(directory, force=force, label=f"--out {directory}") as partial:
        for name, frame in tables.items():
            write_csv(frame, partial / f"{name}.csv")
        for name, text in documents.items():
            (partial / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        for name, picture in (pictures or {}).items():
            (partial / f"{name}.png").write_bytes(picture)


def deliver(
    show: Callable[[], None],
    out: Path | None,
    tables: Mapping[str, pd.DataFrame],
    documents: Mapping[str, str],
    pictures: Mapping[str, bytes] | None = None,
    *,
    force: bool,
) -> None:
    """Write the files, then print. A reader that stops reading loses no file, and a full disk does not lose the answer."""
    try:
        if out is not None:
            write_directory(out, tables, documents, pictures, force=force)
    except InputError:
        show()
        raise
    show()
