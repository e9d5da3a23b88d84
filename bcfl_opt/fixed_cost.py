"""Which part of a linear cost do equalities fix, so that nothing decides it?"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as sla

#: Rounding, relative to what is added up.
ROUNDING = 16 * float(np.finfo(float).eps)


def without_fixed_cost(cost: np.ndarray, equalities: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """cost + A'y, and the y that leaves least of it: rows A x = b make y'A x a constant. What only rounding leaves is 0."""
    y = np.zeros(equalities.shape[0])
    left = cost
    for _ in range(3):  # what the first pass leaves for want of digits, the next ones take
        y = y + sla.lsqr(equalities.T, -left, atol=1e-15, btol=1e-15, iter_lim=50)[0]
        left = cost + equalities.T @ y
    # A row that takes nothing must take exactly nothing: its rounding can be more than the payments that are left.
    contributions = abs(equalities).max(axis=1).toarray().ravel() * np.abs(y)
    y = np.where(contributions <= ROUNDING * np.abs(cost).max(initial=0.0), 0.0, y)
    left = cost + equalities.T @ y
    rounding = ROUNDING * (np.abs(cost) + abs(equalities).T @ np.abs(y))
    return np.where(np.abs(left) <= rounding, 0.0, left), y
