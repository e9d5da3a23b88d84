"""What does a follower really do at the leader's decision? Its own problem, solved again, with the leader's variables held."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sparse
from pyomo.core.base.var import VarData
from scipy.stats import qmc

from bcfl_opt.nlp.convexity import is_convex
from bcfl_opt.nlp.nonlinear import Answer, solve_program
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.shapes import deeply
from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.solution import Status

#: Points that are looked at, and starts that are tried from the best of them, where convexity is not proven.
SAMPLES = 512
TRIES = 8


@contextlib.contextmanager
def held(variables: Sequence[VarData]) -> Iterator[None]:
    """These variables fixed at their present values."""
    free = [variable for variable in variables if not variable.fixed]
    for variable in free:
        variable.fix()
    try:
        yield
    finally:
        for variable in free:
            variable.unfix()


@contextlib.contextmanager
def kept_values(variables: Sequence[VarData]) -> Iterator[None]:
    """Whatever happens to these variables' values, they come back."""
    values = [variable.value for variable in variables]
    try:
        yield
    finally:
        for variable, number in zip(variables, values, strict=True):
            variable.set_value(number, skip_validation=True)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A follower's own optimum. answer : of its problem with the leader's variables held. convex : is that proven?

    objective : in the sense of a minimisation; NaN without an optimum.
    """

    answer: Answer
    convex: bool
    objective: float

    @property
    def solved(self) -> bool:
        return self.answer.status is Status.SOLVED

    def load(self) -> None:
        """Set the follower's decisions to it."""
        self.answer.load()


def respond(
    follower: Follower, *, unit: float, clock: Clock, seed: int | None = None, known_convex: bool = False
) -> Response:
    """The follower's optimum at the leader's present values, from the present values of its decisions.

    seed : where convexity is not proven, also from the best of many points, drawn with this seed; None for one start only.
    """
    with held(follower.parameters):
        answer = solve_program(follower.block, unit=unit, time_limit=clock.left)
        convex = known_convex or proven_convex(answer.program)
        if seed is not None and not convex:
            answer = _best_of_many(follower, answer, unit, clock, seed)
    solved = answer.status is Status.SOLVED
    return Response(answer, convex, answer.program.functions.objective(answer.x) if solved else np.nan)


def _best_of_many(follower: Follower, first: Answer, unit: float, clock: Clock, seed: int) -> Answer:
    best = first
    read = first.program
    for x in _promising(read, first.x, seed):
        if clock.over:
            break
        with kept_values(read.variables):
            for variable, number in zip(read.variables, x.tolist(), strict=True):
                variable.set_value(number, skip_validation=True)
            answer = solve_program(follower.block, unit=unit, time_limit=clock.left)
        if answer.status is Status.UNBOUNDED:
            return answer
        if answer.status is Status.SOLVED and not (
            best.status is Status.SOLVED
            and read.functions.objective(best.x) <= answer.program.functions.objective(answer.x)
        ):
            best = answer
    return best


def _promising(read: Program, x: np.ndarray, seed: int) -> list[np.ndarray]:
    """Points to start from: the best of many, by objective and violation, well apart from one another."""
    n = len(x)
    if not n:
        return []
    low, high = read.x_lower, read.x_upper
    reach = np.maximum(1.0, np.abs(x))
    reduced = presolve(read)
    low, high = np.fmax(low, reduced.x_lower), np.fmin(high, reduced.x_upper)
    low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, x) - 10 * reach)
    high = np.where(np.isfinite(high), high, np.maximum(low, x) + 10 * reach)
    draws = qmc.scale(qmc.Sobol(n, rng=seed).random(SAMPLES), low, np.maximum(high, low + 1e-12))
    with np.errstate(all="ignore"):
        scores = np.array([_merit(read, point) for point in draws])
    order = np.argsort(np.where(np.isnan(scores), np.inf, scores))
    chosen: list[np.ndarray] = []
    span = np.maximum(high - low, 1e-12)
    for k in order.tolist():
        if not np.isfinite(scores[k]) or len(chosen) == TRIES:
            break
        if all(np.abs((draws[k] - other) / span).max() > 0.1 for other in chosen):
            chosen.append(draws[k])
    return chosen


def _merit(read: Program, x: np.ndarray) -> float:
    g = read.functions.constraints(x)
    violation = np.maximum(np.maximum(read.lower - g, g - read.upper), 0.0).sum()
    return float(read.functions.objective(x) + 100.0 * violation)


# ---------------------------------------------------------------------------------- convexity


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


# ---------------------------------------------------------------------------------- to and from the conditions


def start_conditions(follower: Follower, conditions: Conditions, response: Response | None) -> None:
    """Give slacks their values at the model's present point, and multipliers those of the follower's own solve."""
    from pyomo.core.expr.numvalue import value

    for constraint in follower.constraints:
        for slack, side, scale in conditions.slack_of.get(id(constraint), ()):
            low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
            room = (high - value(body)) if side == "upper" else (value(body) - low)
            slack.set_value(max(room / scale, 0.0), skip_validation=True)
    found: dict[tuple[int, str], float] = {}
    if response is not None and response.answer.multipliers is not None:
        read, multipliers = response.answer.program, response.answer.multipliers
        for constraint, number in zip(read.constraints, multipliers.rows.tolist(), strict=True):
            found[id(constraint), ""] = number
            found[id(constraint), "upper"], found[id(constraint), "lower"] = max(number, 0.0), max(-number, 0.0)
        for variable, z_low, z_high in zip(
            read.variables, multipliers.x_lower.tolist(), multipliers.x_upper.tolist(), strict=True
        ):
            found[id(variable), "lower bound"], found[id(variable), "upper bound"] = z_low, z_high
    own = {id(item) for item in (*follower.constraints, *follower.decisions)}
    for (item, side), (multiplier, unit) in conditions.multipliers.items():
        if item in own:
            number = found.get((item, side), 0.0 if response is not None or not side else unit)
            multiplier.set_value(number / unit, skip_validation=True)
