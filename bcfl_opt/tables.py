"""How do tables travel through CSV and Parquet files that people make and open, and where exactly is such a file wrong?

CSV: comma-separated, UTF-8, decimal points, one line of names. Text that begins with ``=``, ``+``, ``-``, ``@``, a tab
or a line break would run as a formula in a spreadsheet; it is written with a leading ``'``, which reading takes off.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError, listing
from bcfl_opt.files import read_bytes

#: What a spreadsheet takes for the start of a formula; the last four are the first four in full width.
FORMULA_STARTS = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(f"'*[{FORMULA_STARTS}]")
_MADE_SAFE = re.compile(f"'+[{FORMULA_STARTS}]")
#: A table of no more cells than this fits any memory.
PLENTY = 10_000_000
#: First bytes of files that are often given the name of a table.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstandard archive",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_csv(path: Path, numbers: Callable[[str], bool]) -> pd.DataFrame:
    """The table in a CSV file, empty lines at its end left out.

    Parameters
    ----------
    path : the file. numbers : does the column of this name hold numbers? One that does not come as text, so that what is
        wrong with it can be said in the file's own letters; other columns get the types they look like, ``client`` text.

    Raises
    ------
    InputError : naming the file and, where there is one, the row (the line of names is row 1).
    """
    name, data = path.name, read_bytes(path)
    _refuse_foreign(name, data, "CSV", "save it as CSV UTF-8")
    text = _decoded(name, data)
    header = _header(name, text, numbers)
    if '"' in text:  # pandas would read on to the next quotation mark, wherever it is
        _check_rows(name, text, len(header))
    try:
        frame = _parsed(text, header, {"client": "str"})  # ids such as "007" must survive
        doubtful = [column for column in header if numbers(column) and not _all_finite(frame[column])]
        if doubtful:
            frame[doubtful] = _parsed(text, header, dict.fromkeys(doubtful, "str"), usecols=doubtful)
    except (ValueError, pd.errors.ParserWarning) as error:
        _check_rows(name, text, len(header))
        _check_rows(name, text, len(header), blank=True)
        raise InputError(f"{name}: cannot be read as csv: {' '.join(str(error).split())}") from error
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    frame = frame.iloc[: filled[-1] + 1 if filled.size else 0]
    for k, column in enumerate(header):
        cells = frame.iloc[:, k]
        if pd.api.types.is_string_dtype(cells) and cells.str.startswith("'").any() and not numbers(column):
            frame.isetitem(k, cells.map(_unquoted, na_action="ignore").astype(cells.dtype))
    return frame


def _parsed(text: str, header: list[str], dtype: dict[str, str], **more: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            io.StringIO(text),
            header=0,
            names=header,
            index_col=False,
            dtype=dtype,
            keep_default_na=False,  # only an empty cell is missing: a client may well be called "NA"
            na_values=[""],
            skip_blank_lines=False,  # they count in the row numbers of messages
            low_memory=False,  # one type a column, whatever its length
            **more,
        )


def _all_finite(cells: pd.Series) -> bool:
    return cells.dtype.kind in "iuf" and bool(np.isfinite(cells.to_numpy()).all())


def read_parquet(path: Path) -> pd.DataFrame:
    """The table in a Parquet file.

    Raises
    ------
    InputError : naming the file and what is wrong with it.
    """
    name, data = path.name, read_bytes(path)
    if not data.startswith(b"PAR1"):
        _refuse_foreign(name, data, "Parquet", "write it as Parquet")
        raise InputError(f"{name}: is not a Parquet file")
    if not data.endswith(b"PAR1"):
        raise InputError(f"{name}: the end of this Parquet file is missing; copy or write it again")
    try:
        frame = pd.read_parquet(io.BytesIO(data))  # from bytes: neither the path nor a folder's name adds a column
        for cells in (frame.index, *(frame.iloc[:, place] for place in range(frame.shape[1]))):
            _check_text(cells)
        return frame
    except MemoryError as error:
        rows, columns = _extent(data)
        if rows * columns > PLENTY:
            raise
        raise InputError(
            f"{name}: cannot be read as Parquet: it asks for more memory than {rows} rows take; copy or write it again"
        ) from error
    except Exception as error:  # a file that lies about its content raises anything from KeyError to OSError
        raise InputError(f"{name}: cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error


def _check_text(cells: pd.Series | pd.Index) -> None:
    """Raises where the bytes of a text are none, which would otherwise come out wherever it is first used."""
    if isinstance(cells.dtype, pd.StringDtype):
        import pyarrow as pa

        try:
            pa.array(cells, from_pandas=True).validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {str(cells.name)!r}: {error}") from error


def _extent(data: bytes) -> tuple[int, int]:
    """Rows and columns that a Parquet file says it has."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(io.BytesIO(data))
    return int(metadata.num_rows), int(metadata.num_columns)


def safe_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with its index as columns, and every text (headers too) safe to open in a spreadsheet.

    >>> safe_cells(pd.DataFrame({"client": ["=1+1", "phone"], "gap": [-1.0, 2.0]}))["client"].tolist()
    ["'=1+1", 'phone']
    """
    flat = flat_table(frame).rename(columns=_quoted)
    texts = [k for k, dtype in enumerate(flat.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    for k in texts:
        flat.isetitem(k, flat.iloc[:, k].astype(object).map(_quoted))
    return flat


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write ``frame`` as CSV that no spreadsheet executes; numbers in full precision."""
    safe_cells(frame).to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def flat_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with a named index as leading columns; an index without a name counts rows and is dropped."""
    return frame.reset_index(drop=all(name is None for name in frame.index.names))


def _quoted(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _unquoted(cell: str) -> str:
    return cell[1:] if _MADE_SAFE.match(cell) else cell


# ---------------------------------------------------------------------- what is wrong with a file


def _refuse_foreign(name: str, data: bytes, wanted: str, mend: str) -> None:
    for start, kind in _FOREIGN.items():
        if data.startswith(start):
            raise InputError(f"{name}: is {kind}, not {wanted}; {mend}")


def _decoded(name: str, data: bytes) -> str:
    """The text, without a byte-order mark."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place(data, error.start)
        raise InputError(
            f"{name}, {place}: byte 0x{data[error.start]:02x} is not UTF-8; save the table as CSV UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(
            f"{name}, {_place(data, data.index(0))}: holds a NUL byte, so it is no text; save it as CSV UTF-8"
        )
    return text


def _place(data: bytes, k: int) -> str:
    """Row and column of the k-th byte; latin-1 because every byte is a letter there."""
    lines = data[: k + 1].decode("latin-1").splitlines()
    try:
        (cells,) = csv.reader([lines[-1]])
        (header,) = csv.reader(lines[:1])
    except (csv.Error, ValueError):
        return f"row {len(lines)}"
    named = len(lines) > 1 and len(cells) <= len(header)
    return f"row {len(lines)}, column {repr(header[len(cells) - 1]) if named else len(cells)}"


def _header(name: str, text: str, numbers: Callable[[str], bool]) -> list[str]:
    try:
        cells = next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error as error:
        raise InputError(f"{name}, row 1: {error}") from error
    header = [_unquoted(cell.strip()) or f"unnamed column {k}" for k, cell in enumerate(cells, start=1)]
    if not cells:
        raise InputError(f"{name}: its first line does not name the columns")
    if cells[0].startswith("sep="):
        raise InputError(f"{name}, row 1: {cells[0]!r} is no line of names; delete it")
    if any("\n" in cell or "\r" in cell for cell in cells):
        raise InputError(f"{name}, row 1: a column's name goes over two lines; is a quotation mark missing?")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise InputError(f"{name}: column {listing(twice)} appears twice")
    if not any(numbers(column) for column in header):
        first = text.splitlines()[0]
        for separator, word in _SEPARATORS.items():
            if any(numbers(cell.strip(' "')) for cell in first.split(separator)):
                raise InputError(
                    f"{name}, row 1: the cells are separated by {word}; separate them by commas, and write decimals "
                    "with a point"
                )
    return header


def _check_rows(name: str, text: str, width: int, *, blank: bool = False) -> None:
    """Raise for the first row that has more cells (with ``blank``: even empty ones) than the first, or an open quotation."""
    number = 0
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            if len(row) > width and (blank or any(cell.strip() for cell in row[width:])):
                raise InputError(
                    f"{name}, row {number}, column {width + 1}: the row has {len(row)} cells, and row 1 names {width} "
                    "columns; is there a decimal comma in it, or text with a comma and without quotation marks?"
                )
    except csv.Error as error:
        problem = "the quotation mark that opens here is not closed" if "unexpected end" in str(error) else str(error)
        raise InputError(f"{name}, row {number + 1}: {problem}") from error
