"""Which side of every complementarity pair is 0, and is that choice the best one nearby?

With one side of every pair held at 0 the leader's problem is an ordinary programme, a piece of the whole, which IPOPT
solves exactly. Where both sides of a pair are 0 its multipliers tell whether the other choice is better: then that side is
taken, until none is. What is left is strongly stationary: no pair's other side improves the leader to first order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bcfl_opt import ipopt
from bcfl_opt.certificate import Certificate
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.presolve import Multipliers, presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.second_order import second_order
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.system import System
from bcfl_opt.solution import Status

#: Both sides of a pair count as 0 below this, in the follower's own sizes.
BIACTIVE = 1e-6
#: How often the choice of sides is improved.
FLIPS = 20
#: Tried in order until one is certified: (multipliers kept from wandering off?, IPOPT's options).
ATTEMPTS: tuple[tuple[bool, dict[str, Any]], ...] = (
    (True, {"mu_init": 1e-4}),
    (True, {"bound_relax_factor": 1e-8}),
    (False, {"bound_relax_factor": 1e-8, "mu_strategy": "adaptive"}),
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The answer on one piece. held : by pair, is it the slack that is 0 (and not the multiplier)?

    strong : no pair's other side improves the leader to first order.
    """

    status: Status
    detail: str
    x: np.ndarray
    multipliers: Multipliers
    certificate: Certificate
    objective: float
    held: np.ndarray
    program: Program
    iterations: int
    strong: bool = False


def improved(system: System, x: np.ndarray, unit: float, options: Mapping[str, Any], clock: Clock) -> Piece | None:
    """The best piece found from the one that a point is on, or near; None if no piece near it has a solution."""
    best: Piece | None = None
    for held in _guesses(system, x):
        best = _solved(system, x, held, unit, options, clock)
        if best.status in (Status.SOLVED, Status.UNBOUNDED) or clock.over:
            break
    if best is None or best.status is not Status.SOLVED:
        return best if best is not None and best.status in (Status.UNBOUNDED, Status.TIME_LIMIT) else None
    tried = [best.held]
    for _ in range(FLIPS):
        better = _better_sides(system, best)
        if not better.any():
            return dataclasses.replace(best, strong=True)
        found = None
        for flip in (better, *_single(better)):
            held = best.held ^ flip
            if clock.over or any(np.array_equal(held, other) for other in tried):
                continue
            tried.append(held)
            piece = _solved(system, best.x, held, unit, options, clock)
            if piece.status is Status.UNBOUNDED:
                return piece
            if piece.status is Status.SOLVED and piece.objective < best.objective - 1e-9 * (1 + abs(best.objective)):
                found = piece
                break
        if found is None:
            return best
        best = found
    return best


def _single(flips: np.ndarray) -> list[np.ndarray]:
    """One flip at a time, where there are several."""
    places = np.flatnonzero(flips)
    return [np.arange(len(flips)) == k for k in places.tolist()[:8]] if len(places) > 1 else []


def _guesses(system: System, x: np.ndarray) -> list[np.ndarray]:
    """Which slacks are 0? The smaller side of each pair; else all small ones, else those with a multiplier."""
    slacks, multipliers = system.slacks(x), x[system.multiplier]
    found: list[np.ndarray] = []
    for held in (slacks <= multipliers, slacks <= 1e-4, multipliers > 1e-4):
        if not any(np.array_equal(held, other) for other in found):
            found.append(held)
    return found


def _solved(
    system: System, x: np.ndarray, held: np.ndarray, unit: float, options: Mapping[str, Any], clock: Clock
) -> Piece:
    program = piece_of(system, held)
    x = np.clip(x, program.x_lower, program.x_upper)
    reduced = presolve(program)
    near = presolve(_near(program, system, x))
    piece: Piece | None = None
    iterations = 0
    for within, attempt in ATTEMPTS:
        settings = {"max_iter": 300, **tight(unit), **attempt, **options}
        outcome = ipopt.run(near if within else reduced, x, options=settings, time_limit=clock.left, log=False)
        iterations += outcome.iterations
        certificate = certify(program, outcome.x, outcome.multipliers, convex=False, unit=unit)
        with np.errstate(all="ignore"):
            objective = float(program.functions.objective(outcome.x))
        status, detail = outcome.status, outcome.detail
        if np.isfinite(objective) and certificate.holds():
            status = Status.SOLVED
            bent = second_order(program, outcome.x, outcome.multipliers, unit=unit)
            certificate = dataclasses.replace(certificate, curvature=bent.curvature)
            if bent.downhill is not None:
                status = Status.SADDLE
                step = 0.01 * max(1.0, float(np.abs(outcome.x).max()))
                x = outcome.x + step * bent.downhill / np.abs(bent.downhill).max()
        elif status is Status.SOLVED:
            status, detail = Status.NOT_CERTIFIED, certificate.failure()
        elif status is Status.UNBOUNDED and not certificate.primal <= 1e-6:
            status = Status.NUMERICAL_FAILURE
        piece = Piece(status, detail, outcome.x, outcome.multipliers, certificate, objective, held, program, iterations)
        if status in (Status.SOLVED, Status.UNBOUNDED, Status.TIME_LIMIT, Status.INTERRUPTED) or reduced.conflict:
            break
    assert piece is not None
    return piece


def piece_of(system: System, held: np.ndarray) -> Program:
    """The programme with one side of every pair held at 0."""
    low, high = system.program.x_lower.copy(), system.program.x_upper.copy()
    low[system.relaxation] = high[system.relaxation] = 0.0
    columns = np.where(held, system.variable, system.multiplier)
    numbers = np.where(held, system.bound, 0.0)
    low[columns], high[columns] = numbers, numbers
    return dataclasses.replace(system.program, x_lower=low, x_upper=high)


def tight(unit: float) -> dict[str, Any]:
    """Tolerances of a millionth of what counts as small in this model; a run that stalls just above them may stop."""
    if unit == 1.0:
        return {}
    tolerance = float(np.clip(1e-6 * unit, 1e-13, 1e-9))
    names = ("tol", "compl_inf_tol", "constr_viol_tol", "dual_inf_tol")
    return {**dict.fromkeys(names, tolerance), "acceptable_tol": 1e-9, "acceptable_iter": 15}


def _near(program: Program, system: System, x: np.ndarray) -> Program:
    """The programme with upper bounds on the followers' multipliers, far above those of the point.

    A follower without interior has multipliers without bound, and an interior-point method would go and look for their
    centre. A bound that turns out to matter is no stationary point of the programme without it, and not certified.
    """
    low, high = program.x_lower.copy(), program.x_upper.copy()
    columns = system.multiplier[low[system.multiplier] < high[system.multiplier]]
    high[columns] = 10.0 * (1.0 + np.abs(x[columns]))
    return dataclasses.replace(program, x_lower=low, x_upper=high)


def _better_sides(system: System, piece: Piece) -> np.ndarray:
    """Pairs with both sides 0 whose other side would improve the leader: the held side's multiplier has the wrong sign."""
    x, held = piece.x, piece.held
    columns = np.where(held, system.variable, system.multiplier)
    factor = np.where(held, system.sign * system.size, 1.0)  # of the column's change per change of the side
    pull = factor * (piece.multipliers.x_lower - piece.multipliers.x_upper)[columns]
    other = np.where(held, x[system.multiplier], system.slacks(x))
    scale = max(1e-300, float(system.program.functions.objective_size(x)))
    return (np.abs(other) <= BIACTIVE) & (pull < -1e-6 * max(1.0, scale))
