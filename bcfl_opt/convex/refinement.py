"""How does a nearly optimal point become an exact one? Newton steps on the optimality conditions of a conic programme.

An interior-point method stops while every slack x multiplier is still some 1e-12 of the whole objective, which is much
for a client whose own payment is 1e-6 of the whole. Newton's method on

    P x + A'z + q = 0,   s = b - A x,   and per cone   F(s, z) = 0, an equation for "s in K, z in K*, s'z = 0",

converges quadratically from there, whatever the scale of each cone: two steps usually reach rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla

from bcfl_opt.convex.conic_program import ConicProgram

#: Added to the diagonal so that redundant constraints (multipliers that are not unique) leave the system regular; the
#: steps are corrected for it.
REGULARISATION = 1e-11
#: A residual from which on the lesser of slack and multiplier is the one that is 0.
NEAR = 1e-6
#: Columns one by one: clients are small blocks of their own, of which there is no dense panel to be had.
SPARSE = {"panel_size": 1, "relax": 1}
#: How often at most, and to what share of the right-hand side: one more correction then leaves nothing but rounding.
CORRECTIONS, ENOUGH = 3, 1e-6
#: What rounding leaves of a number, and the payment of which, in a scaled programme, the rest is nothing.
ROUNDING, NOTHING = 8 * float(np.finfo(float).eps), 1e-3
#: Dense programmes are left alone: the factorisation would cost more than the solve.
DENSITY = 50

#: Rows, columns and values of a sparse matrix.
Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


@np.errstate(all="ignore")  # what overflows has a residual of infinity or NaN, and is not taken
def refine(
    program: ConicProgram, x: np.ndarray, z: np.ndarray, steps: int = 7, tolerance: float = 1e-14
) -> tuple[np.ndarray, np.ndarray, int]:
    """The first of the Newton iterates that only rounding keeps from being exact, or the best of them and ``x, z`` by largest
    residual; and how many steps it took.

    ``program`` should be scaled. Cones for which no F is written here (semidefinite, power) leave the point as it is.
    """
    cones = program.cones
    if cones.psd or cones.power or cones.powers or program.A.nnz > DENSITY * sum(program.A.shape):
        return x, z, 0
    best, smallest, taken = (x, z), _residual(program, x, z), 0
    # Where it is plain which constraints are tight, a step or two do. Where they depend on one another, their products tell.
    for decided in (True, False) if smallest <= NEAR else (False,):
        for step, (x_k, z_k) in enumerate(_newton(program, x, z, decided=decided), 1):
            if _rounded(program, x_k, z_k):
                return x_k, z_k, step
            residual = _residual(program, x_k, z_k)
            if residual < smallest:
                best, smallest, taken = (x_k, z_k), residual, step
            if step == steps or not residual > tolerance:
                break
    return (*best, taken)


def _newton(
    program: ConicProgram, x: np.ndarray, z: np.ndarray, *, decided: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Newton's iterates, until they get no better twice in a row. decided : as in :func:`_conditions`."""
    cones, n = program.cones, len(x)
    bounds = slice(cones.zero, cones.zero + cones.nonneg)
    factors, previous, stalled = None, np.inf, 0
    while stalled < 2:
        value, by_s, by_z = _conditions(program, program.slack(x), z, decided=decided)
        matrix = sp.block_array([[program.P, program.A.T], [-(by_s @ program.A), by_z]], format="csc")
        right = -np.concatenate([program.P @ x + program.A.T @ z + program.q, value])
        # The system hardly changes from step to step, so that the factors of the last one may do.
        move, exact = (right, False) if factors is None else _solution(factors, matrix, right)
        if not exact:
            try:
                factors = sla.splu((matrix + REGULARISATION * sp.eye_array(len(right), format="csc")).tocsc(), **SPARSE)
            except RuntimeError:  # exactly singular
                return
            move, _ = _solution(factors, matrix, right)
        x, z = x + move[:n], z + move[n:]
        # Where constraints are redundant, multipliers can go below 0 at no gain; the others then take over.
        z[bounds] = np.maximum(z[bounds], 0.0)
        yield x, z
        # Some steps go up: the first leaves the central path, and a clipped multiplier must be made good by others.
        residual = _residual(program, x, z)
        stalled = 0 if residual < 0.5 * previous else stalled + 1
        previous = residual


def _solution(factors: Any, matrix: sp.csc_array, right: np.ndarray) -> tuple[np.ndarray, bool]:
    """Of the system with this matrix by the factors of one near it; and was what they miss made good?"""
    move = factors.solve(right)
    for _ in range(CORRECTIONS):
        rest = right - matrix @ move
        move = move + factors.solve(rest)
        if float(np.abs(rest).max()) <= ENOUGH * float(np.abs(right).max()):
            return move, True
    return move, False


def _residual(program: ConicProgram, x: np.ndarray, z: np.ndarray) -> float:
    """Largest residual of the optimality conditions, cone membership included."""
    s, cones = program.slack(x), program.cones
    parts = (
        np.abs(program.P @ x + program.A.T @ z + program.q),
        np.abs(cones.total(s * z)),
        cones.violation(s),
        cones.dual_violation(z),
    )
    return max(float(part.max(initial=0.0)) for part in parts)


def _rounded(program: ConicProgram, x: np.ndarray, z: np.ndarray) -> bool:
    """Is every single residual no more than what rounding its own terms leaves?"""
    s, cones = program.slack(x), program.cones
    size = abs(program.A) @ np.abs(x) + np.abs(program.b)
    terms = abs(program.P) @ np.abs(x) + abs(program.A).T @ np.abs(z) + np.abs(program.q)
    products = cones.total(size * np.abs(z))
    return bool(
        (np.abs(program.P @ x + program.A.T @ z + program.q) <= ROUNDING * terms).all()
        and (np.abs(cones.total(s * z)) <= ROUNDING * np.maximum(products, NOTHING)).all()
        and (cones.violation(s) <= ROUNDING * cones.largest(size)).all()
        and (cones.dual_violation(z) <= ROUNDING * cones.largest(np.abs(z))).all()
    )


def _conditions(
    program: ConicProgram, s: np.ndarray, z: np.ndarray, *, decided: bool
) -> tuple[np.ndarray, sp.csc_array, sp.csc_array]:
    """F(s, z) and its derivatives by s and by z.

    zero: s. nonnegative: s z, or if decided, min(s, z). second-order: the Jordan product (s'z, s_0 z_k + z_0 s_k).
    exponential: see below.
    """
    cones = program.cones
    flat = cones.zero + cones.nonneg
    curved = flat + sum(cones.soc)
    equal = np.arange(len(s)) < cones.zero
    bound = (np.arange(len(s)) < flat) & ~equal & decided
    tight = equal | (bound & (s < z))
    value = np.where(tight, s, np.where(bound, z, s * z))
    diagonal_s, diagonal_z = (
        np.where(tight, 1.0, np.where(bound, 0.0, z)),
        np.where(tight, 0.0, np.where(bound, 1.0, s)),
    )
    entries_s: list[Entries] = []
    entries_z: list[Entries] = []

    if cones.soc:
        first = cones.spread(cones.starts)
        tail = np.flatnonzero((np.arange(len(s)) > first) & (np.arange(len(s)) >= flat) & (np.arange(len(s)) < curved))
        head = first[tail]
        diagonal_s[tail], diagonal_z[tail] = z[head], s[head]
        for entries, v in ((entries_s, z), (entries_z, s)):
            entries += [(head, tail, v[tail]), (tail, head, v[tail])]
        value[tail] = s[head] * z[tail] + z[head] * s[tail]
        starts = cones.starts[flat : flat + len(cones.soc)]
        value[starts] = cones.total(s * z)[flat : flat + len(cones.soc)]

    if cones.exp:
        one, two, three = (np.arange(curved + k, curved + 3 * cones.exp, 3) for k in range(3))
        _exponential(s, z, (one, two, three), value, diagonal_s, diagonal_z, entries_s, entries_z)
    return value, _sparse(diagonal_s, entries_s), _sparse(diagonal_z, entries_z)


def _exponential(
    s: np.ndarray,
    z: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    value: np.ndarray,
    diagonal_s: np.ndarray,
    diagonal_z: np.ndarray,
    entries_s: list[Entries],
    entries_z: list[Entries],
) -> None:
    """F of the exponential cone. On its boundary g = s_2 e^r - s_3 = 0, r = s_1 / s_2, and z is a multiple of -grad g:

        z_1 + z_3 e^r = 0,   z_2 + z_3 e^r (1 - r) = 0,   s_2 e^r - s_3 = 0,   r = s_1 / s_2.

    In the interior z = 0. Which of the two is told by what is smaller there, the distance to the boundary or z.
    """
    one, two, three = rows
    with np.errstate(all="ignore"):
        r = s[one] / s[two]
        e = np.exp(r)
        depth = np.abs(s[three] - s[two] * e) / np.maximum.reduce([np.abs(s[one]), np.abs(s[two]), np.abs(s[three])])
        size = np.maximum.reduce([np.abs(z[one]), np.abs(z[two]), np.abs(z[three])])
        active = (depth < size / max(float(np.abs(z).max()), 1e-300)) & (s[two] > 0) & (z[three] > 0)
    inside = np.concatenate([k[~active] for k in rows])
    value[inside], diagonal_s[inside], diagonal_z[inside] = z[inside], 0.0, 1.0
    one, two, three, r, e = one[active], two[active], three[active], r[active], e[active]
    value[one] = z[one] + z[three] * e
    value[two] = z[two] + z[three] * e * (1 - r)
    value[three] = s[two] * e - s[three]
    slope = z[three] * e / s[two]  # dr = (ds_1 - r ds_2) / s_2, d(e^r) = e^r dr, d(e^r (1 - r)) = -r e^r dr
    diagonal_s[one], diagonal_s[two], diagonal_s[three] = slope, r * r * slope, -1.0
    entries_s += [(one, two, -r * slope), (two, one, -r * slope), (three, one, e), (three, two, e * (1 - r))]
    diagonal_z[one], diagonal_z[two], diagonal_z[three] = 1.0, 1.0, 0.0
    entries_z += [(one, three, e), (two, three, e * (1 - r))]


def _sparse(diagonal: np.ndarray, entries: list[Entries]) -> sp.csc_array:
    k = np.arange(len(diagonal))
    rows, columns, values = (np.concatenate(parts) for parts in zip((k, k, diagonal), *entries, strict=True))
    return sp.csc_array((values, (rows, columns)), shape=(len(k), len(k)))
