"""Which constraints of a Pyomo model cannot hold together, and how much would each have to give?

Elastic programme: min sum of slacks s.t. rows and bounds, some of which may be violated by their own slack. Its optimum
is 0 exactly where they can hold together. Solved on the programme that was read: linear rows by HiGHS, others by IPOPT;
for a model that is not convex the answer is as local as IPOPT's.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import linprog

from bcfl_opt import ipopt
from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.conflict import Conflict, Least, conflict_of
from bcfl_opt.nlp.duals import LOWER, UPPER
from bcfl_opt.nlp.kkt import certify, coefficient_sizes
from bcfl_opt.nlp.presolve import Multipliers, presolve
from bcfl_opt.nlp.program import Functions, Program
from bcfl_opt.threads import one_thread

#: Options of the runs of IPOPT, in order.
ATTEMPTS: tuple[dict[str, Any], ...] = ({}, {"bound_relax_factor": 1e-8}, {"mu_strategy": "adaptive"})
#: A multiplier above this share of a slack's cost (1) means that the row takes part.
PART = 1e-6


class Limit(NamedTuple):
    """kind : "row", or a variable's "lower" or "upper" bound. place : row or column of the programme."""

    kind: str
    place: int


@one_thread()
def find_conflict(program: Program) -> Conflict:
    """See :func:`bcfl_opt.conflict.conflict_of`."""
    elastic = Elastic(program)
    crossed = np.flatnonzero(program.x_lower > program.x_upper)
    if crossed.size:
        pair = [Limit("lower", int(crossed[0])), Limit("upper", int(crossed[0]))]
        distance = float(program.x_lower[crossed[0]] - program.x_upper[crossed[0]])
        names = tuple(elastic.name(limit) for limit in pair)
        return Conflict(dict.fromkeys(names[:1], distance), names, dict.fromkeys(names, distance))
    return conflict_of(elastic)


@one_thread()
def missing_room(program: Program, *, convex: bool = False) -> str:
    """Which rows would have to give way for a point to be feasible; "" if none has to (or if that cannot be told).

    convex : the programme is known to be; then the answer is a proof.
    """
    elastic = Elastic(program, convex=convex)
    least = elastic.least(elastic.constraints(), elastic.bounds())
    if least is None or not least.violation:
        return ""
    parts = [f"{elastic.name(limit)} by {amount:.3g}" for limit, amount in list(least.violation.items())[:3]]
    return f"no point is feasible unless constraints give way: {', '.join(parts)}"


class Elastic:
    """Elastic programmes over one programme's rows and bounds."""

    def __init__(self, program: Program, *, convex: bool = False) -> None:
        self.program, self._convex = program, convex
        self._start = program.start()
        functions = program.functions
        with np.errstate(all="ignore"):
            g, jacobian = functions.constraints(self._start), abs(functions.jacobian_matrix(self._start))
            around = jacobian @ np.abs(self._start)
        self._g = g
        edges = [np.where(np.isfinite(side), np.abs(side), 0.0) for side in (program.lower, program.upper)]
        edge = np.maximum(*edges)
        size = np.where(np.isfinite(around) & (around > 0), around, coefficient_sizes(functions)[:-1])
        #: What counts as one unit of a row: its right-hand side, or else the size of its terms.
        self.row_size = np.where(edge > 0, edge, size)
        self._pattern = sparse.csr_array(
            (np.ones(len(functions.jacobian_rows)), (functions.jacobian_rows, functions.jacobian_columns)),
            shape=(functions.rows, functions.columns),
        )

    def constraints(self) -> list[Limit]:
        return [Limit("row", k) for k in range(len(self.program.constraints))]

    def bounds(self) -> list[Limit]:
        sides = (("lower", self.program.x_lower), ("upper", self.program.x_upper))
        return [Limit(kind, int(j)) for kind, values in sides for j in np.flatnonzero(np.isfinite(values))]

    def bounds_of(self, members: Iterable[Limit]) -> list[Limit]:
        ends = self._pattern.indptr
        columns = {int(j) for row in members for j in self._pattern.indices[ends[row.place] : ends[row.place + 1]]}
        return [limit for limit in self.bounds() if limit.place in columns]

    def text(self, limit: Limit) -> str:
        return ""

    def name(self, limit: Limit) -> str:
        if limit.kind == "row":
            return str(self.program.constraints[limit.place].name)
        return f"{self.program.variables[limit.place].name}{LOWER if limit.kind == 'lower' else UPPER}"

    def least(self, soft: Iterable[Limit], hard: Iterable[Limit]) -> Least[Limit] | None:
        """The least violation of the soft limits where the hard ones hold; what is in neither is not there.

        None if the hard limits cannot hold together or IPOPT finds no answer.
        """
        soft, hard = list(soft), list(hard)
        program = self.program
        n = len(self._start)
        rows = [limit for limit in (*soft, *hard) if limit.kind == "row"]
        soft_bounds = [limit for limit in soft if limit.kind != "row"]
        x_lower, x_upper = np.full(n, -np.inf), np.full(n, np.inf)
        for limit in hard:
            if limit.kind != "row":
                side, bounds = (x_lower, program.x_lower) if limit.kind == "lower" else (x_upper, program.x_upper)
                side[limit.place] = bounds[limit.place]
        kept = np.array([limit.place for limit in rows], dtype=np.int64)
        columns = np.array([limit.place for limit in soft_bounds], dtype=np.int64)
        is_lower = np.array([limit.kind == "lower" for limit in soft_bounds], dtype=bool)
        lower = np.concatenate([program.lower[kept], np.where(is_lower, program.x_lower[columns], -np.inf)])
        upper = np.concatenate([program.upper[kept], np.where(is_lower, np.inf, program.x_upper[columns])])
        edge = np.where(is_lower, program.x_lower[columns], program.x_upper[columns])
        near = np.abs(self._start[columns])
        bound_size = np.where(edge != 0, np.abs(edge), np.where(near > 0, near, 1.0))
        size = np.concatenate([self.row_size[kept], bound_size])
        g = np.concatenate([self._g[kept], self._start[columns]])

        soft_rows = {limit.place for limit in soft if limit.kind == "row"}
        elastic = np.flatnonzero([*(limit.place in soft_rows for limit in rows), *(True for _ in soft_bounds)])
        under, over = elastic[np.isfinite(lower[elastic])], elastic[np.isfinite(upper[elastic])]
        slack_rows = np.concatenate([under, over])
        slack_signs = np.concatenate([np.ones(len(under)), -np.ones(len(over))])
        slacks = sparse.csr_array(
            (slack_signs, (slack_rows, np.arange(len(slack_rows)))), shape=(len(lower), len(slack_rows))
        )
        functions = _with_slacks(program.functions, kept, columns, slacks, size)
        total = n + len(slack_rows)
        read = Program(
            program.model,
            1,
            None,
            functions,
            cast(Any, [*program.variables, *(SimpleNamespace(name="slack") for _ in slack_rows)]),
            np.concatenate([x_lower, np.zeros(len(slack_rows))]),
            np.concatenate([x_upper, np.full(len(slack_rows), np.inf)]),
            cast(Any, [SimpleNamespace(name=self.name(limit)) for limit in (*rows, *soft_bounds)]),
            lower / size,
            upper / size,
        )
        with np.errstate(invalid="ignore"):
            missing = np.concatenate([(lower - g)[under] / size[under], (g - upper)[over] / size[over]])
        start = np.concatenate([self._start, np.maximum(np.nan_to_num(missing, nan=1.0, posinf=1.0), 0.0) + 0.1])
        found = _solved(read, start, self._convex)
        if found is None:
            return None
        x, multipliers = found
        amounts = np.zeros(len(lower))
        np.add.at(amounts, slack_rows, x[n:total])
        order = [*rows, *soft_bounds]
        violation = {order[k]: float(amounts[k] * size[k]) for k in elastic if amounts[k] > TOLERANCE}
        weight = np.abs(multipliers.rows)
        of_bounds = {"lower": multipliers.x_lower, "upper": multipliers.x_upper}
        heaviest = np.where(self._start != 0, np.abs(self._start), 1.0)
        part = [order[k] for k in elastic if weight[k] > PART or amounts[k] > TOLERANCE]
        held = [
            limit
            for limit in hard
            if limit.kind != "row" and of_bounds[limit.kind][limit.place] * heaviest[limit.place] > PART
        ]
        return Least(violation, part, held)


def _with_slacks(
    functions: Functions, kept: np.ndarray, columns: np.ndarray, slacks: sparse.csr_array, size: np.ndarray
) -> Functions:
    """These rows, these variables as rows, each in units of its size, and slack columns; minimised: the slacks' sum."""
    place = np.full(functions.rows + 1, -1)
    place[kept] = np.arange(len(kept))
    families = []
    for family in functions.families:
        keep = (family.rows >= 0) & (place[family.rows] >= 0)
        if keep.any():
            selected = family.select(keep)
            selected.rows[:] = place[selected.rows]
            selected.constants[0] /= size[selected.rows]  # constant 0 is the coefficient of the whole term
            families.append(selected)
    n = functions.columns
    unit = sparse.csr_array((np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=(len(columns), n))
    rows = sparse.diags_array(1.0 / size) @ sparse.vstack([functions.linear[kept], unit])
    linear = sparse.csr_array(sparse.hstack([rows, slacks], format="csr"))
    cost = np.concatenate([np.zeros(n), np.ones(slacks.shape[1])])
    constant = np.concatenate([functions.constant[kept], np.zeros(len(columns))]) / size
    return Functions(0.0, cost, constant, linear, families)


def _solved(read: Program, start: np.ndarray, convex: bool) -> tuple[np.ndarray, Multipliers] | None:
    """Point and multipliers that satisfy the optimality conditions; None if there is none to be found."""
    if not read.functions.families:
        return _by_simplex(read)
    reduced = presolve(read)
    if reduced.conflict:
        return None
    for attempt in ATTEMPTS:
        outcome = ipopt.run(reduced, start, options={"max_iter": 500, **attempt}, log=False)
        if not np.isfinite(outcome.x).all():
            continue
        certificate = certify(read, outcome.x, outcome.multipliers, convex=convex)
        # Rows are near 1: a violation that only the size of runaway variables excuses is one.
        if certificate.holds() and certificate.unscaled["primal"] <= TOLERANCE:
            return outcome.x, outcome.multipliers
    return None


def _by_simplex(read: Program) -> tuple[np.ndarray, Multipliers] | None:
    """The same for a linear programme, to a vertex: few constraints then take part."""
    functions = read.functions
    if not functions.columns:
        return np.zeros(0), Multipliers(np.zeros(functions.rows), np.zeros(0), np.zeros(0))
    matrix, low, high = functions.linear, read.lower - functions.constant, read.upper - functions.constant
    equal = low == high
    upper, lower = np.flatnonzero(np.isfinite(high) & ~equal), np.flatnonzero(np.isfinite(low) & ~equal)
    same = np.flatnonzero(equal)
    result = linprog(
        functions.objective_linear,
        A_ub=sparse.vstack([matrix[upper], -matrix[lower]], format="csr"),
        b_ub=np.concatenate([high[upper], -low[lower]]),
        A_eq=matrix[same] if same.size else None,
        b_eq=high[same] if same.size else None,
        bounds=np.column_stack([read.x_lower, read.x_upper]),
        method="highs",
    )
    if result.status != 0:
        return None
    rows = np.zeros(len(low))
    np.add.at(rows, upper, -result.ineqlin.marginals[: len(upper)])
    np.add.at(rows, lower, result.ineqlin.marginals[len(upper) :])
    if same.size:
        rows[same] = -result.eqlin.marginals
    return result.x, Multipliers(rows, result.lower.marginals, -result.upper.marginals)
