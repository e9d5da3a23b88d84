"""What is a game's programme in its own units? Variables, rows and objective as numbers near 1, and the way back.

A game may be told in any units of money, time and cycles, and its clients may lie millions apart. A solver's tolerances
are absolute, so it is given the same programme told in the sizes that its terms have at the start, a representative point:

    x = sizes x',   rows g'_i = g_i / (its largest term),   f' = sum over the parts of (f_part + y'(A x - b)) / (its size)

A part is what no constraint and no term of the objective connects with the rest, a client for instance: parts are solved
together, and yet each to its own last digit. A x = b are the linear equalities; y takes out what they fix of the objective
anyway: where clients use the whole deadline, their time costs the owner the same whatever they do, and left in, it can
be a million times the payments that are to be minimised, and drown them. All factors are powers of two, so that telling
rounds nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sparse

from bcfl_opt.fixed_cost import ROUNDING, without_fixed_cost
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Family, Functions, Program
from bcfl_opt.nlp.subprogram import part_numbers

#: Parts whose sizes differ by less than this are not weighed against one another.
ALIKE = 1e2
#: What is small where the usual size is 1: sizes are those at the start, and an answer may be far from it.
MILLIONTH = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NormalForm:
    """sizes : by variable. rows : factor by row. column_weight, row_weight : of the objective, by variable and by row.
    shift : y by row (0 for rows that are no linear equality). cost : A'y by variable. pull : of the objective on each
    variable at the start, in the programme's own units."""

    sizes: np.ndarray
    rows: np.ndarray
    column_weight: np.ndarray
    row_weight: np.ndarray
    shift: np.ndarray
    cost: np.ndarray
    pull: np.ndarray

    @classmethod
    def of(cls, program: Program, x: np.ndarray, *, separable: bool = True) -> NormalForm:
        """Told in the sizes of its terms at x. A variable that is 0 there gets its size from the rows it is in.

        separable : the objective is known term by term, so that its parts can be weighed.
        """
        functions = program.functions
        with np.errstate(all="ignore"):
            jacobian, gradient = np.abs(functions.jacobian_matrix(x)), functions.gradient(x)
        sizes = np.where((x != 0) & np.isfinite(x), np.abs(x), 1.0)
        entries, largest = jacobian.tocoo(), np.zeros(functions.rows)
        np.maximum.at(largest, entries.coords[0], entries.data * sizes[entries.coords[1]])
        factors = 1.0 / _usable(np.where(largest > 0, largest, _constant_sizes(program, x)))
        unknown = x == 0
        if unknown.any():
            steep = jacobian[:, unknown].multiply(factors[:, None]).max(axis=0).toarray().ravel()
            sizes[unknown] = 1.0 / _usable(steep)
        sizes, factors = power_of_two(sizes), power_of_two(factors)

        shift, cost = _fixed_cost(program, sizes)
        with np.errstate(all="ignore"):
            pull = np.abs(_rounded(gradient, cost) * sizes)
        part = part_numbers(functions) if separable else np.zeros(functions.columns + functions.rows, dtype=np.int64)
        weight = _weights(pull, part)[part]
        column_weight, row_weight = weight[: len(x)], weight[len(x) :]
        return cls(sizes, factors, column_weight, row_weight, shift, cost, pull * column_weight)

    def told(self, program: Program) -> Program:
        """The programme in its own units."""
        functions = program.functions
        told = Functions(
            0.0,
            _rounded(functions.objective_linear, self.cost) * self.sizes * self.column_weight,
            functions.constant * self.rows,
            self.scaled(functions.linear),
            [self._family(family) for family in functions.families],
        )
        limits: dict[str, Any] = self.limits(program)
        return dataclasses.replace(program, functions=told, **limits)

    def scaled(self, linear: sparse.csr_array) -> sparse.csr_array:
        """The same entries for rows and variables in their own units."""
        row = np.repeat(self.rows, np.diff(linear.indptr))
        return sparse.csr_array(
            (row * linear.data * self.sizes[linear.indices], linear.indices, linear.indptr), linear.shape
        )

    def _family(self, family: Family) -> Family:
        """The same terms as functions of x', times the factors of their rows or the weights of their parts."""
        constants = family.constants.copy()
        of_objective = self.column_weight[family.columns[0]] if len(family.columns) else 1.0
        of_rows = self.rows[family.rows] if len(self.rows) else 1.0
        constants[0] *= np.where(family.rows < 0, of_objective, of_rows)
        return dataclasses.replace(family, constants=constants, sizes=self.sizes[family.columns])

    def limits(self, program: Program) -> dict[str, np.ndarray]:
        """Bounds of variables and sides of rows, in the programme's own units."""
        return {
            "x_lower": program.x_lower / self.sizes,
            "x_upper": program.x_upper / self.sizes,
            "lower": program.lower * self.rows,
            "upper": program.upper * self.rows,
        }

    def there(self, multipliers: Multipliers) -> Multipliers:
        """Multipliers of the programme as written -> of this one."""
        return Multipliers(
            (multipliers.rows - self.shift) * self.row_weight / self.rows,
            multipliers.x_lower * (self.sizes * self.column_weight),
            multipliers.x_upper * (self.sizes * self.column_weight),
        )

    def back(self, multipliers: Multipliers) -> Multipliers:
        """Multipliers of this programme -> of the one as written."""
        return Multipliers(
            multipliers.rows * self.rows / self.row_weight + self.shift,
            multipliers.x_lower / (self.sizes * self.column_weight),
            multipliers.x_upper / (self.sizes * self.column_weight),
        )

    def original(self, written: Program) -> Callable[[np.ndarray], float]:
        """The objective as written, as a function of x'."""
        return lambda x: written.functions.objective(x * self.sizes)

    def small(self, groups: np.ndarray) -> np.ndarray:
        """What counts as small in the objective, by variable, in the programme's own units: a millionth of the largest pull
        on any variable of the same group, or of all where the objective does not pull at the group.

        groups : number of each variable's group; a client's variables are one.
        """
        largest = np.zeros(int(groups.max(initial=-1)) + 1)
        np.maximum.at(largest, groups, np.where(np.isfinite(self.pull), self.pull, 0.0))
        most = largest.max(initial=0.0)
        return MILLIONTH * np.minimum(np.where(largest > 0, largest, most or 1.0), 1.0)[groups]

    def drowned(self, program: Program, groups: np.ndarray) -> float:
        """How much of what is left to decide is lost to rounding where the fixed cost cannot be taken out beforehand.

        The rounding of the fixed cost relative to what pulls at a group besides it, of the group that loses most and has
        more variables than equalities.
        """
        functions, count = program.functions, int(groups.max(initial=-1)) + 1
        lost, pull = np.zeros(count), np.zeros(count)
        # Where the objective is linear in a variable, what is taken out of its coefficient takes nothing along.
        mixed = np.where(functions.objective_linear == functions.linear_cost, 0.0, np.abs(self.cost))
        np.maximum.at(lost, groups, ROUNDING * mixed * self.sizes * self.column_weight)
        np.maximum.at(pull, groups, np.where(np.isfinite(self.pull), self.pull, 0.0))
        equal = program.lower == program.upper
        of_row = np.zeros(functions.rows, dtype=np.int64)
        of_row[functions.jacobian_rows] = groups[functions.jacobian_columns]
        free = np.bincount(groups, minlength=count) > np.bincount(of_row[equal], minlength=count)
        return float((lost / np.maximum(pull, np.maximum(lost, np.finfo(float).tiny)))[free].max(initial=0.0))


def by_index(program: Program) -> np.ndarray:
    """Numbers of groups: variables with the same index are one, and each of those without an index."""
    indices = (variable.index() for variable in program.variables)
    keys = [(None, k) if index is None else index for k, index in enumerate(indices)]
    return pd.factorize(np.fromiter(keys, dtype=object, count=len(keys)))[0]


class Told:
    """Functions of a programme that are only known as a whole, in its own units; see :class:`NormalForm`."""

    families: tuple[()] = ()

    def __init__(self, functions: Any, form: NormalForm) -> None:
        self._functions, self._form = functions, form
        self._weight = float(form.column_weight[0]) if len(form.column_weight) else 1.0
        self.rows, self.columns = functions.rows, functions.columns
        self.jacobian_rows, self.jacobian_columns = functions.jacobian_rows, functions.jacobian_columns
        self.hessian_rows, self.hessian_columns = functions.hessian_rows, functions.hessian_columns
        self.objective_linear, self.nonlinear_rows = functions.objective_linear, functions.nonlinear_rows
        self.constant = functions.constant * form.rows
        self.linear = form.scaled(functions.linear)

    def of_rows(self, kept: np.ndarray) -> SomeRows:
        """The same objective, and these rows alone."""
        return SomeRows(self, kept)

    def objective(self, x: np.ndarray) -> float:
        x = x * self._form.sizes
        return self._weight * (float(self._functions.objective(x)) + float(self._form.cost @ x))

    def objective_size(self, x: np.ndarray) -> float:
        return float(np.abs(self.gradient(x)) @ np.abs(x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        form = self._form
        return _rounded(self._functions.gradient(x * form.sizes), form.cost) * form.sizes * self._weight

    def constraints(self, x: np.ndarray) -> np.ndarray:
        return self._functions.constraints(x * self._form.sizes) * self._form.rows

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        form = self._form
        factors = form.rows[self.jacobian_rows] * form.sizes[self.jacobian_columns]
        return self._functions.jacobian(x * form.sizes) * factors

    def jacobian_matrix(self, x: np.ndarray) -> sparse.csr_array:
        entries = (self.jacobian(x), (self.jacobian_rows, self.jacobian_columns))
        return sparse.coo_array(entries, shape=(self.rows, self.columns)).tocsr()

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, objective_factor: float) -> np.ndarray:
        form = self._form
        values = self._functions.hessian(x * form.sizes, multipliers * form.rows, objective_factor * self._weight)
        return values * form.sizes[self.hessian_rows] * form.sizes[self.hessian_columns]


class SomeRows:
    """Functions of a programme that are only known as a whole, with some of their rows."""

    families: tuple[()] = ()

    def __init__(self, functions: Any, kept: np.ndarray) -> None:
        place = np.full(functions.rows, -1)
        place[kept] = np.arange(len(kept))
        self._functions, self._kept = functions, kept
        self._entries = place[functions.jacobian_rows] >= 0
        self.rows, self.columns = len(kept), functions.columns
        self.jacobian_rows = place[functions.jacobian_rows[self._entries]]
        self.jacobian_columns = functions.jacobian_columns[self._entries]
        self.hessian_rows, self.hessian_columns = functions.hessian_rows, functions.hessian_columns
        self.objective_linear = functions.objective_linear
        self.objective, self.gradient = functions.objective, functions.gradient

    def constraints(self, x: np.ndarray) -> np.ndarray:
        return self._functions.constraints(x)[self._kept]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return self._functions.jacobian(x)[self._entries]

    def jacobian_matrix(self, x: np.ndarray) -> sparse.csr_array:
        return self._functions.jacobian_matrix(x)[self._kept]

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, objective_factor: float) -> np.ndarray:
        every = np.zeros(self._functions.rows)
        every[self._kept] = multipliers
        return self._functions.hessian(x, every, objective_factor)


def power_of_two(values: np.ndarray) -> np.ndarray:
    """The nearest powers of two, by their logarithms."""
    return np.exp2(np.round(np.log2(values)))


def _rounded(gradient: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """gradient + cost, and 0 where that is what rounding leaves."""
    total = gradient + cost
    return np.where(np.abs(total) <= ROUNDING * np.abs(cost), 0.0, total)


def _constant_sizes(program: Program, x: np.ndarray) -> np.ndarray:
    """Sizes of rows in which nothing varies: of the value, or of a side."""
    with np.errstate(all="ignore"):
        parts = np.abs([program.functions.constraints(x), program.lower, program.upper])
    return np.where(np.isfinite(parts), parts, 0.0).max(axis=0)


def _usable(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values) & (values > 0), values, 1.0)


def _fixed_cost(program: Program, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y by row, and A'y: what to add to the objective to be rid of what the linear equalities fix of it."""
    functions = program.functions
    shift, cost = np.zeros(functions.rows), np.zeros(functions.columns)
    equal = np.flatnonzero((program.lower == program.upper) & ~functions.nonlinear_rows)
    if not equal.size or not functions.linear_cost.any():
        return shift, cost
    matrix = sparse.csr_array(functions.linear[equal])
    _, shift[equal] = without_fixed_cost(
        functions.linear_cost * sizes, sparse.csr_array(matrix @ sparse.diags_array(sizes))
    )
    return shift, matrix.T @ shift[equal]


def _weights(pull: np.ndarray, part: np.ndarray) -> np.ndarray:
    """1 / size of each part's objective, its largest pull on a variable; 1 / the median of these where they are alike."""
    largest = np.zeros(int(part.max(initial=-1)) + 1)
    np.maximum.at(largest, part[: len(pull)], np.where(np.isfinite(pull), pull, 0.0))
    counted = largest[largest > 0]
    if not counted.size:
        return np.ones(len(largest))
    if counted.max() <= ALIKE * counted.min():
        return np.full(len(largest), power_of_two(np.asarray(1.0 / np.median(counted))))
    return power_of_two(1.0 / _usable(largest))


def tight(small: float, finest: bool = False) -> dict[str, Any]:
    """IPOPT's tolerances of a thousandth of what is small; a solve that stalls just above them may stop.

    Multiplier x slack has no rounding to reckon with, and can be driven as far as doubles go: to a hundredth of the millionth
    of what is small that the certificate allows, since a duality gap adds up many. finest : for a client whose pay is a
    millionth of the whole, which still must be exact to a millionth.
    """
    tolerance = float(np.clip(1e-8 * small, 1e-18, 1e-15) if finest else np.clip(1e-3 * small, 1e-12, 1e-9))
    options: dict[str, Any] = dict.fromkeys(("tol", "constr_viol_tol"), tolerance)
    options["compl_inf_tol"] = min(tolerance, float(np.clip(1e-8 * small, 1e-18, 1e-13)))
    options |= dict.fromkeys(("acceptable_tol", "acceptable_compl_inf_tol"), 1e-9) | {"acceptable_iter": 15}
    return options | {"diverging_iterates_tol": 1e40}  # a time may well be 1e20 times what it was thought to be
