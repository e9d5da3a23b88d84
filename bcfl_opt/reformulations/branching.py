"""Is there no better choice of sides? Branch and bound over the complementarity pairs, where the rest is convex.

With a convex leader and followers that are quadratic in all variables together (linear constraints), everything but the
complementarity is convex. A node holds one side of some pairs at 0 and leaves the others open; its optimum bounds all
pieces below it, and a node whose optimum is complementary is a piece itself (Bard and Moore, SIAM J. Sci. Stat. Comput.
11, 1990). No bound on the multipliers is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import OptimizeResult, linprog

from bcfl_opt import ipopt
from bcfl_opt.nlp.convexity import is_convex
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.pieces import Piece, improved
from bcfl_opt.reformulations.system import System
from bcfl_opt.solution import Status

#: Nodes at most. Problems that need more keep what they have, without a proof.
NODES = 300
#: A node is given up when its bound is within this of the best piece, relative.
CLOSE = 1e-7
#: A pair is complementary below this, in the follower's own sizes.
COMPLEMENTARY = 1e-7
#: What is known of a node's relaxation.
BOUNDED, INFEASIBLE, UNBOUNDED, UNKNOWN = "bounded", "infeasible", "unbounded", "unknown"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """What the search found. best : the best piece, None if none was better than what was known. bound : no piece is better
    (minus infinity if the tree was not finished, infinity if no piece is feasible). nodes : looked at. unbounded : a
    piece without a lower bound was found."""

    best: Piece | None
    bound: float
    nodes: int
    unbounded: bool = False

    @property
    def outcome(self) -> str:
        """In words."""
        if self.unbounded:
            return Status.UNBOUNDED.value
        if np.isposinf(self.bound):
            return Status.INFEASIBLE.value
        return f"{self.nodes} nodes, {'nothing is better' if np.isfinite(self.bound) else 'not finished'}"


def can_branch(system: System) -> bool:
    """Is everything but the complementarity convex?"""
    reduced = presolve(system.program)
    return is_convex(system.program, reduced.x_lower, reduced.x_upper)


def branch_and_bound(
    system: System, start: np.ndarray, known: float, unit: float, options: Mapping[str, Any], clock: Clock
) -> Tree:
    """The best piece, and a proof of it, of a system that :func:`can_branch`.

    start : a point to begin from. known : the best objective so far (infinite for none).
    """
    best: Piece | None = None
    limit = known
    bound = np.inf
    stack: list[tuple[np.ndarray, np.ndarray]] = [(np.full(len(system.pairs), -1), start)]
    nodes = 0
    while stack:
        if nodes >= NODES or clock.over:
            return Tree(best, -np.inf, nodes)
        sides, x = stack.pop()
        nodes += 1
        node = _node(system, sides)
        value, x_node, verdict = _relaxation(node, x, unit, options, clock)
        if verdict == INFEASIBLE:
            continue
        if value >= limit - CLOSE * (1 + abs(limit)):
            bound = min(bound, value)
            continue
        pairs = np.flatnonzero(sides < 0)
        if x_node is None:  # no point to judge by: the relaxation is unbounded, or could not be solved
            if not pairs.size:
                return Tree(best, -np.inf, nodes, unbounded=verdict == UNBOUNDED)
            first, worst = 0, int(pairs[0])
        else:
            a, b = np.abs(x_node[system.multiplier]), np.abs(system.slacks(x_node))
            violation = np.minimum(a, b)[pairs]
            if not pairs.size or violation.max() <= COMPLEMENTARY:
                piece = improved(system, x_node, unit, options, clock)
                if piece is not None and piece.status is Status.UNBOUNDED:
                    return Tree(best, -np.inf, nodes, unbounded=True)
                if piece is not None and piece.status is Status.SOLVED and piece.objective < limit:
                    best, limit = piece, piece.objective
                if not pairs.size or (piece is not None and value >= limit - CLOSE * (1 + abs(limit))):
                    bound = min(bound, value)
                    continue
            worst = int(pairs[np.argmax((a * b)[pairs])])
            first = int(b[worst] <= a[worst])  # 1: the slack is 0
            x = x_node
        for side in (1 - first, first):  # the likelier side is looked at first: last in
            child = sides.copy()
            child[worst] = side
            stack.append((child, x))
    return Tree(best, min(bound, limit), nodes)


def _node(system: System, sides: np.ndarray) -> Program:
    """The programme with the slack (side 1) or the multiplier (side 0) of some pairs held at 0."""
    low, high = system.program.x_lower.copy(), system.program.x_upper.copy()
    low[system.relaxation] = high[system.relaxation] = 0.0
    decided = sides >= 0
    columns = np.where(sides == 1, system.variable, system.multiplier)[decided]
    numbers = np.where(sides == 1, system.bound, 0.0)[decided]
    low[columns], high[columns] = np.maximum(low[columns], numbers), np.minimum(high[columns], numbers)
    return dataclasses.replace(system.program, x_lower=low, x_upper=high)


def _relaxation(
    node: Program, x: np.ndarray, unit: float, options: Mapping[str, Any], clock: Clock
) -> tuple[float, np.ndarray | None, str]:
    """(lower bound, a point that attains it, what is known of the node)."""
    if np.any(node.x_lower > node.x_upper):
        return np.inf, None, INFEASIBLE
    linear = not node.functions.families
    found = linear_relaxation(node, node.functions.objective_linear if linear else np.zeros(len(x)))
    if found.status == 2:
        return np.inf, None, INFEASIBLE
    if linear:
        if found.status == 0:
            return float(found.fun) + node.functions.objective_constant, np.asarray(found.x), BOUNDED
        return -np.inf, None, UNBOUNDED if found.status == 3 else UNKNOWN
    settings = {"max_iter": 300, "bound_relax_factor": 1e-8, **options}
    outcome = ipopt.run(presolve(node), x, options=settings, time_limit=clock.left, log=False)
    certificate = certify(node, outcome.x, outcome.multipliers, convex=True, unit=unit)
    if certificate.closes_gap:
        objective = float(node.functions.objective(outcome.x))
        return objective - CLOSE * (1 + abs(objective)), outcome.x, BOUNDED
    if outcome.status is Status.LOCALLY_INFEASIBLE and not certificate.primal <= 1e-3:
        return np.inf, None, INFEASIBLE  # convex: what is infeasible locally is so everywhere
    return -np.inf, None, UNKNOWN


def linear_relaxation(node: Program, cost: np.ndarray) -> OptimizeResult:
    """HiGHS on the rows without nonlinear terms: status 0 optimal, 2 infeasible, 3 unbounded."""
    functions = node.functions
    nonlinear = np.zeros(functions.rows, dtype=bool)
    for family in functions.families:
        nonlinear[family.rows[family.rows >= 0]] = True
    low, high = node.lower - functions.constant, node.upper - functions.constant
    equal = ~nonlinear & (low == high)
    above, below = ~nonlinear & ~equal & np.isfinite(high), ~nonlinear & ~equal & np.isfinite(low)
    matrix = functions.linear
    return linprog(
        cost,
        A_ub=sparse.vstack([matrix[above], -matrix[below]], format="csr"),
        b_ub=np.concatenate([high[above], -low[below]]),
        A_eq=matrix[equal],
        b_eq=low[equal],
        bounds=np.column_stack([node.x_lower, node.x_upper]),
        method="highs",
    )
