"""Would the followers do it? Their problems, solved again at the leader's decision; and what if they break ties otherwise?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyomo.environ as pyo
import scipy.linalg
import scipy.sparse as sparse
from pyomo.core.base.block import BlockData
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import ObjectiveData
from pyomo.core.expr.numvalue import value
from scipy.optimize import linprog

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.nlp.kkt import certify, coefficient_sizes
from bcfl_opt.nlp.nonlinear import solve_program
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.convex_followers import PROVEN, REFUTED
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.responses import kept_values, respond
from bcfl_opt.reformulations.single_level import inactive, temporary
from bcfl_opt.solution import Status

#: How much worse than its optimum a follower may be where one asks what ties could do, relative to its objective's terms.
SLACKNESS = (1e-7, 1e-9)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What a follower's own problem, solved again, says of its point in an answer.

    gap : how much better its own optimum is, relative to the size of its objective's terms; infinite where its point is not
    feasible, or its own problem could not be solved. asked : could it? convexity : of its problem there, see
    :mod:`.convex_followers`. unique : is its optimum? (None: not known.) objective : at its point, in its own sense.
    """

    follower: Follower
    gap: float
    asked: bool
    convexity: str
    unique: bool | None
    objective: float
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.gap <= TOLERANCE


def check(
    follower: Follower,
    multipliers: Mapping[tuple[int, str], float],
    *,
    unit: float,
    clock: Clock,
    seed: int,
) -> Check:
    """A follower's present values against its own optimum at the leader's present values.

    multipliers : by (id of constraint or decision, side), in the follower's own units; {} for none.
    """
    with kept_values(follower.program.variables):
        response = respond(follower, unit=unit, clock=clock, seed=seed)
    read = response.answer.program
    y = read.start()
    own = _own_multipliers(read, multipliers)
    certificate = certify(read, y, own, convex=response.convex, unit=unit)
    objective = float(read.functions.objective(y))
    least = unit if unit != 1.0 else min(float(coefficient_sizes(read.functions)[-1]), 1.0)
    size = max(float(read.functions.objective_size(y)), least)
    status = response.answer.status
    detail, asked = "", True
    if not certificate.primal <= TOLERANCE:
        gap, detail = np.inf, f"its point violates {certificate.where.get('primal', 'a constraint')}"
    elif response.solved:
        gap = max((objective - response.objective) / size, 0.0)
    elif response.convex and certificate.closes_gap:
        gap = float(certificate.gap or 0.0)  # its own solve failed, but weak duality says all
    elif status is Status.UNBOUNDED:
        gap, detail = np.inf, "its own problem is unbounded there"
    else:
        gap, asked = np.inf, False
        detail = f"its own problem could not be solved there: {response.answer.detail or status.value}"
    if not detail and gap > TOLERANCE:
        kind = {PROVEN: "", REFUTED: ", which is not convex,"}.get(
            response.convexity, ", which is not known to be convex,"
        )
        detail = (
            f"its own problem{kind} has the value {read.sense * response.objective:.8g} there, and its point in the "
            f"answer {read.sense * objective:.8g}"
        )
    unique = is_unique(read, y, own) if response.convex and gap <= TOLERANCE else None
    return Check(follower, float(gap), asked, response.convexity, unique, read.sense * objective, detail)


def _own_multipliers(read: Program, found: Mapping[tuple[int, str], float]) -> Multipliers:
    def of(items: Sequence[object], side: str) -> np.ndarray:
        return np.array([found.get((id(item), side), 0.0) for item in items], dtype=float)

    rows = of(read.constraints, "") + of(read.constraints, "upper") - of(read.constraints, "lower")
    return Multipliers(rows, of(read.variables, "lower bound"), of(read.variables, "upper bound"))


# ---------------------------------------------------------------------------------- ties


def is_unique(read: Program, y: np.ndarray, multipliers: Multipliers, active: float = 1e-6) -> bool | None:
    """Is the optimum of a convex programme the only one? True if proven, None if not.

    A direction to another optimum keeps every row with a multiplier active, leaves none of the other active rows, and is one
    without curvature of the Lagrangian. If 0 is the only such direction, the optimum is unique.
    """
    functions = read.functions
    n = functions.columns
    if not n:
        return True
    with np.errstate(all="ignore"):
        jacobian, g = functions.jacobian_matrix(y), functions.constraints(y)
        values = functions.hessian(y, multipliers.rows, 1.0)
        gradient = functions.gradient(y)
    lower = sparse.coo_array((values, (functions.hessian_rows, functions.hessian_columns)), shape=(n, n)).toarray()
    hessian = lower + np.tril(lower, -1).T
    if not np.isfinite(hessian).all():
        return None
    size = np.maximum(np.abs(y), 1.0)
    dense = jacobian.toarray() * size
    row_size = np.maximum(np.abs(dense).max(axis=1, initial=0.0), 1e-300)
    dense /= row_size[:, None]
    room = active * np.maximum(np.abs(g) / row_size, 1.0)
    at_upper, at_lower = (read.upper - g) / row_size <= room, (g - read.lower) / row_size <= room
    pull = np.abs(multipliers.rows) * row_size
    strength = 1e-5 * max(float(np.abs(gradient * size).max(initial=0.0)), float(pull.max(initial=0.0)), 1e-12)
    kept = (read.lower == read.upper) | ((at_upper | at_lower) & (pull > strength))
    x_low, x_high = (y - read.x_lower) / size <= active, (read.x_upper - y) / size <= active
    z = np.maximum(multipliers.x_lower, multipliers.x_upper) * size
    still = (read.x_lower == read.x_upper) | ((x_low | x_high) & (z > strength))
    curvature = hessian * size[:, None] * size[None, :]
    top = np.abs(curvature).max(initial=0.0)
    blocks = [dense[kept], np.eye(n)[still]]
    if top > 0:
        blocks.append(curvature / top)
    matrix = np.vstack(blocks)
    basis = scipy.linalg.null_space(matrix, rcond=1e-9) if matrix.size else np.eye(n)
    if not basis.shape[1]:
        return True
    # Directions in that space which leave none of the weakly active rows and bounds.
    weak_rows, eye = ~kept, np.eye(n)
    weak = np.vstack(
        [
            dense[weak_rows & at_upper],
            -dense[weak_rows & at_lower],
            eye[x_high & ~still],
            -eye[x_low & ~still],
        ]
    )
    if not weak.size:
        return None
    cone = weak @ basis
    rng = np.random.default_rng(0)
    for cost in (*np.eye(basis.shape[1]), *rng.standard_normal((2, basis.shape[1]))):
        for sign in (1.0, -1.0):
            found = linprog(sign * cost, A_ub=cone, b_ub=np.zeros(len(cone)), bounds=(-1, 1), method="highs")
            if found.status != 0 or abs(found.fun) > 1e-7:
                return None
    return True


def pessimistic(
    leader: BlockData,
    followers: Sequence[Follower],
    checks: Sequence[Check],
    objective: ObjectiveData,
    held_variables: Sequence[object],
    *,
    unit: float,
    clock: Clock,
) -> float | None:
    """What the leader gets if the followers whose optimum is not known to be unique break ties against it.

    The worst of the leader's objective over those followers' points that are feasible and optimal within a slackness; from
    two slacknesses the value at none is extrapolated, as a strictly convex objective lets a point move with the root of it.
    None where that cannot be found. The leader's own constraints do not bind a follower and are left out.
    """
    loose = [c for c in checks if c.unique is not True]
    if not loose:
        return float(value(objective))
    inside = {id(row) for follower in followers for row in follower.constraints}
    rows = [row for row in leader.component_data_objects(Constraint, active=True) if id(row) not in inside]
    free = {id(variable) for c in loose for variable in c.follower.decisions}
    fixed = [v for v in held_variables if id(v) not in free and not v.fixed]  # type: ignore[attr-defined]
    start = value(objective)
    found = []
    with (
        inactive([objective, *(follower.objective for follower in followers), *rows]),
        temporary(leader, "ties") as block,
        kept_values([v for c in loose for v in c.follower.decisions]),
    ):
        for variable in fixed:
            variable.fix()  # type: ignore[attr-defined]
        try:
            sense = pyo.maximize if objective.sense == pyo.minimize else pyo.minimize
            block.worst = pyo.Objective(expr=objective.expr, sense=sense)
            block.optimal = pyo.Constraint(pyo.Any)
            for slackness in SLACKNESS:
                for k, c in enumerate(loose):
                    size = max(
                        float(c.follower.program.functions.objective_size(c.follower.program.start())), unit, 1e-6
                    )
                    bound = c.follower.sense * c.objective + slackness * size
                    if k in block.optimal:
                        del block.optimal[k]
                    block.optimal[k] = c.follower.sense * c.follower.objective.expr <= bound
                answer = solve_program(leader, unit=unit, time_limit=clock.left)
                if answer.status is not Status.SOLVED:
                    return -sense * np.inf if answer.status is Status.UNBOUNDED else None
                found.append(float(answer.objective))
        finally:
            for variable in fixed:
                variable.unfix()  # type: ignore[attr-defined]
    ratio = float(np.sqrt(SLACKNESS[0] / SLACKNESS[1]))
    worst = (ratio * found[1] - found[0]) / (ratio - 1)
    # Maximising what the leader minimises: worse is larger.
    return max(worst, start) if objective.sense == pyo.minimize else min(worst, start)
