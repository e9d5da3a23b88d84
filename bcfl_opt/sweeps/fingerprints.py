"""Is it the same as last time? Plain descriptions and fingerprints of what a computation is made from.

Two descriptions are equal if and only if the results may be used for one another: numbers to the last bit, tables by
content, functions by their name and their own compiled code, default values, and the plain values and functions of the
same module that they use. What a function calls in other modules is known by the versions of the packages alone.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import hashlib
import json
import types
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError
from bcfl_opt.game import Game
from bcfl_opt.population import Population


def fingerprint(description: Any) -> str:
    """SHA-256 of a description in JSON's types, in hexadecimal."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def describe(value: Any, name: str) -> Any:
    """``value`` in JSON's types, the same for equal values in every process.

    name : what to call it in messages.

    Raises
    ------
    InputError : an object of which nobody can tell whether it is the same the next time.
    """
    return _describe(value, name, ())


def _describe(value: Any, name: str, within: tuple[Any, ...]) -> Any:
    if any(value is other for other in within):
        return "itself"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if isinstance(value, complex | bytes | Fraction | Decimal | datetime.date | datetime.timedelta | PurePath):
        return repr(value)
    within = (*within, value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {
            "array": _hash(np.ascontiguousarray(value).tobytes()),
            "shape": list(value.shape),
            "type": str(value.dtype),
        }
    if isinstance(value, pd.Series | pd.DataFrame | pd.Index):
        return _table(value)
    if isinstance(value, Population):
        return {"population": _table(value.frame), "clients": len(value)}
    if isinstance(value, Game):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: _describe(item, f"{name}.{key}", within) for key, item in fields.items()}
    if isinstance(value, functools.partial):
        parts = [value.func, list(value.args), value.keywords]
        return {"partial": [_describe(part, name, within) for part in parts]}
    if isinstance(value, types.FunctionType):
        return _function(value, name, within)
    if isinstance(value, types.MethodType):
        return {"method": _function(value.__func__, name, within), "of": _describe(value.__self__, name, within)}
    if isinstance(value, type | types.BuiltinFunctionType | np.ufunc):
        return {"name": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"}
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if isinstance(value, Mapping):
        return {"items": [[_describe(key, name, within), _describe(item, name, within)] for key, item in value.items()]}
    if isinstance(value, list | tuple | range | np.ndarray):
        return [_describe(item, name, within) for item in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted(json.dumps(_describe(item, name, within), sort_keys=True) for item in value)}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, "fields": _describe(fields, name, within)}
    raise InputError(
        f"{name}: nobody can tell whether an object of type {type(value).__name__} is the same the next time, so results "
        "cannot be kept for it; use numbers, texts, tables, functions or dataclasses, or leave out the directory"
    )


def _table(value: Any) -> dict[str, Any]:
    try:
        hashes = pd.util.hash_pandas_object(value, index=True).to_numpy()
    except TypeError:  # cells such as lists, which cannot be hashed
        hashes = pd.util.hash_pandas_object(value.map(repr), index=True).to_numpy()
    columns = [str(column) for column in value.columns] if isinstance(value, pd.DataFrame) else [str(value.name)]
    return {"table": _hash(hashes.tobytes()), "columns": columns, "rows": len(value)}


def _function(value: Any, name: str, within: tuple[Any, ...]) -> dict[str, Any]:
    used = [value.__globals__[key] for key in value.__code__.co_names if key in value.__globals__]
    own = [
        item
        for item in used
        if isinstance(item, bool | int | float | str)
        or (isinstance(item, types.FunctionType) and item.__module__ == value.__module__)
    ]
    defaults = [value.__defaults__, value.__kwdefaults__, [cell.cell_contents for cell in value.__closure__ or ()]]
    return {
        "name": f"{value.__module__}.{value.__qualname__}",
        "code": _hash(repr(_code(value.__code__)).encode()),
        "uses": [_describe(item, name, within) for item in [*defaults, *own]],
    }


def _code(code: types.CodeType) -> tuple[Any, ...]:
    """What a function does, without where it stands in its file."""
    constants = tuple(
        _code(item)
        if isinstance(item, types.CodeType)
        else sorted(map(repr, item))
        if isinstance(item, frozenset)
        else item
        for item in code.co_consts
    )
    return (code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
