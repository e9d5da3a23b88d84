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
from pyomo.core.base.var import VarData
from pyomo.core.expr.numvalue import value
from pyomo.core.expr.visitor import identify_variables
from scipy.optimize import linprog

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.nlp.kkt import certify, coefficient_sizes
from bcfl_opt.nlp.nonlinear import solve_program
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.convex_followers import PROVEN, REFUTED
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.responses import held, kept_values, respond
from bcfl_opt.reformulations.single_level import inactive, temporary
from bcfl_opt.solution import Status

#: How much worse than its optimum a follower may be where one asks what ties could do, relative to its objective's terms.
SLACKNESS = (1e-7, 1e-9)
#: Ties that would move a decision this far, relative to its own size or 1, are taken for unbounded.
FAR = 1e6
#: Of what a follower's objective usually weighs, a share that holds nothing in place.
FAINT = 1e-7


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
    unique = None
    if response.convex and gap <= TOLERANCE:
        # With its own variables at 0 a leader can take all weight from a follower's objective: what counts as a pull
        # is told by the coefficients before that.
        usual = unit if unit != 1.0 else min(float(coefficient_sizes(follower.program.functions)[-1]), 1.0)
        unique = is_unique(read, y, own, FAINT * usual)
    return Check(follower, float(gap), asked, response.convexity, unique, read.sense * objective, detail)


def _own_multipliers(read: Program, found: Mapping[tuple[int, str], float]) -> Multipliers:
    def of(items: Sequence[object], side: str) -> np.ndarray:
        return np.array([found.get((id(item), side), 0.0) for item in items], dtype=float)

    rows = of(read.constraints, "") + of(read.constraints, "upper") - of(read.constraints, "lower")
    return Multipliers(rows, of(read.variables, "lower bound"), of(read.variables, "upper bound"))


# ---------------------------------------------------------------------------------- ties


def is_unique(
    read: Program, y: np.ndarray, multipliers: Multipliers, faint: float, active: float = 1e-6
) -> bool | None:
    """Is the optimum of a convex programme the only one? True if proven, None if not. faint : a pull that does not count.

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
    strength = 1e-5 * max(float(np.abs(gradient * size).max(initial=0.0)), float(pull.max(initial=0.0)))
    strength = max(strength, faint)
    kept = (read.lower == read.upper) | ((at_upper | at_lower) & (pull > strength))
    x_low, x_high = (y - read.x_lower) / size <= active, (read.x_upper - y) / size <= active
    z = np.maximum(multipliers.x_lower, multipliers.x_upper) * size
    still = (read.x_lower == read.x_upper) | ((x_low | x_high) & (z > strength))
    curvature = hessian * size[:, None] * size[None, :]
    top = np.abs(curvature).max(initial=0.0)
    blocks = [dense[kept], np.eye(n)[still]]
    if top > faint:
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
    held_variables: Sequence[VarData],
    *,
    unit: float,
    clock: Clock,
) -> float | None:
    """What the leader gets if the followers whose optimum is not known to be unique break ties against it.

    The worst of the leader's objective over those followers' points that are feasible and optimal within a slackness; from
    two slacknesses the value at none is extrapolated, as a strictly convex objective lets a point move with the root of it.
    None where that cannot be found. The leader's own constraints do not bind a follower and are left out.
    """
    start = float(value(objective))
    loose = [c for c in checks if c.unique is not True]
    free = {id(v): v for c in loose for v in c.follower.decisions}
    if not any(id(v) in free for v in identify_variables(objective.expr, include_fixed=False)):
        return start
    inside = {id(row) for follower in followers for row in follower.constraints}
    rows = [row for row in leader.component_data_objects(Constraint, active=True) if id(row) not in inside]
    far = {key: FAR * max(1.0, abs(v.value or 0.0)) for key, v in free.items()}
    against = pyo.maximize if objective.sense == pyo.minimize else pyo.minimize
    worst = -np.inf if against == pyo.minimize else np.inf
    found: list[float] = []
    with (
        inactive([objective, *(follower.objective for follower in followers), *rows]),
        temporary(leader, "ties") as block,
        kept_values(list(free.values())),
        held([v for v in held_variables if id(v) not in free]),
    ):
        block.worst = pyo.Objective(expr=objective.expr, sense=against)
        block.near = pyo.Constraint(list(free), rule=lambda _, key: (-far[key], free[key], far[key]))
        for slackness in SLACKNESS:
            block.del_component("optimal")
            block.optimal = pyo.Constraint(
                range(len(loose)), rule=lambda _, k, s=slackness: _nearly_optimal(loose[k], s, unit)
            )
            answer = solve_program(leader, unit=unit, time_limit=clock.left)
            if answer.status is not Status.SOLVED:
                return worst if answer.status is Status.UNBOUNDED else None
            for v, x in zip(answer.program.variables, answer.x.tolist(), strict=True):
                if abs(x) > 0.99 * far[id(v)]:
                    return worst
            found.append(float(answer.objective))
    ratio = float(np.sqrt(SLACKNESS[0] / SLACKNESS[1]))
    extrapolated = (ratio * found[1] - found[0]) / (ratio - 1)
    return max(extrapolated, start) if against == pyo.maximize else min(extrapolated, start)


def _nearly_optimal(c: Check, slackness: float, unit: float) -> object:
    """The follower's objective is at most this much worse than at its point."""
    read = c.follower.program
    size = max(float(read.functions.objective_size(read.start())), unit, 1e-6)
    return c.follower.sense * c.follower.objective.expr <= c.follower.sense * c.objective + slackness * size
