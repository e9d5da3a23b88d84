"""Which of several starting points leads to the best answer?

A programme that is not convex may have many local optima, and which of them IPOPT finds is the start's choice. Further
starts are the best of many points, well apart from one another, drawn in turn near the model's own values and all over the
bounds. Parts of the programme that nothing connects choose apart: each takes the best that any start found for it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import qmc

from bcfl_opt.nlp.nonlinear import Answer, certified
from bcfl_opt.nlp.presolve import Multipliers, presolve
from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.subprogram import objective_by_part, part_numbers
from bcfl_opt.solution import Quality, Status

#: Points that are looked at. Fewer where all of them would be more numbers than NUMBERS.
SAMPLES = 512
NUMBERS = 1_000_000
#: Where there is no bound, points are drawn this many sizes of a variable around its value.
REACH = 10.0
#: Points that are well apart are so in one variable at least, by this share of the range.
APART = 0.1
#: Answers that no other start can better, and stops that the user asked for.
SETTLED = (Status.INFEASIBLE, Status.UNBOUNDED, Status.NO_FREEDOM, Status.TIME_LIMIT, Status.INTERRUPTED)


def best_of_starts(
    first: Answer, solve: Callable[[np.ndarray], Answer], *, starts: int, seed: int, unit: float
) -> tuple[Answer, list[dict[str, Any]]]:
    """The best answer from so many starting points, the first of which led to ``first``, and what each of them led to.

    It ends with an answer that is proven global, with an objective that is unbounded from one of them, and with a stop that the
    user asked for. ``first`` stands where no start leads to an answer.

    solve : the answer of the same programme from a point. unit : as for :func:`~bcfl_opt.nlp.nonlinear.solve_program`.
    """
    answers = [first]
    if first.quality is not Quality.GLOBAL and first.status not in SETTLED and len(first.x):
        for x in _further(first, starts - 1, seed, 1.0 if unit == 1.0 else 0.0):
            answers.append(solve(x))
            if answers[-1].quality is Quality.GLOBAL or answers[-1].status in SETTLED:
                break
    solved = [answer for answer in answers if answer.status is Status.SOLVED]
    told = [
        {
            "start": k,
            "status": answer.status.name,
            "objective": float(answer.objective) if answer.status is Status.SOLVED else None,
            "iterations": answer.iterations,
        }
        for k, answer in enumerate(answers)
    ]
    if answers[-1].status is Status.UNBOUNDED:
        return answers[-1], told
    return _joined(solved, unit) if solved else first, told


def _further(first: Answer, count: int, seed: int, least: float) -> list[np.ndarray]:
    """least : a variable's size where it is smaller; 0 in a game, whose start tells sizes."""
    read, begin = first.program, first.program.start()
    size = np.maximum(least, np.abs(begin))
    near = _within(np.maximum(read.x_lower, begin - size), np.minimum(read.x_upper, begin + size), seed)
    far = draws(read, first.x if np.isfinite(first.x).all() else begin, seed)
    chosen = (promising(read, points, count) for points in (near, far))
    return [x for pair in itertools.zip_longest(*chosen) for x in pair if x is not None][:count]


def _joined(solved: list[Answer], unit: float) -> Answer:
    """Each part's best, where that is certified as a whole; otherwise the best whole."""
    read = solved[0].program
    best = min(solved, key=lambda answer: read.sense * answer.objective)
    label = part_numbers(read.functions)
    worth = np.array([objective_by_part(read.functions, label, answer.x) for answer in solved])
    choice = worth.argmin(axis=0)
    if (choice == choice[0]).all():
        return best
    n = len(read.variables)
    column, row = choice[label[:n]], choice[label[n:]]

    def taken(values: list[np.ndarray], whose: np.ndarray) -> np.ndarray:
        return np.array(values)[whose, np.arange(len(whose))]

    kept = [answer.multipliers for answer in solved if answer.multipliers is not None]
    x = taken([answer.x for answer in solved], column)
    multipliers = Multipliers(
        taken([one.rows for one in kept], row),
        taken([one.x_lower for one in kept], column),
        taken([one.x_upper for one in kept], column),
    )
    certificate = certified(read, x, multipliers, unit=unit)
    bent = [answer.certificate.curvature for answer in solved if answer.certificate is not None]
    known = [curvature for curvature in bent if curvature is not None]
    certificate = dataclasses.replace(certificate, curvature=min(known) if known else None)
    if not certificate.accepted(game=unit != 1.0):
        return best
    return dataclasses.replace(best, x=x, multipliers=multipliers, certificate=certificate)


def draws(read: Program, x: np.ndarray, seed: int) -> np.ndarray:
    """Points that fill the bounds evenly; where there is no bound, ten times the size of ``x`` around it."""
    reduced = presolve(read)
    low, high = np.fmax(read.x_lower, reduced.x_lower), np.fmin(read.x_upper, reduced.x_upper)
    reach = REACH * np.maximum(1.0, np.abs(x))
    low = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, x) - reach)
    high = np.where(np.isfinite(high), high, np.maximum(low, x) + reach)
    return _within(low, high, seed)


def _within(low: np.ndarray, high: np.ndarray, seed: int) -> np.ndarray:
    """Points that fill a box evenly."""
    n = len(low)
    count = max(min(SAMPLES, NUMBERS // n), 1)
    even = (
        qmc.Sobol(n, rng=seed).random(count)
        if n <= qmc.Sobol.MAXDIM
        else np.random.default_rng(seed).random((count, n))
    )
    return qmc.scale(even, low, np.maximum(high, low + 1e-12))


def promising(read: Program, points: np.ndarray, count: int) -> list[np.ndarray]:
    """The best of the points, by objective and violation, well apart from one another."""
    with np.errstate(all="ignore"):
        scores = np.array([_merit(read, point) for point in points])
    span = np.maximum(np.ptp(points, axis=0), 1e-12)
    chosen: list[np.ndarray] = []
    for k in np.argsort(np.where(np.isnan(scores), np.inf, scores)).tolist():
        if not np.isfinite(scores[k]) or len(chosen) == count:
            break
        if all(np.abs((points[k] - other) / span).max() > APART for other in chosen):
            chosen.append(points[k])
    return chosen


def _merit(read: Program, x: np.ndarray) -> float:
    g = read.functions.constraints(x)
    violation = np.maximum(np.maximum(read.lower - g, g - read.upper), 0.0).sum()
    return float(read.functions.objective(x) + 100.0 * violation)
