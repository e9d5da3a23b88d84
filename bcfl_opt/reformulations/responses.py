"""What does a follower really do at the leader's decision? Its own problem, solved again, with the leader's variables held."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from pyomo.core.base.var import VarData
from pyomo.core.expr.numvalue import value

from bcfl_opt.nlp.multistart import draws, promising
from bcfl_opt.nlp.nonlinear import Answer, solve_program
from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.convex_followers import PROVEN, UNKNOWN, convexity, proven_convex
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.solution import Status

#: Starts that are tried where convexity is not proven.
TRIES = 8
#: Points at which curvature is looked at.
CURVATURES = 64


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
    """A follower's own optimum. answer : of its problem with the leader's variables held. convexity : see
    :func:`~bcfl_opt.reformulations.convex_followers.convexity`. objective : minimised; NaN without an optimum.
    """

    answer: Answer
    convexity: str
    objective: float

    @property
    def solved(self) -> bool:
        return self.answer.status is Status.SOLVED

    @property
    def convex(self) -> bool:
        """Is that proven?"""
        return self.convexity == PROVEN

    def load(self) -> None:
        """Set the follower's decisions to it."""
        self.answer.load()


def respond(follower: Follower, *, unit: float, clock: Clock, seed: int) -> Response:
    """The follower's optimum at the leader's present values, from the present values of its decisions.

    Where convexity is not proven, also from the best of many points, drawn with the seed; the best optimum counts.
    """
    with held(follower.parameters):
        answer = solve_program(follower.block, unit=unit, time_limit=clock.left)
        read = answer.program
        verdict = PROVEN if proven_convex(read) else UNKNOWN
        if verdict != PROVEN and answer.x.size:
            points = draws(read, answer.x, seed)
            verdict = convexity(read, points[:CURVATURES])
            answer = _best_of_many(follower, answer, points, unit, clock)
    objective = answer.program.functions.objective(answer.x) if answer.status is Status.SOLVED else np.nan
    return Response(answer, verdict, float(objective))


def _best_of_many(follower: Follower, first: Answer, points: np.ndarray, unit: float, clock: Clock) -> Answer:
    best, read = first, first.program
    for x in promising(read, points, TRIES):
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


# ---------------------------------------------------------------------------------- to and from the conditions


def start_conditions(follower: Follower, conditions: Conditions, response: Response | None) -> None:
    """Give slacks their values at the model's present point, and multipliers those of the follower's own solve."""
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
    for (item, side), (multiplier, unit) in conditions.multipliers[follower.name].items():
        number = found.get((item, side), 0.0 if response is not None or not side else unit)
        multiplier.set_value(number / unit, skip_validation=True)
