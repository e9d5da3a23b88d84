"""Where does a search begin? At decisions of the leader that are feasible, with the followers' answers to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.block import BlockData
from pyomo.core.base.objective import ObjectiveData
from pyomo.core.base.var import VarData

from bcfl_opt.nlp.nonlinear import Answer, solve_program
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.reformulations.branching import linear_relaxation
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.responses import Response, respond
from bcfl_opt.reformulations.single_level import inactive, temporary
from bcfl_opt.solution import Status

#: With more variables than this, the leader's ranges are not looked for.
RANGED = 50


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Values of all variables, and each follower's own optimum there (None where it has none).

    name : in words. trouble : why a follower has no optimum there.
    """

    name: str
    values: tuple[float | None, ...]
    responses: tuple[Response | None, ...]
    trouble: str = ""


def starts(
    leader: BlockData,
    followers: Sequence[Follower],
    objective: ObjectiveData,
    read: Program,
    variables: Sequence[VarData],
    single_level: Answer,
    complete: Callable[[], None],
    *,
    count: int,
    seed: int,
    unit: float,
    clock: Clock,
) -> Iterator[Start]:
    """As many starts as asked for: the model's values, the leader's dream (:mod:`.single_level`), then random decisions.

    A random decision is drawn within the leader's bounds (where there are none, around what it has) and moved to the nearest
    point that satisfies all constraints. At each of them every follower is solved, which makes a start primal and dual.

    read : the leader's programme without the followers' optimality. variables : all variables, in the order of ``values``.
    complete : sets what the single-level answer leaves open.
    """
    own = {id(variable) for follower in followers for variable in follower.decisions}
    mine = [k for k, variable in enumerate(read.variables) if id(variable) not in own]
    original = [variable.value for variable in variables]
    begin = read.start()

    def answered(name: str) -> Start:
        """The followers answer the leader's present values."""
        responses: list[Response | None] = []
        trouble = ""
        for follower in followers:
            response = respond(follower, unit=unit, clock=clock, seed=seed)
            if response.solved:
                response.load()
            elif not trouble:
                trouble = f"follower {follower.name} there: {response.answer.status.value}"
            responses.append(response if response.solved else None)
        return Start(name, tuple(variable.value for variable in variables), tuple(responses), trouble)

    def load(values: Sequence[float | None]) -> None:
        for variable, number in zip(variables, values, strict=True):
            variable.set_value(number, skip_validation=True)

    for variable, number in zip(read.variables, begin.tolist(), strict=True):
        variable.set_value(number, skip_validation=True)
    filled = [variable.value for variable in variables]
    made = 0
    yield answered("the model's values")
    made += 1
    centre = begin
    if made < count and single_level.status is Status.SOLVED:
        load(filled)
        single_level.load()
        complete()
        centre = np.array([variable.value for variable in read.variables], dtype=float)
        yield answered("the leader's choice for all")
        made += 1
    rng = np.random.default_rng(seed)
    low, high = _ranges(read, np.array(mine, dtype=np.int64))
    while made < count and mine and not clock.over:
        load(filled)
        target = _drawn(rng, low, high, (begin, centre)[made % 2][mine])
        columns = [read.variables[k] for k in mine]
        for variable, number in zip(columns, target.tolist(), strict=True):
            variable.set_value(number, skip_validation=True)
        _move_to_feasible(leader, followers, objective, columns, target, unit, clock)
        yield answered(f"random decision {made - 1}")
        made += 1
    load(original)


def _ranges(read: Program, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of these variables; where they have no bound of their own, over the linear constraints."""
    reduced = presolve(read)
    low, high = reduced.x_lower[columns].copy(), reduced.x_upper[columns].copy()
    if len(columns) > RANGED:
        return low, high
    for k, column in enumerate(columns.tolist()):
        for sign, side in ((1.0, low), (-1.0, high)):
            if not np.isfinite(side[k]):
                cost = np.zeros(len(read.variables))
                cost[column] = sign
                found = linear_relaxation(read, cost)
                if found.status == 0:
                    side[k] = sign * found.fun
    return low, np.maximum(low, high)


def _drawn(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, centre: np.ndarray) -> np.ndarray:
    both, only_low, only_high = np.isfinite(low) & np.isfinite(high), np.isfinite(low), np.isfinite(high)
    size = np.maximum(np.abs(centre), 1.0)
    with np.errstate(invalid="ignore"):
        uniform = low + rng.uniform(size=len(low)) * (high - low)
        away = np.exp(1.5 * rng.standard_normal(len(low)))
        above = low + np.where(centre > low, centre - low, size) * away
        below = high - np.where(centre < high, high - centre, size) * away
    return np.select(
        [both, only_low, only_high], [uniform, above, below], centre + 3 * size * rng.standard_normal(len(low))
    )


def _move_to_feasible(
    leader: BlockData,
    followers: Sequence[Follower],
    objective: ObjectiveData,
    columns: Sequence[VarData],
    target: np.ndarray,
    unit: float,
    clock: Clock,
) -> None:
    """Set all variables to the nearest point that satisfies all constraints; leave them where there is none to be found."""
    with inactive([objective, *(follower.objective for follower in followers)]), temporary(leader, "nearest") as block:
        size = np.maximum(np.abs(target), 1e-6)
        terms = [((v - x) / s) ** 2 for v, x, s in zip(columns, target.tolist(), size.tolist(), strict=True)]
        block.distance = pyo.Objective(expr=sum(terms))
        answer = solve_program(leader, options={"max_iter": 200}, time_limit=clock.left)
        if answer.status is Status.SOLVED:
            answer.load()
