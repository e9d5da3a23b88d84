"""Does a point satisfy the first-order optimality conditions of a programme, and how far is it from doing so?"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import linprog

from bcfl_opt.certificate import Certificate
from bcfl_opt.presolve import Multipliers
from bcfl_opt.program import Program

#: Residuals are compared with the size of the terms that should cancel, but with no less than this share of the
#: largest such size: a multiplier of 1e-12 that should be 0 is noise, not a relative error of 1.
FLOOR = 1e-4


def certify(
    program: Program, x: np.ndarray, multipliers: Multipliers, *, convex: bool, unit: float = 1.0
) -> Certificate:
    """Residuals of ``x`` and ``multipliers`` in the programme as written, from its own functions and derivatives.

    convex : the programme is known to be convex; then the certificate carries a duality gap. With the Lagrangian's
        gradient r, f(y) >= f(x) - sum(multiplier x slack) - sum |r_j| |y_j - x_j| for every feasible y; the last sum is
        taken over the variable's own interval, or over |x_j| where that is not bounded.
    unit : what counts as small in this model: residuals are relative to the size of their terms, but to no less than
        this (1 for a model of unknown scale, the usual mix of absolute and relative).
    """
    functions = program.functions
    with np.errstate(all="ignore"):
        g, gradient, jacobian = functions.constraints(x), functions.gradient(x), functions.jacobian_matrix(x)
        size = np.abs(jacobian) @ np.abs(x)
        rows, z_lower, z_upper = multipliers.rows, multipliers.x_lower, multipliers.x_upper
        low, high = program.lower, program.upper
        where: dict[str, str] = {}

        def largest(name: str, values: np.ndarray, names: Any) -> float:
            if not values.size:
                return 0.0
            k = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
            where[name] = names(k)
            return float(values[k])

        def row_name(k: int) -> str:
            return str(program.constraints[k].name)

        def column_name(k: int) -> str:
            return str(program.variables[k].name)

        # Primal: rows, then the variables' own bounds.
        edge = np.maximum(np.where(np.isfinite(low), np.abs(low), 0.0), np.where(np.isfinite(high), np.abs(high), 0.0))
        violation = np.maximum(np.maximum(low - g, g - high), 0.0)
        violation = violation / np.maximum(np.maximum(edge, size), unit)
        primal = largest("primal", violation, row_name)
        outside = np.maximum(np.maximum(program.x_lower - x, x - program.x_upper), 0.0) / np.maximum(np.abs(x), unit)
        if outside.size and not float(outside.max()) <= primal:
            primal = largest("primal", outside, column_name)

        # Dual: a multiplier on a side that does not exist.
        weight = np.abs(rows) * np.maximum(np.maximum(edge, size), 1e-300)
        wrong = np.where(np.isfinite(high), 0.0, np.maximum(rows, 0.0)) + np.where(
            np.isfinite(low), 0.0, np.maximum(-rows, 0.0)
        )
        heaviest = max(float(weight.max()) if weight.size else 0.0, 1e-300)
        dual = largest("dual", wrong * np.maximum(np.maximum(edge, size), 1e-300) / heaviest, row_name)
        if z_lower.size:
            dual = max(dual, float(np.maximum(-z_lower, -z_upper).max()), 0.0)

        # Complementarity, rows and bounds, in units of the objective.
        above = np.where(np.isfinite(high), np.maximum(rows, 0.0) * np.abs(high - g), 0.0)
        below = np.where(np.isfinite(low), np.maximum(-rows, 0.0) * np.abs(g - low), 0.0)
        products = above + below
        left = np.where(np.isfinite(program.x_lower), z_lower * np.abs(x - program.x_lower), 0.0)
        right = np.where(np.isfinite(program.x_upper), z_upper * np.abs(program.x_upper - x), 0.0)
        scale = max(functions.objective_size(x), unit)
        share = max(scale / max(len(x), 1), unit)  # of one variable
        complementarity = largest("complementarity", products / share, row_name)
        bound_products = left + right
        if bound_products.size and not float(bound_products.max()) <= complementarity * share:
            complementarity = largest("complementarity", bound_products / share, column_name)

        # Stationarity, in units of the objective per relative change of the variable.
        residual = gradient + jacobian.T @ rows - z_lower + z_upper
        reach = np.where(x != 0, np.abs(x), 1.0)
        terms = reach * (np.abs(gradient) + np.abs(jacobian).T @ np.abs(rows) + z_lower + z_upper)
        top = float(terms.max()) if terms.size else 0.0
        stationarity = largest(
            "stationarity", np.abs(residual) * reach / np.maximum(terms, max(FLOOR * top, unit)), column_name
        )

        gap = None
        if convex:
            span = program.x_upper - program.x_lower
            span = np.where(np.isfinite(span), span, np.maximum(np.abs(x), reach))
            gap = float(products.sum() + bound_products.sum() + (np.abs(residual) * span).sum())
            gap /= scale
    return Certificate(primal, dual, complementarity, stationarity, gap, where=where)


def kindest_multipliers(program: Program, x: np.ndarray, *, active: float = 1e-7) -> Multipliers:
    """The multipliers that make a given point look best: those of the smallest largest relative stationarity residual.

    Only constraints active at ``x`` (within ``active``, relative) may have one, with the right sign, so complementarity
    holds by construction. A linear programme: min r s.t. |grad f + J' rows - x_lower + x_upper| <= r (|grad f| + 1e-9 max).
    """
    functions = program.functions
    with np.errstate(all="ignore"):
        g, gradient, jacobian = functions.constraints(x), functions.gradient(x), functions.jacobian_matrix(x)
        room = active * np.maximum(np.abs(jacobian) @ np.abs(x), 1e-300)
    upper, lower = np.flatnonzero(g >= program.upper - room), np.flatnonzero(g <= program.lower + room)
    near = active * np.maximum(np.abs(x), 1e-300)
    x_upper, x_lower = np.flatnonzero(x >= program.x_upper - near), np.flatnonzero(x <= program.x_lower + near)
    n = len(x)
    eye = sparse.eye_array(n, format="csr")
    columns = [jacobian[upper].T, -jacobian[lower].T, eye[x_upper].T, -eye[x_lower].T]
    weight = np.abs(gradient) + 1e-9 * float(np.abs(gradient).max(initial=1e-300))
    terms = sparse.diags_array(1.0 / weight) @ sparse.hstack(columns, format="csr")
    one = sparse.csr_array(np.ones((n, 1)))
    target = gradient / weight
    sizes = [len(upper), len(lower), len(x_upper), len(x_lower)]
    result = linprog(
        np.append(np.zeros(sum(sizes)), 1.0),
        A_ub=sparse.vstack([sparse.hstack([terms, -one]), sparse.hstack([-terms, -one])], format="csr"),
        b_ub=np.concatenate([-target, target]),
        method="highs",
    )
    found = result.x[:-1] if result.status == 0 else np.zeros(sum(sizes))
    ends = np.cumsum(sizes)
    rows, z_lower, z_upper = np.zeros(functions.rows), np.zeros(n), np.zeros(n)
    rows[upper] += found[: ends[0]]
    rows[lower] -= found[ends[0] : ends[1]]
    z_upper[x_upper], z_lower[x_lower] = found[ends[1] : ends[2]], found[ends[2] :]
    return Multipliers(rows, z_lower, z_upper)
