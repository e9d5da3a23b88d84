"""What is a document? Data in JSON's own types with a schema version, made from tables and numbers and turned back into them.

A document is data and nothing else: numbers, texts, lists and objects by name, never pickled objects, never text that
is evaluated. It begins with ``schema_version`` and what it is a ``document`` of. A table is a list of records under its
name, and ``fields`` says of which column which type is and which columns are its index. A NaN is null, an infinite
number ``"inf"`` or ``"-inf"``; all other numbers are written so that they come back bit by bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.distributions import versions
from bcfl_opt.errors import InputError

#: Version of the layout of every document; it grows when a reader would have to change.
SCHEMA_VERSION = 2
_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64)|U?Int(8|16|32|64)|Float(32|64)|boolean|str|string|object"
    r"|datetime64\[(s|ms|us|ns)(, [A-Za-z0-9_+:/-]+)?\]"
)


def document(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` as a document in JSON's own types: schema version, kind and versions before it, ``fields`` after it."""
    whole = {"schema_version": SCHEMA_VERSION, "document": kind, "versions": versions(), **content}
    fields = {name: _fields(value) for name, value in content.items() if isinstance(value, pd.DataFrame)}
    return {**plain(whole), "fields": fields}


def as_text(whole: Mapping[str, Any]) -> str:
    """A document as strict JSON."""
    return json.dumps(whole, indent=2, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: tables as lists of records, series with their labels, enumerations by name.

    >>> plain({"gap": float("nan"), "limit": np.inf, "objective": np.float64(0.5), "ids": ("a", 1)})
    {'gap': None, 'limit': 'inf', 'objective': 0.5, 'ids': ['a', 1]}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, complex):
        return {"real": plain(value.real), "imaginary": plain(value.imag)}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): cells_of(cells) for name, cells, _ in _columns(value)}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if isinstance(value, pd.Series):
        levels = labels_of(value.index)
        return {
            "labels": [list(row) for row in zip(*map(cells_of, levels), strict=True)],
            "fields": [_field(level.name, level) for level in levels],
            "values": cells_of(value),
        }
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return str(value)


# ---------------------------------------------------------------------- back


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever is wrong with what a file says is an InputError that names the file."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(name):
            raise
        raise InputError(f"{name}: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not text in UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{name}, row {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise InputError(f"{name}: is nested too deeply to be one of ours") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        what = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise InputError(f"{name}: is damaged, or was changed by hand: {what}") from error


def number(value: Any) -> float:
    """A number as :func:`plain` writes it: null is NaN, "inf" and "-inf" are infinite."""
    if value is None:
        return math.nan
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{value!r} is not a number")
    return float(value)


def labelled(value: Any) -> Any:
    """What :func:`plain` made of a series, an array or a number."""
    if isinstance(value, pd.Series):
        return value
    if isinstance(value, Mapping) and "labels" in value:
        levels = [list(level) for level in zip(*value["labels"], strict=True)] or [[] for _ in value["fields"]]
        columns = [_column(field, level) for field, level in zip(value["fields"], levels, strict=True)]
        names = [field["name"] for field in value["fields"]]
        index = _index(columns[0], names[0])
        if len(columns) > 1:
            index = pd.MultiIndex.from_arrays(columns, names=names)
        return pd.Series(_array(value["values"]), index=index)
    if isinstance(value, list):
        return _array(value)
    if isinstance(value, Mapping):
        return complex(number(value["real"]), number(value["imaginary"]))
    return number(value)


def _array(cells: list[Any]) -> np.ndarray:
    def converted(cell: Any) -> Any:
        return [converted(item) for item in cell] if isinstance(cell, list) else labelled(cell)

    return np.array(converted(cells))


def parsed(text: str) -> Any:
    def constant(word: str) -> Any:
        raise InputError(f"{word} is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            raise InputError("an object names the same key twice")
        return result

    return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)


def checked(whole: Any, kind: str) -> dict[str, Any]:
    if not isinstance(whole, dict) or "schema_version" not in whole:
        raise InputError(f"this is no {kind} saved by bcfl_opt: it has no schema_version")
    version = whole["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool | float):
        raise InputError(
            f"schema version {version!r} is not the one that this version of bcfl_opt reads, {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or save it again"
        )
    if whole.get("document") != kind:
        raise InputError(f"holds a {whole.get('document')!r}, not a {kind}")
    return whole


def with_tables(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its tables as DataFrames; they may be lists of records or objects of columns."""
    content = {name: value for name, value in whole.items() if name != "fields"}
    for table, fields in whole["fields"].items():
        names = [field["name"] for field in fields]
        columns = content[table]
        if isinstance(columns, list):
            if any(set(record) != set(names) for record in columns):
                raise InputError(f"{table}: its records do not have the columns {', '.join(map(repr, names))}")
            columns = {name: [record[name] for record in columns] for name in names}
        series = {field["name"]: _column(field, columns[field["name"]]) for field in fields}
        index = [field["name"] for field in fields if field.get("index")]
        frame = pd.DataFrame({name: values for name, values in series.items() if name not in index})
        if index:
            (label,) = index
            frame = frame.set_axis(_index(series[label], label), axis=0)
        content[table] = frame
    return content


# ---------------------------------------------------------------------- columns


def _fields(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{**_field(name, cells), **({"index": True} if label else {})} for name, cells, label in _columns(frame)]


def _columns(frame: pd.DataFrame) -> Iterator[tuple[Any, pd.Series, bool]]:
    """Name, cells, and whether they are labels: a named index first, as a column; one without a name counts rows."""
    if any(name is not None for name in frame.index.names):
        yield from ((level.name, level, True) for level in labels_of(frame.index))
    yield from ((name, frame[name], False) for name in frame)


def labels_of(index: pd.Index) -> list[pd.Series]:
    """The levels of an index as series of the same types; pandas' own ways from one to the other change some."""
    levels = [index.get_level_values(k) for k in range(index.nlevels)]
    return [pd.Series(level, dtype=level.dtype, name=name) for level, name in zip(levels, index.names, strict=True)]


def _field(name: Any, cells: pd.Series) -> dict[str, Any]:
    if isinstance(cells.dtype, pd.CategoricalDtype):
        categories = cells.cat.categories.to_series(index=range(len(cells.cat.categories)))
        kind = {
            "dtype": "category",
            "ordered": bool(cells.cat.ordered),
            "categories": cells_of(categories),
            "category": _field(None, categories),
        }
    else:
        kind = {"dtype": str(cells.dtype)}
    return {"name": name if name is None else str(name), **kind}


def cells_of(cells: pd.Series) -> list[Any]:
    if cells.dtype.kind == "f" and isinstance(cells.dtype, np.dtype):
        values = cells.to_numpy(dtype=float)
        return values.tolist() if np.isfinite(values).all() else [plain(value) for value in values.tolist()]
    if cells.dtype == object:  # where None is not NaN
        return [{"number": plain(cell)} if isinstance(cell, float) else plain(cell) for cell in cells.tolist()]
    return [plain(cell) for cell in cells.tolist()]


def _column(field: Mapping[str, Any], cells: list[Any]) -> pd.Series:
    """The column that ``field`` describes, from its cells."""
    name = field["dtype"]
    if not isinstance(cells, list):
        raise InputError(f"column {field['name']!r} is not a list")
    if name == "category":
        categories = _column(field["category"], field["categories"])
        codes = {category: k for k, category in enumerate(field["categories"])}
        numbers = [-1 if cell is None else codes[cell] for cell in cells]
        return pd.Series(pd.Categorical.from_codes(numbers, pd.Index(categories), ordered=field["ordered"]))
    if not isinstance(name, str) or _DTYPE.fullmatch(name) is None:
        raise InputError(f"column {field['name']!r}: no file holds the type {name!r}")
    if name == "object":
        array = np.empty(len(cells), dtype=object)
        array[:] = [_as_tuple(cell) for cell in cells]
        return pd.Series(array, dtype=object)
    if name.startswith("float"):
        return pd.Series([number(cell) for cell in cells], dtype=name)
    if name.startswith("datetime64"):
        if not all(cell is None or isinstance(cell, str) for cell in cells):
            raise InputError(f"column {field['name']!r}: a time is not a text")
        times = pd.to_datetime(pd.Series(cells, dtype=object), format="ISO8601", utc=", " in name)
        return times.astype(name)
    wanted = bool if name.startswith("bool") else str if name in ("str", "string") else int | float
    for cell in cells:
        if not (cell is None or isinstance(cell, wanted)) or (wanted is not bool and isinstance(cell, bool)):
            raise InputError(f"column {field['name']!r}: {cell!r} is not of type {name}")
    if any(cell is None for cell in cells) and name[0] in "iub" and name != "boolean":
        raise InputError(f"column {field['name']!r}: a value is missing")
    return pd.Series(cells, dtype=name)


def _index(labels: pd.Series, name: Any) -> pd.Index:
    return pd.Index(labels, dtype=labels.dtype, name=name, tupleize_cols=False)


def _as_tuple(cell: Any) -> Any:
    if isinstance(cell, dict) and set(cell) == {"number"}:
        return number(cell["number"])
    return tuple(_as_tuple(item) for item in cell) if isinstance(cell, list) else cell
