"""Is a follower's problem convex, so that a KKT point is its optimum? Proven, refuted, or not known."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sparse

from bcfl_opt.nlp.convexity import is_convex
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.shapes import deeply

PROVEN, REFUTED, UNKNOWN = "proven", "refuted", "unknown"


def convexity(read: Program, points: np.ndarray) -> str:
    """ "proven", "refuted" (at one of the points), or "unknown"."""
    return PROVEN if proven_convex(read) else REFUTED if refuted(read, points) else UNKNOWN


def proven_convex(read: Program) -> bool:
    """Is the follower's problem provably convex: by rule, or because it is quadratic with the right eigenvalues?"""
    reduced = presolve(read)
    return is_convex(read, reduced.x_lower, reduced.x_upper) or _quadratically_convex(read)


def _quadratically_convex(read: Program) -> bool:
    """Objective and rows of degree 2 at most: their Hessians are constant, and eigenvalues decide."""
    functions = read.functions
    if any(deeply(_degree, family.shape) > 2 for family in functions.families) or functions.columns > 500:
        return False
    x = np.zeros(functions.columns)
    has_upper, has_lower = np.isfinite(read.upper), np.isfinite(read.lower)
    nonlinear = sorted({int(row) for family in functions.families for row in family.rows})
    for row in nonlinear:
        multipliers = np.zeros(functions.rows)
        if row >= 0:
            multipliers[row] = 1.0
        values = functions.hessian(x, multipliers, float(row < 0))
        shape = (functions.columns, functions.columns)
        lower = sparse.coo_array((values, (functions.hessian_rows, functions.hessian_columns)), shape=shape).toarray()
        eigenvalues = np.linalg.eigvalsh(lower + np.tril(lower, -1).T)
        noise = 1e-12 * np.abs(eigenvalues).max(initial=0.0)
        if (row < 0 or has_upper[row]) and eigenvalues[0] < -noise:
            return False
        if row >= 0 and has_lower[row] and eigenvalues[-1] > noise:
            return False
    return True


def _degree(shape: object) -> float:
    """Degree of a shape as a polynomial in its variables; infinite for anything else."""
    if not isinstance(shape, tuple):
        return 0.0
    operator, *operands = shape
    if operator in ("v", "p"):
        return 1.0 if operator == "v" else 0.0
    degrees = [_degree(operand) for operand in operands]
    if operator in ("+", "-"):
        return max(degrees)
    if operator == "*":
        return sum(degrees)
    if operator == "/" and degrees[1] == 0.0:
        return degrees[0]
    if operator == "^" and isinstance(operands[1], float) and operands[1] in (1.0, 2.0):
        return degrees[0] * operands[1]
    return 0.0 if max(degrees) == 0.0 else np.inf


def refuted(read: Program, points: np.ndarray) -> bool:
    """Is the objective not convex on the feasible set, as seen at one of these points?

    It is not where, strictly inside all inequalities, it curves downwards along a direction that linear equalities leave.
    Only programmes whose equalities are linear are looked at.
    """
    functions = read.functions
    equal = np.flatnonzero(read.lower == read.upper)
    nonlinear = {int(row) for family in functions.families for row in family.rows}
    n = functions.columns
    if nonlinear & set(equal.tolist()) or -1 not in nonlinear or not n:
        return False
    rows = functions.linear[equal].toarray()
    basis = scipy.linalg.null_space(rows) if equal.size else np.eye(n)
    if not basis.shape[1]:
        return False
    loose = read.lower != read.upper
    for x in points:
        with np.errstate(all="ignore"):
            g = functions.constraints(x)
            values = functions.hessian(x, np.zeros(functions.rows), 1.0)
        inside = np.all((g > read.lower) & (g < read.upper) | ~loose) and np.all(
            (x > read.x_lower) & (x < read.x_upper)
        )
        if not inside or not np.isfinite(values).all():
            continue
        entries = (values, (functions.hessian_rows, functions.hessian_columns))
        lower = sparse.coo_array(entries, shape=(n, n)).toarray()
        eigenvalues = np.linalg.eigvalsh(basis.T @ (lower + np.tril(lower, -1).T) @ basis)
        if eigenvalues[0] < -1e-7 * max(float(np.abs(eigenvalues).max()), 1e-12):
            return True
    return False
