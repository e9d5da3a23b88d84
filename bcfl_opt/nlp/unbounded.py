"""Does the objective improve without limit? Followed from an iterate, the way it went, until that is plain or refuted.

An interior-point method that runs away, most of all towards a pole at a bound (1/x at x = 0), may take thousands of ever
shorter steps. A feasible point with an objective beyond any use settles the matter at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bcfl_opt.nlp import duals
from bcfl_opt.nlp.program import Program

#: An objective below minus this at a feasible point is taken for unbounded.
DIVERGED = 1e30
#: How far a point is followed, in factors of 10.
DECADES = 60
#: Variables tried one at a time, those that the objective pulls at most.
TRIED = 8
#: An objective of minus 1e30 takes variables further than this, or a pole that outweighs all other terms by as much.
FAR = 1e6
#: Violation of a row that rounding explains, relative to the size of its terms.
ROUNDING = 1e-9


def runaway(
    functions: Any,
    bounds: tuple[np.ndarray, np.ndarray],
    sides: tuple[np.ndarray, np.ndarray],
    x: np.ndarray,
    start: np.ndarray,
) -> np.ndarray | None:
    """A feasible point with an objective below minus :data:`DIVERGED`; None if none is found from here.

    functions : as :class:`bcfl_opt.nlp.program.Functions`. bounds : of the variables. sides : of the rows.
    x : an iterate. start : where it came from.

    From x on, all variables go on together along a ray, or at the rates they had; then some of them one at a time,
    towards a bound or away, by factors of 10. Every point on the way must be feasible.
    """
    with np.errstate(all="ignore"):
        for step in _moves(functions, bounds, x, start):
            best: np.ndarray | None = None
            for decade in range(1, DECADES + 1):
                point = np.clip(step(decade), *bounds)
                value = functions.objective(point)
                if not np.isfinite(value) or not _feasible(functions, sides, point):
                    break
                if value < -DIVERGED:
                    best = point
                    break
            if best is not None:
                return best
    return None


def direction(program: Program, x: np.ndarray) -> dict[str, Any]:
    """Variable name -> its part of the way from the start to ``x`` (Series by index), the largest of all being 1.

    What moves less than a tenth as far is not what runs away; nor, where nothing goes far, as towards a pole at a bound, what
    has next to no share in the objective.
    """
    move = x - program.start()
    with np.errstate(all="ignore"):
        if np.abs(move).max(initial=0.0) < FAR:
            share = np.nan_to_num(np.abs(program.functions.gradient(x) * x), nan=np.inf)
            move = np.where(share >= share.max(initial=0.0) / FAR, move, 0.0)
    largest = float(np.abs(move).max(initial=0.0))
    if not largest > 0 or not np.isfinite(largest):
        return {}
    found = dict(zip(map(id, program.variables), (move / largest).tolist(), strict=True))
    result = {}
    for component in duals.components(program):
        numbers = {index: found[id(item)] for index, item in component.items() if abs(found.get(id(item), 0.0)) >= 0.1}
        if numbers:
            result[component.name] = duals.series(component, numbers)
    return result


def _moves(functions: Any, bounds: tuple[np.ndarray, np.ndarray], x: np.ndarray, start: np.ndarray) -> Iterator[Any]:
    low, high = bounds
    room = np.minimum(x - low, high - x)
    before = np.minimum(start - low, high - start)
    nearer = np.isfinite(room) & (room > 0) & (room < 0.1 * before)
    further = np.abs(x) > 10.0 * np.maximum(np.abs(start), 1.0)
    edge = np.where(x - low <= high - x, low, high)
    if further.any():  # along a ray: what has grown together goes on together
        yield lambda decade: np.where(nearer, edge + (x - edge) * 10.0**-decade, start + (x - start) * 10.0**decade)
    rate = np.zeros(len(x))
    rate[nearer] = np.log10(room[nearer] / before[nearer])
    rate[further] = np.log10(np.abs(x[further]) / np.maximum(np.abs(start[further]), 1.0))
    if rate.any():
        rate /= np.abs(rate).max()
        base = np.where(nearer, edge, 0.0)
        yield lambda decade: np.where(rate != 0, base + (x - base) * 10.0 ** (rate * decade), x)

    pull = np.abs(functions.gradient(x)) * np.maximum(np.abs(x), 1.0)
    for j in np.argsort(-np.nan_to_num(pull), kind="stable")[:TRIED].tolist():
        for edge, away in ((low[j], 1.0), (high[j], -1.0)):
            distance = np.abs(x[j] - edge) if np.isfinite(edge) else max(abs(x[j]), 1.0)
            if np.isfinite(edge):
                yield lambda decade, j=j, edge=edge, d=away * distance: _with(x, j, edge + d * 10.0**-decade)
            else:
                yield lambda decade, j=j, d=away * distance: _with(x, j, x[j] - d * 10.0**decade)


def _with(x: np.ndarray, j: int, value: float) -> np.ndarray:
    point = x.copy()
    point[j] = value
    return point


def _feasible(functions: Any, sides: tuple[np.ndarray, np.ndarray], x: np.ndarray) -> bool:
    lower, upper = sides
    if not len(lower):
        return True
    g = functions.constraints(x)
    missing = np.maximum(np.maximum(lower - g, g - upper), 0.0)
    if not missing.any():
        return True
    terms = np.abs(functions.jacobian(x)) * np.abs(x[functions.jacobian_columns])
    size = np.bincount(functions.jacobian_rows, weights=terms, minlength=len(g))
    return bool(np.all(missing <= ROUNDING * np.maximum(size, 1.0)))
