"""What is kept of a result? A ``Record``: numbers and texts by name, and tables by client or another label.

Records become rows of an Arrow table, one a cell: single values as columns, tables as columns of lists beside their list
of labels (the field's metadata says which). That is what travels between processes and what is written to files, so that
a result is the same whichever way it came. From such tables a labelled ``xarray.Dataset`` is made.
"""

from __future__ import annotations

import dataclasses
import enum
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bcfl_opt.errors import InputError
from bcfl_opt.quantities import attributes
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    import xarray as xr

#: What every cell has, whatever its result; a result of such a name is kept as ``result_status`` and so on.
OWN = ("succeeded", "status", "message")
#: The key of a column's metadata that holds its dimension.
DIMENSION = b"dimension"
_ATTRIBUTES = {
    "succeeded": "did the cell give a result",
    "status": "why it stopped: the solver's status, 'done' for what has none, 'error' for an exception",
    "message": "what went wrong; empty where nothing did",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One cell's outcome.

    values : single numbers and texts by name. tables : dimension -> frame whose index holds the labels along it.
    """

    succeeded: bool
    status: str
    message: str = ""
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)


def failure(error: Exception) -> Record:
    """The record of a cell that raised."""
    from bcfl_opt.errors import BcflOptError

    text = " ".join(str(error).split())
    return Record(False, "error", text if isinstance(error, BcflOptError) else f"{type(error).__name__}: {text}")


def record_of(result: Any, name: str) -> Record:
    """What is kept of ``result``, called ``name`` where it has no name of its own.

    A :class:`Solution` gives its objective, the owner's utility, iterations, residual, quality and its table of clients; a
    number or a text itself; a Series or DataFrame one value a label; a mapping all of its items; an object with a ``table``
    that table, and the numbers and texts among its fields.

    Raises
    ------
    InputError : nothing of it can be kept.
    """
    if isinstance(result, Solution):
        return _of_solution(result)
    values: dict[str, Any] = {}
    tables: dict[str, pd.DataFrame] = {}
    _collect(result, name, values, tables)
    return Record(True, "done", "", values, tables)


def _of_solution(solution: Solution) -> Record:
    solved, certificate = solution.succeeded, solution.certificate
    values = {
        "objective": solution.objective if solved else np.nan,
        "owner_utility": solution.owner_utility if solved and solution.clients is not None else np.nan,
        "iterations": solution.iterations,
        "residual": np.nan if certificate is None else certificate.worst[1],
        "quality": solution.quality.name.lower(),
    }
    tables = {} if solution.clients is None else {"client": solution.clients}
    return Record(solved, solution.status.name.lower(), "" if solved else solution.message, values, tables)


def _collect(result: Any, name: str, values: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    if isinstance(result, np.generic):
        result = result.item()
    if isinstance(result, enum.Enum):
        result = result.name.lower()
    if isinstance(result, str | numbers.Real):
        values[name] = result
    elif isinstance(result, pd.Series):
        _collect(result.to_frame(name), name, values, tables)
    elif isinstance(result, pd.DataFrame):
        if result.columns.has_duplicates:
            raise InputError(f"a table has the column {result.columns[result.columns.duplicated()][0]!r} twice")
        dimension, frame = _labelled(result)
        if dimension in tables:
            if not tables[dimension].index.equals(frame.index):
                raise InputError(
                    f"two of its tables have different labels along {dimension!r}; return them as one frame"
                )
            frame = pd.concat([tables[dimension], frame], axis=1)
        tables[dimension] = frame
    elif isinstance(result, Mapping) and all(isinstance(key, str) for key in result):
        for key, item in result.items():
            _collect(item, key, values, tables)
    elif isinstance(result, Solution):
        raise InputError("a Solution among other results: return it alone, or the numbers of it that you want")
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        _collect_fields(result, name, values, tables)
    elif isinstance(getattr(result, "table", None), pd.DataFrame):
        _collect(result.table, name, values, tables)
    else:
        raise InputError(
            f"the function returned {_kind(result)}, which cannot be kept; return a Solution, a model to solve, a number, "
            "a text, a Series or DataFrame labelled by client, or a dict of these by name"
        )


def _collect_fields(result: Any, name: str, values: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    for field in dataclasses.fields(result):
        item = getattr(result, field.name)
        if isinstance(item, str | numbers.Real | np.generic | enum.Enum) and not field.name.startswith("_"):
            _collect(item, field.name, values, tables)
    if isinstance(getattr(result, "table", None), pd.DataFrame):
        _collect(result.table, name, values, tables)
    if isinstance(getattr(result, "agrees", None), bool):  # of a cross-check
        values["agrees"] = result.agrees
    if not values and not tables:
        raise InputError(f"the function returned {_kind(result)}, none of whose fields is a number, a text or a table")


def _kind(result: Any) -> str:
    return "nothing" if result is None else f"an object of type {type(result).__name__}"


def _labelled(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The name of the frame's dimension, and the frame with unique labels as its index.

    The index is taken if it has one name and no label twice. Otherwise, the leading columns of text label the rows if
    they tell them apart; if not, the rows are numbered.
    """
    names = list(frame.index.names)
    if len(names) == 1 and names[0] is not None and frame.index.is_unique:
        return str(names[0]), frame
    if any(name is not None for name in names):
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    leading = []
    for column in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[column]):
            break
        leading.append(column)
        labels = frame[leading].astype(str).agg(", ".join, axis=1)
        if labels.is_unique:
            return "_".join(map(str, leading)), frame.set_index(pd.Index(labels, name="label"))
    return "row", frame


# ---------------------------------------------------------------------- rows of an Arrow table


def to_arrow(cells: Sequence[int], records: Sequence[Record]) -> pa.Table:
    """One row a cell: column ``cell``, what every cell has, single values, and tables as lists."""
    columns: list[tuple[pa.Field, pa.Array]] = []

    def add(name: str, array: pa.Array, dimension: str | None = None) -> None:
        metadata = None if dimension is None else {DIMENSION: dimension.encode()}
        columns.append((pa.field(name, array.type, metadata=metadata), array))

    add("cell", pa.array(cells, pa.int64()))
    for name, kind in zip(OWN, (pa.bool_(), pa.large_string(), pa.large_string()), strict=True):
        add(name, pa.array([getattr(record, name) for record in records], kind))
    for name in _names(record.values for record in records):
        add(f"value:{name}", _single_values([record.values.get(name) for record in records]))
    for dimension in _names(record.tables for record in records):
        frames = [record.tables.get(dimension) for record in records]
        present = [frame for frame in frames if frame is not None]
        ends = np.cumsum([0] + [0 if frame is None else len(frame) for frame in frames])
        offsets = pa.array(ends, pa.int64())
        labels = _many_values([frame.index.array for frame in present])
        add(f"label:{dimension}", pa.LargeListArray.from_arrays(offsets, labels), dimension)
        for column in _names(present):
            parts = [
                frame[column].array if column in frame.columns else np.full(len(frame), np.nan) for frame in present
            ]
            add(f"table:{dimension}:{column}", pa.LargeListArray.from_arrays(offsets, _many_values(parts)), dimension)
    fields, arrays = zip(*columns, strict=True)
    return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))


def _names(tables: Iterable[Iterable[Any]]) -> list[Any]:
    """All names, each once, in the order of their first appearance."""
    return list(dict.fromkeys(name for table in tables for name in table))


def _single_values(values: Sequence[Any]) -> pa.Array:
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present):
        return pa.array(values, pa.bool_())
    if any(isinstance(value, str) for value in present):
        return pa.array([None if value is None else str(value) for value in values], pa.large_string())
    if all(isinstance(value, int) and abs(value) < 2**63 for value in present):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _many_values(parts: Sequence[Any]) -> pa.Array:
    """One array of the parts' values: flags, whole numbers or floats if they all are, and texts otherwise."""
    if parts and all(isinstance(part.dtype, pd.StringDtype) for part in parts):
        return pa.concat_arrays([pa.array(part, pa.large_string()) for part in parts])
    whole: np.ndarray = np.concatenate([np.asarray(part) for part in parts]) if parts else np.empty(0)
    kinds = {np.asarray(part).dtype.kind for part in parts}
    if kinds <= {"b"} or kinds <= {"i", "u"}:
        return pa.array(whole)
    if kinds <= {"b", "i", "u", "f"}:
        return pa.array(whole.astype(float))
    try:
        found = pa.array(whole, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # ids such as 1 and "1" in one table
        found = None
    if found is not None and (pa.types.is_integer(found.type) or pa.types.is_boolean(found.type)):
        return found
    if found is not None and pa.types.is_floating(found.type):
        return found.cast(pa.float64())
    return pa.array([None if item is None else str(item) for item in whole.tolist()], pa.large_string())


# ---------------------------------------------------------------------- a labelled data set


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """One parameter of a grid: its name, a label for every value, and the values themselves."""

    name: str
    labels: np.ndarray
    values: Sequence[Any]


def to_dataset(axes: Sequence[Axis], tables: Sequence[pa.Table], facts: Mapping[str, Any]) -> xr.Dataset:
    """The cells' rows as variables over the grid; what is missing in a cell is NaN, or "" among texts.

    facts : attributes of the data set.
    """
    import xarray as xr

    grid = tuple(axis.name for axis in axes)
    shape = tuple(len(axis.labels) for axis in axes)
    count = int(np.prod(shape, dtype=np.int64))
    coordinates: dict[str, Any] = {axis.name: (axis.name, axis.labels, attributes(axis.name)) for axis in axes}
    variables: dict[str, Any] = {}
    merged = _joined(tables)
    cells = merged["cell"].to_numpy()
    for name in OWN:
        variables[name] = (grid, _placed(merged[name], cells, count).reshape(shape), {"long_name": _ATTRIBUTES[name]})
    taken = {*OWN, *grid}
    places: dict[str, tuple[str, np.ndarray, int]] = {}
    for field in merged.schema:
        kind, _, own_name = field.name.partition(":")
        if kind == "label":
            dimension = _free(own_name, taken)
            taken.add(dimension)
            labels, place = _positions(merged[field.name], cells)
            coordinates[dimension] = (dimension, labels)
            places[own_name] = (dimension, place, len(labels))
    for field in merged.schema:
        kind, _, own_name = field.name.partition(":")
        if kind not in ("value", "table"):
            continue
        along = "" if kind == "value" else field.metadata[DIMENSION].decode()
        own_name = own_name.removeprefix(f"{along}:")
        name = _free(own_name, taken)
        taken.add(name)
        if kind == "value":
            array, dimensions = _placed(merged[field.name], cells, count).reshape(shape), grid
        else:
            dimension, place, width = places[along]
            flat = merged[field.name].combine_chunks().flatten()
            array = _placed(flat, place, count * width).reshape(*shape, width)
            dimensions = (*grid, dimension)
        variables[name] = (dimensions, array, attributes(own_name))
    return xr.Dataset(variables, coordinates, dict(facts))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows in one table. A column of different kinds becomes floats, or texts if some of it is text."""
    kinds: dict[str, list[pa.Field]] = {}
    for table in tables:
        for field in table.schema:
            kinds.setdefault(field.name, []).append(field)
    fields = []
    for name, found in kinds.items():
        types = {field.type for field in found}
        kind = found[0].type
        if len(types) > 1:
            inner = {each.value_type if pa.types.is_large_list(each) else each for each in types} - {pa.null()}
            common = pa.large_string() if pa.large_string() in inner else pa.float64()
            common = next(iter(inner)) if len(inner) == 1 else common
            kind = pa.large_list(common) if pa.types.is_large_list(kind) else common
        fields.append(pa.field(name, kind, metadata=found[0].metadata))
    rows = []
    for table in tables:
        arrays = [
            table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in fields
        ]
        rows.append(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
    return pa.concat_tables(rows).combine_chunks()


def _free(name: str, taken: Iterable[str]) -> str:
    """``name``, or ``result_name`` where a parameter of the grid or another variable has it already."""
    while name in taken:
        name = f"result_{name}"
    return name


def _positions(lists: pa.ChunkedArray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels along a dimension, in order of their first appearance, and the place of every entry of the lists."""
    array = lists.combine_chunks()
    flat = pd.Index(_numpy(array.flatten()))
    lengths = np.diff(array.offsets.to_numpy()) if len(array) else np.empty(0, dtype=np.int64)
    lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    labels = flat.unique()
    return labels.to_numpy(), np.repeat(cells, lengths) * len(labels) + labels.get_indexer(flat)


def _placed(values: Any, places: np.ndarray, count: int) -> np.ndarray:
    """An array of ``count`` with these values in these places, and what stands for "missing" elsewhere."""
    found = _numpy(values)
    if found.dtype.kind == "O":
        array = np.full(count, "", dtype=object)
    elif len(found) < count and found.dtype.kind in "biu":
        array = np.full(count, np.nan)  # 1, 0 and NaN where not every cell has an answer
    else:
        array = np.full(count, np.nan, dtype=float) if found.dtype.kind == "f" else np.empty(count, dtype=found.dtype)
    array[places] = found
    return array


def _numpy(values: Any) -> np.ndarray:
    """Arrow's values as numpy's; a missing number is NaN, a missing text is ""."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(values.fill_null("").to_numpy(zero_copy_only=False), dtype=object)
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if values.null_count:
        values = values.cast(pa.float64())
    array: np.ndarray = (
        values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)
    )
    return array
