"""Does a point satisfy the first-order optimality conditions of a programme, and how far is it from doing so?"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import linprog

from bcfl_opt.certificate import Certificate
from bcfl_opt.nlp.normal_form import MILLIONTH
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Functions, Program

#: Residuals are compared with the size of the terms that should cancel, but with no less than this share of the
#: largest such size: a multiplier of 1e-12 that should be 0 is noise, not a relative error of 1.
FLOOR = 1e-4
#: A variable of no less than this, in a programme in its own units, is of the size it had at the start.
SAME = 1e-3
#: Rounding: a few units in the last place.
NOISE = 8 * float(np.finfo(float).eps)


def certify(
    program: Program,
    x: np.ndarray,
    multipliers: Multipliers,
    *,
    convex: bool,
    unit: float | np.ndarray = 1.0,
    sizes: np.ndarray | None = None,
) -> Certificate:
    """Residuals of ``x`` and ``multipliers`` in the programme as written, from its own functions and derivatives.

    convex : the programme is known to be convex; then the certificate carries a duality gap. With the Lagrangian's
        gradient r, f(y) >= f(x) - sum(multiplier x slack) - sum |r_j| |y_j - x_j| for every feasible y; the last sum is
        taken over the variable's own interval, or over |x_j| where that is not bounded.
    unit : what counts as small in this model: residuals are relative to the size of their terms, but to no less than
        this. 1 means a model of unknown scale: the usual mix of absolute and relative, and what is small in the objective
        or in a row follows from its coefficients. By variable, for a programme in its own units: what is small in the
        objective of each; its rows and variables are of size 1, of which a millionth is small.
    sizes : by variable, the least that counts as a sizeable change of it; without them 1 for a model of unknown scale or
        in its own units, and else the variable's own value.
    """
    functions = program.functions
    with np.errstate(all="ignore"):
        g, gradient, jacobian = functions.constraints(x), functions.gradient(x), functions.jacobian_matrix(x)
        size = np.abs(jacobian) @ np.abs(x)
        rows, z_lower, z_upper = multipliers.rows, multipliers.x_lower, multipliers.x_upper
        low, high = program.lower, program.upper
        own: Any
        row_unit: Any
        bound_unit: Any
        objective_unit: Any
        told = isinstance(unit, np.ndarray)
        if told:
            own, bound_unit, objective_unit = MILLIONTH, MILLIONTH, unit
            # A row was of size 1 where the variables stood at first. Those that are of that size still tell what it is now.
            told_still = np.abs(jacobian) @ (np.abs(x) >= SAME).astype(float) > 0
            row_unit = np.where(told_still, np.finfo(float).tiny, MILLIONTH)
        elif unit == 1.0:
            coefficients = coefficient_sizes(functions)
            row_unit, objective_unit = np.minimum(coefficients[:-1], 1.0), min(float(coefficients[-1]), 1.0)
            own, bound_unit = 1.0, 1.0
        else:
            own, row_unit, bound_unit, objective_unit = np.where(x != 0, np.abs(x), 1.0), unit, unit, unit
        smallest = float(np.min(objective_unit, initial=np.inf)) if x.size else 1.0
        reach = np.maximum(np.abs(x), own if sizes is None else sizes)
        where: dict[str, str] = {}

        def largest(name: str, *candidates: tuple[np.ndarray, Any]) -> float:
            """The largest of several arrays, and where it is; a NaN is larger than any number."""
            worst, place = 0.0, ""
            for values, names in candidates:
                if values.size and not np.isnan(worst):
                    k = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
                    if not place or not values[k] <= worst:
                        worst, place = float(values[k]), names(k)
            where.update({name: place} if place else {})
            return worst

        def row_name(k: int) -> str:
            return str(program.constraints[k].name)

        def column_name(k: int) -> str:
            return str(program.variables[k].name)

        # Primal: rows, then the variables' own bounds.
        edge = np.maximum(np.where(np.isfinite(low), np.abs(low), 0.0), np.where(np.isfinite(high), np.abs(high), 0.0))
        missed = np.maximum(np.maximum(low - g, g - high), 0.0)
        violation = missed / np.maximum(np.maximum(edge, size), row_unit)
        over = np.maximum(np.maximum(program.x_lower - x, x - program.x_upper), 0.0)
        outside = over / np.maximum(np.abs(x), bound_unit)
        primal = largest("primal", (violation, row_name), (outside, column_name))

        # Stationarity, in units of the objective per relative change of the variable. What counts as small is told by the
        # objective, not by multipliers: where constraints depend on one another these can be as large as they like.
        residual = gradient + jacobian.T @ rows - z_lower + z_upper
        pulls = np.abs(gradient) + np.abs(jacobian).T @ np.abs(rows) + np.abs(z_lower) + np.abs(z_upper)
        terms = reach * pulls
        pulled = FLOOR * (reach * np.abs(gradient)).max(initial=0.0)
        least = objective_unit if told else np.maximum(pulled, objective_unit)
        share_of_terms = reach / np.maximum(terms, least)
        stationarity = largest("stationarity", (np.abs(residual) * share_of_terms, column_name))

        # Dual: a multiplier on a side that does not exist, or of the wrong sign, by what it does to stationarity.
        wrong = np.where(np.isfinite(high), 0.0, np.maximum(rows, 0.0)) + np.where(
            np.isfinite(low), 0.0, np.maximum(-rows, 0.0)
        )
        wrong_lower = np.where(np.isfinite(program.x_lower), np.maximum(-z_lower, 0.0), np.abs(z_lower))
        wrong_upper = np.where(np.isfinite(program.x_upper), np.maximum(-z_upper, 0.0), np.abs(z_upper))
        entries, weight = jacobian.tocoo(), np.zeros(len(rows))
        np.maximum.at(weight, entries.coords[0], np.abs(entries.data) * share_of_terms[entries.coords[1]])
        dual = largest("dual", (wrong * weight, row_name), ((wrong_lower + wrong_upper) * share_of_terms, column_name))

        # Complementarity, rows and bounds, in units of the objective: of the whole, shared equally by all variables, or
        # where what is small is known for each, of the variables that the row or bound is about.
        above = np.where(np.isfinite(high), np.maximum(rows, 0.0) * np.abs(high - g), 0.0)
        below = np.where(np.isfinite(low), np.maximum(-rows, 0.0) * np.abs(g - low), 0.0)
        products = above + below
        left = np.where(np.isfinite(program.x_lower), z_lower * np.abs(x - program.x_lower), 0.0)
        right = np.where(np.isfinite(program.x_upper), z_upper * np.abs(program.x_upper - x), 0.0)
        bound_products = left + right
        scale = float(np.maximum(functions.objective_size(x), smallest))
        share: Any = np.maximum(scale / max(len(x), 1), smallest)
        row_share = share
        if told:
            share = np.maximum(terms, objective_unit)
            row_share = np.full(len(rows), smallest)
            np.maximum.at(row_share, entries.coords[0], np.sign(np.abs(entries.data)) * share[entries.coords[1]])
        complementarity = largest(
            "complementarity", (products / row_share, row_name), (bound_products / share, column_name)
        )

        unscaled = {
            "primal": _most(missed, over),
            "dual": _most(wrong, wrong_lower, wrong_upper),
            "complementarity": _most(products, bound_products),
            "stationarity": _most(np.abs(residual)),
        }

        gap = None
        if convex:
            span = program.x_upper - program.x_lower
            span = np.where(np.isfinite(span), span, reach)
            # A residual that rounding x or adding up the terms explains is 0 as far as anyone can tell.
            noise = NOISE * (pulls + _bend(functions, x, rows))
            left_over = np.where(np.abs(residual) <= noise, 0.0, np.abs(residual))
            unscaled["gap"] = float(products.sum() + bound_products.sum() + (left_over * span).sum())
            gap = unscaled["gap"] / scale
    return Certificate(primal, dual, complementarity, stationarity, gap, where=where, unscaled=unscaled)


def _most(*candidates: np.ndarray) -> float:
    """The largest of several arrays; a NaN is larger than any number."""
    return float(np.max([values.max(initial=0.0) for values in candidates]))


def coefficient_sizes(functions: Functions) -> np.ndarray:
    """The largest coefficient of each row's terms, and last of the objective's; 1 where there is none."""
    result = np.zeros(functions.rows + 1)
    linear = functions.linear.tocoo()
    np.maximum.at(result, linear.coords[0], np.abs(linear.data))
    result[-1] = np.abs(functions.objective_linear).max(initial=0.0)
    for family in functions.families:
        np.maximum.at(result, family.rows, np.abs(family.constants[0]))
    return np.where(result > 0, result, 1.0)


def _bend(functions: Functions, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Absolute values of the Hessian of the Lagrangian, times those of x."""
    below, above, size = functions.hessian_rows, functions.hessian_columns, np.abs(x)  # of the lower triangle
    entries = np.abs(functions.hessian(x, rows, 1.0))
    mirrored = np.where(below != above, entries, 0.0)
    return np.bincount(below, entries * size[above], len(x)) + np.bincount(above, mirrored * size[below], len(x))


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
    weight = np.abs(gradient) + 1e-9 * (float(np.abs(gradient).max(initial=0.0)) or 1.0)
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
