"""How is a table of clients read from a file piece by piece, and would it fit in memory as a whole?"""

from __future__ import annotations

import contextlib
import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bcfl_opt.errors import InputError, listing
from bcfl_opt.memory import available_memory, size_text

#: Bytes of a number, by Parquet's names.
SIZES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is read into one message that names it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:  # pandas' parse errors are ValueErrors
        raise InputError(f"{path.name}: cannot be read as {path.suffix[1:]}: {str(error).strip()}") from error


def csv_chunks(path: Path, size: int) -> Iterator[pd.DataFrame]:
    """The rows of a CSV file, so many at a time; blank rows at its end are no rows."""
    with reading(path):
        pieces = _parsed_csv(path, _csv_header(path), chunksize=size)
    blank = None
    with pieces:
        while True:
            with reading(path), _too_long_rows_refused():
                frame = next(pieces, None)
            if frame is None:
                return
            frame = frame if blank is None else pd.concat([blank, frame], ignore_index=True)
            filled = _cut(frame)
            blank = frame.iloc[len(filled) :]
            if len(filled):
                yield filled


def _csv_header(path: Path) -> list[str]:
    # The header is read on its own: pandas would rename a column that appears twice instead of telling, and would take
    # the first column for row labels where the rows are longer than the header. A byte-order mark is no part of a name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip() or f"unnamed column {k}" for k, name in enumerate(next(csv.reader(file), []), start=1)]
    if not header:
        raise ValueError("its first line does not name the columns")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"column {listing(twice)} appears twice")
    return header


def _parsed_csv(path: Path, header: list[str], **options: Any) -> Any:
    with _too_long_rows_refused():
        return pd.read_csv(
            path,
            header=0,
            names=header,
            index_col=False,
            dtype={"client": "str"},  # ids such as "007" must survive
            keep_default_na=False,  # only an empty cell is missing: a client may well be called "NA"
            na_values=[""],
            skip_blank_lines=False,  # they count in the row numbers of messages
            encoding="utf-8-sig",
            **options,
        )


@contextlib.contextmanager
def _too_long_rows_refused() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            yield
        except pd.errors.ParserWarning as error:
            raise ValueError("its rows have more cells than the first line has names") from error


def _cut(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the blank rows at its end."""
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    return frame.iloc[: filled[-1] + 1 if filled.size else 0]


def refuse_what_memory_cannot_hold(path: Path) -> None:
    """Refuse a Parquet file that is larger than memory before it is read; anything else about it is left to the reader."""
    if not path.is_file():  # nothing, a folder, or a pipe that would be waited for: the reader says what is wrong
        return
    try:
        metadata = pq.read_metadata(path)
    except (OSError, ValueError):  # no Parquet file, or a broken one: the reader says what is wrong
        return
    needed, available = memory_of(metadata), available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"{path.name}: its {metadata.num_rows:,} clients need about {size_text(needed)} of memory and "
            f"{size_text(available)} are available; work through it in parts with bcfl_opt.partitioned or bcfl-opt respond"
        )


def memory_of(metadata: pq.FileMetaData) -> float:
    """Bytes that reading a whole file as a population takes at its peak, from what the file says of itself.

    The table decoded, its copy as a frame, three columns of numbers twice, and the table of hashes in which ids are
    compared (about 72 bytes a client, as measured).
    """
    # By row group: what Arrow tells of a column within one stops the whole process where the file is broken.
    encoded = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
    kinds = [metadata.schema.column(k).physical_type for k in range(metadata.num_columns)]
    sizes = [SIZES.get(kind, 8) * metadata.num_rows for kind in kinds]  # at least: equal values are stored once
    texts = sum(size for kind, size in zip(kinds, sizes, strict=True) if kind not in SIZES)
    decoded = sum(sizes) - texts + (max(encoded, texts) if texts else 0)
    return 2.0 * decoded + (2 * 3 * 8 + 72) * metadata.num_rows
