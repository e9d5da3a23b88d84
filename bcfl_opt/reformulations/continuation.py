"""How is a relaxation driven to 0? A run of IPOPT for each of its values, each from where the last one ended."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bcfl_opt import ipopt
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Functions, Program
from bcfl_opt.reformulations.system import System
from bcfl_opt.solution import Status

#: Weight of the multipliers in what is minimised, relative to the objective: where they are not unique they would wander
#: off to infinity. Residuals are those of the programme without it.
WEIGHT = 1e-7
#: IPOPT's options along the way: the point is only a start for what comes after.
LOOSE: dict[str, Any] = {
    "tol": 1e-7,
    "constr_viol_tol": 1e-7,
    "compl_inf_tol": 1e-7,
    "acceptable_iter": 10,
    "acceptable_tol": 1e-5,
    "acceptable_compl_inf_tol": 1e-4,
    "bound_relax_factor": 1e-8,
    "max_iter": 300,
}


@dataclasses.dataclass(slots=True)
class Clock:
    """Seconds left of a time limit; None for no limit."""

    limit: float | None
    begin: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def left(self) -> float | None:
        return None if self.limit is None else max(self.limit - (time.perf_counter() - self.begin), 1e-3)

    @property
    def over(self) -> bool:
        return self.limit is not None and time.perf_counter() - self.begin >= self.limit


def follow(
    system: System, x: np.ndarray, schedule: Sequence[float], options: Mapping[str, Any], clock: Clock
) -> tuple[np.ndarray, list[ipopt.Outcome]]:
    """The point at the end of the schedule, and IPOPT's outcomes on the way; an early end where IPOPT fails."""
    program = penalised(system.relaxed, system.multiplier, x)
    outcomes: list[ipopt.Outcome] = []
    for relaxation in schedule:
        if clock.over:
            break
        reduced = presolve(with_value(program, system.relaxation, relaxation))
        settings = {**LOOSE, "mu_init": min(0.1, relaxation) if outcomes else 0.1, **options}
        outcome = ipopt.run(reduced, x, options=settings, time_limit=clock.left, log=False)
        outcomes.append(outcome)
        if outcome.status is not Status.SOLVED or not np.isfinite(outcome.x).all():
            break
        x = outcome.x
    return x, outcomes


def penalised(program: Program, columns: np.ndarray, x: np.ndarray) -> Program:
    """The programme with a small price on these columns, relative to the size of its objective at a point."""
    functions = copy.copy(program.functions)
    with np.errstate(all="ignore"):
        size = float(functions.objective_size(x))
    weight = WEIGHT * (min(max(size, 1e-6), 1e6) if np.isfinite(size) else 1.0)
    functions.objective_linear = functions.objective_linear.copy()
    free = columns[np.isfinite(program.x_lower[columns])]
    functions.objective_linear[free] += weight
    return dataclasses.replace(program, functions=functions)


def with_value(program: Program, column: int, number: float) -> Program:
    """The programme with this column held at a number."""
    low, high = program.x_lower.copy(), program.x_upper.copy()
    low[column] = high[column] = number
    return dataclasses.replace(program, x_lower=low, x_upper=high)


def size_of_objective(functions: Functions, x: np.ndarray) -> float:
    """Sum of the absolute values of the objective's terms, at least 1e-300."""
    return max(float(functions.objective_size(x)), 1e-300)
