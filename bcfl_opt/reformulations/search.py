"""Which answers do the starts lead to? Every start through a continuation and to the best piece nearby, part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.block import BlockData
from pyomo.core.base.var import VarData

from bcfl_opt.nlp.program import program
from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.continuation import Clock, follow
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.pieces import Piece, improved
from bcfl_opt.reformulations.reformulation import Reformulation
from bcfl_opt.reformulations.responses import start_conditions
from bcfl_opt.reformulations.starts import Start
from bcfl_opt.reformulations.system import System
from bcfl_opt.solution import Status


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One start, one method, one independent part: where it led. objective : minimised; NaN without a point."""

    start: str
    method: str
    part: int
    system: System
    piece: Piece | None
    outcome: str

    @property
    def status(self) -> Status | None:
        return None if self.piece is None else self.piece.status

    @property
    def solved(self) -> bool:
        return self.status is Status.SOLVED

    @property
    def objective(self) -> float:
        return self.piece.objective if self.piece is not None and self.solved else np.nan

    def load(self) -> None:
        """Set the model's variables to the point."""
        assert self.piece is not None
        for variable, number in zip(self.system.program.variables, self.piece.x.tolist(), strict=True):
            variable.set_value(number, skip_validation=True)


def system_of(
    leader: BlockData, followers: Sequence[Follower], conditions: Conditions, method: Reformulation
) -> System:
    """Impose a reformulation on the conditions that stand in the leader's model, and read what comes out."""
    block = conditions.block
    block.del_component("complementarity")
    block.complementarity = pyo.Constraint(pyo.Any)
    if block.component("relaxation") is None:
        block.relaxation = pyo.Var(initialize=1.0)
    replaced = {id(row) for row in method.impose(conditions, followers, block.relaxation)}
    if not conditions.pairs:  # nothing to relax, but the column must be there
        block.complementarity["relaxation"] = block.relaxation >= 0
    whole = program(leader)
    added = np.array([row.parent_component() is block.complementarity for row in whole.constraints], dtype=bool)
    dropped = np.array([id(row) in replaced for row in whole.constraints], dtype=bool)
    column = next(k for k, variable in enumerate(whole.variables) if variable is block.relaxation)
    return System.of(whole, np.flatnonzero(~added), np.flatnonzero(~dropped), column, conditions.pairs)


def attempts(
    system: System,
    parts: Sequence[tuple[System, np.ndarray, np.ndarray]],
    method: Reformulation,
    followers: Sequence[Follower],
    conditions: Conditions,
    variables: Sequence[VarData],
    starts: Sequence[Start],
    *,
    unit: float,
    options: Mapping[str, Any],
    clock: Clock,
    tell: Callable[[Attempt], None],
    wanted: Sequence[int],
    directly: bool,
    enough: float,
) -> list[Attempt]:
    """Two attempts from every start on each of the ``wanted`` parts: through the continuation, and (``directly``) without it.

    The continuation forgets most of where it began and tends to good answers; without it the start's own piece is
    improved, which makes random starts count. Several parts go through the continuation together, which is faster than one
    after another; each then finds its own piece, and what fails so is tried apart. enough : a lower bound of the
    objective; the search ends where it is met.
    """
    together = len(wanted) > 1 and len(wanted) == len(parts)
    result: list[Attempt] = []

    def end(start: Start, name: str, k: int, x: np.ndarray, otherwise: str) -> Attempt:
        piece = improved(parts[k][0], x, unit, options, clock)
        outcome = piece.status.value if piece is not None else otherwise
        return Attempt(start.name, name, k, parts[k][0], piece, outcome)

    for start in starts:
        for variable, number in zip(variables, start.values, strict=True):
            variable.set_value(number, skip_validation=True)
        for follower, response in zip(followers, start.responses, strict=True):
            start_conditions(follower, conditions, response)
        begin = system.program.start()
        whole = _through(system, begin, method, options, clock)[0] if together else begin
        for k in wanted:
            part, columns, _ = parts[k]
            found = []
            if together and not clock.over:
                found.append(end(start, method.name, k, whole[columns], ""))
            if not (found and found[0].solved) and not clock.over:
                x, outcome = _through(part, begin[columns], method, options, clock)
                found = [end(start, method.name, k, x, outcome)]
            if directly and not clock.over:
                found.append(end(start, "pieces", k, begin[columns], "no piece near the start has an answer"))
            for attempt in found:
                tell(attempt)
            result += found
            if clock.over:
                return result
            best = min((attempt.objective for attempt in found if attempt.solved), default=np.inf)
            if len(parts) == 1 and best <= enough + 1e-9 * (1 + abs(enough)):
                return result
    return result


def _through(
    part: System, x: np.ndarray, method: Reformulation, options: Mapping[str, Any], clock: Clock
) -> tuple[np.ndarray, str]:
    x, outcomes = follow(part, x, method.schedule, options, clock)
    if not outcomes:
        return x, Status.TIME_LIMIT.value
    last = outcomes[-1].status
    return x, "no piece near the limit has an answer" if last is Status.SOLVED else last.value
