"""What is a multiplier called, and what does it say to the user? Rows and bounds of a Pyomo model by name.

One convention for shadow prices, everywhere in the package: d objective* / d right-hand side, in the user's own sense of
objective, for rows and bounds alike. With f = sense x objective minimised and multipliers of

    L = f + sum_i rows_i g_i + sum_j x_lower_j (lower_j - x_j) + x_upper_j (x_j - upper_j),   x_lower, x_upper >= 0,

d f* / d (a row's binding side) = -rows, d f* / d lower = x_lower and d f* / d upper = -x_upper; times sense, the objective's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pyomo.core.base.var import Var

from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import INFINITE, Program

#: What follows a variable's name in the name of its bound.
LOWER, UPPER = ".lower", ".upper"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """A component's entries by index, and the place of each among the programme's rows or columns; -1 where it has none."""

    component: Any
    index: pd.Index
    places: np.ndarray

    def told(self, numbers: np.ndarray) -> Any:
        """One number an entry, as a Series by index; a float for a scalar component."""
        return pd.Series(numbers, index=self.index, dtype=float) if self.component.is_indexed() else float(numbers[0])


class Names:
    """What rows and variables of a programme are called in its model: found out once, for all that is told of them."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._index: list[Any] = []
        self._same = pd.Index([])
        self._rows: list[Entries] = []
        row = 0
        while row < len(program.constraints):
            component = program.constraints[row].parent_component()
            index = _rows_of(component, program.constraints, row)
            self._rows.append(Entries(component, self._labels(index), np.arange(row, row + len(index))))
            row += len(index)
        place = {id(variable): column for column, variable in enumerate(program.variables)}
        self._columns = [
            Entries(
                component,
                self._labels(list(component.keys())),
                np.array([place.get(id(item), -1) for item in component.values()], dtype=np.int64),
            )
            for component in components(program)
        ]

    def _labels(self, index: list[Any]) -> pd.Index:
        """One for all components with the same index: a game has many of them."""
        if index != self._index:
            self._index, self._same = index, pd.Index(index, tupleize_cols=True) if index else pd.Index([])
        return self._same

    def variables(self, x: np.ndarray) -> dict[str, Any]:
        """Name -> Series by index (float for a scalar) for every active variable; those not in use keep their value, or NaN."""
        result = {}
        for entries in self._columns:
            numbers = np.append(x, np.nan)[entries.places]
            if (entries.places < 0).any():
                own = np.array([item.value for item in entries.component.values()], dtype=float)
                numbers = np.where(entries.places < 0, own, numbers)
            result[entries.component.name] = entries.told(numbers)
        return result

    def shadow_prices(self, multipliers: Multipliers) -> dict[str, Any]:
        """Name -> Series by index (float for a scalar) of d objective* / d right-hand side, or / d bound."""
        sense = self._program.sense
        return self._named(-sense * multipliers.rows, sense * multipliers.x_lower, -sense * multipliers.x_upper)

    def raw_multipliers(self, multipliers: Multipliers) -> dict[str, Any]:
        """Name -> Series by index (float for a scalar) of the multipliers of L, for the minimised objective."""
        return self._named(multipliers.rows, multipliers.x_lower, multipliers.x_upper)

    def _named(self, rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> dict[str, Any]:
        rows = rows + 0.0  # -0 is 0
        result = {entries.component.name: entries.told(rows[entries.places]) for entries in self._rows}
        result.update(self._of_bounds(lower + 0.0, upper + 0.0))
        return result

    def _of_bounds(self, lower: np.ndarray, upper: np.ndarray) -> Iterator[tuple[str, Any]]:
        """Bounds that exist. Those of a variable that is fixed, or in no active constraint or objective, are worth 0."""
        program = self._program
        for entries in self._columns:
            component, used = entries.component, entries.places >= 0
            if component.is_reference():
                continue  # another name for variables that have their own
            items = [] if used.all() else list(component.values())
            for side, suffix, limits, numbers in (
                (0, LOWER, program.x_lower, lower),
                (1, UPPER, program.x_upper, upper),
            ):
                bounded, values = np.zeros(len(used), dtype=bool), np.zeros(len(used))
                bounded[used] = np.isfinite(limits[entries.places[used]])
                values[used] = numbers[entries.places[used]]
                for k in np.flatnonzero(~used):
                    bound = items[k].bounds[side]
                    bounded[k] = bound is not None and abs(bound) < INFINITE
                if bounded.any():
                    kept = dataclasses.replace(entries, index=entries.index[bounded])
                    yield f"{component.name}{suffix}", kept.told(values[bounded])


def _rows_of(component: Any, constraints: list[Any], row: int) -> list[Any]:
    """Index of a component's entries that are rows, of which ``row`` is the first. They follow one another, in its order."""
    end = row + len(component)
    if end <= len(constraints) and constraints[end - 1].parent_component() is component:
        return list(component.keys())
    used = set(map(id, constraints[row:end]))
    return [index for index, item in component.items() if id(item) in used]


def components(program: Program) -> list[Any]:
    """The model's active variable components, and those outside of it (of a block's parent) that it uses."""
    found = {id(c): c for c in program.model.component_objects(Var, active=True, descend_into=True)}
    own = {id(item) for component in found.values() for item in component.values()}
    for variable in program.variables:
        if id(variable) not in own:
            component = variable.parent_component()
            found.setdefault(id(component), component)
    return list(found.values())


def series(component: Any, numbers: Mapping[Any, Any]) -> Any:
    """A float for a scalar component, else a Series by index; NaN for None."""
    if not component.is_indexed():
        number = numbers.get(None)
        return np.nan if number is None else float(number)
    index = pd.Index(list(numbers), tupleize_cols=True) if numbers else pd.Index([])
    return pd.Series([np.nan if n is None else float(n) for n in numbers.values()], index=index, dtype=float)
