"""How do games and solutions travel through files? Documents as JSON or NetCDF, a table as CSV or Parquet.

NetCDF (classic format, 64-bit offsets) holds what JSON holds: columns of numbers, truth values and texts are variables
over the dimension ``client``, and the rest of the document is JSON in the attribute ``bcfl_opt``.

What would not come back as it went, an id of an odd type, is refused before anything is written.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import documents, tables
from bcfl_opt.documents import cells_of
from bcfl_opt.errors import InputError, choice, require
from bcfl_opt.files import new_file, read_bytes

#: Where NetCDF and Parquet files keep the document.
ATTRIBUTE = "bcfl_opt"
#: Parts of a document that hold series, arrays or numbers by name.
GROUPS = ("variables", "shadow_prices")


def save(
    path: Path,
    kind: str,
    content: Mapping[str, Any],
    *,
    formats: Iterable[str],
    table: str = "",
    overwrite: bool = False,
) -> None:
    """Write a document to ``path``, in the format that its ending names.

    Parameters
    ----------
    content : the document's, tables as DataFrames. table : the one that CSV and Parquet hold; the rest of the document is
        then in the Parquet file's metadata, or beside NAME.csv in NAME.csv-metadata.json.
    formats : the endings to allow, of ".json", ".nc", ".csv", ".parquet".

    Raises
    ------
    InputError : another ending; the file exists and ``overwrite`` is not given; it cannot be written; something in it
        would not come back as it is.
    """
    ending = choice("ending of a file", path.suffix.lower(), formats)
    if ending in (".csv", ".parquet") and content.get(table) is None:
        raise InputError(f"{path.name}: there is no table of {table} to write; .json and .nc hold all there is")
    whole = documents.document(kind, content)
    if ending == ".csv":
        with new_file(path, path.with_name(f"{path.name}-metadata.json"), overwrite=overwrite) as (rows, notes):
            tables.write_csv(content[table], rows)
            notes.write_text(documents.as_text(_without_tables(whole)) + "\n", encoding="utf-8")
        return
    with new_file(path, overwrite=overwrite) as (partial,):
        try:
            if ending == ".json":
                partial.write_bytes(documents.as_text(whole).encode() + b"\n")
                back = documents.with_tables(whole)
            elif ending == ".nc":
                _write_netcdf(partial, whole, content)
                back = _from_netcdf(partial.read_bytes(), kind)
            else:
                content = {table: _as_text_columns(content[table])}
                _write_parquet(partial, documents.as_text(_without_tables(whole)), content[table])
                back = {table: pd.read_parquet(io.BytesIO(partial.read_bytes()))}
            _refuse_changes(content, back)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from error
        except (LookupError, TypeError) as error:
            raise InputError(f"{path.name}: something in it would not come back as it is: {error}") from error


def _without_tables(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if name != "fields" and name not in whole["fields"]}


def _as_text_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of objects that are all texts, told to be so; Parquet knows no other."""
    texts = [name for name in frame if frame[name].dtype == object and all(type(cell) is str for cell in frame[name])]
    return frame.astype(dict.fromkeys(texts, "str"))


def _write_parquet(path: Path, notes: str, frame: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"Parquet cannot hold the table: {' '.join(str(error).split())[:200]}") from error
    pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), ATTRIBUTE: notes}), path)


def _write_netcdf(path: Path, whole: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Columns and series by client that NetCDF has a type for become variables; ``{"netcdf": NAME}`` stands for them."""
    require("xarray")
    import xarray as xr

    frames = {name: value for name, value in content.items() if isinstance(value, pd.DataFrame)}
    index = next(iter(frames.values())).index if frames else pd.Index([])
    arrays: dict[str, Any] = {}

    def stored(name: str, cells: pd.Series) -> Any:
        array = _native(cells)
        if array is None or name in arrays or re.fullmatch(r"\w[\w .-]*", name) is None:
            return None
        arrays[name] = ("client", array)
        return {"netcdf": name}

    rest = dict(whole)
    (labels,) = documents.labels_of(index)
    ids = stored("client", labels) or cells_of(labels)
    for k, (table, frame) in enumerate(frames.items()):
        if frame.index.equals(index):
            columns = {
                name: stored(f"{table}_{name}" if k else name, frame[name]) or cells_of(frame[name]) for name in frame
            }
            rest[table] = {index.name: ids, **columns}
    for group in GROUPS:
        rest[group] = dict(rest.get(group) or {})
        for name, value in (content.get(group) or {}).items():
            if isinstance(value, pd.Series) and frames and _identical(value.index.set_names(index.names), index):
                place = stored(f"{group}_{name}", value)
                rest[group][name] = {**place, "index_name": value.index.name} if place else rest[group][name]
    coordinates = {"client": arrays.pop("client")} if "client" in arrays else {}
    dataset = xr.Dataset(arrays, coords=coordinates, attrs={ATTRIBUTE: json.dumps(rest, allow_nan=False)})
    dataset.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")


def _native(cells: pd.Series) -> np.ndarray | None:
    """The cells as an array that classic NetCDF has a type for; None where it has none."""
    if cells.dtype == object or cells.dtype == "str":
        return cells.to_numpy(dtype=object) if all(type(cell) is str for cell in cells) else None
    if cells.dtype in (np.float64, np.bool_):
        return cells.to_numpy()
    if cells.dtype == np.int64 and cells.min() >= -(2**31) and cells.max() < 2**31:
        return cells.to_numpy(dtype=np.int32)
    return None


def _refuse_changes(content: Mapping[str, Any], back: Mapping[str, Any]) -> None:
    """Raise for the first table or series that would not come back bit by bit, type by type."""
    for name, value in content.items():
        if isinstance(value, pd.DataFrame):
            pairs = {"the ids": (value.index, back[name].index)} if value.shape[1] else {}
            pairs |= {f"column {column!r}": (value[column], back[name].get(str(column))) for column in value}
        elif name in GROUPS:
            pairs = {f"{name} {key!r}": (item, documents.labelled(back[name][key])) for key, item in value.items()}
        else:
            continue
        for where, (before, after) in pairs.items():
            if not _identical(before, after):
                kind = getattr(before, "dtype", type(before).__name__)
                raise InputError(
                    f"{where} of type {kind} would not come back as it is; "
                    "use text, whole numbers or dates for ids and plain columns, or another format"
                )


def _identical(one: Any, other: Any) -> bool:
    if isinstance(one, pd.Series) and isinstance(other, pd.Series):
        same_cells = one.dtype != object or all(map(_identical, one.tolist(), other.tolist()))
        return one.dtype == other.dtype and one.equals(other) and _identical(one.index, other.index) and same_cells
    if isinstance(one, pd.MultiIndex):
        return isinstance(other, pd.MultiIndex) and one.equals(other) and list(one.dtypes) == list(other.dtypes)
    if isinstance(one, pd.Index):
        same_cells = one.dtype != object or all(map(_identical, one.tolist(), other.tolist()))
        return one.equals(other) and one.dtype == other.dtype and one.name == other.name and same_cells
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


# ---------------------------------------------------------------------- in


def load(path: Path, kind: str, *, formats: Iterable[str]) -> dict[str, Any]:
    """The content of a document of this kind, its tables as DataFrames, as :func:`save` wrote it.

    Raises
    ------
    InputError : no such file, not a document of ours, of another kind or schema version, or damaged.
    """
    ending = choice("ending of a file", path.suffix.lower(), formats)
    data = read_bytes(path)
    with documents.reading(path.name):
        if ending == ".nc":
            return _from_netcdf(data, kind)
        return documents.with_tables(documents.checked(documents.parsed(data.decode("utf-8-sig")), kind))


def _from_netcdf(data: bytes, kind: str) -> dict[str, Any]:
    require("xarray")
    import xarray as xr

    if data.startswith(b"\x89HDF"):
        raise InputError("is NetCDF 4 (HDF5); solutions are saved as classic NetCDF")
    if not data.startswith(b"CDF"):
        raise InputError("is not a NetCDF file")
    with io.BytesIO(data) as buffer:
        try:
            with xr.open_dataset(buffer, engine="scipy", decode_times=False) as dataset:
                arrays = {str(name): dataset[name].to_numpy().tolist() for name in dataset.variables}
                notes = dataset.attrs.get(ATTRIBUTE, "{}")
        except MemoryError:
            raise
        except Exception as error:  # a damaged file raises anything
            raise InputError(f"cannot be read as NetCDF: {' '.join(str(error).split())[:200]}") from error
    whole = documents.checked(documents.parsed(notes), kind)

    def stored(value: Any) -> Any:
        return arrays[value["netcdf"]] if isinstance(value, dict) and "netcdf" in value else value

    for table in whole["fields"]:
        if isinstance(whole[table], dict):
            whole[table] = {name: stored(value) for name, value in whole[table].items()}
    content = documents.with_tables(whole)
    index = next((content[table].index for table in whole["fields"]), pd.Index([]))
    for group in GROUPS:
        for name, value in content[group].items():
            if isinstance(value, dict) and "netcdf" in value:
                content[group][name] = pd.Series(stored(value), index=index.rename(value["index_name"]), dtype=float)
    return content
