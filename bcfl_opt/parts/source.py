"""How is a population read that does not fit in memory? In parts, and each part in chunks of so many rows.

A source is a Parquet or CSV file, a directory or list of Parquet files, or a Dask data frame. Its parts are what workers
share out among them: the row groups of Parquet files, whole CSV files, the partitions of a Dask data frame. Every chunk is
a validated :class:`Population`, whose errors count rows in the whole file.
"""

from __future__ import annotations

import dataclasses
import glob
import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bcfl_opt import population, table_parts
from bcfl_opt.errors import InputError, listing
from bcfl_opt.population import CYCLE_FACTORS, SYMBOLS, Place, Population, id_text

#: Bytes that a reader of Parquet may hold of a column that it has not decoded yet.
READ_AHEAD = 1 << 20
#: Files that ids are shared out to when they are compared: each holds few enough to sort in memory.
BUCKETS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A piece of the source: of a file (one of its row groups, if it is Parquet), or of a Dask data frame (no path).

    rows : how many it has; None where nobody knows before reading. first_row : the number of its first row in its file.
    first_id : the first of the numbers that are the ids where the table has none.
    """

    source: str
    path: Path | None = None
    row_group: int | None = None
    rows: int | None = None
    first_row: int = 0
    first_id: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A population in parts. ``data`` : Dask's delayed partitions, one a part; None for files."""

    name: str
    parts: tuple[Part, ...]
    data: tuple[Any, ...] | None = None

    @property
    def rows(self) -> int | None:
        rows = [part.rows for part in self.parts]
        return None if None in rows else sum(number for number in rows if number is not None)


def open_source(source: Any) -> Source:
    """Find out what parts a source has; nothing is read but the ends of Parquet files.

    Raises
    ------
    InputError : naming the file, and what can be read.
    """
    if hasattr(source, "to_delayed") and hasattr(source, "npartitions"):
        data = tuple(source.to_delayed())
        parts = tuple(Part(f"partition {k} of the Dask data frame") for k in range(len(data)))
        return Source("Dask data frame", parts, data)
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.is_dir():
            files = sorted(path.glob("*.parquet"))
            if not files:
                raise InputError(f"{path}: a directory without .parquet files")
        elif glob.has_magic(str(source)) and not path.exists():
            files = sorted(Path(name) for name in glob.glob(str(source)))
            if not files:
                raise InputError(f"{source}: no such files")
        else:
            files = [path]
        name = path.name
    elif isinstance(source, Sequence):
        files = [Path(item) for item in source]
        if not files:
            raise InputError("a population needs at least one file")
        name = f"{len(files)} files"
    else:
        raise InputError(
            f"a population in parts is a .parquet or .csv file, a directory or list of them, or a Dask data frame, not "
            f"{type(source).__name__}"
        )
    found: list[Part] = []
    for file in files:
        found += _parts(file, sum(part.rows or 0 for part in found))
    return Source(name, tuple(found))


def _parts(file: Path, first_id: int) -> list[Part]:
    if not file.is_file():
        raise InputError(f"{file.name}: no such file at {file}")
    if file.suffix.lower() == ".csv":
        return [Part(file.name, file, first_id=first_id)]
    if file.suffix.lower() != ".parquet":
        raise InputError(f"{file.name}: a population file ends in .csv or .parquet, not {file.suffix!r}")
    with table_parts.reading(file):
        metadata = pq.read_metadata(file)
    sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    starts = itertools.accumulate(sizes, initial=0)
    if not sum(sizes):
        raise InputError(f"{file.name}: the table is empty; a population needs at least one client")
    places = enumerate(zip(sizes, starts, strict=False))
    return [Part(file.name, file, k, rows, start, first_id + start) for k, (rows, start) in places if rows]


# ---------------------------------------------------------------------- chunks


def chunks(part: Part, size: int, extra: Iterable[str] = (), frame: pd.DataFrame | None = None) -> Iterator[Population]:
    """The part's clients, so many rows at a time, validated.

    extra : other columns to read, if they are there. frame : the part itself, of a Dask data frame.
    """
    row = part.first_row
    for piece in _frames(part, size, extra, frame):
        if "client" not in piece and piece.index.name is None and isinstance(piece.index, pd.RangeIndex):
            first = part.first_id + row - part.first_row
            piece.index = pd.RangeIndex(first, first + len(piece))
        yield Population(piece, source=Place(part.source, row))
        row += len(piece)


def _frames(part: Part, size: int, extra: Iterable[str], frame: pd.DataFrame | None) -> Iterator[pd.DataFrame]:
    if frame is not None:
        return (frame.iloc[start : start + size] for start in range(0, len(frame), size))
    assert part.path is not None
    if part.row_group is None:
        return table_parts.csv_chunks(part.path, size)
    return _parquet_frames(part.path, part.row_group, size, extra)


def _parquet_frames(path: Path, row_group: int, size: int, extra: Iterable[str]) -> Iterator[pd.DataFrame]:
    with table_parts.reading(path):
        # Buffered, so that a row group of any size is read piece by piece.
        file = pq.ParquetFile(path, buffer_size=READ_AHEAD, pre_buffer=False)
    with file:
        with table_parts.reading(path):  # what a file says of itself may be nonsense, too
            names = file.schema_arrow.names
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise InputError(f"{path.name}: column {listing(twice)} appears twice")
            index = _index_column(file.schema_arrow, path.name)
            wanted = {"client", *SYMBOLS, *SYMBOLS.values(), *CYCLE_FACTORS, *extra, index}
            columns = [name for name in names if name.strip() in wanted or name == index]
            batches = file.iter_batches(size, row_groups=[row_group], columns=columns, use_threads=False)
        while True:
            with table_parts.reading(path):
                batch = next(batches, None)
                if batch is None:
                    return
                batch.validate(full=True)  # texts whose bytes are none come out here
                frame = batch.to_pandas(ignore_metadata=True)
            yield frame if index is None else frame.rename(columns={index: "client"})


def _index_column(schema: pa.Schema, name: str) -> str | None:
    """The column that holds a pandas frame's index, which are the ids unless there is a column ``client``."""
    stored = [column for column in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(column, str)]
    if len(stored) > 1:
        raise InputError(f"{name}: the index has {len(stored)} levels; ids must be one index or column 'client'")
    return stored[0] if stored and "client" not in schema.names else None


# ---------------------------------------------------------------------- ids


@dataclasses.dataclass(frozen=True, slots=True)
class IdRange:
    """What a chunk tells of its ids: the first, the last, and whether each is greater than the one before."""

    first: Any
    last: Any
    ascending: bool

    @classmethod
    def of(cls, ids: pd.Index) -> IdRange:
        first, last = ids[:1].tolist()[0], ids[-1:].tolist()[0]
        return cls(first, last, bool(ids.is_monotonic_increasing))  # without duplicates: checked already


def surely_unique(ranges: Sequence[IdRange]) -> bool:
    """Do these ranges alone prove that no id appears in two of them?"""
    if len({type(end) for each in ranges for end in (each.first, each.last)}) > 1:
        return False
    if not all(each.ascending for each in ranges):
        return len(ranges) == 1
    ordered = sorted(ranges, key=lambda each: each.first)
    return all(one.last < other.first for one, other in itertools.pairwise(ordered))


def hashes(part: Part, size: int, frame: pd.DataFrame | None = None) -> Iterator[np.ndarray]:
    """64 bits of every id, chunk by chunk."""
    for crowd in chunks(part, size, frame=frame):
        yield _hashes(crowd.ids)


def _hashes(ids: pd.Index) -> np.ndarray:
    # Numbers and texts are hashed apart: 7 and "7" are two ids.
    return pd.util.hash_array(ids.to_numpy() if pd.api.types.is_numeric_dtype(ids) else ids.to_numpy(dtype=object))


def check_unique(arrays: Iterable[np.ndarray], again: Callable[[np.ndarray], Iterator[tuple[str, Any, str]]]) -> None:
    """Raise an :class:`InputError` if an id appears twice in the whole population; exact, in little memory.

    Parameters
    ----------
    arrays : 64 bits of every id. They are shared out by their first bits to temporary files (8 bytes a client on disk),
        each of which is sorted alone. again : the rows whose bits are among the given ones, as (place, id, its text), by
        reading the population once more: few ids share their bits by chance, and a message names rows.
    """
    directory = Path(tempfile.mkdtemp(prefix="bcfl-opt-ids-"))
    try:
        suspects = _repeated(arrays, directory)
    except OSError as error:
        raise InputError(f"ids cannot be compared: {error.strerror or error} in {directory.parent}") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if not suspects.size:
        return
    seen: dict[tuple[type, Any], str] = {}
    for place, client, text in again(suspects):
        key = (type(client), client)
        if key in seen:
            raise InputError(
                f"{place}, column 'client': id {text} appears twice, first in {seen[key]}; ids must be unique"
            )
        seen[key] = place


def _repeated(arrays: Iterable[np.ndarray], directory: Path) -> np.ndarray:
    """Bits that appear more than once."""
    files = [directory / f"{k:03d}" for k in range(BUCKETS)]
    for array in arrays:
        ordered = np.sort(array)
        ends = np.searchsorted(ordered, np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(56))
        for file, piece in zip(files, np.split(ordered, ends), strict=True):
            if piece.size:
                with file.open("ab") as sink:
                    sink.write(piece.tobytes())
    found = []
    for file in files:
        if file.exists():
            ordered = np.sort(np.fromfile(file, dtype=np.uint64))
            found.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
            file.unlink()
    return np.concatenate(found) if found else np.empty(0, dtype=np.uint64)


def rows_with(part: Part, size: int, bits: np.ndarray, frame: pd.DataFrame | None = None) -> list[tuple[str, Any, str]]:
    """Place, id and its text of every row of the part whose id has such bits."""
    found = []
    row = part.first_row
    for crowd in chunks(part, size, frame=frame):
        for k in np.flatnonzero(np.isin(_hashes(crowd.ids), bits)):
            client = crowd.ids[k : k + 1].tolist()[0]
            line = population.line(int(k), Place(part.source, row))
            found.append((f"{part.source}, {line}", client, id_text(crowd.ids, int(k))))
        row += len(crowd)
    return found


def partial_name(target: Path) -> Path:
    """A hidden name beside ``target`` for what is not finished yet."""
    return target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
