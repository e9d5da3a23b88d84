"""Is there a feasible point at all? What the linear constraints alone can prove, and which of them conflict."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import linprog

from bcfl_opt.errors import listing
from bcfl_opt.nlp.program import Program

#: The least total violation must exceed this, relative to the largest number in the rows, to prove anything.
MARGIN = 1e-7


def linear_conflict(program: Program) -> str:
    """Why the linear rows and bounds admit no point; "" if they do (or if that cannot be decided).

    Elastic programme: min sum of slacks s.t. every linear row may be violated by its slack, bounds may not. A positive
    optimum proves that no point satisfies all rows; the rows with nonzero multipliers are a conflicting set.
    """
    functions = program.functions
    nonlinear = np.zeros(functions.rows, dtype=bool)
    for family in functions.families:
        nonlinear[family.rows[family.rows >= 0]] = True
    rows = np.flatnonzero(~nonlinear)
    if not rows.size:
        return ""
    matrix = functions.linear[rows]
    low, high = program.lower[rows] - functions.constant[rows], program.upper[rows] - functions.constant[rows]
    size = np.maximum(abs(matrix).max(axis=1).toarray().ravel(), 1e-300)
    upper, lower = np.flatnonzero(np.isfinite(high)), np.flatnonzero(np.isfinite(low))
    eye = sparse.eye_array(len(rows), format="csr")
    scaled = sparse.diags_array(1.0 / size) @ matrix
    # a x - slack <= high and -a x - slack <= -low: an equality shares one slack between its two sides.
    left = sparse.vstack(
        [sparse.hstack([scaled[upper], -eye[upper]]), sparse.hstack([-scaled[lower], -eye[lower]])], format="csr"
    )
    right = np.concatenate([(high / size)[upper], -(low / size)[lower]])
    n = functions.columns
    cost = np.concatenate([np.zeros(n), np.ones(len(rows))])
    bounds = np.column_stack(
        [
            np.concatenate([program.x_lower, np.zeros(len(rows))]),
            np.concatenate([program.x_upper, np.full(len(rows), np.inf)]),
        ]
    )
    result = linprog(cost, A_ub=left, b_ub=right, bounds=bounds, method="highs")
    scale = max(1.0, float(np.abs(right).max(initial=0.0)))
    if result.status != 0 or not result.fun > MARGIN * scale:
        return ""
    weight = np.zeros(len(rows))
    np.add.at(weight, np.concatenate([upper, lower]), np.abs(result.ineqlin.marginals))
    names = [program.constraints[int(rows[k])].name for k in np.flatnonzero(weight > 1e-9)]
    return f"constraints {listing(names)} (with the variables' bounds) cannot hold together"
