"""Is a stationary point a minimum? The Hessian of the Lagrangian on the directions that the active constraints leave."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program

#: Blocks with more variables than this are not looked at: dense linear algebra is cubic.
LARGEST = 1500
#: Curvature below minus this, relative to the largest of its block, is not rounding.
NOISE = 1e-7


def descent_direction(
    program: Program, x: np.ndarray, multipliers: Multipliers, *, active: float = 1e-6
) -> np.ndarray | None:
    """A direction along which a stationary point is no local minimum; None if none is found.

    In every block of variables that constraints or curvature connect: the eigenvector of the most negative eigenvalue of
    Z'HZ, with H the Hessian of the Lagrangian and Z a basis of the directions that keep all constraints active whose
    multiplier is not 0. It counts only if it (or its negative) does not leave a constraint that is active with
    multiplier 0. Such a direction refutes a local minimum; the lack of one proves nothing more than second-order
    necessary conditions. Source: second-order necessary conditions, Nocedal and Wright, section 12.5.
    """
    functions = program.functions
    with np.errstate(all="ignore"):
        hessian = sparse.coo_array(
            (functions.hessian(x, multipliers.rows, 1.0), (functions.hessian_rows, functions.hessian_columns)),
            shape=(len(x), len(x)),
        ).tocsr()
        jacobian, g = functions.jacobian_matrix(x), functions.constraints(x)
    hessian = hessian + sparse.tril(hessian, -1).T
    if not hessian.nnz or not np.isfinite(hessian.data).all():
        return None
    size = np.maximum(np.abs(jacobian) @ np.abs(x), 1.0)
    near = np.minimum(np.abs(g - program.lower), np.abs(program.upper - g)) <= active * size
    held = near & (np.abs(multipliers.rows) > 1e-8) | (program.lower == program.upper)
    loose = near & ~held
    reach = np.maximum(np.abs(x), 1.0)
    at_lower, at_upper = x - program.x_lower <= active * reach, program.x_upper - x <= active * reach
    fixed = (at_lower & (multipliers.x_lower > 1e-8)) | (at_upper & (multipliers.x_upper > 1e-8))
    fixed |= program.x_lower == program.x_upper
    links = sparse.vstack([jacobian[held], hessian], format="csr")
    _, block = connected_components(abs(links.T) @ abs(links), directed=False)
    order = np.argsort(block, kind="stable")
    ends = np.flatnonzero(np.append(block[order][1:] != block[order][:-1], True)) + 1
    for members in np.split(order, ends[:-1]):
        members = members[~fixed[members]]
        if not members.size or members.size > LARGEST:
            continue
        h = hessian[members][:, members].toarray()
        if not h.any():
            continue
        rows = jacobian[held][:, members].toarray()
        rows = rows[np.abs(rows).max(axis=1, initial=0.0) > 0]
        basis = scipy.linalg.null_space(rows) if rows.size else np.eye(len(members))
        if not basis.shape[1]:
            continue
        values, vectors = np.linalg.eigh(basis.T @ h @ basis)
        if values[0] >= -NOISE * max(np.abs(h).max(), 1.0):
            continue
        direction = np.zeros(len(x))
        direction[members] = basis @ vectors[:, 0]
        for candidate in (direction, -direction):
            if _stays(program, x, g, jacobian, candidate, loose, at_lower & ~fixed, at_upper & ~fixed):
                return candidate
    return None


def _stays(
    program: Program,
    x: np.ndarray,
    g: np.ndarray,
    jacobian: sparse.csr_array,
    direction: np.ndarray,
    loose: np.ndarray,
    at_lower: np.ndarray,
    at_upper: np.ndarray,
) -> bool:
    """Does a small step in this direction stay within the constraints that are active without a multiplier?"""
    if np.any(direction[at_lower] < -1e-9) or np.any(direction[at_upper] > 1e-9):
        return False
    change = (jacobian @ direction)[loose]
    at_low = np.abs(g - program.lower)[loose] <= np.abs(program.upper - g)[loose]
    return not np.any(np.where(at_low, change < -1e-9, change > 1e-9))
