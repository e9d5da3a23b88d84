"""How do results leave the program? Tables as CSV that no spreadsheet executes, documents as strict JSON; all or none.

CSV: numbers in full precision. A text cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
would run as a formula in a spreadsheet, so it gets a leading ``'``; numbers are untouched.
JSON: values that are not finite (no limit, not recruited) become null.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError
from bcfl_opt.provenance import versions as versions

#: Version of the layout of every JSON document; it grows when a reader would have to change.
SCHEMA_VERSION = 1
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def document(command: str, content: Mapping[str, Any]) -> str:
    """A JSON document: schema version, command, versions, then ``content``."""
    whole = {"schema_version": SCHEMA_VERSION, "command": command, "versions": versions(), **content}
    return json.dumps(plain(whole), indent=2, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: tables as lists of records, series as objects, enumerations by name.

    >>> plain({"gap": float("nan"), "objective": np.float64(0.5), "ids": ("a", 1)})
    {'gap': None, 'objective': 0.5, 'ids': ['a', 1]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, pd.DataFrame):
        return [plain(record) for record in _flat(value).to_dict("records")]
    if isinstance(value, pd.Series):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with its index as columns, and every text (headers too) safe to open in a spreadsheet.

    >>> safe_cells(pd.DataFrame({"client": ["=1+1", "phone"], "gap": [-1.0, 2.0]}))["client"].tolist()
    ["'=1+1", 'phone']
    """
    flat = _flat(frame).rename(columns=_safe)
    texts = [k for k, dtype in enumerate(flat.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    for k in texts:
        flat.isetitem(k, flat.iloc[:, k].astype(object).map(_safe))
    return flat


def check_directory(directory: Path, *, force: bool) -> None:
    """Refuse, before any work is done, a directory that :func:`write_directory` would refuse."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out {directory}: is a file; name a directory")
    if not force and directory.is_dir() and any(directory.iterdir()):
        raise InputError(
            f"--out {directory}: is not empty; name another directory, or add --force to replace its tables"
        )


def write_directory(
    directory: Path,
    tables: Mapping[str, pd.DataFrame],
    documents: Mapping[str, str],
    pictures: Mapping[str, bytes] | None = None,
    *,
    force: bool,
) -> None:
    """Write ``tables`` as NAME.csv, ``documents`` as NAME.json and ``pictures`` as NAME.png: all of them, or none.

    Everything is written to a new directory beside ``directory``, then renamed. With ``force``, files of the same names
    in an existing directory are replaced one by one; other files in it stay as they are.
    """
    check_directory(directory, force=force)
    partial = directory.parent / f".{directory.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        for name, frame in tables.items():
            safe_cells(frame).to_csv(partial / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
        for name, text in documents.items():
            (partial / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        for name, picture in (pictures or {}).items():
            (partial / f"{name}.png").write_bytes(picture)
        if directory.exists():
            for file in sorted(partial.iterdir()):
                os.replace(file, directory / file.name)
        else:
            partial.rename(directory)
    except OSError as error:
        raise InputError(f"--out {directory}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with a named index as leading columns; an index without a name counts rows and is dropped."""
    return frame.reset_index(drop=all(name is None for name in frame.index.names))
