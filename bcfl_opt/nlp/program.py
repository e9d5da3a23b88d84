"""What nonlinear programme is a Pyomo model? min f(x) s.t. lower <= g(x) <= upper, x_lower <= x <= x_upper, with sparse
first and second derivatives; every row and column knows the component it came from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sparse
from pyomo.common.enums import ObjectiveSense
from pyomo.core.base.block import BlockData
from pyomo.core.base.constraint import Constraint, ConstraintData
from pyomo.core.base.objective import Objective, ObjectiveData
from pyomo.core.base.var import VarData
from pyomo.core.expr.relational_expr import InequalityExpression

from bcfl_opt.context import Context
from bcfl_opt.errors import ModelError
from bcfl_opt.nlp.derivatives import ShapeDerivatives, derivatives
from bcfl_opt.nlp.shapes import Occurrences, Reader, Shape, deeply, degree

#: IPOPT takes a bound this large for none (its nlp_upper_bound_inf), and so do we.
INFINITE = 1e19
#: Coefficients that should cancel leave this much, relative to what was added up.
CANCELLED = 1e-15
#: Active components a nonlinear solver would silently ignore: refused by name instead.
UNSUPPORTED = ("SOSConstraint", "Disjunct", "Disjunction", "LogicalConstraint", "Complementarity")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Family:
    """All terms of one shape. Row -1 is the objective; other rows are constraints.

    sizes, shifts : by slot and term, the variable there is sizes times the programme's plus shifts; None where all are 1 or 0.
    """

    shape: Shape
    rows: np.ndarray
    columns: np.ndarray
    constants: np.ndarray
    derivatives: ShapeDerivatives
    sizes: np.ndarray | None = None
    shifts: np.ndarray | None = None

    @classmethod
    def of(cls, shape: Shape, occurrences: Occurrences) -> Family:
        rows, columns, constants = occurrences.arrays()
        return cls(shape, rows - 1, columns, constants, derivatives(shape, len(columns), len(constants)))

    @property
    def quadratic(self) -> bool:
        """Are its terms polynomials of degree 2 at most?"""
        return deeply(degree, self.shape) <= 2

    def select(self, keep: np.ndarray) -> Family:
        return dataclasses.replace(
            self,
            rows=self.rows[keep],
            columns=self.columns[:, keep],
            constants=self.constants[:, keep],
            sizes=None if self.sizes is None else self.sizes[:, keep],
            shifts=None if self.shifts is None else self.shifts[:, keep],
        )

    def value(self, x: np.ndarray) -> np.ndarray:
        return self.derivatives.value(self.at(x), self.constants)[0]

    def gradient(self, x: np.ndarray) -> np.ndarray:
        entries = self.derivatives.gradient(self.at(x), self.constants)
        return entries if self.sizes is None else entries * self.sizes[self.derivatives.gradient_slots]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        entries = self.derivatives.hessian(self.at(x), self.constants)
        if self.sizes is None:
            return entries
        return entries * self.sizes[self.derivatives.hessian_rows] * self.sizes[self.derivatives.hessian_columns]

    def at(self, x: np.ndarray) -> np.ndarray:
        """The terms' own variables, by slot and term."""
        own = x[self.columns] if self.sizes is None else x[self.columns] * self.sizes
        return own if self.shifts is None else own + self.shifts


class Functions:
    """f, g and their derivatives, from a linear part and families of nonlinear terms.

    The objective is minimised: the caller has multiplied it by the sense.
    Jacobian and Hessian are triplets in a fixed order in which entries may repeat (repeated ones add up).
    """

    def __init__(
        self,
        objective_constant: float,
        objective_linear: np.ndarray,
        constant: np.ndarray,
        linear: sparse.csr_array,
        families: list[Family],
    ) -> None:
        self.objective_constant, self.objective_linear = objective_constant, objective_linear
        self.constant, self.linear = constant, linear
        self.rows, self.columns = linear.shape
        self._objective = [family.select(family.rows < 0) for family in families if (family.rows < 0).any()]
        self._constraints = [family.select(family.rows >= 0) for family in families if (family.rows >= 0).any()]
        coo = linear.tocoo()
        self._linear_values = coo.data
        j_rows = [coo.coords[0], *[np.tile(f.rows, len(f.derivatives.gradient_slots)) for f in self._constraints]]
        j_columns = [coo.coords[1], *[f.columns[f.derivatives.gradient_slots].ravel() for f in self._constraints]]
        self.jacobian_rows, self.jacobian_columns = np.concatenate(j_rows), np.concatenate(j_columns)
        h_rows, h_columns = [], []
        for f in (*self._objective, *self._constraints):
            first = f.columns[f.derivatives.hessian_rows].ravel()
            second = f.columns[f.derivatives.hessian_columns].ravel()
            # Local order says nothing about the programme's: the lower triangle is the larger column first.
            h_rows.append(np.maximum(first, second))
            h_columns.append(np.minimum(first, second))
        self.hessian_rows = np.concatenate(h_rows) if h_rows else np.zeros(0, dtype=np.int64)
        self.hessian_columns = np.concatenate(h_columns) if h_columns else np.zeros(0, dtype=np.int64)

    @property
    def size(self) -> int:
        """Variables, rows and entries of both derivatives: what an iteration works on."""
        return self.rows + self.columns + len(self.jacobian_rows) + len(self.hessian_rows)

    def of_rows(self, kept: np.ndarray) -> Functions:
        """The same objective, and these rows alone."""
        place = np.full(self.rows, -1)
        place[kept] = np.arange(len(kept))
        families = []
        for family in self.families:
            selected = family.select((family.rows < 0) | (place[family.rows] >= 0))
            selected.rows[:] = np.where(selected.rows >= 0, place[selected.rows], -1)
            families.append(selected)
        return Functions(
            self.objective_constant, self.objective_linear, self.constant[kept], self.linear[kept], families
        )

    @property
    def families(self) -> list[Family]:
        """Objective families (row -1), then constraint families."""
        return [*self._objective, *self._constraints]

    @property
    def linear_cost(self) -> np.ndarray:
        """The objective's linear part, by column."""
        return self.objective_linear

    @property
    def nonlinear_rows(self) -> np.ndarray:
        """By row: has it a term that is not linear?"""
        result = np.zeros(self.rows, dtype=bool)
        for family in self._constraints:
            result[family.rows] = True
        return result

    def objective(self, x: np.ndarray) -> float:
        total = self.objective_constant + float(self.objective_linear @ x)
        return total + sum(float(family.value(x).sum()) for family in self._objective)

    def objective_size(self, x: np.ndarray) -> float:
        """Sum of the absolute values of the objective's terms: what a change of the objective is to be compared with."""
        total = float(np.abs(self.objective_linear) @ np.abs(x))
        return total + sum(float(np.abs(family.value(x)).sum()) for family in self._objective)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        result = self.objective_linear.copy()
        for family in self._objective:
            columns = family.columns[family.derivatives.gradient_slots].ravel()
            result += np.bincount(columns, weights=family.gradient(x).ravel(), minlength=self.columns)
        return result

    def constraints(self, x: np.ndarray) -> np.ndarray:
        result = self.constant + self.linear @ x
        for family in self._constraints:
            result += np.bincount(family.rows, weights=family.value(x), minlength=self.rows)
        return result

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """Values in the order of ``jacobian_rows`` and ``jacobian_columns``."""
        return np.concatenate([self._linear_values, *[family.gradient(x).ravel() for family in self._constraints]])

    def jacobian_matrix(self, x: np.ndarray) -> sparse.csr_array:
        entries = (self.jacobian(x), (self.jacobian_rows, self.jacobian_columns))
        return sparse.coo_array(entries, shape=(self.rows, self.columns)).tocsr()

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, objective_factor: float) -> np.ndarray:
        """Lower triangle of objective_factor d2f + sum_i multipliers_i d2g_i, in the order of ``hessian_rows``."""
        parts = [objective_factor * family.hessian(x) for family in self._objective]
        parts += [multipliers[family.rows] * family.hessian(x) for family in self._constraints]
        return np.concatenate([part.ravel() for part in parts]) if parts else np.zeros(0)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The programme of a Pyomo model, as written: every active constraint a row, every variable in use a column.

    sense : 1 to minimise, -1 to maximise; ``functions.objective`` is sense x the user's objective.
    """

    model: Any
    sense: int
    objective: ObjectiveData | None
    functions: Functions
    variables: list[VarData]
    x_lower: np.ndarray
    x_upper: np.ndarray
    constraints: list[ConstraintData]
    lower: np.ndarray
    upper: np.ndarray

    def start(self) -> np.ndarray:
        """The variables' values; where there is none, a point well inside the bounds."""
        values = [variable.value for variable in self.variables]
        x = np.array([np.nan if v is None else v for v in values], dtype=float)
        missing = np.isnan(x)
        if missing.any():
            low, high = self.x_lower[missing], self.x_upper[missing]
            both, only_low, only_high = np.isfinite(low) & np.isfinite(high), np.isfinite(low), np.isfinite(high)
            with np.errstate(invalid="ignore"):
                middle = np.where(both, (low + high) / 2, 0.0)
                x[missing] = np.select(
                    [both, only_low, only_high],
                    [middle, low + np.maximum(1.0, np.abs(low)), high - np.maximum(1.0, np.abs(high))],
                    0.0,
                )
        return x


def program(model: BlockData) -> Program:
    """Read a Pyomo model (or block): its active objective and constraints, and the unfixed variables they use.

    Bounds and sides beyond :data:`INFINITE` are none, but in a game, which may be told in units that make small numbers large.

    Raises
    ------
    ModelError : more than one active objective, discrete variables, expressions without derivatives, components a
        nonlinear solver would ignore - by name.
    """
    _refuse_unsupported(model)
    objectives = list(model.component_data_objects(Objective, active=True, descend_into=True))
    if len(objectives) > 1:
        names = ", ".join(objective.name for objective in objectives)
        raise ModelError(f"{len(objectives)} active objectives ({names}); deactivate all but one")
    objective = objectives[0] if objectives else None
    sense = -1 if objective is not None and objective.sense == ObjectiveSense.maximize else 1

    reader = Reader()
    if objective is None:
        reader.read(0.0, "objective")
    elif objective.expr is None:
        raise ModelError(f"objective {objective.name} is empty; give it an expression")
    else:
        reader.read(objective.expr, objective)

    constraints: list[ConstraintData] = []
    lower: list[float] = []
    upper: list[float] = []
    for component in model.component_objects(Constraint, active=True, descend_into=True):
        if component.is_reference():
            continue  # another name for constraints that are met under their own
        for constraint in component.values():
            if not constraint.active:
                continue
            low, body, high = _sides(constraint)
            if body is None:
                continue
            constraints.append(constraint)
            lower.append(-np.inf if low is None else low)
            upper.append(np.inf if high is None else high)
            reader.read(body, constraint)

    variables = reader.variables
    infinite = np.inf if isinstance(getattr(model.model(), "bcfl", None), Context) else INFINITE
    bounds = [variable.bounds for variable in variables]
    x_lower, x_upper = np.array(bounds, dtype=float).reshape(-1, 2).T  # NaN where there is none
    functions = _functions(reader, sense, len(constraints))
    _refuse_infinite(functions, objective, constraints)
    return Program(
        model,
        sense,
        objective,
        functions,
        variables,
        np.where(x_lower > -infinite, x_lower, -np.inf),
        np.where(x_upper < infinite, x_upper, np.inf),
        constraints,
        _without_infinite(lower, -infinite),
        _without_infinite(upper, infinite),
    )


def _sides(constraint: ConstraintData) -> tuple[float | None, Any, float | None]:
    """Lower side, body and upper side of a constraint; None for a side that it has not, or for the body of an empty one."""
    relation = constraint.expr
    if relation.__class__ is InequalityExpression:  # what Pyomo finds below, in half the time
        left, right = relation.args
        if right.__class__ is float and math.isfinite(right):
            return None, left, right
        if left.__class__ is float and math.isfinite(left) and isinstance(right, VarData):
            return left, right, None
    try:
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
    except ValueError as error:
        raise ModelError(f"constraint {constraint.name} cannot be read: {error}") from error
    return low, body, high


def _without_infinite(bounds: list[float], infinite: float) -> np.ndarray:
    values = np.array(bounds, dtype=float)
    return np.where(np.sign(infinite) * values >= abs(infinite), np.sign(infinite) * np.inf, values)


def _refuse_infinite(
    functions: Functions, objective: ObjectiveData | None, constraints: Sequence[ConstraintData]
) -> None:
    """A NaN or an infinite number in the data would pass for a residual of 0 somewhere down the road."""
    rows = [np.flatnonzero(~np.isfinite(functions.constant)), *_rows_with_infinite(functions)]
    if not np.isfinite(functions.objective_constant) or not np.isfinite(functions.objective_linear).all():
        rows.append(np.array([-1]))
    for row in np.concatenate(rows)[:1].tolist():
        component = objective if row < 0 else constraints[row]
        kind = "objective" if row < 0 else "constraint"
        raise ModelError(
            f"{kind} {getattr(component, 'name', '')} holds a number that is NaN or infinite; mend the data"
        )


def _rows_with_infinite(functions: Functions) -> Iterator[np.ndarray]:
    linear = functions.linear
    yield np.searchsorted(linear.indptr, np.flatnonzero(~np.isfinite(linear.data)), side="right") - 1
    for family in functions.families:
        yield family.rows[~np.isfinite(family.constants).all(axis=0)]


def _functions(reader: Reader, sense: int, constraints: int) -> Functions:
    columns = len(reader.variables)
    row = np.asarray(reader.row, dtype=np.int64) - 1
    column = np.asarray(reader.column, dtype=np.int64)
    coefficient = np.asarray(reader.coefficient, dtype=float)
    in_objective = row < 0
    objective_linear = np.bincount(column[in_objective], weights=coefficient[in_objective], minlength=columns)
    entries = (coefficient[~in_objective], (row[~in_objective], column[~in_objective]))
    linear = sparse.coo_array(entries, shape=(constraints, columns)).tocsr()
    if linear.nnz < len(entries[0]):  # 0.1 x + 0.2 x - 0.3 x is 0, not 6e-17 x
        total = sparse.coo_array((np.abs(entries[0]), entries[1]), shape=linear.shape).tocsr()
        linear.data[np.abs(linear.data) <= CANCELLED * total.data] = 0.0
    linear.eliminate_zeros()  # here and not later: Functions shares these arrays
    constant = np.asarray(reader.constant, dtype=float)
    families = [Family.of(shape, occurrences) for shape, occurrences in reader.terms.items()]
    if sense < 0:
        for family in families:
            family.constants[0, family.rows < 0] *= -1.0  # constant 0 is the coefficient of the whole term
    return Functions(sense * constant[0], sense * objective_linear.astype(float), constant[1:], linear, families)


def _refuse_unsupported(model: BlockData) -> None:
    for block in model.block_data_objects(active=True, descend_into=True):
        for component in block.component_objects(active=True, descend_into=False):
            if component.ctype.__name__ in UNSUPPORTED:
                raise ModelError(
                    f"{component.name}: a {component.ctype.__name__} is not something a nonlinear solver can take; "
                    "transform it (TransformationFactory) or deactivate it"
                )
