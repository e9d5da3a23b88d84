"""What is a multiplier called, and what does it say to the user? Rows and bounds of a Pyomo model by name.

One convention for shadow prices, everywhere in the package: d objective* / d right-hand side, in the user's own sense of
objective, for rows and bounds alike. With f = sense x objective minimised and multipliers of

    L = f + sum_i rows_i g_i + sum_j x_lower_j (lower_j - x_j) + x_upper_j (x_j - upper_j),   x_lower, x_upper >= 0,

d f* / d (a row's binding side) = -rows, d f* / d lower = x_lower and d f* / d upper = -x_upper; times sense, the objective's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pyomo.core.base.var import Var

from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import INFINITE, Program

#: What follows a variable's name in the name of its bound.
LOWER, UPPER = ".lower", ".upper"


def shadow_prices(program: Program, multipliers: Multipliers) -> dict[str, Any]:
    """Name -> Series by index (float for a scalar) of d objective* / d right-hand side, or / d bound."""
    sense = program.sense
    return _named(program, -sense * multipliers.rows, sense * multipliers.x_lower, -sense * multipliers.x_upper)


def by_name(program: Program, multipliers: Multipliers) -> dict[str, Any]:
    """Name -> Series by index (float for a scalar) of the raw multipliers of L, for the minimised objective."""
    return _named(program, multipliers.rows, multipliers.x_lower, multipliers.x_upper)


def components(program: Program) -> list[Any]:
    """The model's active variable components, and those outside of it (of a block's parent) that it uses."""
    found = {id(c): c for c in program.model.component_objects(Var, active=True, descend_into=True)}
    for variable in program.variables:
        component = variable.parent_component()
        found.setdefault(id(component), component)
    return list(found.values())


def _named(program: Program, rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> dict[str, Any]:
    grouped: dict[int, tuple[Any, dict[Any, float]]] = {}
    for constraint, number in zip(program.constraints, (rows + 0.0).tolist(), strict=True):
        component = constraint.parent_component()
        grouped.setdefault(id(component), (component, {}))[1][constraint.index()] = number
    result = {component.name: series(component, numbers) for component, numbers in grouped.values()}
    result.update(_of_bounds(program, lower + 0.0, upper + 0.0))
    return result


def _of_bounds(program: Program, lower: np.ndarray, upper: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Bounds that exist. Those of a variable that is fixed, or in no active constraint or objective, are worth 0."""
    place = {id(variable): k for k, variable in enumerate(program.variables)}
    for component in components(program):
        if component.is_reference():
            continue  # another name for variables that have their own
        items = list(component.values())
        columns = np.fromiter((place.get(id(item), -1) for item in items), dtype=np.int64, count=len(items))
        used, index = columns >= 0, pd.Index(list(component.keys()), tupleize_cols=True)
        for side, suffix, numbers in ((0, LOWER, lower), (1, UPPER, upper)):
            bounded, values = np.zeros(len(items), dtype=bool), np.zeros(len(items))
            bounded[used] = np.isfinite((program.x_lower, program.x_upper)[side][columns[used]])
            values[used] = numbers[columns[used]]
            for k in np.flatnonzero(~used):
                bound = items[k].bounds[side]
                bounded[k] = bound is not None and abs(bound) < INFINITE
            if bounded.any():
                name = f"{component.name}{suffix}"
                yield (
                    name,
                    pd.Series(values[bounded], index=index[bounded]) if component.is_indexed() else float(values[0]),
                )


def series(component: Any, numbers: Mapping[Any, Any]) -> Any:
    """A float for a scalar component, else a Series by index; NaN for None."""
    if not component.is_indexed():
        number = numbers.get(None)
        return np.nan if number is None else float(number)
    index = pd.Index(list(numbers), tupleize_cols=True) if numbers else pd.Index([])
    return pd.Series([np.nan if n is None else float(n) for n in numbers.values()], index=index, dtype=float)
